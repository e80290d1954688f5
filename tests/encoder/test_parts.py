import math

import numpy as np
import pytest
import torch
from torch import nn

from fmri_lightning.encoder.batches import TensorBatches
from fmri_lightning.encoder.losses import cosine_loss, info_nce_loss
from fmri_lightning.encoder.network import LinearMap, NetworkMap, build_predictor, floor_std
from fmri_lightning.encoder.validation import embedding_scores
from fmri_lightning.errors import BadInputError


def rows(n=23):
    return {"features": torch.arange(n, dtype=torch.float32)[:, None].repeat(1, 3), "nsd_ids": torch.arange(n)}


def test_an_epoch_holds_every_row_once_with_its_own_partner():
    batches = list(TensorBatches(rows(), 5, shuffle_by=lambda: 0))
    assert [len(batch["nsd_ids"]) for batch in batches] == [5, 5, 5, 5, 3]
    ids = torch.cat([batch["nsd_ids"] for batch in batches])
    assert sorted(ids.tolist()) == list(range(23))
    assert torch.equal(torch.cat([batch["features"] for batch in batches])[:, 0].long(), ids)


def test_order_depends_on_epoch_and_seed_only(monkeypatch):
    def order(epoch, seed):
        monkeypatch.setenv("PL_GLOBAL_SEED", str(seed))
        return torch.cat([batch["nsd_ids"] for batch in TensorBatches(rows(), 5, lambda: epoch)]).tolist()

    assert order(0, 1) == order(0, 1)
    assert order(0, 1) != order(1, 1)
    assert order(0, 1) != order(0, 2)


def test_without_shuffling_rows_keep_their_order():
    ids = torch.cat([batch["nsd_ids"] for batch in TensorBatches(rows(), 4)])
    assert torch.equal(ids, torch.arange(23))


def test_ranks_share_out_each_batch():
    whole = list(TensorBatches(rows(), 6, lambda: 3))
    shares = [list(TensorBatches(rows(), 6, lambda: 3, rank, 2)) for rank in range(2)]
    assert len(shares[0]) == len(shares[1]) == len(whole) == len(TensorBatches(rows(), 6))
    for batch, first, second in zip(whole, *shares, strict=True):
        together = sorted(torch.cat([first["nsd_ids"], second["nsd_ids"]]).tolist())
        assert together == sorted(batch["nsd_ids"].tolist())


def test_batches_refuse_unequal_lengths():
    with pytest.raises(ValueError, match="one length"):
        TensorBatches({"a": torch.zeros(3), "b": torch.zeros(4)}, 2)


def test_cosine_loss_in_closed_form():
    a = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    assert float(cosine_loss(a, 5 * a)) == pytest.approx(0, abs=1e-6)
    assert float(cosine_loss(a, -a)) == pytest.approx(2)
    assert float(cosine_loss(a, torch.tensor([[1.0, 1.0], [1.0, 0.0]]))) == pytest.approx(1 - math.sqrt(0.5) / 2)


def test_info_nce_in_closed_form():
    n = 6
    assert float(info_nce_loss(torch.ones(n, n), torch.eye(n))) == pytest.approx(math.log(n), rel=1e-5)
    # Orthogonal pairs: the match has logit 1/t, all others 0.
    expected = -math.log(math.exp(2) / (math.exp(2) + n - 1))
    assert float(info_nce_loss(torch.eye(n), 3 * torch.eye(n), temperature=0.5)) == pytest.approx(expected, rel=1e-5)
    with pytest.raises(ValueError, match="temperature"):
        info_nce_loss(torch.eye(2), torch.eye(2), temperature=0.0)


def test_info_nce_does_not_push_repeats_of_a_picture_apart():
    predicted = torch.eye(3)[[0, 0, 1, 2]].requires_grad_()
    ids = torch.tensor([7, 7, 8, 9])
    info_nce_loss(predicted, torch.eye(3)[[0, 0, 1, 2]], 0.5, ids).backward()
    # Two equal rows are pulled alike; taken for distractors they could not be told apart and lose ln 2.
    assert torch.allclose(predicted.grad[0], predicted.grad[1])
    shared = info_nce_loss(torch.eye(3)[[0, 0, 1, 2]], torch.eye(3)[[0, 0, 1, 2]], 0.02, ids)
    assert float(shared) == pytest.approx(math.log(2) / 2, rel=1e-4)


def test_the_seed_network_has_two_layers():
    network = NetworkMap(300, 512)
    linear = [layer for layer in network.modules() if isinstance(layer, nn.Linear)]
    assert [(layer.in_features, layer.out_features) for layer in linear] == [(300, 1024), (1024, 512)]
    assert sum(p.numel() for p in network.parameters()) == 300 * 1024 + 1024 + 1024 * 512 + 512


def test_network_emits_raw_embeddings():
    network = NetworkMap(5, 4, hidden=8, n_blocks=2).eval()
    mean, std = torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([0.5, 2.0, 0.0, 1.0])
    network.set_target_statistics(mean, std)
    features = torch.randn(7, 5, generator=torch.Generator().manual_seed(0))
    standardised = network.standardised(features)
    # A dimension without spread keeps the scale 1 instead of dividing by zero.
    torch.testing.assert_close(network(features), standardised * torch.tensor([0.5, 2.0, 1.0, 1.0]) + mean)
    torch.testing.assert_close(network.standardise(network(features)), standardised)


def test_floor_std_works_at_any_scale():
    assert floor_std(torch.tensor([1e-9, 0.0])).tolist() == pytest.approx([1e-9, 1.0])
    assert floor_std(torch.zeros(2)).tolist() == [1.0, 1.0]


def test_a_described_predictor_is_built_again():
    assert isinstance(build_predictor({"kind": "linear", "n_features": 3, "n_outputs": 2}), LinearMap)
    built = build_predictor({"kind": "network", "n_features": 3, "n_outputs": 2, "hidden": 4, "n_blocks": 1})
    assert built(torch.zeros(1, 3)).shape == (1, 2)
    for wrong in ({"kind": "forest"}, {"kind": "linear", "depth": 3}, {}):
        with pytest.raises(BadInputError, match="encoder of unknown kind"):
            build_predictor(wrong)


def test_a_constant_prediction_scores_as_the_mean_vector_does():
    true = np.random.default_rng(0).standard_normal((50, 8)) + 2
    mean = true.mean(axis=0)
    scores = embedding_scores(np.tile(mean, (50, 1)), true, mean)
    assert scores["cosine"] == pytest.approx(scores["mean_vector_cosine"])
    assert scores["cosine"] > 0.8
    assert scores["centred_cosine"] == 0
    assert scores["top1"] <= 1 / 50


def test_perfect_predictions_score_one_with_repeats_too():
    true = np.random.default_rng(0).standard_normal((20, 8))
    ids = np.repeat(np.arange(20), 3)
    scores = embedding_scores(true[ids], true[ids], true.mean(axis=0), ids)
    assert {scores[key] for key in ("top1", "top5", "two_way")} == {1.0}
    assert scores["centred_cosine"] == pytest.approx(1)

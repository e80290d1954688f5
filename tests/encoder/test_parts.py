import pytest
import torch
from torch import nn

from fmri_lightning.encoder.batches import TensorBatches
from fmri_lightning.encoder.network import LinearMap, NetworkMap, build_predictor, floor_std
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


def test_a_network_starts_as_the_ridge_it_is_given():
    generator = torch.Generator().manual_seed(1)
    ridge = LinearMap(9, 4)
    ridge.weights.copy_(torch.randn(9, 4, generator=generator))
    ridge.intercept.copy_(torch.randn(4, generator=generator))
    network = NetworkMap(9, 4, hidden=8, n_blocks=1, linear_path=True).eval()
    network.set_target_statistics(torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([0.5, 2.0, 1.0, 3.0]))
    features = 3 * torch.randn(70, 9, generator=generator) + 1
    network.start_from(ridge, features)
    torch.testing.assert_close(network(features), ridge(features))
    hidden = network.layers[0](features)
    torch.testing.assert_close(hidden.mean(dim=0), torch.zeros(8), atol=1e-4, rtol=0)
    torch.testing.assert_close(hidden.std(dim=0), torch.ones(8), atol=1e-4, rtol=0)
    # Hidden units read the four directions of the ridge and nothing else.
    outside = torch.linalg.svd(ridge.weights.T, full_matrices=True).Vh[4:]
    assert float((outside @ network.layers[0].weight.detach().T).abs().max()) < 1e-5
    with pytest.raises(BadInputError, match="linear path"):
        NetworkMap(9, 4, hidden=8).start_from(ridge, features)
    with pytest.raises(BadInputError, match=r"is \(9, 4\), this network's linear path"):
        NetworkMap(6, 4, hidden=8, linear_path=True).start_from(ridge, features)

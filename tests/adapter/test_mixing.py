"""Training on out-of-fold predictions: which rows, whose, and what it is good for."""

import numpy as np
import pytest
import torch

from fmri_lightning.adapter.data import AdapterDataModule
from fmri_lightning.adapter.load import load_adapter
from fmri_lightning.adapter.mixing import MixedSources, predicted_rows
from fmri_lightning.encoder.out_of_fold import read_out_of_fold
from fmri_lightning.errors import BadInputError, UsageError
from fmri_lightning.metrics.cosine import centred_cosine
from fmri_lightning.records import EmbeddingSpace
from tests.adapter.fitting import fit, ids_of, pairs, shrunken, write_shrunken


def batches_of(epoch, share=0.3, n=50):
    rows = torch.arange(n, dtype=torch.float32)
    tensors = {"features": rows[:, None], "targets": 10 * rows[:, None], "nsd_ids": torch.arange(n)}
    return list(MixedSources(tensors, -1 - rows[:, None], share, 16, lambda: epoch))


def test_every_picture_comes_once_and_a_share_of_them_predicted():
    batches = batches_of(epoch=4)
    ids = torch.cat([batch["nsd_ids"] for batch in batches])
    features = torch.cat([batch["features"] for batch in batches])[:, 0]
    assert sorted(ids.tolist()) == list(range(50))
    assert set(batches[0]) == {"features", "targets", "nsd_ids"}
    torch.testing.assert_close(torch.cat([batch["targets"] for batch in batches])[:, 0], 10.0 * ids)
    predicted = features < 0
    assert int(predicted.sum()) == 15
    # Each prediction is that of the row's own picture.
    torch.testing.assert_close(features, torch.where(predicted, -1.0 - ids, 1.0 * ids))


def test_other_rows_in_every_epoch_and_the_same_ones_again(monkeypatch):
    assert torch.equal(predicted_rows(50, 0.3, 4), predicted_rows(50, 0.3, 4))
    assert not torch.equal(predicted_rows(50, 0.3, 4), predicted_rows(50, 0.3, 5))
    assert int(predicted_rows(50, 1.0, 0).sum()) == 50
    before = predicted_rows(50, 0.3, 4)
    monkeypatch.setenv("PL_GLOBAL_SEED", "1")
    assert not torch.equal(predicted_rows(50, 0.3, 4), before)
    # Over many epochs every row has its turn.
    counts = sum(predicted_rows(50, 0.3, epoch).int() for epoch in range(200))
    assert counts.min() > 30
    assert counts.max() < 90


@pytest.fixture(scope="module")
def both(small, tmp_path_factory):
    """Adapters without LayerNorm: (trained on true sources, trained on predictions as well), and the folder."""
    folder = tmp_path_factory.mktemp("mixing")
    out_of_fold = write_shrunken(small, folder)
    model = {"layer_norm": False}
    true = fit(small, folder / "true", max_epochs=60, model=model)
    mixed = fit(small, folder / "mixed", max_epochs=60, model=model, out_of_fold=str(out_of_fold))
    return true, mixed, out_of_fold


def test_helps_on_the_predictions_an_adapter_is_given(small, both):
    target, mean = pairs(small, "val")[1], pairs(small, "train")[1].mean(axis=0)
    scores = []
    for _, path in both[:2]:
        with torch.inference_mode():
            predicted = load_adapter(path)(torch.from_numpy(shrunken(small, "val"))).numpy()
        scores.append(float(np.mean(centred_cosine(predicted, target, mean))))
    assert scores[1] > scores[0] + 0.05


def test_is_recorded_among_the_inputs(small, both):
    (_, true), (run, mixed), folder = both
    found = read_out_of_fold(folder, ids_of(small, "train"))
    assert load_adapter(mixed).inputs["out_of_fold"] == found.content_hash
    assert "out_of_fold" not in load_adapter(true).inputs
    described = torch.load(mixed, weights_only=True)["fmri_lightning"]
    assert described["out_of_fold_share"] == 0.5
    assert run.datamodule.predicted.content_hash == found.content_hash
    # Statistics stay those of true embeddings: doctor --leaks computes them anew.
    states = [load_adapter(path).network for path in (true, mixed)]
    assert torch.equal(states[0].source_std, states[1].source_std)


def test_a_resumed_fit_keeps_its_sources(small, both, tmp_path):
    (_, true), (_, mixed), folder = both
    with pytest.raises(BadInputError, match=r"trained on out-of-fold predictions; name their folder with --data"):
        fit(small, tmp_path, model={"layer_norm": False}, ckpt_path=mixed.with_name("last.ckpt"))
    with pytest.raises(BadInputError, match="another out_of_fold"):
        fit(small, tmp_path, model={"layer_norm": False}, ckpt_path=true, out_of_fold=str(folder))
    with pytest.raises(UsageError, match=r"out_of_fold_share 0\.5, this run has 0\.9"):
        fit(small, tmp_path, ckpt_path=mixed, out_of_fold=str(folder), out_of_fold_share=0.9)


def test_refuses_predictions_that_are_not_of_this_run(small, tmp_path):
    def opened(name, **changes):
        folder = write_shrunken(small, tmp_path / name, **changes)
        return AdapterDataModule(**small.adapter_inputs(out_of_fold=str(folder))).setup("fit")

    good = {"split": "s" * 64, "clip_cache": "c" * 64}
    with pytest.raises(BadInputError, match=r"another split .*fit the encoder again"):
        opened("split", inputs=good)
    inputs = AdapterDataModule(**small.adapter_inputs())
    inputs.setup("fit")
    with pytest.raises(BadInputError, match="another clip_cache"):
        opened("cache", inputs={**inputs.inputs, "clip_cache": "c" * 64})
    with pytest.raises(BadInputError, match="are of subj02, this run is of subj01"):
        opened("subject", subject="subj02")
    narrow = EmbeddingSpace("clip", "small/clip", "", 8, "projection", "raw")
    with pytest.raises(BadInputError, match=r"8-D.*16-D"):
        opened("space", space=narrow, predictions=shrunken(small, "train")[:, :8])
    (tmp_path / "split" / "out_of_fold" / "2of2.parquet").unlink()
    with pytest.raises(BadInputError, match="lacks 1 of 2 folds"):
        AdapterDataModule(**small.adapter_inputs(out_of_fold=str(tmp_path / "split" / "out_of_fold"))).setup("fit")
    with pytest.raises(BadInputError, match="holds no out-of-fold predictions"):
        AdapterDataModule(**small.adapter_inputs(out_of_fold=str(tmp_path / "absent"))).setup("fit")


@pytest.mark.parametrize("share", [0.0, -0.1, 1.1])
def test_refuses_a_share_outside_its_range(share):
    with pytest.raises(UsageError, match="out_of_fold_share lies above 0"):
        AdapterDataModule(out_of_fold_share=share)

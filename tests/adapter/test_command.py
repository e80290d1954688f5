"""``calibrate``: whose predictions it measures, what it writes, and what predict and it refuse."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from fmri_lightning.adapter.calibration import MAX_GAIN, load_calibration
from fmri_lightning.adapter.load import load_adapter
from fmri_lightning.betas.preprocess import Preprocess
from fmri_lightning.cli import main
from fmri_lightning.encoder.load import load_encoder
from fmri_lightning.encoder.out_of_fold import write_out_of_fold
from fmri_lightning.encoder.stored import record_of_stimuli
from fmri_lightning.manifest import read_manifest
from tests.adapter.fitting import fit, ids_of, pairs
from tests.encoder.fitting import fit_ridge_module
from tests.encoder.small_subject import write_small_subject


@pytest.fixture(scope="module")
def parts(small, tmp_path_factory):
    """(encoder, adapter) checkpoints, with out-of-fold predictions beside the encoder."""
    folder = tmp_path_factory.mktemp("parts")
    encoder = fit_ridge_module(small, folder)[1]
    predictions = out_of_fold(small)
    loaded = load_encoder(encoder)
    for part in (1, 2):
        rows = slice(part - 1, None, 2)
        ids = ids_of(small, "train")[rows]
        write_out_of_fold(encoder, part, 2, ids, predictions[rows], loaded.space, loaded.inputs, "ridge", "subj01")
    return encoder, fit(small, folder)[1]


def features(small, split):
    means = [small.betas[small.table.nsd_id == i].mean(axis=0) for i in ids_of(small, split)]
    with torch.no_grad():
        return Preprocess.load(small.folder / "preproc" / "subj01").eval()(torch.from_numpy(np.stack(means)))


def out_of_fold(small):
    """Predictions of each half of the training pictures by a ridge on the other half."""
    x, y = features(small, "train").numpy(), pairs(small, "train")[0]
    predicted = np.empty_like(y)
    for part in (0, 1):
        mine = np.arange(len(x)) % 2 == part
        predicted[mine] = Ridge(alpha=20).fit(x[~mine], y[~mine]).predict(x[mine])
    return predicted


def run(small, parts, root, capsys, *words, adapter=True):
    """Exit code and what was printed."""
    encoder, adapter_ckpt = parts
    inputs = small.encoder_inputs()
    command = ["calibrate", "--encoder_ckpt", str(encoder), "--root", str(root)]
    command += [word for name, value in inputs.items() for word in (f"--{name}", value)]
    if adapter:
        command += ["--adapter_ckpt", str(adapter_ckpt), "--target_cache", str(small.folder / "target.parquet")]
    code = main([*command, *words])
    return code, "".join(capsys.readouterr())


def hashes(parts, adapter=True):
    made_from = {"encoder": load_encoder(parts[0]).content_hash}
    return {**made_from, "adapter": load_adapter(parts[1]).content_hash} if adapter else made_from


def expected(predictions, real):
    """Mean and gain by numpy."""
    values, real = np.asarray(predictions, dtype=np.float64), np.asarray(real, dtype=np.float64)
    return values.mean(axis=0), np.minimum(real.std(axis=0) / values.std(axis=0), MAX_GAIN), real.mean(axis=0)


def check(calibration, predictions, real):
    mean, gain, true_mean = expected(predictions, real)
    np.testing.assert_allclose(calibration.predicted_mean, mean, atol=1e-5)
    np.testing.assert_allclose(calibration.gain, gain, rtol=1e-4)
    np.testing.assert_allclose(calibration.true_mean, true_mean, atol=1e-5)


def test_val_predictions_through_the_adapter(small, parts, tmp_path, capsys):
    code, out = run(small, parts, tmp_path, capsys)
    assert code == 0, out
    folder = tmp_path / "calibration" / "ridge" / "subj01"
    calibration = load_calibration(folder, hashes(parts))
    with torch.no_grad():
        raw = load_adapter(parts[1])(load_encoder(parts[0])(features(small, "val")))
    check(calibration, raw.numpy(), pairs(small, "train")[1])
    assert calibration.nsd_ids.tolist() == ids_of(small, "val").tolist()
    config = read_manifest(folder, "calibration").config
    assert config == {
        "predictions": "val",
        "trial_mode": "average",
        "fitted_on": record_of_stimuli(ids_of(small, "val")),
    }
    target, mean = pairs(small, "val")[1], pairs(small, "train")[1].mean(axis=0)
    scores = [
        float(torch.cosine_similarity(x - torch.from_numpy(mean), torch.from_numpy(target - mean)).mean())
        for x in (raw, calibration(raw))
    ]
    assert f"centred cosine on val {scores[0]:.4f} -> {scores[1]:.4f}, the pictures it was fitted on" in out
    norms = [float(x.norm(dim=1).median()) for x in (raw, calibration(raw))]
    assert f"median norm {norms[0]:.4g} -> {norms[1]:.4g} (real embeddings " in out
    assert f"{folder}: from {len(raw)} predictions (val)\n" in out
    assert f"predict --model.calibration {folder}" in out
    again = run(small, parts, tmp_path, capsys)[1]
    assert "replaces the one there" in again


def test_out_of_fold_predictions_through_the_adapter(small, parts, tmp_path, capsys):
    code, out = run(small, parts, tmp_path, capsys, "--predictions", "out_of_fold")
    assert code == 0, out
    calibration = load_calibration(tmp_path / "calibration" / "ridge" / "subj01", hashes(parts))
    with torch.no_grad():
        raw = load_adapter(parts[1])(torch.from_numpy(out_of_fold(small)))
    check(calibration, raw.numpy(), pairs(small, "train")[1])
    assert calibration.nsd_ids.tolist() == ids_of(small, "train").tolist()
    assert "the pictures it was fitted on" not in out
    assert "centred cosine on val" in out


def test_an_adapter_is_not_calibrated_on_the_predictions_it_was_trained_on(small, parts, tmp_path, capsys):
    folder = parts[0].parent / "out_of_fold"
    mixed = parts[0], fit(small, tmp_path, max_epochs=1, out_of_fold=str(folder))[1]
    code, out = run(small, mixed, tmp_path, capsys, "--predictions", "out_of_fold")
    assert code == 2
    assert "trained on out-of-fold predictions" in out
    assert not (tmp_path / "calibration").exists()
    assert run(small, mixed, tmp_path, capsys)[0] == 0


def test_without_an_adapter_the_target_is_the_source(small, parts, tmp_path, capsys):
    code, out = run(small, parts, tmp_path, capsys, adapter=False)
    assert code == 0, out
    calibration = load_calibration(tmp_path / "calibration" / "ridge" / "subj01", hashes(parts, adapter=False))
    with torch.no_grad():
        raw = load_encoder(parts[0])(features(small, "val"))
    check(calibration, raw.numpy(), pairs(small, "train")[0])
    # The spread that regression took away is back.
    before, after = raw.std(dim=0).mean(), calibration(raw).std(dim=0).mean()
    assert float(before) < 0.97 * float(after)


@pytest.mark.parametrize("mode", ["average_outputs", "single"])
def test_repeats_are_used_as_the_encoder_says(small, parts, tmp_path, capsys, mode):
    encoder = fit_ridge_module(small, tmp_path, trial_mode=mode)[1]
    code, out = run(small, (encoder, parts[1]), tmp_path, capsys, adapter=False)
    assert code == 0, out
    made_from = hashes((encoder, parts[1]), adapter=False)
    calibration = load_calibration(tmp_path / "calibration" / "ridge" / "subj01", made_from)
    rows = np.flatnonzero(small.table.split == "val")
    with torch.no_grad():
        x = Preprocess.load(small.folder / "preproc" / "subj01").eval()(torch.from_numpy(small.betas[rows]))
        raw = load_encoder(encoder)(x).numpy()
    if mode == "average_outputs":
        shown = small.table.nsd_id[rows]
        raw = np.stack([raw[shown == i].mean(axis=0) for i in ids_of(small, "val")])
    check(calibration, raw, pairs(small, "train")[0])
    code, out = run(small, (encoder, parts[1]), tmp_path, capsys, "--predictions", "out_of_fold", adapter=False)
    if mode == "single":
        assert (code, "calibrate with --predictions val" in out) == (2, True)


def test_without_target_cache_it_says_what_is_missing(small, parts, tmp_path, capsys):
    words = ["--adapter_ckpt", str(parts[1])]
    code, out = run(small, parts, tmp_path, capsys, *words, adapter=False)
    assert code == 0, out
    assert "centred cosine on val not computed: name --target_cache" in out
    check_against = load_calibration(tmp_path / "calibration" / "ridge" / "subj01", hashes(parts))
    np.testing.assert_allclose(check_against.true_mean, pairs(small, "train")[1].mean(axis=0), atol=1e-5)


def test_does_not_depend_on_test_pictures(small, parts, tmp_path, capsys):
    other = write_small_subject(tmp_path / "other", permute_test=True)
    encoder = fit_ridge_module(other, tmp_path)[1]
    found = []
    for subject, ckpt, root in ((small, parts[0], tmp_path / "a"), (other, encoder, tmp_path / "b")):
        assert run(subject, (ckpt, parts[1]), root, capsys, adapter=False)[0] == 0
        made_from = hashes((ckpt, parts[1]), adapter=False)
        found.append(load_calibration(root / "calibration" / "ridge" / "subj01", made_from).content_hash)
    assert found[0] == found[1]


def test_refusals_name_what_to_do(small, parts, tmp_path, capsys):
    def refused(subject, some, *words, code=3, adapter=True):
        found, out = run(subject, some, tmp_path / "root", capsys, *words, adapter=adapter)
        assert found == code, out
        return out

    cache = str(small.folder / "target.parquet")
    out = refused(small, parts, "--target_cache", cache, code=2, adapter=False)
    assert "--target_cache goes with --adapter_ckpt" in out
    assert "of subj01, this run is of subj02" in refused(small, parts, "--subject", "subj02")
    other = write_small_subject(tmp_path / "other", seed=1)
    assert "was fitted on another" in refused(other, parts)
    other_encoder = fit_ridge_module(other, tmp_path)[1]
    out = refused(other, (other_encoder, parts[1]))
    assert "adapter" in out
    assert "was fitted on another split" in out
    assert "is an adapter, expected an encoder" in refused(small, (parts[1], parts[1]))
    source = str(small.folder / "clip.parquet")
    assert "another target_cache" in refused(small, parts, "--target_cache", source)
    alone = fit_ridge_module(small, tmp_path / "alone")[1]
    for path in alone.parent.glob("out_of_fold/*"):
        path.unlink()
    assert "no out-of-fold predictions" in refused(small, (alone, parts[1]), "--predictions", "out_of_fold")
    assert not (tmp_path / "root").exists()

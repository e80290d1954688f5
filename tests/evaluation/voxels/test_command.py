"""The command on a simulated brain: planted truth, native volumes, and test trials that nothing looks at too early."""

import csv
import json
import shutil

import nibabel
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from scipy.stats import rankdata

from fmri_lightning.betas.store import store_hash
from fmri_lightning.cli import main
from fmri_lightning.evaluation.voxels.ablation import AblationPlan, ablate
from fmri_lightning.evaluation.voxels.command import brain
from fmri_lightning.evaluation.voxels.compute import decoding_of
from fmri_lightning.evaluation.voxels.material import open_material
from fmri_lightning.evaluation.voxels.patterns import Trials, haufe_patterns
from fmri_lightning.manifest import read_manifest, write_manifest
from tests.evaluation.voxels.known_run import KnownRun, fit_network_of
from tests.evaluation.voxels.test_patterns import auc

FAST = {"controls": 9, "permutations": 100, "resamples": 200}


@pytest.fixture(scope="module")
def run(known, ridge_checkpoint):
    folder = known.write_run("ridge_run", ridge_checkpoint)
    brain(folder, rois=None, **FAST)
    return folder


def summary_of(run):
    return json.loads((run / "brain/summary.json").read_text())


def voxels_of(run):
    return pq.read_table(run / "brain/voxels.parquet")


def column(run, name):
    return voxels_of(run).column(name).to_numpy()


def test_patterns_find_the_planted_voxels_better_than_weights(known, run) -> None:
    """Planted, and read from the generator: how much of each voxel's variance follows the embedding."""
    material = open_material(run)
    read = material.read
    planted = known.informative()[read]
    positive = planted >= np.quantile(planted, 2 / 3)
    # Weights of voxels that were brought to unit variance: the fairest use that can be made of them.
    by_weights = auc(np.linalg.norm(material.encoder.predictor.weights.numpy(), axis=1), positive)
    by_patterns = auc(column(run, "pattern")[read], positive)
    by_encoding = auc(column(run, "encoding_r")[read], positive)
    ranks = np.corrcoef(rankdata(column(run, "pattern")[read]), rankdata(planted))[0, 1]
    print(f"AUC: patterns {by_patterns:.3f}, weights {by_weights:.3f}, encoding {by_encoding:.3f}; ranks {ranks:.3f}")
    assert by_patterns > by_weights + 0.05
    assert by_patterns > 0.85
    assert ranks > 0.6


def test_patterns_tell_meaning_from_noise_better_than_weights(known, run) -> None:
    """A cruder truth, from simulated_truth alone: semantic share times the reliability of a trial."""
    semantic, ncsnr = known.truth()
    material = open_material(run)
    planted = (semantic * ncsnr**2 / (1 + ncsnr**2))[material.read]
    positive = planted >= np.quantile(planted, 2 / 3)
    by_weights = auc(np.linalg.norm(material.encoder.predictor.weights.numpy(), axis=1), positive)
    assert auc(column(run, "pattern")[material.read], positive) > by_weights + 0.03


def test_regions_of_meaning_are_missed_and_early_ones_are_not(run) -> None:
    regions = summary_of(run)["ablation"]["regions"]
    of = {name: entry["drop"]["centred_cosine"] for name, entry in regions.items()}
    assert of["ventral"]["p"] <= 0.2
    assert of["early"]["p"] >= 0.8
    assert of["early"]["difference"]["value"] > of["ventral"]["difference"]["value"]


def test_leaving_the_planted_meaning_out_costs_more_than_any_random_set_of_its_size(known, run) -> None:
    """Voxels that the simulator made of meaning alone, and those that it made of none."""
    material = open_material(run)
    semantic = known.truth()[0][material.read]
    planted = {"meaning": semantic > 0.99, "none": semantic < 0.01}
    assert min(int(members.sum()) for members in planted.values()) > 50
    found = ablate(decoding_of(material), planted, AblationPlan(n_controls=19, resamples=500))["regions"]
    meaning, none = (found[name]["drop"]["centred_cosine"] for name in planted)
    print(f"meaning {meaning['difference']}, random {sorted(meaning['controls'])}, none {none['difference']}")
    assert meaning["difference"]["ci_high"] < 0
    assert meaning["difference"]["value"] < min(meaning["controls"])
    assert none["difference"]["value"] > max(none["controls"])


def test_tables_maps_and_summary_say_the_same(known, run) -> None:
    table, summary = voxels_of(run), summary_of(run)
    assert summary["maps"][0] == "pattern"
    assert summary["no_maps"] is None
    ijk = np.stack([table.column(axis).to_numpy() for axis in "ijk"], axis=1)
    region = nibabel.load(known.root / "nsddata/ppdata/subj01/func1pt8mm/roi/nsdgeneral.nii.gz")
    for name in summary["maps"]:
        image = nibabel.load(run / f"brain/maps/{name}.nii.gz")
        volume = np.asanyarray(image.dataobj)
        assert volume.shape == region.shape
        assert len(set(volume.shape)) == 3
        np.testing.assert_array_equal(image.affine, region.affine)
        np.testing.assert_array_equal(volume[tuple(ijk.T)], table.column(name).to_numpy().astype(np.float32))
        assert np.isnan(volume[np.asanyarray(region.dataobj) <= 0]).all()
        about = json.loads((run / f"brain/maps/{name}.json").read_text())
        assert about["space"] == "native func1pt8mm of subj01"
        assert "Never lay it on a standard brain" in about["warning"]
    rows = list(csv.DictReader((run / "brain/regions.csv").read_text().splitlines()))
    v1 = next(row for row in rows if row["quantity"] == "pattern" and row["region"] == "V1")
    assert float(v1["value"]) == pytest.approx(summary["regions"]["pattern"]["V1"]["value"])
    labels = table.column("roi.prf-visualrois").to_numpy()
    inside = np.isin(labels, (1, 2)) & table.column("read_by_the_encoder").to_numpy(zero_copy_only=False)
    assert float(v1["value"]) == pytest.approx(table.column("pattern").to_numpy()[inside].mean(), abs=1e-6)
    assert read_manifest(run / "brain", "brain").config["files"]["summary.json"]
    assert "weights" not in " ".join(table.column_names)


def test_the_dropped_voxel_has_no_numbers(run) -> None:
    dropped = voxels_of(run).column("dropped").to_numpy(zero_copy_only=False)
    assert dropped.sum() == 1
    assert np.isnan(column(run, "pattern")[dropped]).all()
    assert np.isnan(column(run, "encoding_r")[dropped]).all()


def test_the_same_command_writes_the_same_bytes(known, ridge_checkpoint, run) -> None:
    again = known.write_run("again", ridge_checkpoint)
    brain(again, **FAST)
    files = read_manifest(run / "brain", "brain").config["files"]
    assert read_manifest(again / "brain", "brain").config["files"] == files
    assert len(files) > 20


def other_test_trials(known, ridge_checkpoint, folder):
    """The same subject with other betas in every test trial, and a run made from it."""
    shutil.copytree(known.folder / "betas/subj01", folder / "betas/subj01")
    for name in ("index", "preproc"):
        shutil.copytree(known.folder / name, folder / name)
    shutil.copy(known.folder / "clip.parquet", folder)
    for side in known.folder.glob("clip.parquet*"):
        shutil.copy(side, folder)
    path = folder / "betas/subj01/betas.npy"
    betas = np.load(path)
    test = known.table.split == "test"
    betas[test] = np.random.default_rng(0).normal(size=betas[test].shape)
    np.save(path, betas)
    changed = KnownRun(folder, known.root)
    manifest = read_manifest(folder / "betas/subj01", "betas")
    manifest.content_hash = store_hash(betas, known.store.ijk)
    write_manifest(folder / "betas/subj01", manifest)
    return changed.write_run("run", ridge_checkpoint)


def test_patterns_do_not_see_test_trials(known, ridge_checkpoint, run, tmp_path) -> None:
    changed = other_test_trials(known, ridge_checkpoint, tmp_path)
    brain(changed, **FAST | {"controls": 0})
    for file in ("brain/patterns.npz", "brain/maps/pattern.nii.gz", "brain/maps/noise_ceiling.nii.gz"):
        assert (changed / file).read_bytes() == (run / file).read_bytes()
    assert summary_of(changed)["regions"]["pattern"] == summary_of(run)["regions"]["pattern"]
    # Noise in place of test responses is predicted by nothing: whoever read them before would have known.
    assert abs(summary_of(changed)["regions"]["encoding_r"]["all voxels"]["value"]) < 0.03
    assert abs(summary_of(changed)["ablation"]["full"]["centred_cosine"]["value"]) < 0.1


def test_a_pattern_that_used_test_trials_would_be_noticed(run) -> None:
    material = open_material(run)
    rows = np.concatenate([material.train, material.test])
    betas = material.brain.store.betas
    predicted = material.encoder(material.transform(torch.from_numpy(np.array(betas[rows])))).numpy()
    leaking = haufe_patterns(Trials(betas, rows, material.read), predicted).strength
    assert not np.allclose(leaking, column(run, "pattern")[material.read], atol=1e-4)


def test_a_network_has_patterns_too_and_the_ablation_stays_ridges(known, run) -> None:
    folder = known.write_run("network_run", fit_network_of(known))
    brain(folder, **FAST)
    summary = summary_of(folder)
    assert summary["patterns"]["linear"] is False
    assert summary_of(run)["patterns"]["linear"] is True
    assert summary["ablation"] == summary_of(run)["ablation"]
    assert summary["regions"]["encoding_r"] == summary_of(run)["regions"]["encoding_r"]
    assert not np.allclose(column(folder, "pattern"), column(run, "pattern"), equal_nan=True)


def test_a_part_alone_and_a_dry_run(known, ridge_checkpoint, capsys) -> None:
    folder = known.write_run("part_run", ridge_checkpoint)
    words = ["brain", "--run", str(folder), "--patterns", "false", "--encoding", "false", "--controls", "2"]
    assert main([*words, "--rois", "floc-bodies", "streams", "--dry_run"]) == 0
    told = capsys.readouterr().out
    assert "ridge regressions for" in told
    assert "TFLOP" in told
    assert not (folder / "brain").exists()
    assert main([*words, "--rois", "floc-bodies", "--resamples", "200", "--maps", "false"]) == 0
    summary = summary_of(folder)
    assert list(summary["ablation"]["regions"]) == ["floc-bodies 1"]
    assert summary["skipped"]["floc-bodies 2"].endswith("fewer than 10")
    assert summary["patterns"] is summary["encoding"] is None
    assert not (folder / "brain/maps").exists()
    assert not (folder / "brain/patterns.npz").exists()


def test_every_volume_of_the_store_can_be_asked_for(known, ridge_checkpoint) -> None:
    folder = known.write_run("all_run", ridge_checkpoint)
    brain(folder, rois=["all"], ablation=False, encoding=False, resamples=100)
    regions = summary_of(folder)["regions"]["pattern"]
    assert {"prf-visualrois 1", "streams 5", "nsdgeneral 1"} <= set(regions)
    assert not any(name.startswith(("lh.", "rh.")) for name in regions)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--rois", "streems"], "the beta store has no such region volume; did you mean streams?"),
        (["--controls", "-1"], "--controls starts at 0"),
        (["--min_ceiling", "0"], "it is a share of variance, above 0"),
        (["--resamples", "5"], "gives no interval"),
        (["--patterns", "false", "--encoding", "false", "--ablation", "false"], "nothing is left to do"),
    ],
)
def test_what_cannot_be_done_is_refused(run, capsys, words, said) -> None:
    before = summary_of(run)
    assert main(["brain", "--run", str(run), *words]) == 2
    assert said in capsys.readouterr().err
    assert summary_of(run) == before


def test_another_encoder_than_the_runs_is_refused(known, ridge_checkpoint, run, capsys) -> None:
    inputs = json.loads((run / "decode_summary.json").read_text())["provenance"]
    inputs["inputs"]["encoder"] = "0" * 64
    folder = known.write_run("foreign", ridge_checkpoint, provenance=inputs)
    assert main(["brain", "--run", str(folder)]) == 3
    assert "is not the encoder that" in capsys.readouterr().err
    assert not (folder / "brain").exists()

"""The command on a tiny brain: fits, table, JSON, and going on."""

import json

import pytest
import yaml

from fmri_lightning.ceiling.fits import plan_fits, read_encoders
from fmri_lightning.cli import main
from fmri_lightning.embeddings.packaged import packaged_path
from fmri_lightning.errors import UsageError

# As many draws as these chains need to converge: without that, no fraction of the posterior mean is given.
SIZES = [
    "--stimuli", "300", "--test", "40", "--repeats", "2", "--voxels", "60", "--seeds", "2",
    "--chains", "2", "--warmup", "100", "--draws", "300",
]  # fmt: skip
CEILINGS = {"linear optimum", "posterior mean", "posterior direction"}


def test_dry_run_prints_every_fit_and_writes_nothing(tmp_path, capsys):
    assert main(["ceiling", "--out", str(tmp_path / "c"), "--seeds", "2", "--dry_run"]) == 0
    printed = capsys.readouterr().out.splitlines()
    fits = [line for line in printed if line.startswith("fmri-lightning fit")]
    # A ridge once, a network once a seed, for both uses of repeats.
    assert len(fits) == 2 * (1 + 2 + 2)
    assert sum("--data.trial_mode single" in line for line in fits) == 5
    assert sum("--seed_everything 1" in line for line in fits) == 4
    ridges = [line.split("--model.root ")[1].split()[0] for line in fits[:2]]
    for line in fits:
        if "residual.yaml" in line:
            mode = line.split("--data.trial_mode ")[1].split()[0]
            (start,) = [root for root in ridges if f"/{mode}/" in root]
            assert f"--model.initial {start}/ridge/subj01/ridge.ckpt" in line
        else:
            assert "--model.initial" not in line
    assert len({line.split("--model.root ")[1].split()[0] for line in fits}) == len(fits)
    assert not (tmp_path / "c").exists()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ceiling")
    config = yaml.safe_load(packaged_path("configs/encoder/residual.yaml").read_text())
    config["trainer"]["max_epochs"], config["model"]["init_args"]["hidden"] = 2, 64
    (folder / "short.yaml").write_text(yaml.safe_dump(config))
    words = ["ceiling", "--out", str(folder / "c"), *SIZES]
    words += ["--configs", "configs/encoder/ridge.yaml", str(folder / "short.yaml")]
    assert main(words) == 0
    return folder / "c", words


@pytest.mark.slow
def test_json_holds_scores_fractions_and_intervals(finished):
    result = json.loads((finished[0] / "ceiling.json").read_text())
    assert result["simulated"] is True
    for mode, n_rows, n_repeats in (("average", 40, 2), ("single", 80, 1)):
        scores = result["modes"][mode]
        assert (scores["n_rows"], scores["n_stimuli"], scores["n_repeats"]) == (n_rows, 40, n_repeats)
        predictors = scores["predictors"]
        expected = {"mean vector", "ridge", "short", *CEILINGS}
        assert set(predictors) == (expected | {"linear optimum of single trials"} if mode == "average" else expected)
        assert predictors["mean vector"]["centred_cosine"] is None
        assert predictors["mean vector"]["cosine"] == pytest.approx(predictors["ridge"]["mean_vector_cosine"])
        assert len(predictors["short"]["centred_cosine_of_seeds"]) == 2
        assert len(set(predictors["short"]["centred_cosine_of_seeds"])) == 2
        assert predictors["posterior direction"]["cosine"] is None
        ridge, linear, best = (predictors[n] for n in ("ridge", "linear optimum", "posterior mean"))
        assert 0.1 < ridge["centred_cosine"] < linear["centred_cosine"]
        assert ridge["fraction_of_linear_optimum"] == pytest.approx(ridge["centred_cosine"] / linear["centred_cosine"])
        assert ridge["fraction_of_posterior_mean"] == pytest.approx(ridge["centred_cosine"] / best["centred_cosine"])
        assert linear["fraction_of_linear_optimum"] == 1
        (gain,) = scores["network_minus_ridge"]
        assert (gain["network"], gain["ridge"]) == ("short", "ridge")
        assert gain["low"] < gain["value"] < gain["high"]
        assert gain["value"] == pytest.approx(predictors["short"]["centred_cosine"] - ridge["centred_cosine"])
        assert scores["posterior"]["n_items"] == n_rows
        assert scores["posterior"]["converged"] is True


@pytest.mark.slow
def test_a_second_run_fits_nothing_and_prints_the_same_table(finished, capsys):
    out, words = finished
    before = json.loads((out / "ceiling.json").read_text())
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert printed.count("fitted before") == 6
    assert printed.count("sampled before") == 2
    assert "$ fmri-lightning fit" not in printed
    assert json.loads((out / "ceiling.json").read_text())["modes"] == before["modes"]
    assert "simulated, mean of 2 repeats: 40 test stimuli, 40 rows" in printed
    assert "simulated, single trials: 40 test stimuli, 80 rows" in printed
    assert printed.count("short minus ridge: ") == 2
    assert "posterior mean: " in printed


@pytest.mark.slow
def test_another_brain_in_the_same_folder_is_refused(finished, capsys):
    words = finished[1]
    assert main([*words, "--seed", "1"]) == 3
    assert "choose another --out" in capsys.readouterr().err


def test_configurations_that_make_no_sense_are_refused(tmp_path):
    (tmp_path / "empty.yaml").write_text("trainer: {}\n")
    for configs, says in (
        (["absent.yaml"], "does not exist"),
        ([str(tmp_path / "empty.yaml")], "model.class_path"),
        (["configs/encoder/ridge.yaml"] * 2, "a file name of its own"),
    ):
        with pytest.raises(UsageError, match=says):
            read_encoders(configs)
    with pytest.raises(UsageError, match="residual starts from ridge"):
        plan_fits(read_encoders(["configs/encoder/residual.yaml"]), 1, tmp_path)
    assert main(["ceiling", "--out", str(tmp_path / "c"), "--seeds", "0"]) == 2

"""What a low-data study refuses before anything runs, what it says it will run, and its scores beside others' code."""

import numpy as np
import pytest

from fmri_lightning.cli import main
from fmri_lightning.encoder.validation import validate_embeddings
from fmri_lightning.errors import UsageError
from fmri_lightning.metrics.cosine import cosine_matrix
from fmri_lightning.studies.low_data_plan import parse_options
from fmri_lightning.studies.low_data_scores import Curves, TestItems, score_point
from tests.studies.small_study import write_tree


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return write_tree(tmp_path_factory.mktemp("tree"))


def test_dry_run_prints_every_command_and_writes_nothing(tree, tmp_path, capsys):
    more = ["--sessions", "2,1", "--seeds", "2", "--dry_run"]
    words = tree.words(tmp_path / "out", *more)
    place = words.index("configs/encoder/ridge.yaml") + 1
    words[place:place] = ["configs/encoder/residual.yaml"]
    assert main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines] == ["index", "betas"] * 3 + ["fit"] * 2 * 3
    # Test items come from all sessions, which are no point here.
    assert [f"--sessions {n} " in line for n, line in zip((1, 2, 4), lines[:6:2], strict=True)] == [True] * 3
    assert all("--roi all" in line and "--mask roi" in line for line in lines[1:6:2])
    for n, fits in ((1, lines[6:9]), (2, lines[9:])):
        assert all(f"/sessions{n:02d}/{what}" in line for line in fits for what in ("nsd_index", "betas", "preproc"))
        assert "--model.initial" not in fits[0]
        ridge = fits[0].split("--model.root ")[1].split()[0]
        assert all(f"--model.initial {ridge}/ridge/ann/ridge.ckpt" in line for line in fits[1:])
        assert [line.split("--seed_everything ")[1].split()[0] for line in fits] == ["42", "42", "43"]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("more", "code", "says"),
    [
        (["--sessions", "0,2"], 2, "'0' is no number of first sessions"),
        (["--sessions", "one"], 2, "'one' is no number of first sessions"),
        (["--sessions", "1,,2"], 2, "'' is no number of first sessions"),
        (["--sessions", "1,5"], 3, "ann has 4 sessions, --sessions asks for 5"),
        (["--mask", "reliability"], 3, "cannot be fitted at 1 session, and all points share one mask"),
        (["--mask", "ncsnr_published"], 2, "--mask"),
        (["--seeds", "0"], 2, "both start at 1"),
        (["--source", "fsl"], 2, "source 'fsl' is not supported"),
        (["--options", "mlp:--trainer.max_epochs 3"], 2, "no step 'mlp' in this study"),
        (["--options", "bets:--roi all"], 2, "did you mean betas?"),
        (["--options", "ridge"], 2, "is not STEP:WORDS"),
        (["--options", "ridge:alphas"], 2, "is not STEP:WORDS"),
        (["--options", "betas:--roi 'all"], 2, "a quotation mark without its partner"),
        (["--options", "ridge:--data.preproc elsewhere"], 2, "--data.preproc of fit is set by the study itself"),
        (["--options", "ridge:--data.init_args.preproc=elsewhere"], 2, "--data.preproc of fit is set by the study"),
        (["--options", "index:--sessions all"], 2, "--sessions of index is set by the study itself"),
        (["--configs", "configs/encoder/residual.yaml"], 2, "residual starts from ridge"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_written(tree, tmp_path, capsys, more, code, says):
    assert main(tree.words(tmp_path / "out", *more)) == code
    assert says in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_configuration_named_as_a_step_is_refused(tree, tmp_path, capsys):
    (tmp_path / "index.yaml").write_text("model: {class_path: fmri_lightning.encoder.module.RidgeModule}\n")
    assert main(tree.words(tmp_path / "out", "--configs", str(tmp_path / "index.yaml"))) == 2
    assert "is named as the step index" in capsys.readouterr().err


def test_a_failed_step_stops_the_study_with_its_own_code(tree, tmp_path, capsys):
    assert main([*tree.words(tmp_path / "out"), "--options", "betas:--roi nowhere"]) == 3
    said = capsys.readouterr().err
    assert "no region 'nowhere'" in said
    assert "low-data stopped: reading betas of 1 session failed, see above" in said


def test_options_of_one_step_add_up():
    found = parse_options(["a:--x 1 --y 'two words'", "betas:--k 3", "a:--z"], ["a"])
    assert found == {"a": ("--x", "1", "--y", "two words", "--z"), "betas": ("--k", "3")}
    with pytest.raises(UsageError, match="steps are index, betas, a"):
        parse_options(["zzz:--x"], ["a"])


def made_items(n, rng):
    truth = rng.normal(1, 1, (n, 12)).astype(np.float32)
    ids = np.arange(n, dtype=np.int32) * 3
    return TestItems(ids, np.zeros((n, 2), np.float32), np.full(n, 3), truth, truth.mean(axis=0).astype(float))


def test_scores_are_those_of_a_fits_own_report():
    rng = np.random.default_rng(3)
    items = made_items(90, rng)
    predicted = (items.truth + rng.normal(0, 2, items.truth.shape)).astype(np.float32)
    point = score_point(1, "e", [predicted], items)
    found = validate_embeddings(predicted, items.truth, items.centre, items.ids).scores
    names = {"cosine": "cosine", "centred_cosine": "centred_cosine", "two_way": "two_way"}
    for name, other in {**names, "top_1": "picture_from_brain_top1"}.items():
        assert point.values[name].mean() == pytest.approx(found[other])
        assert point.resampled[name].mean() == pytest.approx(found[other])


def test_top_1_is_of_300_where_there_are_more_pictures():
    rng = np.random.default_rng(4)
    items = made_items(1000, rng)
    predicted = (items.truth + rng.normal(0, 1.5, items.truth.shape)).astype(np.float32)
    curves = Curves(items, {})
    point = score_point(1, "e", [predicted], items)
    rivals_lose = cosine_matrix(predicted, items.truth)
    behind = (rivals_lose < np.diagonal(rivals_lose)[:, None]).sum(axis=1)
    # Chance that none of the pictures ahead is among 299 others drawn from 999: a closed form of the mean.
    expected = [np.prod(1 - 299 / (999 - np.arange(999 - b))) if b < 999 else 1.0 for b in behind]
    assert curves.chance("top_1") == 1 / 300
    assert np.nanmean(point.values["top_1"]) == pytest.approx(np.mean(expected), abs=0.01)
    assert curves.interval(point, "top_1", 200).low < np.mean(expected) < curves.interval(point, "top_1", 200).high


def test_seeds_are_averaged_and_an_item_that_no_pool_held_is_left_out():
    rng = np.random.default_rng(5)
    items = made_items(4000, rng)
    items = TestItems(items.ids, items.betas, items.n_repeats, items.truth, items.centre)
    predictions = [(items.truth + rng.normal(0, 1, items.truth.shape)).astype(np.float32) for _ in range(2)]
    one, other, both = (score_point(1, "e", p, items) for p in (predictions[:1], predictions[1:], predictions))
    assert both.values["cosine"] == pytest.approx((one.values["cosine"] + other.values["cosine"]) / 2)
    assert both.of_seeds["cosine"] == [one.values["cosine"].mean(), other.values["cosine"].mean()]
    missing = np.isnan(both.values["top_1"])
    assert missing.any()
    curves = Curves(items, {})
    assert curves.interval(both, "top_1", 50).value == pytest.approx(both.values["top_1"][~missing].mean())
    assert curves.difference(one, one, "top_1", 50) == (0, 0, 0)

"""What a rater may see, and what must not be seen."""

import base64
import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from fmri_lightning.cli import main
from fmri_lightning.evaluation.ratings.plan import plan_trials


def decode(data, number):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data["images"][number]))), dtype=np.float64)


def shrunk(picture):
    return np.asarray(Image.fromarray(picture).resize((256, 256), Image.Resampling.LANCZOS), dtype=np.float64)


def test_the_page_says_nothing_of_ids_files_and_answers(written, world):
    html, data = written.html, written.data
    text = re.sub(r'"images":\[.*?\]', "", html)
    assert len(text) < 40_000
    assert set(data) == {"page", "breakEvery", "trials", "images"}
    for word in ("nsd", "_generated", "ridge_diffusion", str(world.base), "distractor"):
        assert word not in text, word
    # No trial lists anything but numbers of pictures.
    assert all(len(trial) == 3 and all(isinstance(n, int) for n in trial) for trial in data["trials"])


def test_nothing_is_asked_of_a_network(written):
    text = re.sub(r'"images":\[.*?\]', "", written.html)
    assert "://" not in text
    assert "default-src 'none'" in text
    assert re.findall(r'(?:src|href)="', text) == []


def test_all_pictures_are_of_one_kind_and_numbered_without_gaps(written):
    data = written.data
    pictures = [Image.open(io.BytesIO(base64.b64decode(image))) for image in data["images"]]
    assert {(p.format, p.size, p.mode) for p in pictures} == {("JPEG", (256, 256), "RGB")}
    assert sorted({n for trial in data["trials"] for n in trial}) == list(range(len(pictures)))
    assert not any(p.getexif() or p.info.get("comment") for p in pictures)


def test_the_key_resolves_every_trial(written, world):
    data, key = written.data, written.answers
    assert key["page"] == data["page"]
    assert len(key["trials"]) == len(data["trials"]) == 14
    for asked, known in zip(data["trials"], key["trials"], strict=True):
        top, pair = decode(data, asked[0]), [decode(data, n) for n in asked[1:]]
        shown = world.stimuli[known["nsd_id"]] if known["check"] else world.predicted_picture(known["nsd_id"])
        assert np.abs(top - shrunk(shown)).mean() < 3
        assert np.abs(pair[known["answer"]] - shrunk(world.stimuli[known["nsd_id"]])).mean() < 3
        assert np.abs(pair[1 - known["answer"]] - shrunk(world.stimuli[known["distractor"]])).mean() < 3
    assert key["simulated"] is True
    assert key["config"] == {"n_trials": 12, "n_checks": 2, "seed": 0}


def test_the_same_command_writes_the_same_page(written, world, tmp_path):
    run = world.write_run(tmp_path / "ridge_diffusion")
    for folder in ("a", "b"):
        assert main(["ratings", "--run", str(run), "--out", str(tmp_path / folder / "page.html"), "--seed", "3"]) == 0
    assert (tmp_path / "a/page.html").read_bytes() == (tmp_path / "b/page.html").read_bytes()


def test_a_key_that_others_need_is_not_replaced(world, tmp_path, capsys):
    run = world.write_run(tmp_path / "run")
    assert main(["ratings", "--run", str(run)]) == 0
    page, key = run / "ratings/ratings.html", run / "ratings/ratings_key.json"
    before = page.read_bytes(), key.read_bytes()
    assert main(["ratings", "--run", str(run), "--seed", "1"]) == 3
    assert "key of another page" in capsys.readouterr().err
    assert (page.read_bytes(), key.read_bytes()) == before
    assert main(["ratings", "--run", str(run)]) == 0
    assert page.read_bytes() == before[0]


def test_dry_run_writes_nothing(world, tmp_path, capsys):
    run = world.write_run(tmp_path / "run")
    assert main(["ratings", "--run", str(run), "--dry_run"]) == 0
    assert "16 trials and 2 attention checks; nothing written" in capsys.readouterr().out
    assert not (run / "ratings").exists()


def test_folders_of_another_system(world, tmp_path, capsys):
    for name, pictures in (("theirs", world.stimuli[:5] // 2), ("truth", world.stimuli[:4])):
        (tmp_path / name).mkdir()
        for i, picture in enumerate(pictures):
            Image.fromarray(picture).save(tmp_path / name / f"scene{i}.png")
    words = ["ratings", "--generated", str(tmp_path / "theirs"), "--truth", str(tmp_path / "truth")]
    assert main(words) == 2
    assert "add --out FILE.html" in capsys.readouterr().err
    assert main([*words, "--out", str(tmp_path / "blind.html")]) == 0
    said = capsys.readouterr().out
    assert "scene4.png" in said
    assert "NSD" not in said
    key = json.loads((tmp_path / "blind_key.json").read_text())
    assert sorted(t["name"] for t in key["trials"] if not t["check"]) == ["scene0", "scene1", "scene2", "scene3"]
    assert key["simulated"] is None
    assert "scene" not in (tmp_path / "blind.html").read_text()


def test_pictures_of_nsd_are_for_the_lab_only(world, tmp_path, capsys):
    run = world.write_run(tmp_path / "run", simulated=False)
    assert main(["ratings", "--run", str(run)]) == 0
    assert "for the lab only" in capsys.readouterr().out
    assert "stays in the laboratory" in (run / "ratings/ratings.html").read_text()
    run = world.write_run(tmp_path / "simulated")
    assert main(["ratings", "--run", str(run)]) == 0
    assert "for the lab only" not in capsys.readouterr().out
    assert "was simulated" in (run / "ratings/ratings.html").read_text()


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        ([], 2, "say what to do"),
        (["--run", "a", "--generated", "b"], 2, "say what to do"),
        (["--generated", "b"], 2, "add --truth DIR"),
        (["--run", "a", "--out", "page"], 2, "the page is one file"),
        (["--results", "a.json"], 2, "add --key FILE"),
        (["--results", "a.json", "--key", "k.json", "--min_checks", "80"], 2, "a share, from 0 to 1"),
        (["--results", "a.json", "--key", "k.json", "--resamples", "5"], 2, "at least 100"),
        (["--run", "absent"], 3, "it is no finished run"),
    ],
)
def test_wrong_words(words, code, says, capsys):
    assert main(["ratings", *words]) == code
    err = capsys.readouterr().err
    assert says in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(("n_trials", "n_checks"), [(2, 0), (5, 2), (12, 3), (24, 12), (24, 1)])
def test_each_picture_is_right_once_and_wrong_once(n_trials, n_checks):
    trials = plan_trials(np.arange(24, dtype=np.int32) * 3, n_trials, n_checks, 0, "secret")
    asked = [t for t in trials if not t.check]
    items = sorted(t.item for t in asked)
    assert len(set(items)) == len(items) == n_trials
    assert sorted(t.distractor for t in asked) == items
    assert all(t.item != t.distractor for t in trials)
    checks = [t for t in trials if t.check]
    assert len(checks) == n_checks
    pairs = [frozenset((t.item, t.distractor)) for t in trials]
    if n_trials > 2:
        assert len(set(pairs)) == len(pairs)
    if n_trials + 2 * n_checks <= 24:
        assert not {i for t in checks for i in (t.item, t.distractor)} & set(items)


def test_seed_draws_stimuli_and_secret_the_listing():
    ids = np.arange(50, dtype=np.int32)

    def pairs(seed, secret):
        trials = plan_trials(ids, 20, 4, seed, secret)
        return {(t.item, t.distractor, t.check) for t in trials}, trials

    one, other, third = pairs(0, "a"), pairs(0, "b"), pairs(1, "a")
    assert one[0] == other[0] != third[0]
    assert one[1] != other[1]
    sides = [t.answer for s in range(40) for t in plan_trials(ids, 20, 4, 0, str(s))]
    assert abs(np.mean(sides) - 0.5) < 0.06


def test_a_stimulus_drawn_in_several_trials_is_asked_about_once(world, tmp_path, capsys):
    run = world.write_run(tmp_path / "run", n=4)
    summary = json.loads((run / "decode_summary.json").read_text())
    summary["results"] += [entry | {"trial_id": 100 + i} for i, entry in enumerate(summary["results"])]
    summary["n_generated"] = 8
    (run / "decode_summary.json").write_text(json.dumps(summary))
    assert main(["ratings", "--run", str(run)]) == 0
    assert "4 of 8 pictures are rated" in capsys.readouterr().out


def test_more_trials_than_stimuli_are_refused(world, tmp_path, capsys):
    run = world.write_run(tmp_path / "run")
    assert main(["ratings", "--run", str(run), "--n_trials", "17"]) == 2
    assert "take 2 to 16" in capsys.readouterr().err
    assert main(["ratings", "--run", str(run), "--n_checks", "9"]) == 2
    assert "allow 0 to 8" in capsys.readouterr().err

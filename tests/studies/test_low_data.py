"""Low-data curves end to end on a small subject: what is fitted on what, what is scored on what, and going on."""

import csv
import json
import xml.etree.ElementTree as ET

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import yaml

from fmri_lightning.ceiling.fits import read_encoders
from fmri_lightning.cli import main
from fmri_lightning.embeddings.cache import EmbeddingCache, write_cache
from fmri_lightning.embeddings.packaged import packaged_path
from fmri_lightning.encoder.load import load_encoder
from fmri_lightning.index.command import index
from fmri_lightning.index.stimuli import open_stimuli
from fmri_lightning.index.table import read_index
from fmri_lightning.metrics.bootstrap import bootstrap_interval
from fmri_lightning.records import EmbeddingSpace
from fmri_lightning.studies import low_data_run
from tests.studies.small_study import SUBJECT, write_tree

SHORT = ["configs/encoder/mlp.yaml", "--options", "betas:--roi all", "mlp:--trainer.max_epochs 3 --model.hidden 32"]


def short_words(tree, out, *more):
    """Ridge and a small network."""
    words = tree.words(out)
    place = words.index("configs/encoder/ridge.yaml") + 1
    words[place:place] = SHORT
    first = words.index("--options")
    del words[first : first + 2]
    return [*words, *more]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("low_data")
    tree = write_tree(folder)
    words = short_words(tree, folder / "out")
    assert main(words) == 0
    return tree, folder / "out" / SUBJECT, words


@pytest.fixture
def result(finished):
    return json.loads((finished[1] / "low_data.json").read_text())


def score_of(result, n_sessions, encoder, metric="centred_cosine"):
    (point,) = [p for p in result["points"] if (p["n_sessions"], p["encoder"]) == (n_sessions, encoder)]
    return point["scores"][metric]


def difference_of(result, a, b, metric="centred_cosine"):
    (found,) = [d for d in result["differences"] if (tuple(d["a"].values()), tuple(d["b"].values())) == (a, b)]
    return found["scores"][metric]


def checkpoint(study, n_sessions, encoder="ridge"):
    (found,) = (study / f"sessions{n_sessions:02d}" / "checkpoints" / encoder).glob(f"*/*/*/{encoder}.ckpt")
    return found


def by_hand(tree, n_sessions):
    """Test features of the first sessions' preprocessing, from the raw files with numpy alone: pictures, (n, V)."""
    z, raw = {}, {}
    for session in range(1, 5):
        betas = np.load(tree.root / SUBJECT / f"s{session}.npy")
        train = betas[tree.rows(session, "train")]
        z[session] = (betas - train.mean(axis=0)) / train.std(axis=0)
    for name, session, _, row, split in tree.trials:
        if split == "test":
            raw.setdefault(name, []).append(z[session][row])
    fitted = np.concatenate([z[s][tree.rows(s, "train")] for s in range(1, n_sessions + 1)])
    means = np.stack([np.mean(raw[name], axis=0) for name in sorted(raw)])
    return (means - fitted.mean(axis=0)) / fitted.std(axis=0)


def test_predictions_are_those_of_the_first_sessions_preprocessing_on_the_test_items_of_all(finished, result):
    tree, study, _ = finished
    truth = EmbeddingCache.open(tree.cache)
    trained = sorted({name for name, _, _, _, split in tree.trials if split == "train"})
    # Names are in the order of their ids.
    names = sorted({name for name, *_ in tree.trials})
    centre = truth.embeddings[[names.index(name) for name in trained]].mean(axis=0)
    for n_sessions in (1, 2, 4):
        features = torch.from_numpy(by_hand(tree, n_sessions).astype(np.float32))
        expected = load_encoder(checkpoint(study, n_sessions))(features).numpy()
        saved = EmbeddingCache.open(study / f"sessions{n_sessions:02d}" / "predictions" / "ridge_seed42.parquet")
        assert len(saved) == 40
        assert np.allclose(saved.embeddings, expected, atol=2e-3)
        a, b = expected - centre, truth.rows(saved.ids) - centre
        by_formula = (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
        assert score_of(result, n_sessions, "ridge")["value"] == pytest.approx(by_formula.mean(), abs=1e-4)
    assert (result["facts"]["n_test_stimuli"], result["facts"]["n_test_trials"]) == (40, 4 * 35)


def test_amounts_hold_their_sessions_and_no_more(result):
    found = [
        (a["n_sessions"], a["n_train_stimuli"], a["n_train_trials"], a["n_val_stimuli"]) for a in result["amounts"]
    ]
    assert found == [(1, 40, 80, 10), (2, 80, 160, 20), (4, 160, 320, 40)]


def test_more_sessions_make_the_ridge_better(result):
    values = [score_of(result, n, "ridge")["value"] for n in (1, 2, 4)]
    assert values == sorted(values)
    for metric in ("centred_cosine", "two_way", "top_1"):
        gain = difference_of(result, (4, "ridge"), (1, "ridge"), metric)
        assert gain["low"] > 0
        more, fewer = (score_of(result, n, "ridge", metric)["value"] for n in (4, 1))
        assert gain["value"] == pytest.approx(more - fewer)
    # Three epochs are no match for a solved map.
    assert difference_of(result, (2, "mlp"), (2, "ridge"))["high"] < 0
    assert len(result["differences"]) == 3 + 2 * 3


def test_anyone_can_recompute_the_table(finished, result):
    rows = pq.read_table(finished[1] / "per_stimulus.parquet").to_pydict()
    assert len(rows["nsd_id"]) == 6 * 40
    encoder, sessions = np.array(rows["encoder"]), np.array(rows["n_sessions"])
    for point in result["points"]:
        own = (encoder == point["encoder"]) & (sessions == point["n_sessions"])
        for metric, score in point["scores"].items():
            values = np.array(rows[metric])[own]
            assert values.mean() == pytest.approx(score["value"])
            found = bootstrap_interval(np.array(rows[f"{metric}_resampled"])[own], np.array(rows["nsd_id"])[own])
            bounds = np.clip(found[1:], 0, 1) if metric in ("two_way", "top_1") else found[1:]
            assert (score["low"], score["high"]) == pytest.approx(tuple(bounds))
    with open(finished[1] / "low_data.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 6 * 4
    for line in lines:
        score = score_of(result, int(line["n_sessions"]), line["encoder"], line["metric"])
        assert [float(line[b]) for b in ("value", "low", "high")] == [score[b] for b in ("value", "low", "high")]


def test_the_printed_table_holds_every_point(finished, result):
    text = (finished[1] / "low_data.md").read_text()
    for point in result["points"]:
        score = point["scores"]["centred_cosine"]
        assert f"| {point['encoder']} | {score['value']:.3f} [{score['low']:.3f}, {score['high']:.3f}] |" in text
    assert "from the session's train trials; of all 4 sessions, each by its own" in text
    assert "means over 140 trials of all 4 sessions" in text


def heights(svg, gid):
    """Vertical position of every point of a line's path in the file, and of both ends of its intervals."""
    space = "{http://www.w3.org/2000/svg}"
    (group,) = [g for g in ET.parse(svg).iter(f"{space}g") if g.get("id") == gid]
    paths = [p.get("d").split() for p in group.iter(f"{space}path") if p.get("clip-path")]
    return [[float(y) for command, y in zip(d[::3], d[2::3], strict=True) if command in "ML"] for d in paths]


@pytest.mark.parametrize("metric", ["centred_cosine", "two_way", "top_1"])
def test_the_figure_holds_what_the_table_holds(finished, result, metric):
    svg = finished[1] / "low_data.svg"
    drawn, told = [], []
    for encoder in ("ridge", "mlp"):
        scores = [score_of(result, n, encoder, metric) for n in (1, 2, 4)]
        (line,) = heights(svg, f"{metric}.{encoder}")
        drawn += line
        told += [score["value"] for score in scores]
        for score, ends in zip(scores, heights(svg, f"{metric}.{encoder}.interval"), strict=True):
            drawn += ends
            told += [score["low"], score["high"]]
    chance = heights(svg, f"{metric}.chance")[0]
    drawn += chance
    told += [result["metrics"][metric]["chance"]] * len(chance)
    assert len(drawn) == 2 * (3 + 6) + 2
    # One scale for all of them: heights are a line of the scores, downwards.
    slope, level = np.polyfit(told, drawn, 1)
    assert slope < 0
    assert np.allclose(np.array(told) * slope + level, drawn, atol=0.01)
    assert result["metrics"][metric]["label"] in svg.read_text()
    assert (finished[1] / "low_data.png").stat().st_size > 10_000


def test_a_second_run_fits_nothing_and_writes_the_same(finished, result, capsys):
    _, study, words = finished
    svg = (study / "low_data.svg").read_bytes()
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert printed.count("fitted before") == 6
    assert "$ fmri-lightning fit" not in printed
    again = json.loads((study / "low_data.json").read_text())
    assert {k: v for k, v in again.items() if k != "versions"} == {k: v for k, v in result.items() if k != "versions"}
    assert (study / "low_data.svg").read_bytes() == svg


def test_an_interrupted_study_goes_on_with_what_was_not_fitted(tmp_path, capsys, monkeypatch):
    tree = write_tree(tmp_path)
    words = tree.words(tmp_path / "out")
    fits = []

    def interrupted(inner):
        if inner[0] == "fit":
            fits.append(inner)
        return 75 if len(fits) == 2 else main(inner)

    monkeypatch.setattr(low_data_run, "main", interrupted)
    assert main(words) == 75
    assert "the same command goes on" in capsys.readouterr().err
    assert not (tmp_path / "out" / SUBJECT / "low_data.json").exists()
    monkeypatch.undo()
    assert main(words) == 0
    assert capsys.readouterr().out.count("fitted before") == 1
    # Another option of an encoder is another encoder.
    assert (
        main([*words[: words.index("--configs")], "ridge:--model.alphas [10.0]", *words[words.index("--configs") :]])
        == 0
    )
    assert capsys.readouterr().out.count("$ fmri-lightning fit") == 3


def test_a_fit_on_anything_but_its_sessions_is_refused(tmp_path, capsys, monkeypatch):
    tree = write_tree(tmp_path)

    def cheating(inner):
        if inner[0] != "fit":
            return main(inner)
        place = inner.index("--data.betas")
        more = [word.replace("sessions01", "sessions04") for word in inner[: place + 4]]
        return main([*more, *inner[place + 4 :]])

    monkeypatch.setattr(low_data_run, "main", cheating)
    assert main(tree.words(tmp_path / "out")) == 3
    assert "was fitted on other inputs than those of 1 session" in capsys.readouterr().err


def test_a_trunk_of_the_same_subject_is_refused(tmp_path, capsys, monkeypatch):
    tree = write_tree(tmp_path)

    def on_a_trunk(path):
        encoder = load_encoder(path)
        encoder.fitted["trunk"] = {"subjects": subjects}
        return encoder

    monkeypatch.setattr(low_data_run, "load_encoder", on_a_trunk)
    subjects = ["bob", SUBJECT]
    words = tree.words(tmp_path / "out", "--sessions", "1")
    assert main(words) == 3
    assert "a trunk that was trained on ann itself" in capsys.readouterr().err
    subjects = ["bob"]
    assert main(words) == 0
    # What was refused was not recorded as finished.
    assert "fitted before" not in capsys.readouterr().out


def test_files_that_an_encoder_names_are_told_by_their_contents(tmp_path):
    tree = write_tree(tmp_path)
    config = yaml.safe_load(packaged_path("configs/encoder/ridge.yaml").read_text())
    borrowed = tmp_path / "borrowed.txt"
    config["trainer"]["profiler"] = {
        "class_path": "lightning.pytorch.profilers.SimpleProfiler", "init_args": {"dirpath": str(borrowed)}
    }  # fmt: skip
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(config))
    encoder = read_encoders([str(tmp_path / "own.yaml")])[0]
    found = []
    for text in ("one", "two"):
        borrowed.write_text(text)
        found.append(low_data_run._files_named(encoder, ("--model.trunk", str(tree.cache))))
    assert [set(files) for files in found] == [{borrowed.as_posix(), tree.cache.as_posix()}] * 2
    assert found[0][borrowed.as_posix()] != found[1][borrowed.as_posix()]


def test_nsd_layout_scores_on_the_test_pictures_of_sessions_that_are_no_point(miniature, tmp_path):
    index(miniature.root, out=tmp_path / "index")
    table = read_index(tmp_path / "index", "subj01")
    ids, n_sessions = np.unique(table.nsd_id), int(table.session.max())
    pictures = open_stimuli(miniature.root).read(ids).astype(np.float32)
    height, width = pictures.shape[1] // 4 * 4, pictures.shape[2] // 4 * 4
    blocks = pictures[:, :height, :width].reshape(len(ids), 4, height // 4, 4, width // 4, 3)
    space = EmbeddingSpace("blocks", "small/blocks", "", 48, "projection", "raw")
    write_cache(tmp_path / "clip.parquet", ids, blocks.mean(axis=(2, 4)).reshape(len(ids), 48) / 64, space)
    words = ["low-data", "--root", str(miniature.root), "--clip_cache", str(tmp_path / "clip.parquet")]
    words += ["--out", str(tmp_path / "out"), "--sessions", "1,2", "--configs", "configs/encoder/ridge.yaml"]
    assert main(words) == 0
    study = tmp_path / "out" / "subj01"
    result = json.loads((study / "low_data.json").read_text())
    assert result["facts"]["n_test_stimuli"] == len(np.unique(table.nsd_id[table.split == "test"]))
    # The whole is no point of this study: its test items are read, nothing is fitted on it.
    assert [point["n_sessions"] for point in result["points"]] == [1, 2]
    assert not (study / f"sessions{n_sessions:02d}" / "checkpoints").exists()
    assert difference_of(result, (2, "ridge"), (1, "ridge"))["value"] > 0
    assert score_of(result, 1, "ridge")["low"] > 0
    assert "about an hour each" in (study / "low_data.svg").read_text()
    assert "subj01, simulated" in (study / "low_data.svg").read_text()
    assert result["facts"]["simulated"] is True

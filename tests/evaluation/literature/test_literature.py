"""The published numbers, against cells copied from the evidence sheet by hand, and what the reader refuses."""

from collections import Counter

import pytest

from fmri_lightning.errors import BadInputError
from fmri_lightning.evaluation.literature.literature import COLUMNS, comparable_cells, load_literature
from fmri_lightning.evaluation.metric_table import METRICS

FOUR = ("subj01", "subj02", "subj05", "subj07")
RERUN = "re-run by the MindEye2 authors"
BLENDED = "40 h, refined and blended"
IMAGE, BRAIN = "brain_from_picture_top1_of_300", "picture_from_brain_top1_of_300"
GOOD = ["MindEye1", "", "2023", "subj01", "982", "average", "16", "pixcorr", ".3925", "mindeye", "P", "notebook", ""]

# System, variant, subjects, test set, trial mode, metric: value and tag, as the sheet prints them.
SPOT = [
    ("Takagi & Nishimoto", "re-scored by the MindEye2 authors", FOUR, None, None, "ssim", 0.410, "S"),
    ("Takagi & Nishimoto", "re-scored by the MindEye2 authors", FOUR, None, None, "inception_two_way", 0.838, "S"),
    ("Brain-Diffuser", "", FOUR, 982, "average", "ssim", 0.356, "S"),
    ("Brain-Diffuser", "", FOUR, 982, "average", "alexnet5_two_way", 0.962, "S"),
    ("Brain-Diffuser", RERUN, FOUR, 1000, None, "inception_two_way", 0.913, "S"),
    ("Brain-Diffuser", RERUN, FOUR, 1000, None, IMAGE, 0.188, "S"),
    ("MindEye1", "", FOUR, 982, "average", "alexnet2_two_way", 0.947, "S"),
    ("MindEye1", "", FOUR, 982, "average", BRAIN, 0.901, "P"),
    ("MindEye1", RERUN, FOUR, 1000, None, "clip_two_way", 0.933, "S"),
    ("MindBridge", "one model for four subjects", FOUR, None, None, "efficientnet_b1_distance", 0.712, "S"),
    ("MindEye2", BLENDED, FOUR, 1000, "average_outputs", "ssim", 0.431, "S"),
    ("MindEye2", BLENDED, FOUR, 1000, "average_outputs", "swav_distance", 0.344, "S"),
    ("MindEye2", BLENDED, FOUR, 1000, "average_outputs", IMAGE, 0.988, "S"),
    ("MindTuner", "40 h", FOUR, None, None, "clip_two_way", 0.938, "S"),
    ("ZEBRA", "zero-shot on a new subject", FOUR, None, None, "alexnet2_two_way", 0.746, "S"),
    ("MindHier", "with MindEye2's low-level branch", FOUR, None, None, "ssim", 0.461, "S"),
    ("NeuroFlow", "", FOUR, None, None, IMAGE, 0.806, "S"),
    ("Brain-IT", "40 h", FOUR, None, None, "pixcorr", 0.386, "S"),
    ("Brain-IT", "40 h", FOUR, None, None, "efficientnet_b1_distance", 0.564, "S"),
    ("Brain-IT", "1 h of a new subject", FOUR, None, None, "alexnet2_two_way", 0.971, "S"),
    ("MindEye1", "", ("subj01",), 982, "average", "alexnet5_two_way", 0.9865, "P"),
    ("MindEye1", "", ("subj01",), 982, "average", BRAIN, 0.9468, "P"),
    ("MindEye1", "", ("subj01",), 982, "average", "picture_from_brain_top1", 0.8778, "P"),
    ("MindEye1", "", ("subj05",), 982, "average", IMAGE, 0.9067, "P"),
    ("MindEye1", "", ("subj07",), 982, "single", "ssim", 0.3016, "P"),
    ("MindEye2", BLENDED, ("subj01",), 1000, "average_outputs", "pixcorr", 0.3740, "P"),
    ("MindEye2", BLENDED, ("subj01",), 1000, "average_outputs", IMAGE, 0.9996, "P"),
    ("MindEye1", "one vector, ViT-L/14, 768-D", ("subj01",), 982, "average", BRAIN, 0.584, "P"),
]


@pytest.mark.parametrize("cell", SPOT, ids=lambda cell: f"{cell[0]} {cell[5]}")
def test_cells_stand_as_in_the_sheet(cell) -> None:
    *key, value, tag = cell
    found = [
        c for c in load_literature() if [c.system, c.variant, c.subjects, c.test_set, c.trial_mode, c.metric] == key
    ]
    assert [(c.value, c.tag) for c in found] == [(value, tag)]


def test_counts_of_cells() -> None:
    cells = load_literature()
    assert Counter(cell.tag for cell in cells) == {"S": 92, "P": 42}
    assert Counter(cell.system for cell in cells) == {
        "MindEye1": 39,
        "MindEye2": 19,
        "Brain-IT": 15,
        "MindHier": 12,
        "MindTuner": 8,
        "Brain-Diffuser": 7,
        "MindBridge": 7,
        "Takagi & Nishimoto": 6,
        "Wills Aligner": 6,
        "ZEBRA": 6,
        "Sphere model (NeurIPS)": 6,
        "NeuroFlow": 3,
    }
    assert {cell.metric for cell in cells} <= set(METRICS)


def test_nothing_that_was_only_recalled_is_shipped() -> None:
    cells = load_literature()
    absent = {"dream", "umbrae", "neuropictor", "brainguard", "psychometry", "mind reader"}
    assert not [c for c in cells if c.system.lower() in absent]
    # Recalled parts of rows that are shipped otherwise.
    takagi = {c.metric for c in cells if c.system.startswith("Takagi")}
    assert not takagi & {"alexnet2_two_way", "alexnet5_two_way"}
    main = {c.metric for c in cells if c.system == "MindEye1" and c.subjects == FOUR and c.test_set == 982}
    assert main == {"pixcorr", "ssim", "alexnet2_two_way", "alexnet5_two_way", IMAGE, BRAIN}
    assert not [c for c in cells if c.system == "MindEye2" and c.subjects == FOUR and c.metric == BRAIN]
    assert not [c for c in cells if c.system == "MindEye2" and c.variant != BLENDED]


def test_every_cell_says_what_to_know() -> None:
    for cell in load_literature():
        assert cell.source
        if cell.metric == "ssim":
            assert "SSIM" in cell.caveat, cell.title
        if cell.metric in (IMAGE, BRAIN):
            assert "published as" in cell.caveat
        if cell.test_set is None:
            assert "982 or 1000" in cell.caveat
        if cell.system == "MindEye2" and cell.metric == "pixcorr":
            assert ".75" in cell.caveat
        if len(cell.subjects) == 1:
            assert "single subject" in cell.caveat


def test_comparable_is_the_same_code_and_test_set() -> None:
    cells = load_literature()
    at_982 = comparable_cells(cells, "mindeye", 982)
    assert {c.system for c in at_982} == {"MindEye1"}
    assert all(c.trial_mode != "single" for c in at_982)
    assert {c.system for c in comparable_cells(cells, "mindeye", 1000)} == {"Brain-Diffuser", "MindEye1", "MindEye2"}
    assert {c.system for c in comparable_cells(cells, "brain_diffuser", 982)} == {"Brain-Diffuser"}
    assert comparable_cells(cells, "brain_diffuser", 1000) == []
    assert comparable_cells(cells, "demo", 982) == []


def write(tmp_path, *records, header=COLUMNS):
    file = tmp_path / "table.csv"
    file.write_text("\n".join(",".join(fields) for fields in [header, *records]) + "\n")
    return file


def changed(**fields):
    return [fields.get(name, value) for name, value in zip(COLUMNS, GOOD, strict=True)]


def test_a_good_record_is_read(tmp_path) -> None:
    (cell,) = load_literature(write(tmp_path, GOOD))
    assert (cell.title, cell.subject_words, cell.n_samples, cell.value) == ("MindEye1 (2023)", "subj01", 16, 0.3925)


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"metric": "pixel_correlation"}, "no metric"),
        ({"tag": "R"}, "tag 'R'"),
        ({"value": "39.25"}, "outside"),
        ({"metric": "clip_two_way", "value": "94.3"}, "fractions"),
        ({"metric": "swav_distance", "value": "-0.1"}, "outside"),
        ({"value": "nan"}, "outside"),
        ({"value": "high"}, "line 2"),
        ({"protocol": "takagi"}, "protocol"),
        ({"test_set": "300"}, "982, 1000"),
        ({"trial_mode": "mean"}, "trial_mode"),
        ({"year": "23"}, "year"),
        ({"source": ""}, "source"),
    ],
)
def test_a_wrong_record_is_refused(tmp_path, fields, word) -> None:
    with pytest.raises(BadInputError, match=word):
        load_literature(write(tmp_path, changed(**fields)))


def test_wrong_files_are_refused(tmp_path) -> None:
    with pytest.raises(BadInputError, match="twice"):
        load_literature(write(tmp_path, GOOD, GOOD))
    with pytest.raises(BadInputError, match="columns"):
        load_literature(write(tmp_path, GOOD[1:], header=COLUMNS[1:]))
    with pytest.raises(BadInputError, match="cannot be read"):
        load_literature(tmp_path / "absent.csv")
    short = tmp_path / "short.csv"
    short.write_text(",".join(COLUMNS) + "\n" + ",".join(GOOD[:-2]) + "\n")
    with pytest.raises(BadInputError, match="13 fields"):
        load_literature(short)

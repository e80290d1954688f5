"""NSD-Imagery and NSD-synthetic: which trial showed which picture, and every planted fault is refused."""

import csv
import shutil

import h5py
import numpy as np
import pytest
from PIL import Image
from scipy.io import loadmat, savemat

from fmri_lightning.errors import BadInputError, UsageError
from fmri_lightning.index.command import index
from fmri_lightning.index.stimuli import open_stimuli, stimuli_identity
from fmri_lightning.index.table import index_manifest, read_index
from tests.side_tree import EVENTS, PAIRS, copy_tree, index_side

ORDER = ["imgA_1", "attA", "visA", "imgB_1", "attB", "visB", "imgC_1", "attC", "visC", "imgA_2", "imgB_2", "imgC_2"]
BETAS = {"img": 48, "vis": 48, "att": 96}


def expected_trials(root, prefix):
    """Beta row and (set, letter) of each trial, by a plain walk over the twelve files."""
    at, found = 0, []
    for run in ORDER:
        with open(root / EVENTS / f"nsdimagery_subj01_{run}.tsv", newline="") as handle:
            letters = [row["CONDITION"] for row in csv.DictReader(handle, delimiter="\t")]
        if run.startswith(prefix):
            found += [(at + k, run[3], letter) for k, letter in enumerate(letters)]
        at += BETAS[run[:3]]
    assert at == 720
    return found


def numbers_of(root):
    """nsd_id by set and letter, from the lists of pairs."""
    return {
        (name, str(row[2][0])): 100_000 + 6 * n + k
        for n, name in enumerate("ABC")
        for k, row in enumerate(loadmat(root / PAIRS / f"{name}_pair_list.mat")["pair_list"])
    }


class TestImagery:
    @pytest.mark.parametrize(
        ("task", "prefix", "n", "repeats"), [("vision", "vis", 144, 8), ("imagery", "img", 288, 16)]
    )
    def test_trials_are_those_of_the_event_files(self, side_tree, tmp_path, task, prefix, n, repeats):
        table = read_index(index_side(side_tree, tmp_path, task), "subj01")
        numbers = numbers_of(side_tree)
        wanted = [(beta, numbers[name, letter]) for beta, name, letter in expected_trials(side_tree, prefix)]
        assert list(zip(table.beta_index.tolist(), table.nsd_id.tolist(), strict=True)) == wanted
        assert len(table) == n
        assert set(table.split.tolist()) == {"test"}
        assert set(table.n_repeats.tolist()) == {repeats}
        assert table.trial_id_average.tolist() == (table.nsd_id - 100_000).tolist()

    def test_no_attention_trial_is_indexed(self, side_tree, tmp_path):
        rows = [read_index(index_side(side_tree, tmp_path / t, t), "subj01").beta_index for t in ("vision", "imagery")]
        indexed = np.concatenate(rows)
        starts = np.cumsum([0, *(BETAS[run[:3]] for run in ORDER)])
        attention = [
            k for run, a, b in zip(ORDER, starts, starts[1:], strict=False) if run[0] == "a" for k in range(a, b)
        ]
        assert len(attention) == 288
        assert not set(attention) & set(indexed.tolist())
        assert sorted([*attention, *indexed.tolist()]) == list(range(720))

    def test_groups_are_written_beside_the_index(self, side_tree, tmp_path):
        index_side(side_tree, tmp_path, "imagery")
        text = (tmp_path / "subject=subj01" / "stimulus_categories.csv").read_text()
        rows = list(csv.DictReader(text.splitlines()))
        assert {row["category"] for row in rows} == {"imagery", "set A", "set B", "set C"}
        assert [int(r["nsd_id"]) for r in rows if r["category"] == "set B"] == list(range(100_006, 100_012))

    def test_set_b_is_nsds_own_pictures(self, side_tree, tmp_path):
        facts = index_manifest(index_side(side_tree, tmp_path, "vision"), "subj01").config
        same = {int(ours): theirs for ours, theirs in facts["same_as_nsd_id"].items()}
        assert len(same) == 5
        stimuli = open_stimuli(side_tree)
        assert np.array_equal(stimuli.read(list(same)), stimuli.read(list(same.values())))
        # Off by one they would be other pictures.
        assert not np.array_equal(stimuli.read(list(same)), stimuli.read([i + 1 for i in same.values()]))

    def test_a_number_counted_from_zero_is_refused(self, side_tree, tmp_path):
        root = copy_tree(side_tree, tmp_path / "nsd")
        path = root / PAIRS / "B_pair_list.mat"
        pairs = loadmat(path)["pair_list"]
        name = str(pairs[0, 1][0])
        number = int(name[14:19])
        pairs[0, 1] = name.replace(f"nsd{number:05d}", f"nsd{number - 1:05d}")
        savemat(path, {"pair_list": pairs})
        shutil.copy(
            root / PAIRS / "rawtargetimages/setB" / name, root / PAIRS / "rawtargetimages/setB" / str(pairs[0, 1])
        )
        with pytest.raises(BadInputError, match="calls itself shared picture 1"):
            index_side(root, tmp_path / "index", "vision")
        assert not (tmp_path / "index").exists()

    @pytest.mark.parametrize(
        ("edit", "match"),
        [
            (lambda lines: lines[:-1], "lists 47 trials, a run"),
            (lambda lines: [lines[0], *lines[2:], lines[1]], "does not count from 1 to 48"),
            (lambda lines: [lines[0], *(line.replace("1\t", "2\t", 1) for line in lines[1:])], "holds subject"),
            (lambda lines: [lines[0].replace("CONDITION", "COND"), *lines[1:]], "no column CONDITION"),
            (lambda lines: [lines[0], *(_with(line, 4, "Q") for line in lines[1:])], "has the CONDITION 'Q'"),
            (lambda lines: [lines[0], _with(lines[1], 2, "7"), *lines[2:]], "holds several runs"),
            (lambda lines: [lines[0], *(_with(line, 2, "11") for line in lines[1:])], "does not tell the runs apart"),
        ],
    )
    def test_damaged_event_files(self, side_tree, tmp_path, edit, match):
        root = copy_tree(side_tree, tmp_path / "nsd")
        path = root / EVENTS / "nsdimagery_subj01_imgB_1.tsv"
        path.write_text("\n".join(edit(path.read_text().splitlines())) + "\n")
        with pytest.raises(BadInputError, match=match):
            index_side(root, tmp_path / "index", "imagery")
        assert not (tmp_path / "index").exists()

    def test_the_order_of_runs_is_never_guessed(self, side_tree, tmp_path):
        root = copy_tree(side_tree, tmp_path / "nsd")
        for path in (root / EVENTS).glob("*subj01*.tsv"):
            lines = path.read_text().splitlines()
            path.write_text("\n".join([lines[0], *(_with(line, 2, "1") for line in lines[1:])]) + "\n")
        with pytest.raises(BadInputError, match="give --first_run imgA_1 or --first_run visA"):
            index_side(root, tmp_path / "none", "vision")
        first = read_index(index_side(root, tmp_path / "v", "vision", first_run="visA"), "subj01")
        third = read_index(index_side(root, tmp_path / "i", "vision", first_run="imgA_1"), "subj01")
        assert first.beta_index[:48].tolist() == list(range(48))
        assert third.beta_index[:48].tolist() == list(range(144, 192))

    def test_an_order_that_the_files_contradict(self, side_tree, tmp_path):
        with pytest.raises(BadInputError, match="expected one that begins with visA"):
            index_side(side_tree, tmp_path, "vision", first_run="visA")

    def test_pictures_that_are_not_there_are_left_out_and_named(self, side_tree, tmp_path, capsys):
        root = copy_tree(side_tree, tmp_path / "nsd")
        shutil.rmtree(root / PAIRS / "rawtargetimages" / "setC")
        table = read_index(index_side(root, tmp_path / "index", "vision"), "subj01")
        assert sorted(set(table.nsd_id.tolist())) == list(range(100_000, 100_012))
        assert "no picture there, left out: concept_1.png" in capsys.readouterr().out

    def test_flags(self, side_tree, tmp_path):
        with pytest.raises(UsageError, match="needs --task vision or imagery"):
            index(side_tree, source="nsd_imagery", out=tmp_path)
        with pytest.raises(UsageError, match="go with --source nsd_imagery"):
            index(side_tree, source="nsd_synthetic", task="vision", out=tmp_path)
        with pytest.raises(UsageError, match="is one session"):
            index(side_tree, source="nsd_synthetic", sessions="1", out=tmp_path)


class TestSynthetic:
    def test_trials_are_those_of_the_design(self, side_tree, tmp_path):
        table = read_index(index_side(side_tree, tmp_path, "synthetic"), "subj01")
        order = loadmat(side_tree / "nsddata/experiments/nsdsynthetic/nsdsynthetic_expdesign.mat")["masterordering"][0]
        kept = np.flatnonzero((order.astype(int) < 217) | (order.astype(int) > 220))  # four words off-centre
        assert table.beta_index.tolist() == kept.tolist()
        assert table.nsd_id.tolist() == (200_000 + order.astype(int)[kept] - 1).tolist()
        assert table.run.tolist() == (kept // 93 + 1).tolist()

    def test_coloured_pictures_are_each_subjects_own(self, side_tree, tmp_path):
        index(side_tree, source="nsd_synthetic", subject="subj02", out=tmp_path)
        ids = set(read_index(tmp_path, "subj02").nsd_id.tolist())
        assert {i for i in ids if i >= 200_220} == set(range(200_284, 200_348))
        one, two = open_stimuli(side_tree).read([200_220, 200_284])
        assert not np.array_equal(one, two)

    def test_the_square_is_the_middle_of_the_screen(self, side_tree):
        with h5py.File(side_tree / "nsddata_stimuli/stimuli/nsdsynthetic/nsdsynthetic_stimuli.hdf5") as file:
            whole = file["imgBrick"][[7, 9]]
        side, left = whole.shape[1], (whole.shape[2] - whole.shape[1]) // 2
        found = open_stimuli(side_tree).read([200_009, 200_007])
        assert np.array_equal(found, whole[::-1, :, left : left + side])

    @pytest.mark.parametrize(
        ("edit", "match"),
        [
            (lambda order: order[:, :-1], "orders 743 trials"),
            (lambda order: order.astype(int) - 1, "runs from 0 to 283"),
            (lambda order: order + 1, "runs from 2 to 285"),
        ],
    )
    def test_damaged_designs(self, side_tree, tmp_path, edit, match):
        root = copy_tree(side_tree, tmp_path / "nsd")
        path = root / "nsddata/experiments/nsdsynthetic/nsdsynthetic_expdesign.mat"
        savemat(path, {"masterordering": edit(loadmat(path)["masterordering"])})
        with pytest.raises(BadInputError, match=match):
            index_side(root, tmp_path / "index", "synthetic")


class TestStimuli:
    def test_the_catalogue_stays_what_it_was(self, side_tree, tmp_path):
        without = copy_tree(side_tree, tmp_path / "nsd")
        shutil.rmtree(without / PAIRS)
        shutil.rmtree(without / "nsddata_stimuli/stimuli/nsdsynthetic")
        assert np.array_equal(open_stimuli(side_tree).ids, open_stimuli(without).ids)
        assert stimuli_identity(side_tree) == stimuli_identity(without)
        with pytest.raises(BadInputError, match="lacks 1 of the pictures"):
            open_stimuli(without).read([100_003])

    def test_identities_differ(self, side_tree, tmp_path):
        changed = copy_tree(side_tree, tmp_path / "nsd")
        path = next((changed / PAIRS / "rawtargetimages/setA").glob("*.png"))
        Image.fromarray(255 - np.asarray(Image.open(path))).save(path)
        mine = {name: stimuli_identity(side_tree, experiment=name) for name in ("nsd_imagery", "nsd_synthetic")}
        assert len({*mine.values(), stimuli_identity(side_tree)}) == 3
        assert stimuli_identity(changed, experiment="nsd_imagery") != mine["nsd_imagery"]

    def test_pictures_of_several_kinds_at_once(self, side_tree):
        source = open_stimuli(side_tree)
        alone = [source.read([i])[0] for i in (3, 100_001, 200_005)]
        assert np.array_equal(source.read([3, 100_001, 200_005, 3]), np.stack([*alone, alone[0]]))
        assert source.present([3, 99_999, 100_017, 100_018, 200_283]).tolist() == [3, 100_017, 200_283]


def _with(line, column, value):
    parts = line.split("\t")
    parts[column] = value
    return "\t".join(parts)

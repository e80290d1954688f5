import numpy as np
import pytest
from PIL import Image

from fmri_lightning.betas.command import betas
from fmri_lightning.betas.leaks import check_t0
from fmri_lightning.betas.store import BetaStore
from fmri_lightning.errors import BadInputError
from fmri_lightning.index.command import index
from fmri_lightning.index.stimuli import open_stimuli, stimuli_identity
from fmri_lightning.index.table import index_manifest, read_index

N = 40


@pytest.fixture
def root(tmp_path):
    """Forty pictures, each shown once in each of two sessions; one .npy for both."""
    folder = tmp_path / "own"
    (folder / "stimuli").mkdir(parents=True)
    (folder / "ann").mkdir()
    for i in range(N):
        Image.new("RGB", (8, 8), (i, 0, 0)).save(folder / "stimuli" / f"p{i:02d}.png")
    lines = [f"p{i:02d}.png\t{s + 1}\tbetas.npy\t{s * N + i}" for s in range(2) for i in range(N)]
    (folder / "ann" / "trials.tsv").write_text("stimulus\tsession\tbetas\trow\n" + "\n".join(lines) + "\n")
    np.save(folder / "ann" / "betas.npy", np.random.default_rng(0).normal(3, 2, (2 * N, 5)))
    return folder


def made(root, **flags):
    out = root.parent
    index(root, source="arrays", subject="ann", out=out / "index", **flags)
    places = {"index": out / "index", "out": out / "betas", "preproc_out": out / "preproc"}
    betas(root, subject="ann", roi="all", mask="roi", **places)
    return read_index(out / "index", "ann"), BetaStore.open(out / "betas" / "ann", verify=True)


def test_trials_and_betas_are_those_of_the_files(root):
    table, store = made(root)
    raw = np.load(root / "ann" / "betas.npy")
    assert table.nsd_id.tolist() == [*range(N), *range(N)]
    session = np.repeat([0, 1], N)
    assert np.allclose(store.betas * store.t0["std"][session] + store.t0["mean"][session], raw, atol=1e-5)
    assert "not comparable" in index_manifest(root.parent / "index", "ann").config["test_set"]


def test_normalised_betas_skip_t0_and_say_so(root):
    table, store = made(root, normalised=True)
    assert np.allclose(store.betas, np.load(root / "ann" / "betas.npy"), atol=1e-6)
    assert store.manifest.config["t0"].startswith("skipped")
    assert not store.t0["fitted_on"].any()
    assert check_t0(store, table)[0].startswith("T0: skipped")


def test_a_split_of_ones_own_is_taken(root):
    names = [f"p{i:02d}.png" for i in range(N)]
    split = ["test"] * 10 + ["val"] * 5 + ["train"] * 25
    path = root.parent / "split.tsv"
    path.write_text("stimulus\tsplit\n" + "".join(f"{n}\t{s}\n" for n, s in zip(names, split, strict=True)))
    table, _ = made(root, split_file=path)
    assert table.split.tolist() == split * 2


def edit(root, old, new):
    path = root / "ann" / "trials.tsv"
    path.write_text(path.read_text().replace(old, new, 1))


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ("p03.png", "p99.png", r"names 1 pictures that .*stimuli lacks, first 'p99\.png'"),
        ("betas.npy\t4\n", "betas.npy\t3\n", r"lists row 3 of betas\.npy twice"),
        ("betas.npy\t4\n", "betas.npy\tx\n", r"line 6 has row 'x', expected a whole number from 0 on"),
        ("betas.npy\t79", "betas.npy\t80", r"has 80 rows, trials\.tsv names row 80"),
    ],
)
def test_a_wrong_table_is_named(root, old, new, match):
    edit(root, old, new)
    with pytest.raises(BadInputError, match=match):
        made(root)


def test_arrays_that_need_pickling_are_refused(root):
    np.save(root / "ann" / "betas.npy", np.array([[None]], dtype=object), allow_pickle=True)
    with pytest.raises(BadInputError, match=r"betas\.npy cannot be read as an array of numbers"):
        made(root)


def test_pictures_below_the_root_are_those_that_the_trials_name(root):
    source = open_stimuli(root=root)
    assert source.ids.tolist() == list(range(N))
    assert source.read([7])[0, 0, 0].tolist() == [7, 0, 0]
    assert stimuli_identity(root=root) == stimuli_identity(images=root / "stimuli")


def test_sessions_may_lie_in_files_of_their_own_with_one_mask(root):
    both = np.load(root / "ann" / "betas.npy")
    np.save(root / "ann" / "one.npy", both[:N])
    np.save(root / "ann" / "two.npy", both[N:].astype(np.float32))
    lines = [f"p{i:02d}.png\t{s + 1}\t{name}.npy\t{i}" for s, name in enumerate(("one", "two")) for i in range(N)]
    (root / "ann" / "trials.tsv").write_text("stimulus\tsession\tbetas\trow\n" + "\n".join(lines) + "\n")
    _, store = made(root)
    session = np.repeat([0, 1], N)
    assert np.allclose(store.betas * store.t0["std"][session] + store.t0["mean"][session], both, atol=1e-5)
    np.save(root / "ann" / "two.npy", both[N:, :4])
    with pytest.raises(BadInputError, match=r"differ in voxels: one\.npy 5, two\.npy 4"):
        made(root, overwrite=True)


def test_regions_and_positions_come_from_voxels_tsv(root):
    rows = [f"{v}\t{v + 1}\t{v + 2}\t{int(v in (1, 3))}" for v in range(5)]
    (root / "ann" / "voxels.tsv").write_text("i\tj\tk\tV1\n" + "\n".join(rows) + "\n")
    _, whole = made(root)
    out = root.parent / "part"
    places = {"index": root.parent / "index", "out": out / "betas", "preproc_out": out / "preproc"}
    betas(root, subject="ann", roi="V1", mask="roi", **places)
    part = BetaStore.open(out / "betas" / "ann")
    assert part.ijk.tolist() == [[1, 2, 3], [3, 4, 5]]
    assert np.array_equal(part.betas, whole.betas[:, [1, 3]])
    with pytest.raises(BadInputError, match=r"no region 'nsdgeneral' of ann; --roi takes all, V1"):
        betas(root, subject="ann", mask="roi", **places)
    (root / "ann" / "voxels.tsv").write_text("i\tj\tk\n1\t2\t3\n")
    with pytest.raises(BadInputError, match=r"voxels\.tsv has 1 voxels, the betas have 5 columns"):
        betas(root, subject="ann", roi="all", mask="roi", **places)


def test_a_picture_in_two_splits_is_refused(root):
    path = root / "ann" / "trials.tsv"
    header, *rows = path.read_text().splitlines()
    split = ["test", *["train"] * (2 * N - 1)]
    path.write_text("\n".join([f"{header}\tsplit", *(f"{r}\t{s}" for r, s in zip(rows, split, strict=True))]) + "\n")
    with pytest.raises(BadInputError, match="puts 1 pictures in two splits; a split is by picture"):
        made(root)

import pytest

from fmri_lightning.betas.command import betas
from fmri_lightning.betas.store import BetaStore
from fmri_lightning.index.command import index
from fmri_lightning.index.table import read_index
from tests.index.tiny_nsd import TinyNSD, write_tiny_nsd


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> TinyNSD:
    """Two sessions of 24 trials: too few repeats to judge a voxel."""
    root = tmp_path_factory.mktemp("tiny")
    tree = write_tiny_nsd(root / "nsd")
    for subject in ("subj01", "subj02"):
        index(tree.root, subject=subject, out=root / "index")
    return tree


@pytest.fixture(scope="session")
def tiny_index(tiny):
    return tiny.root.parent / "index"


@pytest.fixture(scope="session")
def larger(tmp_path_factory):
    """Three sessions of 160 trials: 126 training pictures, three repeats each. (tree, index folder)."""
    root = tmp_path_factory.mktemp("larger")
    tree = write_tiny_nsd(
        root / "nsd", sessions_run=(3,), trials_per_session=160, n_shared=20, catalogue=1200, nifti=False
    )
    index(tree.root, out=root / "index")
    return tree, root / "index"


@pytest.fixture(scope="session")
def larger_store(larger):
    """(store, table) of the larger tree, with T1 beside it in ../../preproc/subj01."""
    tree, index_root = larger
    out = index_root.parent
    betas(tree.root, index=index_root, out=out / "betas", preproc_out=out / "preproc")
    return BetaStore.open(out / "betas" / "subj01"), read_index(index_root, "subj01")


@pytest.fixture
def own_tree(tmp_path):
    """A tree that the test may damage, and its index."""
    tree = write_tiny_nsd(tmp_path / "own" / "nsd", nifti=False)
    index(tree.root, out=tmp_path / "own" / "index")
    return tree, tmp_path / "own" / "index"

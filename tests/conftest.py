"""Surroundings of every test: no network, one thread, and the miniature made once."""

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["WANDB_MODE"] = "disabled"
# Before torch is imported: sums must not depend on how many threads made them.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["MPLBACKEND"] = "Agg"


@dataclass(frozen=True)
class Miniature:
    """A small simulated brain in NSD's layout; tests read it and never write into it."""

    root: Path
    subjects: tuple[str, ...]


@pytest.fixture(scope="session")
def miniature(tmp_path_factory) -> Miniature:
    """One tiny NSD tree for the whole session."""
    from fmri_lightning.simulate.command import simulate

    root = tmp_path_factory.mktemp("miniature") / "nsd"
    simulate(
        out=root, subjects="1", seed=0, shared=60, unique=300, sessions=4, missing_sessions=1, nsdgeneral_voxels=500
    )
    return Miniature(root, ("subj01",))


@pytest.fixture(scope="session")
def side_tree(tmp_path_factory) -> Path:
    """A tiny NSD tree with NSD-Imagery and NSD-synthetic in it; tests read it and never write into it."""
    from tests.side_tree import write_side_tree

    return write_side_tree(tmp_path_factory.mktemp("side") / "nsd")


@pytest.fixture(scope="session")
def side_flow(side_tree, tmp_path_factory):
    """That tree with a ridge fitted on NSD proper, and the experiments' indices and stores; read only."""
    from tests.side_tree import write_side_flow

    return write_side_flow(side_tree, tmp_path_factory.mktemp("side_flow"))


def pytest_collection_modifyitems(items):
    """Skip, with the reason, what needs photographs that the repository may not carry."""
    folder = os.environ.get("FMRI_LIGHTNING_PHOTOGRAPHS")
    if folder and Path(folder).is_dir():
        return
    reason = "set FMRI_LIGHTNING_PHOTOGRAPHS to a folder of photographs"
    for item in items:
        if item.get_closest_marker("photographs"):
            item.add_marker(pytest.mark.skip(reason=reason))

"""Stores made by the command, and what a refused one leaves."""

import pytest

from fmri_lightning.betas.command import betas
from fmri_lightning.betas.store import BetaStore
from fmri_lightning.errors import BadInputError

FILES = ("betas.npy", "t0.npz", "voxels.parquet")


def make(tree, index_root, out, **flags):
    flags = {"mask": "roi", **flags}
    betas(tree.root, index=index_root, out=out / "betas", preproc_out=out / "preproc", **flags)
    return BetaStore.open(out / "betas" / flags.get("subject", "subj01"), verify=True)


def bytes_of(folder):
    return {name: (folder / name).read_bytes() for name in FILES}


def refused(tree, index_root, tmp_path, match, error=BadInputError, **flags):
    out = tmp_path / "out"
    with pytest.raises(error, match=match) as caught:
        make(tree, index_root, out, **flags)
    assert "\n" not in str(caught.value)
    assert not out.exists()

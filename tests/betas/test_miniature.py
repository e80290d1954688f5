"""Rules 1 and 2 on the simulated brain, through the commands a user runs."""

import re

import numpy as np
import pytest

from fmri_lightning.betas.command import betas
from fmri_lightning.betas.leaks import check_leaks
from fmri_lightning.betas.store import BetaStore
from fmri_lightning.errors import BadInputError
from fmri_lightning.index.command import index
from fmri_lightning.index.pairing import check_pairing
from fmri_lightning.index.stimuli import open_stimuli
from fmri_lightning.index.table import read_index


@pytest.fixture(scope="module")
def made(miniature, tmp_path_factory):
    """(folder with index, betas and preproc; store; table; ids and coarse pixels of all pictures)."""
    out = tmp_path_factory.mktemp("miniature-betas")
    subject = miniature.subjects[0]
    index(miniature.root, subject=subject, out=out / "index")
    betas(miniature.root, index=out / "index", subject=subject, out=out / "betas", preproc_out=out / "preproc")
    stimuli = open_stimuli(root=miniature.root)
    pictures = stimuli.read(stimuli.ids).astype(np.float32)
    n, side, _, _ = pictures.shape
    coarse = pictures.reshape(n, 8, side // 8, 8, side // 8, 3).mean(axis=(2, 4)).reshape(n, -1)
    store = BetaStore.open(out / "betas" / subject, verify=True)
    return out, store, read_index(out / "index", subject), stimuli.ids, coarse


def test_what_is_simulated_says_so(made):
    _, store, _, _, _ = made
    assert store.manifest.config["simulated"] is True


def test_pictures_are_found_from_betas_at_the_right_pairing_only(made):
    _, store, table, ids, coarse = made
    right, *shifted = check_pairing(store.betas, table.nsd_id, table.split, ids, coarse)
    assert right.p < 1e-3
    assert right.top1 > 0.3
    assert min(result.p for result in shifted) > 1e-3


@pytest.mark.parametrize("off", [-1, 1])
def test_an_id_off_by_one_on_every_side_is_caught(made, off):
    _, store, table, ids, coarse = made
    wrong = np.clip(table.nsd_id + off, 0, ids.max())
    with pytest.raises(BadInputError, match=re.escape(f"shifting ids by {-off:+d} finds the pictures")):
        check_pairing(store.betas, wrong, table.split, ids, coarse)


def test_a_store_that_lost_its_first_trial_is_caught(made):
    _, store, table, ids, coarse = made
    with pytest.raises(BadInputError, match=r"shifting trials by \+1 finds the pictures"):
        check_pairing(np.roll(store.betas, -1, axis=0), table.nsd_id, table.split, ids, coarse)


def test_no_statistic_saw_a_test_trial(made):
    out, _, table, _, _ = made
    subject = str(table.subject[0])
    assert len(check_leaks(out / "betas" / subject, out / "preproc" / subject, out / "index", subject)) >= 3


def test_planted_and_estimated_ceilings_agree(made):
    _, store, _, _, _ = made
    alive = ~store.dropped & np.isfinite(store.ncsnr_published)
    assert np.corrcoef(store.ncsnr[alive], store.ncsnr_published[alive])[0, 1] > 0.9

import re

import numpy as np
import pytest

from fmri_lightning.errors import BadInputError
from fmri_lightning.index.pairing import check_pairing
from fmri_lightning.index.split import assign_split


@pytest.fixture(scope="module")
def brain():
    """Betas that are a noisy linear image of 30-D embeddings, 3 repeats of 250 pictures in random order."""
    rng = np.random.default_rng(0)
    ids = np.sort(rng.choice(3000, 400, replace=False))
    embeddings = rng.standard_normal((400, 30)).astype(np.float32)
    shown = rng.permutation(np.repeat(np.arange(250), 3))
    betas = embeddings[shown] @ rng.standard_normal((30, 80)) / np.sqrt(30) + 1.5 * rng.standard_normal((750, 80))
    nsd_id = ids[shown]
    split = assign_split(nsd_id, np.isin(nsd_id, ids[:30]))
    return betas.astype(np.float32), nsd_id, split, ids, embeddings


def test_the_right_pairing_is_found_and_no_other(brain):
    right, *shifted = check_pairing(*brain)
    assert (right.shift, right.chance) == (0, 0.1)
    assert right.p == 1e-4
    assert right.top1 > 0.4
    assert [(r.what, r.shift) for r in shifted] == [("ids", -1), ("ids", 1), ("trials", -1), ("trials", 1)]
    for result in shifted:
        assert result.p > 1e-3
        assert abs(result.top1 - 0.1) < 0.1


@pytest.mark.parametrize("off", [-1, 1])
def test_ids_off_by_one_are_caught_and_named(brain, off):
    betas, nsd_id, _, ids, embeddings = brain
    wrong = ids[np.searchsorted(ids, nsd_id) + off] if off > 0 else np.roll(ids, 1)[np.searchsorted(ids, nsd_id)]
    split = assign_split(wrong, np.isin(wrong, ids[:30]))
    with pytest.raises(BadInputError, match=re.escape(f"shifting ids by {-off:+d} finds the pictures")):
        check_pairing(betas, wrong, split, ids, embeddings)


@pytest.mark.parametrize("off", [-1, 1])
def test_trials_off_by_one_are_caught_and_named(brain, off):
    betas, nsd_id, split, ids, embeddings = brain
    with pytest.raises(BadInputError, match=re.escape(f"shifting trials by {-off:+d} finds the pictures")):
        check_pairing(np.roll(betas, off, axis=0), nsd_id, split, ids, embeddings)


def test_betas_without_signal_are_caught(brain):
    betas, nsd_id, split, ids, embeddings = brain
    noise = np.random.default_rng(1).standard_normal(betas.shape)
    with pytest.raises(BadInputError, match="not found from betas above chance"):
        check_pairing(noise, nsd_id, split, ids, embeddings)


def test_a_missing_embedding_is_named(brain):
    betas, nsd_id, split, ids, embeddings = brain
    gone = int(nsd_id[0])
    keep = ids != gone
    with pytest.raises(BadInputError, match=rf"1 pictures have no embedding, first \[{gone}\]"):
        check_pairing(betas, nsd_id, split, ids[keep], embeddings[keep])


def test_test_trials_are_left_alone(brain):
    betas, nsd_id, split, ids, embeddings = brain
    spoiled = betas.copy()
    spoiled[split == "test"] = 100 * np.random.default_rng(1).standard_normal(spoiled[split == "test"].shape)
    unshifted = check_pairing(betas, nsd_id, split, ids, embeddings)[0]
    assert check_pairing(spoiled, nsd_id, split, ids, embeddings)[0] == unshifted

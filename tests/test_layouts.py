"""One simulated subject, written in every layout, decodes to the same embeddings within what its files keep.

What they lose: nothing (NIfTI in place of HDF5); a float32 rounding (MindEye2, whose scale T0 takes off again); the
sessions, so that z-scores are by all trials of a session and not by its training trials, in half precision (MindEye1);
the sessions before anything was standardised (brain-diffuser); voxels, where a vertex takes one and leaves its
neighbour (fsaverage); the same, the last three sessions of training stimuli, and single trials (Algonauts).
"""

import numpy as np
import pytest

from tests.several_layouts import LAYOUTS, World, make_world

# Mean centred cosine between what a layout decodes and what NSD's own files decode. Seen: 1, 1, .995, .978, .919, .842.
AT_LEAST = {
    "nsd, NIfTI": 1 - 1e-12,
    "mindeye2": 1 - 1e-9,
    "mindeye1": 0.985,
    "brain_diffuser": 0.95,
    "nsd, fsaverage": 0.85,
    "algonauts": 0.75,
}


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> World:
    return make_world(tmp_path_factory.mktemp("layouts"))


@pytest.mark.slow
def test_every_layout_decodes_what_nsds_own_files_decode(world):
    assert (len(world.train), len(world.test)) == (420, 60)
    of_nsd = world.decode("nsd")
    true = world.cache.rows(world.test)
    against_truth = world.centred_cosine(of_nsd, true)
    assert against_truth.mean() > 0.4
    for layout in LAYOUTS:
        decoded = world.decode(layout)
        agreement = world.centred_cosine(decoded, of_nsd)
        score = world.centred_cosine(decoded, true)
        print(f"{layout}: {agreement.mean():.6f} with NSD's own files, {score.mean():.3f} with the truth")
        assert agreement.mean() >= AT_LEAST.get(layout, 1.0)
        assert abs(score.mean() - against_truth.mean()) < 0.06
        # A stimulus is not confused with another one, in whichever files it stands.
        partner = world.centred_cosine(np.roll(decoded, 1, axis=0), of_nsd)
        assert agreement.mean() - partner.mean() > 0.5


@pytest.mark.slow
def test_the_order_of_losses_is_that_of_the_files(world):
    of_nsd = world.decode("nsd")
    assert np.array_equal(world.decode("nsd, NIfTI"), of_nsd)
    assert np.abs(world.decode("mindeye2") - of_nsd).max() < 1e-4 * of_nsd.std()
    means = [float(world.centred_cosine(world.decode(layout), of_nsd).mean()) for layout in AT_LEAST]
    assert means == sorted(means, reverse=True)


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
def test_embeddings_of_the_neighbours_are_noticed_in_every_layout(world, layout):
    true = world.cache.rows(world.test)
    assert world.centred_cosine(world.decode(layout, shift=1), true).mean() < 0.2

"""The simulated files of NSD-Imagery and NSD-synthetic, read by independent libraries."""

import h5py
import numpy as np
import pytest

from fmri_lightning.errors import UsageError
from fmri_lightning.simulate.command import simulate
from fmri_lightning.simulate.experiment import make_experiment
from fmri_lightning.simulate.imagery_tree import IMAGINED_GAIN
from fmri_lightning.simulate.outside_pictures import of_catalogue, responses
from fmri_lightning.simulate.pictures import Meaning, scene_source
from fmri_lightning.simulate.pyramid import channel_maps
from fmri_lightning.simulate.subject import make_subject
from tests.side_tree import EVENTS, betas_file


def test_shapes_are_the_published_ones(side_tree):
    for stem, trials in (("nsdimagery", 720), ("nsdsynthetic", 744)):
        with (
            h5py.File(betas_file(side_tree, "subj02", stem)) as file,
            h5py.File(
                side_tree / "nsddata_betas/ppdata/subj02/func1pt8mm/betas_fithrf_GLMdenoise_RR/betas_session01.hdf5"
            ) as proper,
        ):
            assert file["betas"].shape == (trials, *proper["betas"].shape[1:])
            assert file["betas"].chunks == (trials, 1, 1, 1)
            assert file["betas"].dtype == np.dtype("<i2")
    assert len(list((side_tree / EVENTS).glob("nsdimagery_subj01_*.tsv"))) == 12
    with h5py.File(side_tree / "nsddata_stimuli/stimuli/nsdsynthetic/nsdsynthetic_stimuli.hdf5") as file:
        n, height, width, channels = file["imgBrick"].shape
        assert (n, channels) == (220, 3)
        assert width / height == pytest.approx(1360 / 714, rel=0.05)


def test_the_brain_is_the_same():
    """Its response to its own pictures does not change when others are shown beside them."""
    experiment = make_experiment((1,), 12, 60, 3, 3, 0, 0)
    source = scene_source(0, 32)
    rows = experiment.subjectim[0] - 1
    own = of_catalogue(source, rows)
    subject = make_subject(1, 100, channel_maps(own.pictures), Meaning(own.attributes, own.domains), 0)
    again = responses(subject, experiment, source, of_catalogue(source, rows[[5, 3, 70]]), 0)
    assert np.allclose(again, subject.signals[[5, 3, 70]], atol=1e-4)
    other = responses(subject, experiment, source, of_catalogue(source, np.array([4000, 4001])), 0)
    assert not np.allclose(other[0], other[1], atol=0.5)


def test_imagined_responses_are_weaker_copies(side_tree):
    """Over many voxels, mean responses to an imagined picture go with those to the seen one, at a lower gain."""
    from fmri_lightning.index.nsd_imagery import index_imagery

    with h5py.File(betas_file(side_tree)) as file:
        flat = file["betas"][...].reshape(720, -1).astype(float)
    flat /= np.where(flat.std(axis=0) > 0, flat.std(axis=0), np.inf)  # one voxel runs into the limits of int16
    means = {}
    for task in ("vision", "imagery"):
        table = index_imagery(side_tree, "subj01", task).table
        betas = flat[table.beta_index]
        means[task] = np.stack([betas[table.nsd_id == i].mean(axis=0) for i in np.unique(table.nsd_id)])
        means[task] -= means[task].mean(axis=0)
    gain = (means["vision"] * means["imagery"]).sum() / (means["vision"] ** 2).sum()
    # Of the seen pictures' spread a part is noise, so the gain comes out below the planted one.
    assert 0 < gain < IMAGINED_GAIN
    shuffled = (np.roll(means["vision"], 1, axis=0) * means["imagery"]).sum() / (means["vision"] ** 2).sum()
    assert gain > 3 * abs(shuffled)


def test_too_few_shared_pictures(tmp_path):
    with pytest.raises(UsageError, match="needs --shared 12 or more"):
        simulate(tmp_path / "nsd", subjects="1", shared=6, unique=30, sessions=3, nsdgeneral_voxels=60, also="imagery")
    assert not (tmp_path / "nsd").exists()

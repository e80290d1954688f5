"""The simulator's defaults are frozen: changing them later to meet a figure is a defect.

Recompute the constant, only with a reason that the changelog tells, by running this file:
``python -m tests.simulate.test_frozen_defaults`` prints the new value.
"""

import hashlib
import inspect
import json

import numpy as np

from fmri_lightning.simulate.command import simulate
from fmri_lightning.simulate.experiment import make_experiment
from fmri_lightning.simulate.geometry import make_brain
from fmri_lightning.simulate.pictures import scene_source
from fmri_lightning.simulate.pyramid import channel_maps
from fmri_lightning.simulate.recipe import RECIPE
from fmri_lightning.simulate.scenes import draw_scenes
from fmri_lightning.simulate.subject import make_subject
from fmri_lightning.simulate.voxels import draw_early_tuning, draw_ncsnr

EXPECTED = "ebcc7bec084f6bb5c20c916095668208fadc1a9930ad49bbd0de44d20c940e0f"


def rounded(values: np.ndarray) -> bytes:
    """Two decimals: coarse enough that another processor's last bits do not matter."""
    return (np.round(np.asarray(values, dtype=np.float64), 2) + 0.0).astype("<f8").tobytes()


def frozen_hash() -> str:
    """Hash of argument defaults, recipe and a small sample drawn with them."""
    digest = hashlib.sha256()
    defaults = {name: repr(p.default) for name, p in inspect.signature(simulate).parameters.items()}
    digest.update(json.dumps([defaults, RECIPE.to_json()], sort_keys=True).encode())
    experiment = make_experiment((1, 2), 6, 14, 3, 4, 1, 0)
    digest.update(experiment.masterordering.astype("<i8").tobytes() + experiment.subjectim.astype("<i8").tobytes())
    digest.update(draw_scenes("stimuli", range(3), 0, 64)[0].tobytes())
    brain = make_brain(1, 60, seed=0)
    digest.update(brain.ijk.astype("<i8").tobytes())
    for labels in brain.labels.values():
        digest.update(labels.astype("<i8").tobytes())
    digest.update(rounded(draw_ncsnr(brain, np.random.default_rng(0))))
    digest.update(rounded(draw_early_tuning(brain, np.arange(12), np.random.default_rng(0)).weights))
    pictures, meaning = scene_source(0, 32).read(experiment.subjectim[0] - 1)
    subject = make_subject(1, 60, channel_maps(pictures), meaning, 0)
    digest.update(rounded(subject.signals[:, ::9]))
    for share in subject.noise.shares.values():
        digest.update(rounded(share[::9]))
    noise = subject.noise.parts(4, np.random.default_rng(0))
    # The low-rank part is left out: the sign of a principal component is the linear algebra library's choice.
    for name in ("independent", "smooth", "drift"):
        digest.update(rounded(noise[name][:, ::9]))
    return digest.hexdigest()


def test_defaults_and_what_they_produce_have_not_changed():
    assert frozen_hash() == EXPECTED


if __name__ == "__main__":
    print(frozen_hash())

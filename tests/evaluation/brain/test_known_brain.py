"""Brain correlation on a brain that follows the pictures: only the right pairing of response and picture finds it."""

from types import SimpleNamespace

import numpy as np
import pytest

from fmri_lightning.evaluation.brain import correlation, voxel_model
from fmri_lightning.evaluation.brain.correlation import BrainCorrelation
from fmri_lightning.evaluation.networks.uses import NetworkUse
from fmri_lightning.evaluation.protocols import Protocol
from fmri_lightning.evaluation.resizing import Resize, resize
from fmri_lightning.simulate.scenes import draw_scenes

N_TRAIN, N_TEST, VOXELS = 80, 30, 12
USE = NetworkUse("colours", "none", 64, nodes=(("colours", "0"),))
PROTOCOL = Protocol("tiny", "", ("pixcorr",), "pixcorr", (Resize(64, "bilinear"),), (), "bilinear", (USE,))
SCENES = draw_scenes("stimuli", range(N_TRAIN + N_TEST))[0]


class Colours:
    """A network whose features are the picture."""

    def features(self, pictures):
        return {"colours": pictures.transpose(0, 3, 1, 2).reshape(len(pictures), -1)}


class Pictures:
    def __init__(self, pixels):
        self.pixels = pixels

    def __len__(self):
        return len(self.pixels)

    def read(self, start, stop):
        return self.pixels[start:stop]


@pytest.fixture
def score(monkeypatch):
    """Score pictures of some test stimuli against a brain whose voxels are sums of colours, plus noise."""
    rng = np.random.default_rng(0)
    monkeypatch.setitem(voxel_model.CHANNELS, "colours", 3)
    # Trials in a random order, two or three of each stimulus.
    shown = rng.permutation(np.repeat(np.arange(N_TRAIN + N_TEST), rng.integers(2, 4, N_TRAIN + N_TEST)))
    cells = voxel_model.on_grid(Colours().features(resize(SCENES, [Resize(64, "bilinear")]))["colours"], 3)
    signal = cells @ rng.normal(size=(cells.shape[1], VOXELS))
    betas = (signal[shown] + 0.3 * signal.std() * rng.normal(size=(len(shown), VOXELS))).astype(np.float32)
    brain = SimpleNamespace(
        table=SimpleNamespace(nsd_id=shown, split=np.where(shown < N_TRAIN, "train", "test")),
        store=SimpleNamespace(
            betas=betas, manifest=SimpleNamespace(content_hash="0"), roi_labels={}, dropped=np.zeros(VOXELS, bool)
        ),
    )
    monkeypatch.setattr(correlation, "open_brain", lambda run, betas: brain)
    stimuli = SimpleNamespace(read=lambda ids: SCENES[np.asarray(ids)])

    def of(ids, pictures, **controls):
        run = SimpleNamespace(
            ids=np.asarray(ids, np.int32), pictures=Pictures(pictures), folder=SimpleNamespace(name="run"),
            summary={"provenance": {"root": "here"}, "test_set": "shared1000"},
        )  # fmt: skip
        found = BrainCorrelation(PROTOCOL, {"colours": Colours()}).score(run, controls, stimuli, 200)
        return found["regions"]["all voxels"]

    return of


IDS = np.arange(N_TRAIN, N_TRAIN + N_TEST)


def test_pictures_of_the_stimuli_evoke_what_was_measured(score) -> None:
    other = np.roll(IDS, 7)
    found = score(IDS, SCENES[IDS], shuffled=Pictures(SCENES[other]))
    assert found["value"] > 0.6
    assert found["value"] == found["rows"]["true_picture"]["value"]
    assert abs(found["rows"]["shuffled"]["value"]) < 0.35


def test_the_order_of_items_does_not_matter(score) -> None:
    order = np.random.default_rng(1).permutation(N_TEST)
    blurred = (0.5 * SCENES[IDS] + 0.5 * SCENES[np.roll(IDS, 3)]).astype(np.uint8)
    assert score(IDS[order], blurred[order])["value"] == pytest.approx(score(IDS, blurred)["value"], abs=1e-6)


def test_repeats_of_single_trials_share_their_response(score) -> None:
    twice = np.repeat(IDS, 2)
    assert score(twice, SCENES[twice])["value"] == pytest.approx(score(IDS, SCENES[IDS])["value"], abs=1e-6)

"""Writer of NSD-synthetic's files: patterns, altered scenes and words off-centre, 744 trials of 284 pictures.

The kinds of pictures follow what is published of the experiment, with other contents. A picture is nearly twice as wide
as it is high, as the screen was; patterns and scenes fill the central square.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt

from fmri_lightning.simulate.experiment import Experiment
from fmri_lightning.simulate.nsd_tree import BETAS_VERSION, SPACE, write_beta_file, write_mat
from fmri_lightning.simulate.outside_pictures import Shown, of_catalogue, responses, without_meaning
from fmri_lightning.simulate.pictures import Pictures, PictureSource
from fmri_lightning.simulate.subject import Subject

FOLDER = Path("nsddata_stimuli/stimuli/nsdsynthetic")
EXPDESIGN = Path("nsddata/experiments/nsdsynthetic/nsdsynthetic_expdesign.mat")
N_TRIALS, N_COMMON, N_COLOUR = 744, 220, 64
N_SCENES, N_GRATINGS, N_NOISE, N_WORDS = 28, 100, 60, 4
"""Of the common pictures: scenes (each also at a third of its contrast), gratings, noise, and words off-centre."""
WIDTH = 1360 / 714
GREY = 127


@dataclass
class SyntheticTree:
    """Writer beside NSD's own files.

    Attributes:
        root: Root of the tree.
        experiment: Design of NSD proper.
        seed: Seed of the simulation.
    """

    root: Path
    experiment: Experiment
    seed: int
    _common: Shown = field(init=False)
    _source: PictureSource = field(init=False)
    _ordering: npt.NDArray[np.int64] = field(init=False)

    def write_design(self, source: PictureSource) -> None:
        """Write the common pictures and the order of trials, counted from 1."""
        self._source = source
        rng = np.random.default_rng([self.seed, 520])
        shared = self.experiment.sharedix - 1
        scenes = of_catalogue(source, np.resize(shared, N_SCENES))
        faint = replace(scenes, pictures=(GREY + (scenes.pictures.astype(np.float32) - GREY) / 3).astype(np.uint8))
        side = scenes.pictures.shape[1]
        patterns = np.concatenate([_gratings(side, N_GRATINGS), _noise(side, N_NOISE, rng)])
        words = np.full((N_WORDS, side, side, 3), GREY, np.uint8)
        self._common = scenes + faint + without_meaning(np.concatenate([patterns, words]), scenes)
        wide = _on_screen(self._common.pictures)
        wide[-N_WORDS:, side // 3 : side // 2, : side // 8] = 255
        _write_pictures(self.root / FOLDER / "nsdsynthetic_stimuli.hdf5", wide)
        n = N_COMMON + N_COLOUR
        numbers = np.r_[np.tile(np.arange(1, n + 1), 2), rng.permutation(n)[: N_TRIALS - 2 * n] + 1]
        self._ordering = rng.permutation(numbers)
        write_mat(self.root / EXPDESIGN, {"masterordering": self._ordering[None].astype(np.uint16)})

    def write_subject(self, subject: Subject) -> None:
        """Write the coloured pictures and the betas of one subject."""
        rng = np.random.default_rng([self.seed, subject.number, 521])
        side = self._common.pictures.shape[1]
        coloured = _coloured_noise(side, N_COLOUR, rng)
        path = self.root / FOLDER / f"nsdsynthetic_colorstimuli_subj{subject.number:02d}.hdf5"
        _write_pictures(path, _on_screen(coloured))
        shown = self._common + without_meaning(coloured, self._common)
        signals = responses(subject, self.experiment, self._source, shown, self.seed)
        stored = replace(subject, signals=signals).session(self._ordering - 1, rng)
        folder = Path(f"nsddata_betas/ppdata/subj{subject.number:02d}/{SPACE}/nsdsynthetic{BETAS_VERSION}")
        write_beta_file(self.root / folder, "betas_nsdsynthetic", stored, subject.brain)


def _write_pictures(path: Path, pictures: Pictures) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file.create_dataset("imgBrick", data=pictures)


def _on_screen(squares: Pictures) -> Pictures:
    """Put squares (n, side, side, 3) into the middle of a grey screen."""
    side = squares.shape[1]
    width = 2 * round(side * WIDTH / 2)
    wide = np.full((len(squares), side, width, 3), GREY, np.uint8)
    left = (width - side) // 2
    wide[:, :, left : left + side] = squares
    return wide


def _gratings(side: int, n: int) -> Pictures:
    """Draw gratings of five frequencies, ten orientations and two phases, uint8 (n, side, side, 3)."""
    y, x = np.mgrid[:side, :side] / side
    found = []
    for number in range(n):
        cycles, turn = side / (20, 13, 9, 6, 3.7)[number % 5], np.pi * (number // 5 % 10) / 10
        phase = np.pi / 2 * (number // 50)
        wave = np.sin(2 * np.pi * cycles * (np.cos(turn) * x + np.sin(turn) * y) + phase)
        found.append(_picture(np.repeat(wave[..., None], 3, axis=2), 100))
    return np.stack(found)


def _noise(side: int, n: int, rng: np.random.Generator) -> Pictures:
    """Draw noise, white and pink, of rising contrast, uint8 (n, side, side, 3)."""
    return np.stack(
        [
            _picture(np.repeat(_field(side, number % 2, rng)[..., None], 3, axis=2), 8 + 44 * (number // 2) / (n // 2))
            for number in range(n)
        ]
    )


def _coloured_noise(side: int, n: int, rng: np.random.Generator) -> Pictures:
    """Draw pink noise along 16 directions of colour, uint8 (n, side, side, 3)."""
    found = []
    for number in range(n):
        hue = 2 * np.pi * (number % 16) / 16
        direction = np.cos(hue - np.array([0, 2, 4]) * np.pi / 3)
        found.append(_picture(_field(side, 1, rng)[..., None] * direction + 0.6 * direction, 45))
    return np.stack(found)


def _field(side: int, slope: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Return a random field (side, side) of unit variance whose amplitude falls with frequency to the slope."""
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(side), np.fft.fftfreq(side)))
    frequency[0, 0] = np.inf
    white = np.fft.fft2(rng.standard_normal((side, side)))
    drawn = np.fft.ifft2(white / frequency**slope if slope else white).real
    field: npt.NDArray[np.float64] = drawn / drawn.std()
    return field


def _picture(pattern: npt.NDArray[np.float64], amplitude: float) -> Pictures:
    return np.clip(GREY + amplitude * pattern, 0, 255).round().astype(np.uint8)

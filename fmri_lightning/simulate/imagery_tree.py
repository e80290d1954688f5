"""Writer of NSD-Imagery's files: what a simulated subject saw and imagined in twelve runs.

Names, columns and shapes are those that public code reads; the values are simulated. Set A are bars and crosses, set B
five shared pictures of NSD and one other, set C six more. An imagined trial is the response to the picture itself,
weakened by one factor for all voxels: no claim about imagination is meant by it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from fmri_lightning.errors import UsageError
from fmri_lightning.simulate.experiment import Experiment
from fmri_lightning.simulate.nsd_tree import BETAS_VERSION, SPACE, write_beta_file, write_mat
from fmri_lightning.simulate.outside_pictures import Shown, of_catalogue, responses, without_meaning
from fmri_lightning.simulate.pictures import Pictures, PictureSource
from fmri_lightning.simulate.subject import Subject

IMAGINED_GAIN = 1 / 3
"""Response to an imagined picture, as a share of that to the picture seen."""
RUNS = (
    "imgA_1", "attA", "visA", "imgB_1", "attB", "visB", "imgC_1", "attC", "visC", "imgA_2", "imgB_2", "imgC_2",
)  # fmt: skip
"""In the order of their betas."""
CUES = {"A": "HRVLPE", "B": "WKBCDT", "C": "SZMYNF"}
TRIALS_PER_RUN = 48
COLUMNS = (
    "SUBJECT", "SESSION", "RUN", "TRIAL", "CONDITION", "CUE", "FRAMEFILE", "IMAGEFILE", "GROUNDTRUTH", "ISCORRECT",
    "CHANGEMIND", "TOTAL1", "TOTAL2", "BUTTON", "TRIALONSET", "TRIALEND", "IMAGEONSET", "IMAGESERIESENDS",
    "FINALDECISIONTIME", "RT",
)  # fmt: skip
FOLDER = Path("nsddata/experiments/nsdimagery")
EVENTS = Path("nsddata/bdata/nsdimagery")
N_SHARED = 12
"""Shared pictures that sets B and C are made of."""


@dataclass
class ImageryTree:
    """Writer beside NSD's own files.

    Attributes:
        root: Root of the tree.
        experiment: Design of NSD proper.
        seed: Seed of the simulation.
    """

    root: Path
    experiment: Experiment
    seed: int
    _shown: Shown = field(init=False)
    _source: PictureSource = field(init=False)

    def write_design(self, source: PictureSource) -> None:
        """Write the pictures and the lists that pair them with letters."""
        if self.experiment.n_shared < N_SHARED:
            raise UsageError(f"--also imagery needs --shared {N_SHARED} or more, its pictures are made of them")
        self._source = source
        ids = self.experiment.sharedix[:N_SHARED] - 1
        natural = of_catalogue(source, ids)
        side = natural.pictures.shape[1]
        mirrored = replace(natural, pictures=np.ascontiguousarray(natural.pictures[:, :, ::-1]))
        own = _part(natural, slice(0, 5)) + _part(mirrored, slice(5, N_SHARED))
        self._shown = without_meaning(_simple_pictures(side), natural) + own
        names = [
            *(f"bar_{turn:05.1f}deg_450L_43W.png" for turn in (0, 45, 90, 135)),
            *(f"crs_{turn:05.1f}deg_450L_43W.png" for turn in (0, 45)),
            *(f"shared{number + 1:04d}_nsd{nsd_id + 1:05d}.png" for number, nsd_id in enumerate(ids[:5].tolist())),
            "shared0000_nsd00000.png",
            *(f"concept_{number}.png" for number in range(1, 7)),
        ]
        for number, (name, letters) in enumerate(CUES.items()):
            pairs = np.empty((6, 3), dtype=object)
            folder = self.root / FOLDER / "rawtargetimages" / f"set{name}"
            folder.mkdir(parents=True, exist_ok=True)
            for row, letter in enumerate(letters):
                stimulus = 6 * number + row
                pairs[row] = [row + 1, names[stimulus], letter]
                Image.fromarray(self._shown.pictures[stimulus]).save(folder / names[stimulus])
            write_mat(self.root / FOLDER / f"{name}_pair_list.mat", {"pair_list": pairs})

    def write_subject(self, subject: Subject) -> None:
        """Write the event files and the betas of one subject."""
        rng = np.random.default_rng([self.seed, subject.number, 510])
        seen = responses(subject, self.experiment, self._source, self._shown, self.seed)
        attention = np.zeros((1, seen.shape[1]), dtype=np.float32)
        signals = np.concatenate([seen, np.float32(IMAGINED_GAIN) * seen, attention])
        order: list[int] = []
        for number, run in enumerate(RUNS, start=1):
            stimuli = rng.permutation(np.repeat(np.arange(6), TRIALS_PER_RUN // 6))
            self._write_events(subject.number, number, run, stimuli)
            first = 6 * "ABC".index(run[3])
            if run.startswith("att"):
                order += [2 * len(seen)] * (2 * TRIALS_PER_RUN)
            else:
                order += (first + stimuli + (len(seen) if run.startswith("img") else 0)).tolist()
        stored = replace(subject, signals=signals).session(np.array(order), rng)
        folder = Path(f"nsddata_betas/ppdata/subj{subject.number:02d}/{SPACE}/nsdimagery{BETAS_VERSION}")
        write_beta_file(self.root / folder, "betas_nsdimagery", stored, subject.brain)

    def _write_events(self, subject: int, number: int, run: str, stimuli: npt.NDArray[np.int64]) -> None:
        letters = CUES[run[3]]
        lines = ["\t".join(COLUMNS)]
        for trial, stimulus in enumerate(stimuli.tolist(), start=1):
            letter, onset = letters[stimulus], 8 * (trial - 1)
            frame = f"{run}_{trial:02d}.png"
            values = (
                subject, 1, number, trial, letter, letter, frame, frame if run.startswith("vis") else "NaN",
                1, 1, 0, 1, 0, 1, onset, onset + 8, onset, onset + 4, "NaN", "NaN",
            )  # fmt: skip
            lines.append("\t".join(str(value) for value in values))
        path = self.root / EVENTS / f"nsdimagery_subj{subject:02d}_{run}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _part(shown: Shown, rows: slice) -> Shown:
    return Shown(shown.pictures[rows], shown.attributes[rows], shown.domains[rows])


def _simple_pictures(side: int) -> Pictures:
    """Draw four bars and two crosses, uint8 (6, side, side, 3)."""
    return np.stack([_bars(side, turns) for turns in ((0,), (45,), (90,), (135,), (0, 90), (45, 135))])


def _bars(side: int, turns_deg: tuple[int, ...]) -> Pictures:
    large = Image.new("L", (4 * side, 4 * side), 127)
    draw = ImageDraw.Draw(large)
    for turn in np.deg2rad(turns_deg):
        half, wide = 1.7 * side, 0.18 * side
        along, across = np.array([np.cos(turn), -np.sin(turn)]), np.array([np.sin(turn), np.cos(turn)])
        corners = [a * half * along + b * wide * across + 2 * side for a, b in ((1, 1), (1, -1), (-1, -1), (-1, 1))]
        draw.polygon([tuple(corner) for corner in corners], fill=0)
    small = np.asarray(large.resize((side, side), Image.Resampling.BOX))
    return np.repeat(small[..., None], 3, axis=2)

"""Out-of-fold predictions: what an encoder says about training stimuli that it was not fitted on.

They look as predictions of new stimuli do, shrunken and noisy, and there are as many as training stimuli: the
adapter may be trained on them and a calibration fitted on them, without a look at val or test. A solved encoder
leaves them beside its checkpoint after one fit; a network needs one fit per fold (``--data.fold 1/5`` … ``5/5``).

::

    checkpoints/mlp/subj01/out_of_fold/1of5.parquet    predictions of the first fold, an embedding cache
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.embeddings.cache import EmbeddingCache, write_cache
from fmri_lightning.errors import BadInputError
from fmri_lightning.manifest import content_hash
from fmri_lightning.records import EmbeddingSpace

FOLDER = "out_of_fold"
_RECORDED = ("encoder", "subject", "trial_mode", "inputs", "n_parts", "settings")


@dataclass(frozen=True, eq=False)
class OutOfFold:
    """Out-of-fold predictions of all training stimuli.

    Attributes:
        nsd_ids: Ascending, (n,) int32.
        predictions: Raw predicted embeddings, (n, dim) float32.
        space: The encoder's embedding space.
        inputs: Content hashes of what the encoder was fitted on.
        encoder: "ridge" or "mlp".
        subject: For instance "subj01".
        trial_mode: How repeats were used; in mode "single" the outputs of a picture's trials are averaged here.
        content_hash: Hash over ids and predictions.
    """

    nsd_ids: NDArray[np.int32]
    predictions: NDArray[np.float32]
    space: EmbeddingSpace
    inputs: dict[str, str]
    encoder: str
    subject: str
    trial_mode: str
    content_hash: str


def out_of_fold_folder(checkpoint: Path | str) -> Path:
    """Name the folder of an encoder's out-of-fold predictions: beside its checkpoint."""
    return Path(checkpoint).parent / FOLDER


def write_out_of_fold(
    checkpoint: Path,
    part: int,
    n_parts: int,
    nsd_ids: NDArray[np.integer],
    predictions: NDArray[np.floating],
    space: EmbeddingSpace,
    inputs: Mapping[str, str],
    name: str,
    subject: str,
    trial_mode: str = "average",
    settings: Mapping[str, Any] | None = None,
) -> Path:
    """Write one part and remove the parts of another division.

    Args:
        checkpoint: Checkpoint of the encoder; the folder lies beside it.
        part: 1-based number of the part.
        n_parts: How many parts make the whole.
        nsd_ids: Stimuli of this part, each once, (n,).
        predictions: Raw predictions by an encoder that was not fitted on them, (n, dim).
        space: Space of the encoder's output.
        inputs: Content hashes of what the encoder was fitted on.
        name: "ridge" or "mlp".
        subject: For instance "subj01".
        trial_mode: How repeats were used.
        settings: What the encoder was fitted with, plain types; parts of other settings do not belong together.

    Returns:
        The file written.
    """
    folder = out_of_fold_folder(checkpoint)
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob("*of*.parquet"):
        if path.stem.split("of")[-1] != str(n_parts):
            path.unlink()
    config = {"encoder": name, "subject": subject, "trial_mode": trial_mode, "inputs": dict(inputs), "n_parts": n_parts}
    if settings is not None:
        config["settings"] = json.loads(json.dumps(settings))
    path = folder / f"{part}of{n_parts}.parquet"
    write_cache(path, np.asarray(nsd_ids), np.asarray(predictions, dtype=np.float32), space, config)
    return path


def read_out_of_fold(folder: Path | str, train_ids: NDArray[np.integer]) -> OutOfFold:
    """Read the predictions of all training stimuli.

    Args:
        folder: ``out_of_fold`` beside an encoder's checkpoint.
        train_ids: Training stimuli of the subject, repeats allowed.

    Returns:
        The predictions, by ascending id.

    Raises:
        BadInputError: If parts are missing or do not belong together, or their stimuli are not the training stimuli.
    """
    folder = Path(folder)
    parts = [EmbeddingCache.open(path) for path in _paths(folder)]
    first = parts[0]
    for part in parts[1:]:
        for key in _RECORDED:
            if part.config.get(key) != first.config.get(key):
                raise BadInputError(
                    f"{part.path} and {first.path} differ in {key}; fit the folds again, with the same flags"
                )
    ids = np.concatenate([part.ids for part in parts])
    order = np.argsort(ids, kind="stable")
    ids, predictions = ids[order], np.concatenate([part.embeddings for part in parts])[order]
    expected = np.unique(train_ids)
    if not np.array_equal(ids, expected):
        foreign, missing = np.setdiff1d(ids, expected), np.setdiff1d(expected, ids)
        raise BadInputError(
            f"{folder} holds predictions of {len(ids)} stimuli, the train split has {len(expected)}: "
            f"{len(foreign)} foreign (first {foreign[:3].tolist()}), {len(missing)} missing "
            f"(first {missing[:3].tolist()}); fit the encoder again on this index"
        )
    return OutOfFold(
        nsd_ids=ids.astype(np.int32),
        predictions=np.ascontiguousarray(predictions),
        space=first.space,
        inputs={str(key): str(value) for key, value in first.config["inputs"].items()},
        encoder=str(first.config["encoder"]),
        subject=str(first.config["subject"]),
        trial_mode=str(first.config["trial_mode"]),
        content_hash=content_hash(ids.astype(np.int32), predictions),
    )


def _paths(folder: Path) -> list[Path]:
    """Name all parts, in order; refuse a folder that lacks some."""
    found = {}
    for path in sorted(folder.glob("*of*.parquet")):
        match = re.fullmatch(r"(\d+)of(\d+)", path.stem)
        if match is not None:
            found[int(match[1])] = (path, int(match[2]))
    totals = {total for _, total in found.values()}
    if not found or len(totals) != 1:
        raise BadInputError(
            f"{folder} holds no out-of-fold predictions of one division; fit ridge (it writes them), "
            "or a network once per fold: --data.fold 1/5 … 5/5"
        )
    missing = sorted(set(range(1, totals.pop() + 1)) - set(found))
    if missing:
        total = next(iter(found.values()))[1]
        raise BadInputError(
            f"{folder} lacks {len(missing)} of {total} folds; fit: "
            + ", ".join(f"--data.fold {number}/{total}" for number in missing)
        )
    return [path for _, (path, _) in sorted(found.items())]

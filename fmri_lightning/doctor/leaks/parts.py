"""What a run was made from, opened where it lies today."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.doctor.runs import folder_of_subject, read_run_settings
from fmri_lightning.embeddings.cache import EmbeddingCache
from fmri_lightning.errors import BadInputError
from fmri_lightning.index.table import index_manifest, read_index
from fmri_lightning.manifest import Manifest, read_manifest
from fmri_lightning.records import TrialTable

NEXT = "run fmri-lightning predict again into another --output_dir"
"""What to do when a run is not what its inputs make."""

OF_CACHES = ("clip_cache", "target_cache", "low_level_cache", "embeddings")
"""Names of embedding files in the settings of a run."""


@dataclass(frozen=True)
class RunParts:
    """A run folder and its inputs.

    Attributes:
        folder: Written by predict.
        manifest: The run's fingerprint; its inputs name what the run really read.
        data: Arguments of the data module.
        model: Arguments of the model.
        index: Manifest of the subject's index, or None where the run had no index.
        table: The index, or None.
        caches: Opened embedding files by name: "clip_cache", "target_cache", "low_level_cache" and "embeddings".
    """

    folder: Path
    manifest: Manifest
    data: dict[str, Any]
    model: dict[str, Any]
    index: Manifest | None
    table: TrialTable | None
    caches: dict[str, EmbeddingCache]

    @classmethod
    def open(cls, run: Path) -> RunParts:
        """Open a run.

        Args:
            run: Folder written by predict; relative paths in its settings start at the working directory.

        Returns:
            The parts.

        Raises:
            BadInputError: No run there, or an index or cache it names is missing or damaged.
        """
        data, model = read_run_settings(run)
        manifest = read_manifest(run, "reconstructions")
        subject, root = data["subject"], data.get("index_root")
        names = [name for name in OF_CACHES if data.get(name) is not None]
        return cls(
            folder=run,
            manifest=manifest,
            data=data,
            model=model,
            index=None if root is None else index_manifest(root, subject),
            table=None if root is None else read_index(root, subject),
            caches={name: EmbeddingCache.open(data[name]) for name in names},
        )

    @property
    def subject(self) -> str:
        """For instance "subj01"."""
        return str(self.data["subject"])

    def used(self, name: str) -> bool:
        """Say whether the run read an input, by its fingerprint; a control names more than it reads."""
        return name in self.manifest.inputs

    def folder_of(self, name: str) -> Path:
        """Find the subject's "betas" or "preproc"."""
        return folder_of_subject(self.data[name], self.subject)

    def checkpoint_path(self, name: str) -> Path:
        """Find the checkpoint of the "encoder", the "adapter" or the "low_level" encoder.

        Raises:
            BadInputError: The run read one, and its settings name none.
        """
        path = self.model.get("low_level" if name == "low_level" else f"{name}_ckpt")
        if path is None:
            raise BadInputError(f"{self.folder / 'predict.yaml'} names no {name}, its fingerprint does; {NEXT}")
        return Path(path)

    @cached_property
    def train_ids(self) -> NDArray[np.int32]:
        """Training stimuli of the subject, ascending; none without an index."""
        return self.stimuli("train")

    def stimuli(self, *splits: str) -> NDArray[np.int32]:
        """List the subject's stimuli of some splits, ascending, each once."""
        if self.table is None:
            return np.empty(0, np.int32)
        return np.unique(self.table.nsd_id[np.isin(self.table.split, splits)])

    def name_stimuli(self, ids: NDArray[np.integer]) -> str:
        """Name stimuli with their split and trials, the first five of them.

        Args:
            ids: nsd_id (n,), not empty.

        Returns:
            For instance "1 stimuli: nsd_id 12 (test, global_trial 5, 17, 30)".
        """
        named = ", ".join(f"nsd_id {int(nsd_id)} ({self._where(int(nsd_id))})" for nsd_id in ids[:5])
        return f"{len(ids)} stimuli: {named}{f' and {len(ids) - 5} more' if len(ids) > 5 else ''}"

    def _where(self, nsd_id: int) -> str:
        rows = np.empty(0, np.int64) if self.table is None else np.flatnonzero(self.table.nsd_id == nsd_id)
        if self.table is None or not len(rows):
            return f"in no trial of {self.subject}"
        trials = ", ".join(map(str, self.table.global_trial[rows].tolist()))
        return f"{self.table.split[rows[0]]}, global_trial {trials}"

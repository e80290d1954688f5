"""What predict works on: the test items of one subject, and each process's share of the pictures still to draw."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from numpy.typing import NDArray
from torch.utils.data import DataLoader, TensorDataset

from fmri_lightning.embeddings.cache import EmbeddingCache
from fmri_lightning.errors import UsageError
from fmri_lightning.generation.plan import (
    Items,
    TestSet,
    TrialMode,
    chosen_positions,
    items_of_ids,
    items_of_table,
    parse_shard,
    rows_of_test_set,
    share_of,
    split_of,
)
from fmri_lightning.index.prediction_only import is_prediction_only
from fmri_lightning.index.table import index_manifest, read_index, sessions_covered
from fmri_lightning.manifest import Manifest
from fmri_lightning.records import TrialTable


class ReconstructionDataModule(LightningDataModule):
    """The test items of one subject and where everything about them lies.

    Args:
        root: Folder of the NSD tree, recorded so that evaluation finds the pictures that were shown; null takes the
            index's.
        index_root: Folder of the indices; null, with embeddings only, numbers pictures by rank of their id.
        betas: Beta store of the subject, or the folder of all subjects' stores.
        preproc: Preprocessing of the subject, or the folder of all subjects'.
        clip_cache: True source embeddings (cosines, nearest neighbours, condition true_source); null leaves these out.
        target_cache: True embeddings in the decoder's space (condition true_target); null for none.
        low_level_cache: True latents of the low-level path's autoencoder (conditions true_target and true_source of a
            run that has one); null for none.
        subject: Subject, for instance subj01.
        limit: Draw the first N items of the test set only; null draws all.
        nsd_ids: Draw these pictures only; null draws all.
        gallery_limit: Training pictures searched for the nearest neighbour, the first by hash; null takes all.
        trial_mode: average (mean of betas), average_outputs (mean of encoder outputs) or single (every trial).
        test_set: shared1000 (or all of a prediction-only index), 982 (first 37 sessions), 515 (three repeats in all
            eight subjects), or val: the validation pictures, to choose a setting by; their scores are not comparable.
        embeddings: A parquet file of predicted embeddings of any system, in the format of the CLIP cache; replaces
            betas, preprocessing and encoder. null predicts from betas.
        shard: i/n with i from 1, for job arrays: this job's share of the items; null takes all.
    """

    def __init__(
        self,
        root: str | None = None,
        index_root: str | None = "outputs/nsd_index",
        betas: str = "outputs/betas",
        preproc: str = "outputs/preproc",
        clip_cache: str | None = "outputs/clip_cache/clip.parquet",
        target_cache: str | None = None,
        low_level_cache: str | None = None,
        subject: str = "subj01",
        limit: int | None = None,
        nsd_ids: list[int] | None = None,
        gallery_limit: int | None = 1000,
        trial_mode: TrialMode = "average",
        test_set: TestSet = "shared1000",
        embeddings: str | None = None,
        shard: str | None = None,
    ) -> None:
        super().__init__()
        # Ranks without work are a normal end of a resumed run.
        self.allow_zero_length_dataloader_with_multiple_devices = True
        self.root = root
        self.index_root = index_root
        self.betas = _of_subject(betas, subject)
        self.preproc = _of_subject(preproc, subject)
        self.clip_cache = clip_cache
        self.target_cache = target_cache
        self.low_level_cache = low_level_cache
        self.subject = subject
        self.limit = limit
        self.nsd_ids = nsd_ids
        self.gallery_limit = gallery_limit
        self.trial_mode: TrialMode = trial_mode
        self.test_set: TestSet = test_set
        self.embeddings = embeddings
        self._shard = shard  # read in setup: an error of a constructor would reach the user in jsonargparse's words
        self.shard = (1, 1)
        self.table: TrialTable | None = None
        self.index_manifest: Manifest | None = None
        self.given: EmbeddingCache | None = None
        self.items: Items
        self.chosen: NDArray[np.int64]
        self.remaining: NDArray[np.int64] = np.empty((0, 2), np.int64)

    def setup(self, stage: str) -> None:
        """Read the index and list the items.

        Args:
            stage: Lightning's stage; only predict is meant.

        Raises:
            BadInputError: Index missing, damaged or of another subject, or ids that it does not hold.
            UsageError: The shard is not i/n, or a test set of NSD proper is asked of a prediction-only index.
        """
        self.shard = parse_shard(self._shard)
        if self.embeddings is not None:
            self.given = EmbeddingCache.open(self.embeddings)
        if self.index_root is None:
            self.items = items_of_ids(self._given_ids())
        else:
            self.index_manifest = index_manifest(self.index_root, self.subject)
            self.table = read_index(self.index_root, self.subject)
            if is_prediction_only(self.index_manifest) and self.test_set != "shared1000":
                raise UsageError(
                    f"--data.test_set {self.test_set} names pictures of NSD proper; leave it out for a prediction-only "
                    "index, all of whose pictures are drawn"
                )
            covered = sessions_covered(self.index_manifest)
            keep = rows_of_test_set(self.test_set, self.table, Path(self.index_root), covered)
            if self.given is not None:
                present = np.isin(self.table.nsd_id, self.given.ids)
                keep = present if keep is None else keep & present
            self.items = items_of_table(self.table, self.trial_mode, keep, split_of(self.test_set))
        self.chosen = chosen_positions(self.items, self.nsd_ids, self.limit)

    def _given_ids(self) -> NDArray[np.int32]:
        if self.given is None:
            raise UsageError("--data.index_root null goes with --data.embeddings FILE only")
        return self.given.ids

    def recorded_root(self) -> str | None:
        """Name the data root: as given, or as the index names it."""
        recorded = {} if self.index_manifest is None else self.index_manifest.config
        return self.root if self.root is not None else recorded.get("root")

    def units(self, n_samples: int) -> NDArray[np.int64]:
        """List this job's units of work: (row of predictions.parquet, sample), all samples of an item together.

        Args:
            n_samples: Pictures per item.

        Returns:
            (m, 2) int64 of the shard's share.
        """
        rows = share_of(np.arange(len(self.chosen)), self.shard[0] - 1, self.shard[1])
        return np.stack([np.repeat(rows, n_samples), np.tile(np.arange(n_samples), len(rows))], axis=1)

    def predict_dataloader(self) -> DataLoader[Any]:
        """Serve this rank's share of the remaining units, dealt by ourselves.

        Lightning's own predict sampler refuses fewer items than ranks, which is how every resumed run ends.
        """
        trainer = self.trainer
        assert trainer is not None
        mine = share_of(self.remaining, trainer.global_rank, trainer.world_size)
        module: Any = trainer.lightning_module
        batch_size = int(module.batch_size)
        dataset = TensorDataset(torch.from_numpy(mine.copy()))
        return DataLoader(dataset, batch_size=batch_size, shuffle=False, num_workers=0)


def _of_subject(folder: str, subject: str) -> Path:
    """Take a subject's artefact folder as it is, or find it in the folder of all subjects."""
    path = Path(folder)
    return path if (path / "manifest.json").is_file() else path / subject

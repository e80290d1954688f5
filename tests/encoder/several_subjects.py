"""Several simulated subjects with one mind: the same latents make embedding and responses, every brain its own voxels.

Brains, noise and embedding are those of :mod:`fmri_lightning.ceiling.brain`; files are written by the real writers.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fmri_lightning.betas.artefact import save_preprocess
from fmri_lightning.betas.fit import PreprocessConfig, fit_preprocess
from fmri_lightning.betas.rows import average_repeats
from fmri_lightning.betas.store import BetaStore, store_hash
from fmri_lightning.ceiling.brain import KnownBrain, draw_brain
from fmri_lightning.ceiling.recipe import KNOWN_RECIPE, KnownRecipe
from fmri_lightning.embeddings.cache import write_cache
from fmri_lightning.index.split import assign_split
from fmri_lightning.index.table import index_manifest, write_index
from fmri_lightning.manifest import Manifest, write_manifest
from fmri_lightning.records import EmbeddingSpace, TrialTable

REPEATS = 3


@dataclass(frozen=True)
class World:
    """Pictures and minds of all subjects; equal arguments give equal bytes.

    Attributes:
        folder: Holds clip.parquet, and a folder for each tree that is written.
        trials_per_session: Trials of a session.
        own: Pictures that one subject alone sees, three times each.
        test: Pictures that all subjects see, three times each.
        subjects: How many there are; each has other pictures.
        noise_seed: Of trial order and noise, with the same pictures and brains.
    """

    folder: Path
    recipe: KnownRecipe = KNOWN_RECIPE
    trials_per_session: int = 750
    own: int = 1100
    test: int = 150
    subjects: int = 5
    voxels: int = 1000
    seed: int = 0
    noise_seed: int = 0

    @property
    def sessions(self) -> int:
        return -(-(self.own + self.test) * REPEATS // self.trials_per_session)

    def mind(self) -> KnownBrain:
        return draw_brain(2, self.seed, self.recipe)

    def pictures(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Ids (n,), latents (n, K) and embeddings (n, D); test pictures first, then subject by subject."""
        rng, mind = np.random.default_rng([self.seed, 1]), self.mind()
        n = self.test + self.subjects * self.own
        ids = rng.permutation(max(73_000, n))[:n].astype(np.int32)
        latents = mind.draw_latents(n, rng)
        return ids, latents, mind.embeddings(latents, rng).astype(np.float32)

    def write_cache(self) -> Path:
        ids, _, embeddings = self.pictures()
        space = EmbeddingSpace("known-brain", "simulated/known-brain", "", embeddings.shape[1], "simulated", "raw")
        write_cache(self.folder / "clip.parquet", ids, embeddings, space, {"simulated": True})
        return self.folder / "clip.parquet"

    def brain(self, number: int) -> KnownBrain:
        """The mind in a brain of its own: voxels, tuning, noise and signal-to-noise ratios are drawn anew."""
        body = draw_brain(self.voxels + 10 * number, self.seed + 100 + number, self.recipe)
        names = ("tuning", "ncsnr", "ijk", "patterns", "shares")
        return dataclasses.replace(self.mind(), **{name: getattr(body, name) for name in names})

    def trials(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Position among all pictures of every trial (n,), and betas (n, V)."""
        rng, brain = np.random.default_rng([self.seed, 2, number, self.noise_seed]), self.brain(number)
        first = self.test + (number - 1) * self.own
        seen = np.r_[np.arange(self.test), np.arange(first, first + self.own)]
        shown = rng.permutation(np.repeat(seen, REPEATS))
        latents = self.pictures()[1]
        blocks = [
            (brain.signals(latents[rows]) + brain.noise(len(rows), rng)) / brain.voxel_sd
            for rows in np.split(shown, range(1024, len(shown), 1024))
        ]
        return shown, np.concatenate(blocks).astype(np.float32)

    def write_subject(
        self, number: int, sessions: int | None = None, tree: str = "all", change_later=0.0, leak_test=False
    ) -> dict:
        """Write index, betas and preprocessing of the first sessions; return arguments of EncoderDataModule.

        ``change_later`` is added to all betas of sessions that are not written; ``leak_test`` makes test pictures
        training pictures of this subject.
        """
        subject = f"subj{number:02d}"
        shown, betas = self.trials(number)
        n = len(shown) if sessions is None else sessions * self.trials_per_session
        betas[n:] += change_later
        table = self._table(subject, shown).where(np.arange(len(shown)) < n)
        if leak_test:
            table = dataclasses.replace(table, split=np.where(table.split == "test", "train", table.split))
        folder = self.folder / tree
        write_index(folder / "index", subject, table, inputs={}, config={"source": "known-brain"})
        store = _write_store(folder, subject, betas[:n])
        config = PreprocessConfig(mask="roi")
        save_preprocess(folder / "preproc" / subject, fit_preprocess(store, table, config), config, store)
        return self.inputs(tree) | {"subject": subject}

    def inputs(self, tree: str = "all") -> dict[str, str]:
        folder = self.folder / tree
        paths = {"index_root": "index", "betas": "betas", "preproc": "preproc"}
        return {name: str(folder / path) for name, path in paths.items()} | {
            "clip_cache": str(self.folder / "clip.parquet")
        }

    def test_rows(self, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Ids, mean betas over all three repeats (n, V) and true embeddings of the test pictures, by ascending id."""
        ids, _, embeddings = self.pictures()
        shown, betas = self.trials(number)
        of_test = shown < self.test
        unique, mean = average_repeats(betas[of_test], ids[shown[of_test]])
        order = np.argsort(ids[: self.test])
        return unique, mean, embeddings[: self.test][order]

    def _table(self, subject: str, shown: np.ndarray) -> TrialTable:
        nsd_id, is_test = self.pictures()[0][shown], shown < self.test
        n = len(nsd_id)
        trials = np.arange(n)
        by_picture = np.argsort(nsd_id, kind="stable")
        repeat = np.empty(n, dtype=np.int64)
        repeat[by_picture] = trials % REPEATS
        of_test = by_picture[is_test[by_picture]]
        single, average = np.full(n, -1), np.full(n, -1)
        single[of_test] = np.arange(len(of_test))
        average[of_test] = np.arange(len(of_test)) // REPEATS
        session = trials // self.trials_per_session
        return TrialTable(
            subject=np.full(n, subject),
            session=session + 1,
            run=np.ones(n),
            trial_in_run=trials % self.trials_per_session + 1,
            trial_in_session=trials % self.trials_per_session,
            global_trial=trials,
            nsd_id=nsd_id,
            coco_id=nsd_id + 100_000,
            coco_split=np.full(n, "train2017"),
            shared1000=is_test,
            repeat=repeat,
            n_repeats=np.full(n, REPEATS),
            beta_path=np.array([f"betas_session{number + 1:02d}.hdf5" for number in session]),
            beta_index=trials % self.trials_per_session,
            split=assign_split(nsd_id, is_test),
            trial_id_average=average,
            trial_id_single=single,
        )


def _write_store(folder: Path, subject: str, betas: np.ndarray) -> BetaStore:
    index = index_manifest(folder / "index", subject)
    store = folder / "betas" / subject
    store.mkdir(parents=True)
    np.save(store / "betas.npy", betas)
    ijk = np.zeros((betas.shape[1], 3), dtype=np.int32)
    columns = {axis: ijk[:, number] for number, axis in enumerate("ijk")}
    columns["dropped"] = np.zeros(len(ijk), dtype=bool)
    pq.write_table(pa.table(columns), store / "voxels.parquet")
    inputs = {"index": index.content_hash, "split": str(index.config["split_hash"])}
    config = {"n_trials": len(betas), "n_voxels": betas.shape[1], "subject": subject, "simulated": True}
    write_manifest(store, Manifest("betas", store_hash(betas, ijk), inputs=inputs, config=config))
    return BetaStore.open(store)

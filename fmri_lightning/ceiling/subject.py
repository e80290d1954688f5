"""Write one subject of a known brain with the project's own writers, so that fit and load_encoder run unchanged."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.betas.artefact import save_preprocess
from fmri_lightning.betas.build import T0_SKIPPED
from fmri_lightning.betas.fit import PreprocessConfig, fit_preprocess
from fmri_lightning.betas.store import BetaStore, store_hash
from fmri_lightning.ceiling.brain import KnownBrain, draw_brain
from fmri_lightning.ceiling.features import FloatArray
from fmri_lightning.ceiling.recipe import KNOWN_RECIPE, KnownRecipe
from fmri_lightning.embeddings.cache import write_cache
from fmri_lightning.errors import BadInputError
from fmri_lightning.index.split import assign_split
from fmri_lightning.index.table import index_manifest, read_index, write_index
from fmri_lightning.manifest import Manifest, atomic_path, content_hash, read_json, write_json, write_manifest
from fmri_lightning.progress import track
from fmri_lightning.records import EmbeddingSpace, TrialTable
from fmri_lightning.simulate.recipe import RECIPE

SUBJECT = "subj01"
SPACE = "known-brain"
TRIALS_PER_SESSION = 750
NSD_PICTURES = 73_000
RECORD = "SIMULATED.json"
_BLOCK = 1024


@dataclass(frozen=True)
class SubjectPlan:
    """What decides a subject.

    Attributes:
        stimuli: Pictures of train and val; a hashed tenth of them is val.
        test: Test pictures besides.
        repeats: Trials of every picture.
        voxels: Voxels.
        seed: Of brain, pictures and noise.
        recipe: Constants of the brain.
    """

    stimuli: int = 9000
    test: int = 1000
    repeats: int = 3
    voxels: int = 2000
    seed: int = 0
    recipe: KnownRecipe = KNOWN_RECIPE

    def __post_init__(self) -> None:
        least = {"stimuli": 20, "test": 2, "repeats": 1, "voxels": 2}
        small = [f"--{name} {getattr(self, name)}" for name, limit in least.items() if getattr(self, name) < limit]
        if small or self.repeats > 100:
            raise BadInputError(
                f"known brain: {', '.join(small) or f'--repeats {self.repeats}'} is out of range; it needs at least "
                "20 stimuli, 2 test stimuli, 2 voxels and 1 to 100 repeats"
            )

    def to_json(self) -> dict[str, Any]:
        """Return plain types, the noise constants too: they decide the bytes."""
        return {**dataclasses.asdict(self), "noise_recipe": RECIPE.to_json()}


@dataclass(frozen=True)
class KnownSubject:
    """A subject on disk.

    Attributes:
        folder: Holds nsd_index, betas, preproc and clip_cache.
        brain: Drawn again from the seed.
    """

    folder: Path
    brain: KnownBrain

    @property
    def inputs(self) -> dict[str, str]:
        """Paths as EncoderDataModule takes them."""
        return {
            "index_root": str(self.folder / "nsd_index"),
            "betas": str(self.folder / "betas"),
            "preproc": str(self.folder / "preproc"),
            "clip_cache": str(self.folder / "clip_cache" / "clip.parquet"),
            "subject": SUBJECT,
        }

    def table(self) -> TrialTable:
        """Read the index."""
        return read_index(self.folder / "nsd_index", SUBJECT)

    def store(self) -> BetaStore:
        """Open the beta store; betas times ``brain.voxel_sd`` are voxels in standard deviations of the signal."""
        return BetaStore.open(self.folder / "betas" / SUBJECT)


def write_subject(folder: Path, plan: SubjectPlan) -> KnownSubject:
    """Write a subject, or recognise the same one written before.

    Args:
        folder: Folder of all its artefacts.
        plan: What to write.

    Returns:
        The subject.

    Raises:
        BadInputError: If the folder holds another subject.
    """
    brain = draw_brain(plan.voxels, plan.seed, plan.recipe)
    subject = KnownSubject(folder, brain)
    record = {"simulated": True, "space": SPACE, **json.loads(json.dumps(plan.to_json()))}
    if (folder / RECORD).is_file():
        if read_json(folder / RECORD) != record:
            raise BadInputError(f"{folder} holds a known brain of other sizes or another seed; choose another --out")
        return subject
    rng = np.random.default_rng([plan.seed, 5502])
    n = plan.stimuli + plan.test
    ids = rng.permutation(max(NSD_PICTURES, n))[:n].astype(np.int32)
    is_test = np.arange(n) >= plan.stimuli
    shown = rng.permutation(np.repeat(np.arange(n), plan.repeats))
    latents = brain.draw_latents(n, rng)
    table = _table(ids[shown], is_test[shown], plan.repeats)
    write_index(folder / "nsd_index", SUBJECT, table, inputs={}, config={"source": SPACE, "normalised": True})
    space = EmbeddingSpace(SPACE, "simulated/known-brain", f"seed{plan.seed}", plan.recipe.dim, "simulated", "raw")
    write_cache(folder / "clip_cache" / "clip.parquet", ids, brain.embeddings(latents, rng), space, {"simulated": True})
    betas = _draw_betas(brain, latents[shown], rng)
    store = _write_store(folder, brain, betas, plan)
    config = PreprocessConfig(mask="roi")  # nothing is masked: ceilings use every voxel too
    save_preprocess(folder / "preproc" / SUBJECT, fit_preprocess(store, table, config), config, store)
    write_json(folder / RECORD, record)
    return subject


def _draw_betas(brain: KnownBrain, latents: FloatArray, rng: np.random.Generator) -> NDArray[np.float32]:
    """Draw one trial for each row of latents, in standard deviations of single trials, (n, V)."""
    betas = np.empty((len(latents), brain.n_voxels), dtype=np.float32)
    for start in track(range(0, len(latents), _BLOCK), "simulating betas, blocks of trials"):
        rows = slice(start, start + _BLOCK)
        voxels = brain.signals(latents[rows])
        betas[rows] = (voxels + brain.noise(len(voxels), rng)) / brain.voxel_sd
    return betas


def _table(nsd_id: NDArray[np.int32], is_test: NDArray[np.bool_], repeats: int) -> TrialTable:
    """Lay out the trials in order of presentation."""
    n = len(nsd_id)
    trials = np.arange(n)
    by_picture = np.argsort(nsd_id, kind="stable")  # then by time: the rank of test trials is in this order
    repeat = np.empty(n, dtype=np.int64)
    repeat[by_picture] = trials % repeats
    of_test = by_picture[is_test[by_picture]]
    rank_single, rank_average = np.full(n, -1), np.full(n, -1)
    rank_single[of_test] = np.arange(len(of_test))
    rank_average[of_test] = np.arange(len(of_test)) // repeats
    session = trials // TRIALS_PER_SESSION
    return TrialTable(
        subject=np.full(n, SUBJECT),
        session=(session + 1).astype(np.int16),
        run=np.ones(n, dtype=np.int16),
        trial_in_run=(trials % TRIALS_PER_SESSION + 1).astype(np.int16),
        trial_in_session=(trials % TRIALS_PER_SESSION).astype(np.int16),
        global_trial=trials.astype(np.int32),
        nsd_id=nsd_id,
        coco_id=nsd_id + 100_000,
        coco_split=np.full(n, "train2017"),
        shared1000=is_test,
        repeat=repeat.astype(np.int8),
        n_repeats=np.full(n, repeats, dtype=np.int8),
        beta_path=np.array([f"betas_session{number + 1:02d}.hdf5" for number in session]),
        beta_index=(trials % TRIALS_PER_SESSION).astype(np.int32),
        split=assign_split(nsd_id, is_test),
        trial_id_average=rank_average.astype(np.int32),
        trial_id_single=rank_single.astype(np.int32),
    )


def _write_store(folder: Path, brain: KnownBrain, betas: NDArray[np.float32], plan: SubjectPlan) -> BetaStore:
    """Write betas.npy, voxels.parquet and the manifest."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    index = index_manifest(folder / "nsd_index", SUBJECT)
    store = folder / "betas" / SUBJECT
    store.mkdir(parents=True, exist_ok=True)
    (store / "manifest.json").unlink(missing_ok=True)
    with atomic_path(store / "betas.npy") as temporary, open(temporary, "wb") as handle:
        np.lib.format.write_array(handle, betas, allow_pickle=False)
    ijk = brain.ijk.astype(np.int32)
    columns: dict[str, NDArray[Any]] = {axis: ijk[:, number] for number, axis in enumerate("ijk")}
    true_ncsnr = brain.ncsnr.astype(np.float32)
    columns |= {"ncsnr": true_ncsnr, "ncsnr_published": true_ncsnr, "dropped": np.zeros(brain.n_voxels, dtype=bool)}
    with atomic_path(store / "voxels.parquet") as temporary:
        pq.write_table(pa.table(columns), temporary, write_page_checksum=True)
    config = {
        "source": SPACE,
        "subject": SUBJECT,
        "dtype": "float32",
        "roi": "simulated",
        "unit": "standard deviations of single trials",
        "t0": T0_SKIPPED,
        "n_trials": len(betas),
        "n_voxels": brain.n_voxels,
        "n_dropped": 0,
        "simulated": True,
        "plan": content_hash(json.dumps(plan.to_json(), sort_keys=True)),
    }
    inputs = {"index": index.content_hash, "split": str(index.config["split_hash"])}
    write_manifest(store, Manifest("betas", store_hash(betas, ijk), inputs=inputs, config=config))
    return BetaStore.open(store)

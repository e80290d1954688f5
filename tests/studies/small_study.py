"""A subject of four short sessions in the layout of one's own scans, whose voxels carry embeddings linearly."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from fmri_lightning.embeddings.cache import write_cache
from fmri_lightning.index.folder_stimuli import FolderStimuli
from fmri_lightning.records import EmbeddingSpace

SUBJECT = "ann"
SESSIONS = 4
DIM, VOXELS = 16, 60


@dataclass(frozen=True)
class SmallTree:
    root: Path
    cache: Path
    trials: list[tuple[str, int, str, int, str]]  # stimulus, session, file, row, split

    def words(self, out, *more):
        """A command line of low-data on this tree."""
        return [
            "low-data", "--root", str(self.root), "--source", "arrays", "--subject", SUBJECT,
            "--clip_cache", str(self.cache), "--out", str(out), "--options", "betas:--roi all", "--configs",
            "configs/encoder/ridge.yaml", "--sessions", "1,2,all", *more,
        ]  # fmt: skip

    def rows(self, session, split):
        """Rows of a session's file that hold trials of a split."""
        return np.array([row for _, s, _, row, of in self.trials if s == session and of == split])


def write_tree(folder: Path, seed: int = 0, per_session: int = 50, n_test: int = 40, noise: float = 1.5) -> SmallTree:
    """Each session shows ``per_session`` new pictures twice and most of the test pictures once."""
    rng = np.random.default_rng(seed)
    root = folder / "own"
    (root / "stimuli").mkdir(parents=True)
    (root / SUBJECT).mkdir()
    n = SESSIONS * per_session + n_test
    names = [f"p{i:03d}.png" for i in range(n)]
    for i, name in enumerate(names):
        Image.new("RGB", (8, 8), (i % 256, i // 256, 0)).save(root / "stimuli" / name)
    latents = rng.standard_normal((n, 10))
    embeddings = 3 * rng.standard_normal(DIM) + latents @ rng.standard_normal((10, DIM)) / 3
    tuning = rng.standard_normal((10, VOXELS)) / np.sqrt(10)
    tests, trials = np.arange(n_test), []
    for session in range(1, SESSIONS + 1):
        own = n_test + (session - 1) * per_session + np.arange(per_session)
        shown = rng.permutation(np.r_[np.repeat(own, 2), rng.permutation(tests)[: n_test - 5]])
        signal = latents[shown] @ tuning
        # Sessions differ in scale and offset, as scanners do.
        betas = (signal + noise * rng.standard_normal(signal.shape)) * (1 + session) + 10 * session
        np.save(root / SUBJECT / f"s{session}.npy", betas)
        for row, picture in enumerate(shown.tolist()):
            split = "test" if picture < n_test else "val" if picture % 5 == 0 else "train"
            trials.append((names[picture], session, f"s{session}.npy", row, split))
    lines = ["\t".join(map(str, trial)) for trial in trials]
    text = "stimulus\tsession\tbetas\trow\tsplit\n" + "\n".join(lines) + "\n"
    (root / SUBJECT / "trials.tsv").write_text(text)
    ids = FolderStimuli(root / "stimuli").id_of_name
    space = EmbeddingSpace("small", "small/linear", "", DIM, "projection", "raw")
    write_cache(folder / "clip.parquet", np.array([ids[name] for name in names]), embeddings.astype(np.float32), space)
    return SmallTree(root, folder / "clip.parquet", trials)

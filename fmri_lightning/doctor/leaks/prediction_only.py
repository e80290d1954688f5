"""What can be checked of a run whose index nothing was fitted on: that it draws by the parts of one training alone.

The statistics of encoder, adapter and preprocessing come from the training index, which this run does not name. They
are checked by a run of that index; here every part must say that it is of that training.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from fmri_lightning.adapter.load import load_adapter
from fmri_lightning.betas.artefact import read_preprocess
from fmri_lightning.betas.leaks import T0_TOLERANCE, check_split
from fmri_lightning.betas.like import LIKE, require_like
from fmri_lightning.betas.store import BetaStore
from fmri_lightning.doctor.leaks.caches import check_cache
from fmri_lightning.doctor.leaks.fingerprint import check_fingerprint
from fmri_lightning.doctor.leaks.gallery import check_results
from fmri_lightning.doctor.leaks.parts import NEXT, RunParts
from fmri_lightning.encoder.load import load_encoder
from fmri_lightning.encoder.stored import require_inputs
from fmri_lightning.errors import BadInputError
from fmri_lightning.index.prediction_only import in_words
from fmri_lightning.manifest import read_manifest

FITTED = ("preproc", "encoder", "low_level", "adapter", "calibration", "reliability", "lora")
"""Parts whose numbers can be computed again from training trials and stimuli alone."""


def check_prediction_only(parts: RunParts) -> Iterator[str]:
    """Check a run whose index is prediction only.

    Args:
        parts: The run.

    Yields:
        One line per check that passed, and one that says what is not there to check.

    Raises:
        BadInputError: At the first leak or mismatch.
    """
    assert parts.index is not None
    assert parts.table is not None
    yield in_words(parts.index)
    foreign = np.flatnonzero(parts.table.split != "test")
    if len(foreign):
        raise BadInputError(
            f"split: {len(foreign)} trials of a prediction-only index are {parts.table.split[foreign[0]]}, all must be "
            "test; build the index again: fmri-lightning index --overwrite"
        )
    yield check_split(parts.table, parts.index)
    split = None
    if parts.used("betas"):
        yield from _check_store(parts)
        split = read_manifest(parts.folder_of("preproc"), "preproc").inputs["split"]
    for name, cache in parts.caches.items():
        yield check_cache(name, cache, parts)
    yield from _check_weights(parts, split)
    yield from check_results(parts)
    yield check_fingerprint(parts)
    fitted = ", ".join(name for name in FITTED if parts.used(name))
    yield (
        f"not there to check: the training trials and stimuli, from which the statistics of {fitted or 'nothing'} "
        "come; run doctor --leaks on a run of the training index"
    )


def _check_store(parts: RunParts) -> Iterator[str]:
    """Check that the voxels are the training store's, and that T0 is that of the trials themselves."""
    assert parts.table is not None
    store = BetaStore.open(parts.folder_of("betas"), verify=True)
    _, preproc = read_preprocess(parts.folder_of("preproc"))
    require_like(store, preproc)
    trained = Path(store.manifest.config[LIKE]["folder"])
    if (trained / "manifest.json").is_file():
        theirs = BetaStore.open(trained)
        if theirs.manifest.content_hash != store.manifest.config[LIKE]["betas"]:
            yield f"betas: {trained} holds another store by now; the voxels are as they were recorded"
        elif not np.array_equal(theirs.ijk, store.ijk):
            raise BadInputError(f"betas: the voxels of {store.folder} are not those of {trained}; {NEXT}")
        else:
            yield f"betas: the {len(store.ijk)} voxels are those of {trained}, in its order"
    else:
        yield f"betas: the training store is no longer at {trained}; the voxels are as they were recorded"
    z = store.betas[:].astype(np.float64)[:, ~store.dropped]
    off = float(np.abs(z.mean(axis=0)).max())
    if off > T0_TOLERANCE[str(store.betas.dtype)]:
        raise BadInputError(
            f"T0: the mean of the session is off by {off:.2g}; it is not that of its own trials; {NEXT}"
        )
    yield f"T0: from the same {len(z)} trials it is applied to, and stamped transductive"


def _check_weights(parts: RunParts, split: str | None) -> Iterator[str]:
    trained = {} if split is None else {"split": split}
    if parts.used("encoder"):
        path = parts.checkpoint_path("encoder")
        encoder = load_encoder(path)  # verifies the content hash
        preproc = read_manifest(parts.folder_of("preproc"), "preproc").content_hash
        require_inputs(encoder.inputs, {"preproc": preproc, **trained}, f"encoder {path}")
        yield f"encoder {path}: weights as hashed, fitted on the training store's preprocessing and split"
    if parts.used("adapter"):
        path = parts.checkpoint_path("adapter")
        adapter = load_adapter(path)
        require_inputs(adapter.inputs, trained, f"adapter {path}")
        yield f"adapter {path}: weights as hashed, fitted on the same split"

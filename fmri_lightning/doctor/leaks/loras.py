"""LoRA of the decoder: of this run, and trained on training stimuli and never on others."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fmri_lightning.doctor.leaks.parts import NEXT, RunParts
from fmri_lightning.encoder.stored import require_inputs
from fmri_lightning.errors import BadInputError
from fmri_lightning.generation.lora import AGAIN, read_lora


def check_lora(parts: RunParts) -> str:
    """Check the LoRA of a run.

    Args:
        parts: The run, whose fingerprint names a LoRA.

    Returns:
        A line for the report.

    Raises:
        BadInputError: It is damaged, another one, was trained on other stimuli than the training split's, or from
            another split or cache.
    """
    named = (parts.model.get("decoder") or {}).get("lora")
    if named is None:
        raise BadInputError(f"{parts.folder / 'predict.yaml'} names no LoRA, its fingerprint does; {NEXT}")
    found = read_lora(Path(named))
    what = f"LoRA {named}"
    recorded = parts.manifest.inputs["lora"]
    if found.manifest.content_hash != recorded:
        raise BadInputError(
            f"{what} is not the one this run was drawn with ({found.manifest.content_hash[:12]}, expected "
            f"{recorded[:12]}); {NEXT}"
        )
    if parts.table is None:
        return f"{what}: numbers as hashed; without an index its {len(found.nsd_ids)} stimuli are not there to check"
    foreign = np.setdiff1d(found.nsd_ids, parts.train_ids)
    if len(foreign):
        raise BadInputError(f"{what} was trained on {parts.name_stimuli(foreign)}; {AGAIN}")
    at_hand = {"target_cache": parts.caches["target_cache"].content_hash} if "target_cache" in parts.caches else {}
    if parts.index is not None:
        at_hand["split"] = str(parts.index.config.get("split_hash"))
    recorded_inputs = found.manifest.inputs
    require_inputs(recorded_inputs, {k: v for k, v in at_hand.items() if k in recorded_inputs}, what)
    return f"{what}: trained on {len(found.nsd_ids)} of the {len(parts.train_ids)} training stimuli, and on no other"

"""What a run of fit or predict is called, read off its module: no stage is imported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fmri_lightning.tracking.runs import RunLabels


def labels_of(module: Any, data: Any, command: str, folder: Path) -> RunLabels:
    """Name a run after its part and subject.

    Args:
        module: LightningModule of any stage.
        data: Its data module, or None.
        command: fit, validate or predict.
        folder: Where its results go.

    Returns:
        Name, job type, group and tags.
    """
    subject = getattr(data, "subject", None)
    part = getattr(module, "kind", "") or type(module).__name__.removesuffix("Module").lower()
    tags = [getattr(module, "name", ""), getattr(module, "condition", "")]
    tags.append(getattr(getattr(module, "decoder_config", None), "family", ""))
    tags.append("simulated" if provenance_of(module, data)["simulated"] else "")
    job = "predict" if command == "predict" else f"{command}-{part}"
    return RunLabels(_name(module, folder, subject), job, subject, tuple(tag for tag in tags if tag))


def _name(module: Any, folder: Path, subject: str | None) -> str:
    if hasattr(module, "checkpoint_path"):
        return str(module.checkpoint_path().parent.relative_to(module.root).as_posix())
    if subject is None:
        return folder.resolve().name
    parts = folder.resolve().parts
    return "/".join(parts[parts.index(subject) :] if subject in parts else (folder.resolve().name, subject))


def provenance_of(module: Any, data: Any) -> dict[str, Any]:
    """Read what a run was made from.

    Args:
        module: LightningModule of any stage.
        data: Its data module, or None.

    Returns:
        ``inputs``, the content hash of each, and ``simulated``.
    """
    known: dict[str, Any] = getattr(module, "provenance", None) or {
        "inputs": dict(getattr(data, "inputs", None) or {}),
        "simulated": bool(getattr(data, "simulated", False)),
    }
    return known

"""Where files came from: artifacts by reference, whose hashes and inputs are our own.

W&B's ``use_artifact`` needs a server. Each artifact therefore carries its content hash and those of its inputs; the
chain from pictures back to the index is read by following them, online and offline alike.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import WandbLogger

from fmri_lightning.manifest import file_fingerprint, read_json

PROVENANCE = "provenance.json"


def log_reference(run: Any, name: str, kind: str, paths: list[Path], content_hash: str, inputs: dict[str, str]) -> None:
    """Log files as an artifact that points at them: nothing is copied, sent or read.

    Args:
        run: The run of wandb.
        name: For instance "ridge-subj01"; characters that W&B refuses become "-".
        kind: index, clip_cache, encoder, adapter, generator, reconstructions, evaluation.
        paths: Files and folders; those that do not exist are left out.
        content_hash: Of the contents, from manifest or checkpoint.
        inputs: Content hash of everything it was made from.
    """
    import wandb

    about = {"content_hash": content_hash, "inputs": inputs}
    safe = "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in name)
    artifact = wandb.Artifact(safe, kind, metadata=about)
    for path in paths:
        if path.exists():
            # Hashing is left out: it would read gigabytes, and the contents are hashed already.
            artifact.add_reference(path.resolve().as_uri(), name=path.name, checksum=False)
    # A reference without a hash looks the same whatever the file holds; this makes other contents another version.
    with artifact.new_file(PROVENANCE, mode="w") as file:
        json.dump(about, file, sort_keys=True)
    run.log_artifact(artifact)


def log_outputs(loggers: list[Any], module: Any, checkpoint: str | None, name: str) -> None:
    """Log what a run of fit or predict leaves behind.

    Args:
        loggers: The trainer's; W&B's are used.
        module: LightningModule of any stage.
        checkpoint: The checkpoint that a fit kept, or None.
        name: Name of the run.
    """
    runs = [logger.experiment for logger in loggers if isinstance(logger, WandbLogger)]
    if not runs:
        return
    if checkpoint:
        path = Path(checkpoint)
        if not path.is_file():
            return
        about = _description(path)
        kind = about.get("kind") or type(module).__name__.removesuffix("Module").lower()
        found = about.get("content_hash") or file_fingerprint(path)["head_tail_sha256"]
        for run in runs:
            log_reference(run, name, kind, [path], found, dict(about.get("inputs", {})))
        return
    folder = getattr(module, "run_folder", None)
    if folder is None or not (folder / "manifest.json").is_file():
        return
    manifest = read_json(folder / "manifest.json")
    paths = [folder / part for part in ("images", "samples", "predictions.parquet", "decode_summary.json")]
    for run in runs:
        log_reference(run, name, manifest["kind"], paths, manifest["content_hash"], manifest["inputs"])


def _description(path: Path) -> dict[str, Any]:
    import torch

    # Mapped, so that weights stay on the disk.
    checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    found: dict[str, Any] = checkpoint.get("fmri_lightning", {})
    return found

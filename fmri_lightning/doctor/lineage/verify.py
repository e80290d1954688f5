"""Whether the bytes of an artefact are still those that were hashed when it was made."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

from fmri_lightning.doctor.disks import size_text
from fmri_lightning.doctor.lineage.artefact import Artefact, read_artefact
from fmri_lightning.errors import BadInputError
from fmri_lightning.manifest import content_hash, file_sha256

SMALL_BYTES = 64 * 2**20
"""Payloads up to this size are hashed without being asked."""


def check_bytes(artefact: Artefact, verify: bool) -> str:
    """Hash an artefact's payload again, where it is small or that was asked for.

    Args:
        artefact: The artefact.
        verify: Hash large ones too.

    Returns:
        What was found, in words.

    Raises:
        BadInputError: The payload is damaged, missing, or not what was hashed.
    """
    check = CHECKS.get(artefact.kind)
    if check is None:
        return "there is nothing to compare"
    payload = _payload(artefact)
    n_bytes = sum(path.stat().st_size for path in payload)
    if not verify and n_bytes > SMALL_BYTES:
        return f"not hashed again ({size_text(n_bytes)}; add --verify true)"
    return check(artefact)


def _payload(artefact: Artefact) -> list[Path]:
    path = artefact.path
    if path.is_file():
        return [path]
    if artefact.kind == "reconstructions":
        return sorted((path / "images").glob("*.png")) + sorted((path / "samples").glob("*.png"))
    return [one for one in path.rglob("*") if one.is_file() and one.suffix in (".npy", ".parquet", ".safetensors")]


def _index(artefact: Artefact) -> str:
    from fmri_lightning.index.table import read_index

    read_index(artefact.path.parent, artefact.path.name.removeprefix("subject="))
    return "matches index.parquet"


def _annotations(artefact: Artefact) -> str:
    from fmri_lightning.index.annotation_table import read_annotations

    folder = artefact.path.absolute().parent
    read_annotations(folder.parent, folder.name.removeprefix("subject="))
    return "matches annotations.parquet and the index beside it"


def _betas(artefact: Artefact) -> str:
    from fmri_lightning.betas.store import BetaStore

    BetaStore.open(artefact.path, verify=True)
    return "matches betas.npy and the voxels"


def _preproc(artefact: Artefact) -> str:
    from fmri_lightning.betas.artefact import read_preprocess

    read_preprocess(artefact.path)
    return "matches preproc.safetensors"


def _cache(artefact: Artefact) -> str:
    from fmri_lightning.doctor.leaks.caches import read_payload

    ids, vectors = read_payload(artefact.path)
    return _compare(artefact, content_hash(ids, vectors), f"the {len(ids)} rows")


def _out_of_fold(artefact: Artefact) -> str:
    for part in sorted(artefact.path.glob("*of*.parquet")):
        _cache(read_artefact(part))
    return "its parts match their own hashes"


def _checkpoint(artefact: Artefact) -> str:
    from fmri_lightning.doctor.lineage.checkpoint_file import open_mapped
    from fmri_lightning.encoder.stored import describe_state, part_of_state

    checkpoint = open_mapped(artefact.path)
    described = describe_state(checkpoint["fmri_lightning"], part_of_state(checkpoint, "predictor"))
    return _compare(artefact, described["content_hash"], "weights and description")


def _calibration(artefact: Artefact) -> str:
    from fmri_lightning.adapter.calibration import load_calibration

    load_calibration(artefact.path, artefact.inputs)
    return "matches its tensors"


def _reliability(artefact: Artefact) -> str:
    from fmri_lightning.adapter.reliability.artefact import load_reliability

    load_reliability(artefact.path, artefact.inputs, None)
    return "matches its tensors"


def _lora(artefact: Artefact) -> str:
    from fmri_lightning.generation.lora import read_lora

    read_lora(artefact.path)
    return "matches its weights and the stimuli it was trained on"


def _run(artefact: Artefact) -> str:
    from fmri_lightning.generation.shards import is_whole, read_records

    made = content_hash(json.dumps([artefact.config, artefact.inputs], sort_keys=True))
    _compare(artefact, made, "settings and inputs")
    # The last line of a picture holds: a run that was resumed may have drawn it again.
    records = {record.unit: record for record in read_records(artefact.path) if record.image}
    broken = [record.image for record in records.values() if not is_whole(artefact.path, record)]
    if broken:
        raise BadInputError(
            f"{len(broken)} of {len(records)} pictures of {artefact.path} are not as recorded, first {broken[0]}; "
            "the same predict command draws them again"
        )
    return f"matches settings and inputs; {len(records)} pictures are as recorded"


def _scores(name: str) -> Callable[[Artefact], str]:
    def check(artefact: Artefact) -> str:
        import numpy as np

        from fmri_lightning.betas.store import read_parquet

        table = read_parquet(artefact.path / name)
        columns = []
        for column in table.columns:
            values = column.to_numpy()
            columns.append(np.asarray(values.tolist()) if values.dtype.hasobject else values)
        return _compare(artefact, content_hash(*columns), name)

    return check


def _generator(artefact: Artefact) -> str:
    try:
        card = (artefact.path / "README.md").read_text(encoding="utf-8")
    except OSError:
        return "no model card with hashes; the hash shown is that of the files as they are"
    listed = re.findall(r"^- `([^`]+)` sha256 ([0-9a-f]{64})$", card, flags=re.MULTILINE)
    if not listed:
        return "its model card lists no hashes; the hash shown is that of the files as they are"
    wrong = [name for name, digest in listed if file_sha256(artefact.path / name) != digest]
    if wrong:
        raise BadInputError(f"{artefact.path / wrong[0]} is not the file that its model card lists; fetch or fit again")
    return f"{len(listed)} weight files match the model card"


def _compare(artefact: Artefact, found: str, what: str) -> str:
    if found != artefact.content_hash:
        raise BadInputError(
            f"{artefact.path} is not what was hashed: {what} give {found[:12]}, recorded is "
            f"{artefact.content_hash[:12]}; make it again"
        )
    return f"matches {what}"


CHECKS: dict[str, Callable[[Artefact], str]] = {
    "index": _index,
    "annotations": _annotations,
    "betas": _betas,
    "preproc": _preproc,
    "clip_cache": _cache,
    "out_of_fold": _out_of_fold,
    "encoder": _checkpoint,
    "adapter": _checkpoint,
    "calibration": _calibration,
    "reliability": _reliability,
    "lora": _lora,
    "reconstructions": _run,
    "evaluation": _scores("scores.parquet"),
    "ratings": _scores("ratings.parquet"),
    "generator": _generator,
    "image encoder": _generator,
}

"""What makes a run this run: a folder of another one is refused with the fields that differ."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fmri_lightning.errors import BadInputError
from fmri_lightning.manifest import Manifest, content_hash, read_manifest, write_manifest

KIND = "reconstructions"
# Bits of a picture do not depend on these: more items, other devices and other shares continue a run.
NAMES_OF_PAYLOAD = ("predictions.parquet", "images", "samples", "low_level", "decode_summary.json")


def claim_folder(folder: Path, settings: dict[str, Any], hashes: dict[str, str]) -> None:
    """Take a run folder: an empty one is marked, one of the same run is continued, any other is refused.

    Args:
        folder: The run folder.
        settings: Everything that decides the bytes of a picture, plain types.
        hashes: Content hash per input.

    Raises:
        BadInputError: The folder holds another run, or pictures of unknown origin.
    """
    settings = json.loads(json.dumps(settings))
    mine = Manifest(KIND, content_hash(json.dumps([settings, hashes], sort_keys=True)), inputs=hashes, config=settings)
    if (folder / "manifest.json").is_file():
        theirs = read_manifest(folder, KIND)
        differing = differences({**theirs.config, **theirs.inputs}, {**settings, **hashes})
        if differing:
            raise BadInputError(
                f"{folder} holds another run ({'; '.join(differing)}); choose another --output_dir or remove it"
            )
        return
    present = [name for name in NAMES_OF_PAYLOAD if (folder / name).exists()]
    if present:
        raise BadInputError(f"{folder} holds {', '.join(present)} of unknown origin; choose another --output_dir")
    write_manifest(folder, mine)


def differences(there: dict[str, Any], here: dict[str, Any]) -> list[str]:
    """List the fields in which two runs differ, in words.

    Args:
        there: Fields of the run in the folder.
        here: Fields of the run asked for.

    Returns:
        One "name: value there, value here" per differing field.

    Example:
        >>> differences({"seed": 1, "steps": 4}, {"seed": 2, "steps": 4})
        ['seed: 1 there, 2 asked for']
    """

    def shown(value: Any) -> str:
        text = str(value)
        return text if len(text) <= 24 else f"{text[:12]}…"

    names = sorted({*there, *here})
    return [
        f"{name}: {shown(there.get(name))} there, {shown(here.get(name))} asked for"
        for name in names
        if there.get(name) != here.get(name)
    ]

"""``doctor --show``: what an artefact is, whether it is whole, its settings, and what it was made from."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fmri_lightning.doctor.lineage.artefact import Artefact, read_artefact
from fmri_lightning.doctor.lineage.tree import Lineage
from fmri_lightning.doctor.lineage.verify import check_bytes
from fmri_lightning.errors import BadInputError

WIDTH = 100
HEADING = 10
LONGEST = 100
"""Characters of one setting that are shown."""


def show_lines(path: Path, verify: bool = False) -> Iterator[str]:
    """Describe an artefact.

    Args:
        path: Its folder or one of its files.
        verify: Hash large payloads too, and raw files by their first and last MiB.

    Yields:
        Lines.

    Raises:
        BadInputError: No artefact there, its record is damaged, or, after all lines, its bytes are not those hashed.
    """
    artefact = read_artefact(path)
    yield f"{artefact.kind}  {artefact.path}"
    yield from _wrapped("made", _made(artefact))
    damage = None
    try:
        state = check_bytes(artefact, verify)
    except (BadInputError, OSError) as error:
        damage, state = error, f"DOES NOT MATCH: {error}"
    yield from _wrapped("content", f"{artefact.content_hash or 'no hash of the whole'}; {state}")
    yield from _wrapped("settings", ", ".join(f"{key} {value}" for key, value in settings(artefact.config)) or "none")
    tree = list(Lineage(verify).lines(artefact))
    yield f"{'inputs':<{HEADING}}{'' if tree else 'none recorded'}".rstrip()
    yield from (f"  {line}" for line in tree)
    if damage is not None:
        raise BadInputError(str(damage)) from damage


def settings(config: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Write settings short.

    Args:
        config: Plain types.

    Yields:
        Name and value; hashes by their first 12 digits, long values cut.
    """
    for key, value in config.items():
        if isinstance(value, dict) and len(json.dumps(value, default=str)) > LONGEST:
            yield from ((f"{key}.{name}", inner) for name, inner in settings(value))
            continue
        text = value if isinstance(value, str) else json.dumps(value, default=str)
        if len(text) == 64 and all(digit in "0123456789abcdef" for digit in text):
            text = text[:12]
        yield key, text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _made(artefact: Artefact) -> str:
    versions = [f"{name} {version}" for name, version in artefact.versions.items()]
    with_what = f", with {', '.join(versions)}" if versions else ""
    return f"{artefact.created or 'no time recorded'}{with_what}"


def _wrapped(heading: str, text: str) -> Iterator[str]:
    yield from textwrap.wrap(
        text, WIDTH, initial_indent=f"{heading:<{HEADING}}", subsequent_indent=" " * HEADING,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip

"""Paths as they may stand on a page that is passed on: folders near the root name people and machines."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

KEPT_PARTS = 4
NAMED_BELOW_ROOT = 2
"""Folders below the root that are never shown: a user's home, a laboratory's disk."""

HOMES = ("home", "users", "people")
"""Folders whose entries are names of people."""

_STOP = r"\s\"'`,;:()<>\[\]{}|"
_ABSOLUTE = re.compile(rf"(?<![\w.…~/-])~?/[^{_STOP}]*[^{_STOP}.]")
_NESTED = re.compile(rf"(?<![\w.…~/-])[^{_STOP}/…]+(?:/[^{_STOP}/]+){{2,}}")
_YAML_LINE = re.compile(r"^(\s*(?:- )*)(?:([\w.-]+):\s+)?(['\"]?)([^'\"]*/[^'\"]*)\3$")
_NAMES_WITH_A_SLASH = ("model_id", "name")


def short_path(path: str, share: bool = False) -> str:
    """Shorten a path.

    Args:
        path: Absolute or relative.
        share: Keep the last part only.

    Returns:
        A relative path as it is; of an absolute one the last four parts at most, and never the two folders next to
        the root or an entry of a folder of homes.
    """
    parts = [part for part in PurePosixPath(path).parts if part not in ("/", "~", ".", "..")]
    if not parts:
        return path if path == "." else "…"
    if share:
        return parts[-1]
    if not path.startswith(("/", "~")):
        return path
    homes = [i + 2 for i, part in enumerate(parts) if part.lower() in HOMES]
    kept = parts[max([NAMED_BELOW_ROOT, *homes]) :][-KEPT_PARTS:] or parts[-1:]
    return "/".join(("…", *kept))


def shorten_paths(text: str, share: bool = False) -> str:
    """Shorten every absolute path in a sentence; with share, relative ones of three parts and more too."""
    found = _ABSOLUTE.sub(lambda match: short_path(match[0], share), text)
    return _NESTED.sub(lambda match: short_path(match[0], share), found) if share else found


def shorten_in_yaml(text: str, share: bool = False) -> str:
    """Shorten every path in a configuration.

    Args:
        text: YAML in block style, a scalar a line.
        share: Keep the last part only, of relative paths too; identifiers of models keep their owner.

    Returns:
        The same lines.
    """
    return "\n".join(_shorten_line(line, share) for line in text.splitlines())


def _shorten_line(line: str, share: bool) -> str:
    match = _YAML_LINE.match(line)
    if match is None:
        return shorten_paths(line, share)
    indent, key, quote, value = match.groups()
    named = f"{key}: " if key else ""
    is_model = (key or "").endswith(_NAMES_WITH_A_SLASH) and not value.startswith(("/", "~", "."))
    return f"{indent}{named}{quote}{value if is_model else short_path(value, share)}{quote}"

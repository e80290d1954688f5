"""Usage errors in one line with the closest match, instead of a wall of usage."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Any, NoReturn

from fmri_lightning.errors import UsageError


def closest(word: str, known: Iterable[str]) -> str:
    """Propose the known word that a mistyped one resembles most.

    Args:
        word: What was typed.
        known: What would have been accepted.

    Returns:
        A clause to append to a message, or "" when nothing is near.

    Example:
        >>> closest("--subjct", ["--subject", "--root"])
        '; did you mean --subject?'
        >>> closest("--colour", ["--root"])
        ''
    """
    found = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean {found[0]}?" if found else ""


def one_line(message: str, options: Iterable[str], class_names: Iterable[str] = ()) -> str:
    """Say in one line what jsonargparse says in many.

    Args:
        message: Text that a parser hands to ``error``.
        options: Option strings of that parser, for instance "--subject".
        class_names: Bare names that ``--model`` and ``--data`` accept.

    Returns:
        One line without trailing punctuation.

    Example:
        >>> one_line("unrecognized arguments: --subjct subj01", ["--subject"])
        'unknown option --subjct; did you mean --subject?'
    """
    options = [option for option in options if option.startswith("--")]
    keys = [option.removeprefix("--") for option in options]
    # The innermost cause comes last: a class inside a class names its own key.
    nested = re.split(r"Problem with given class_path '([^']+)':\n", message)
    if len(nested) > 1:
        inner = re.split(r"\n\s*Given value( type)?:", nested[-1])[0]
        return f"{nested[-2].rsplit('.', 1)[-1]}: {one_line(_dedent(inner), (), class_names)}"
    if found := re.match(r"unrecognized arguments: (\S+)", message):
        token = found[1].split("=", 1)[0]
        if not token.startswith("-"):
            return f"unexpected argument {token!r}"
        return f"unknown option {token}{closest(token, options)}"
    if found := re.search(r"[Oo]ption '([^']+)'( is not accepted|$)", message.strip()):
        return f"unknown configuration key {found[1]!r}{closest(found[1], keys)}"
    if found := re.match(r"the following arguments are required: (.+)", message):
        missing = re.sub(r"\b(fit|validate|predict)\.", "", found[1]).split(", ")
        return f"missing {' and '.join('--' + key for key in missing)}; give it as a flag or in a --config file"
    if found := re.match(r"argument (\S+): expected (one|at least one) argument", message):
        return f"{found[1]} needs a value"
    if found := re.search(r"Expected a dot import path string: (\S+)", message):
        return f"unknown class {found[1]!r}{closest(found[1], class_names)}"
    return _wrong_value(message) or " ".join(message.split())[:400]


def _dedent(text: str) -> str:
    return "\n".join(line.strip() for line in text.strip().splitlines())


def _wrong_value(message: str) -> str | None:
    """Shorten jsonargparse's report of a value of the wrong type."""
    key = re.match(r'Parser key "([^"]+)":', message)
    expected = re.findall(r"Expected an? (.+?)(?:\. Got value: (.*))?$", message, flags=re.MULTILINE)
    given = re.search(r"Given value: (.*)", message)
    if key is None or not expected:
        return None
    value = given[1] if given else expected[-1][1]
    kinds = [re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", kind) for kind, _ in expected]
    kinds = [re.sub(r"typing\.Literal\[(.*)\]", r"one of \1", kind).replace("NoneType", "null") for kind in kinds]
    choices = re.findall(r"'([^']+)'", " ".join(kinds))
    return f"--{key[1]} expects {' or '.join(kinds)}, got {value!r}{closest(value, choices)}"


class OneLineErrors:
    """Mixin for jsonargparse parsers: errors become a one-line :class:`UsageError`.

    Parsers that jsonargparse builds inside for a class's arguments are of the same type; they report to
    the outer one, and know best which key was meant.
    """

    class_names: tuple[str, ...] = ()

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise instead of printing usage and exiting."""
        parser: Any = getattr(ex, "subcommand_parser", None) or self
        line = one_line(message, parser._option_string_actions, self.class_names)
        if not parser.exit_on_error:
            super().error(line, ex)  # type: ignore[misc]
        raise UsageError(line) from None

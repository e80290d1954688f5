"""The guide of errors quotes texts that the code prints, and most of what the code prints can be found in it."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "fmri_lightning"
GUIDE = ROOT / "configs" / "troubleshooting" / "README.md"
OTHERS = "## Texts of other programs"
EXIT_CODES = "| exit code |"
ERRORS = {"UsageError", "BadInputError", "ResourceError", "InterruptedRunError"}
NAME = "…"
"""Stands for whatever a message fills in."""
MAY_BE_ABSENT = 0.05


def text_of(node: ast.expr) -> str:
    """A message as the guide quotes it: names and numbers are an ellipsis."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(part) for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return text_of(node.left) + text_of(node.right)
    return NAME


@cache
def trees() -> tuple[tuple[str, ast.Module], ...]:
    paths = [path for path in sorted(PACKAGE.rglob("*.py")) if "_data" not in path.parts]
    return tuple((path.relative_to(PACKAGE).as_posix(), ast.parse(path.read_text())) for path in paths)


@cache
def texts() -> str:
    """Every string of the package, one a line."""
    found = [
        text_of(node)
        for _, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant | ast.JoinedStr | ast.BinOp)
    ]
    return "\n".join(" ".join(text.split()) for text in found)


def messages() -> dict[str, str]:
    """Where an error with a text of its own is raised, and that text."""
    found = {}
    for name, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and getattr(node.func, "id", None) in ERRORS and node.args:
                text = " ".join(text_of(node.args[0]).split())
                if re.search(r"[a-z]{2}", text):
                    found[f"{name}:{node.lineno}"] = text
    return found


def quoted(part: str) -> list[str]:
    """Code in the first column of the tables."""
    rows = [line for line in part.splitlines() if line.startswith("| `")]
    return [quote for row in rows for quote in re.findall(r"`([^`]+)`", row.split(" | ")[0])]


def pattern(quote: str) -> re.Pattern[str]:
    """An ellipsis stands for anything within a line; at the ends it says nothing."""
    return re.compile(".*?".join(re.escape(part) for part in quote.strip(f"{NAME} ").split(NAME)))


def ours() -> list[str]:
    return quoted(GUIDE.read_text().split(OTHERS)[0])


def test_every_quoted_text_is_printed_by_the_code():
    assert len(ours()) > 200
    assert [quote for quote in ours() if not pattern(quote).search(texts())] == []


def test_a_text_that_no_code_prints_is_seen():
    assert not pattern("the betas need … bananas").search(texts())
    assert pattern("the betas need … GB more").search(texts())


def test_texts_of_other_programs_stand_apart():
    own, others = GUIDE.read_text().split(OTHERS)
    assert len(quoted(others)) > 15
    assert set(quoted(others)).isdisjoint(quoted(own))


def test_what_the_code_raises_can_be_found():
    patterns = [pattern(quote) for quote in ours()]
    found = messages()
    assert len(found) > 300
    absent = {place: text for place, text in found.items() if not any(p.search(text) for p in patterns)}
    assert len(absent) <= MAY_BE_ABSENT * len(found), "\n".join(f"{place} {text}" for place, text in absent.items())

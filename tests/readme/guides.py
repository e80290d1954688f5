"""The guides: their fenced blocks, the steps that are executed, and what a guide needs before it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "fmri_lightning"
GUIDE_FOLDERS = ("fmri_lightning", "configs", "tests", "checkpoints")
RUNNABLE = ("bash run", "python run")
_FENCE = re.compile(r"^```(?P<info>[^`\n]*)\n(?P<text>.*?)^```\s*?$", flags=re.MULTILINE | re.DOTALL)
_NEEDS = re.compile(r"<!-- needs: (.*?) -->", flags=re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block: what stands behind its fence, its text, and the line of the text's begin."""

    info: str
    text: str
    line: int


@dataclass(frozen=True)
class Step:
    """A command, or a block of Python; two steps that do the same are one, whatever guide they stand in."""

    words: tuple[str, ...] = ()
    code: str = ""
    place: str = field(default="", compare=False)


def find_guides(root: Path = ROOT) -> list[Path]:
    """Every README of the repository; of outputs/ only its own, the rest is what runs wrote."""
    found = [path for path in (root / "README.md", root / "outputs" / "README.md") if path.is_file()]
    for folder in GUIDE_FOLDERS:
        found += [path for path in (root / folder).rglob("README.md") if "_data" not in path.parts]
    return sorted(found)


def name_of(guide: Path) -> str:
    return guide.relative_to(ROOT).as_posix()


def blocks_of(text: str) -> list[Block]:
    return [
        Block(match["info"].strip(), match["text"], text.count("\n", 0, match.start("text")) + 1)
        for match in _FENCE.finditer(text)
    ]


def command_lines(block: Block) -> Iterator[list[str]]:
    """Words of every fmri-lightning line of a block, without the program's name."""
    for line in block.text.replace("\\\n", " ").splitlines():
        if line.strip().startswith("fmri-lightning "):
            yield shlex.split(line, comments=True)[1:]


def steps_of(text: str, name: str = "") -> list[Step]:
    """What is executed of a guide: each command of its ``bash run`` blocks, each of its ``python run`` blocks."""
    steps = []
    for block in blocks_of(text):
        place = f"{name}:{block.line}"
        if block.info == "python run":
            steps.append(Step(code=block.text, place=place))
        elif block.info == "bash run":
            lines = [line for line in block.text.replace("\\\n", " ").splitlines() if shlex.split(line, comments=True)]
            strange = [line for line in lines if not line.strip().startswith("fmri-lightning ")]
            if strange:
                raise ValueError(f"{place}: only fmri-lightning commands are executed, not {strange[0]!r}")
            steps += [Step(words=tuple(words), place=place) for words in command_lines(block)]
    return steps


def needed_by(guide: Path, above: tuple[Path, ...] = ()) -> list[Step]:
    """What a guide says comes before it, in order, each step once.

    ``<!-- needs: README.md#1-4,7 fmri_lightning/encoder/README.md -->`` means steps 1 to 4 and 7 of the first, and all
    of the second, each behind what it needs itself.
    """
    if guide in above:
        raise ValueError(f"{name_of(guide)} needs itself")
    found: list[Step] = []
    match = _NEEDS.search(guide.read_text(encoding="utf-8"))
    for word in match[1].split() if match else ():
        name, _, numbers = word.partition("#")
        other = ROOT / name
        steps = steps_of(other.read_text(encoding="utf-8"), name)
        chosen = [steps[number - 1] for number in _numbers(numbers)] if numbers else steps
        found += needed_by(other, (*above, guide)) + chosen
    return list(dict.fromkeys(found))


def whole_run(guide: Path) -> tuple[Step, ...]:
    """All that is executed for a guide: what it needs, then its own steps."""
    own = steps_of(guide.read_text(encoding="utf-8"), name_of(guide))
    return (*needed_by(guide), *own) if own else ()


def _numbers(text: str) -> Iterator[int]:
    """Read "1-4,7"."""
    for part in text.split(","):
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)


GUIDES = find_guides()

"""The screen of ``doctor``: sections side by side with their headings; a broken part tells so and stops no other."""

from __future__ import annotations

import platform
import textwrap
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from fmri_lightning import __version__
from fmri_lightning.doctor import caches, disks, machine, tracking
from fmri_lightning.doctor.libraries import EXTRAS, libraries, required_libraries

WIDTH = 100
HEADING = 11
MINI_MODELS = ("source_encoder", "target_encoder", "generator")


@dataclass
class Screen:
    """Lines that are printed as they are found.

    Attributes:
        unusable: Required libraries that are missing or cannot be imported.
    """

    unusable: list[str] = field(default_factory=list)

    def section(self, heading: str, lines: Callable[[], Iterable[str]]) -> None:
        """Print a section.

        Args:
            heading: At most ten characters.
            lines: Finds its lines; what it raises becomes the last of them.
        """
        found: list[str] = []
        try:
            for line in lines():
                found.append(line)
        except Exception as error:
            first = (str(error).strip().splitlines() or [type(error).__name__])[0]
            found.append(f"! {type(error).__name__}: {first[:200]}")
            if isinstance(error, ImportError) and heading == "devices":
                self.unusable.append(f"torch ({first[:80]})")
        for number, line in enumerate(found):
            start = f"{heading if number == 0 else '':<{HEADING}}"
            print(
                textwrap.fill(
                    line, WIDTH, initial_indent=start, subsequent_indent=" " * (HEADING + 2),
                    break_long_words=False, break_on_hyphens=False,
                ),
                flush=True,
            )  # fmt: skip


def show_screen(data: Path | None, network: bool) -> list[str]:
    """Print what this installation and machine can do.

    Args:
        data: A folder whose free space is told too, or None.
        network: Whether the hub may be asked for a sign of life.

    Returns:
        Required libraries that are missing or cannot be imported.
    """
    screen = Screen()
    print(f"fmri-lightning {__version__}, Python {platform.python_version()}, {platform.system()} {platform.machine()}")
    # Asked first and read last: the answer comes while torch is imported.
    reached = _started(lambda: caches.reach(network))
    screen.section("libraries", lambda: _libraries(screen))
    screen.section("devices", _devices)
    screen.section("caches", lambda: _caches(reached))
    screen.section("W&B", tracking.wandb_lines)
    screen.section("disk", lambda: _disk(data))
    screen.section("extras", _extras)
    screen.section("mini", _mini_models)
    return screen.unusable


def _started(start: Callable[[], Callable[[], str]]) -> Callable[[], str]:
    try:
        return start()
    except Exception as error:
        message = f"! hub not asked: {error}"
        return lambda: message


def _libraries(screen: Screen) -> Iterable[str]:
    required = required_libraries()
    if not required:
        return ["unknown: this runs from a checkout that was never installed (pip install -e .)"]
    found = libraries(required)
    screen.unusable += [one.name for one in found if not one.usable()]
    return [", ".join(one.text() for one in found)]


def _devices() -> Iterable[str]:
    yield machine.cpu_line()
    yield from machine.cuda_lines()


def _caches(reached: Callable[[], str]) -> Iterable[str]:
    from fmri_lightning.doctor.wanted import shipped

    yield f"{caches.cache_line()}; {reached()}"
    yield from caches.model_lines(shipped())


def _disk(data: Path | None) -> Iterable[str]:
    folders = {"working directory": Path()}
    if data is not None:
        folders["--data"] = data
    folders["hub cache"] = caches.hub_cache()
    folders |= {name.removesuffix("_DIR"): folder for name, folder, _ in tracking.directories() if folder is not None}
    return disks.free_lines(folders)


def _extras() -> Iterable[str]:
    present = [extra.name for extra in EXTRAS if extra.present()]
    yield f"present: {', '.join(present) or 'none'}"
    for extra in EXTRAS:
        if extra.name not in present:
            yield f"absent {extra.name} ({extra.purpose}): {extra.line()}"


def _mini_models() -> Iterable[str]:
    from fmri_lightning.embeddings.packaged import packaged_path
    from fmri_lightning.errors import BadInputError

    there = []
    for name in MINI_MODELS:
        try:
            there.append(packaged_path(f"checkpoints/mini/{name}"))
        except BadInputError as error:
            yield f"{name} ABSENT, the demo needs it: {error}"
    if there:
        yield f"{', '.join(path.name for path in there)} in {disks.shown(there[0].parent)}"

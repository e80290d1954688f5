"""Progress of long loops: a bar on a terminal, a line every 30 s in a log file."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

T = TypeVar("T")
LINE_EVERY_S = 30.0


@contextlib.contextmanager
def quiet_lightning() -> Iterator[None]:
    """Keep Lightning's adverts and lists of absent devices, which it logs as information, out of what is printed."""
    levels = {name: logging.getLogger(name).level for name in ("lightning.pytorch", "lightning.fabric")}
    try:
        for name in levels:
            logging.getLogger(name).setLevel(logging.WARNING)
        yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def track(iterable: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Yield the items of an iterable and show how far the loop is.

    Args:
        iterable: What to loop over.
        description: A few words, for instance "reading betas".
        total: Number of items; taken from ``len`` where the iterable has one.

    Yields:
        The items, unchanged and in order.

    Example:
        >>> list(track([1, 2], "counting"))
        [1, 2]
    """
    if total is None and isinstance(iterable, Sized):
        total = len(iterable)
    if sys.stderr.isatty():
        yield from _bar(iterable, description, total)
    else:
        yield from _lines(iterable, description, total)


def _bar(iterable: Iterable[T], description: str, total: int | None) -> Iterator[T]:
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        yield from progress.track(iterable, total=total, description=description)


def _lines(iterable: Iterable[T], description: str, total: int | None) -> Iterator[T]:
    started_s = last_s = time.monotonic()
    for done, item in enumerate(iterable):
        now_s = time.monotonic()
        if now_s - last_s >= LINE_EVERY_S:
            last_s = now_s
            print(progress_line(description, done, total, now_s - started_s), file=sys.stderr, flush=True)
        yield item


def progress_line(description: str, done: int, total: int | None, elapsed_s: float) -> str:
    """Write one line of progress with count, rate and time left.

    Args:
        description: A few words.
        done: Items finished.
        total: All items, or None when unknown.
        elapsed_s: Seconds since the start.

    Returns:
        The line without a newline.

    Example:
        >>> progress_line("reading betas", 50, 200, 25.0)
        'reading betas: 50/200, 2/s, 75 s left'
    """
    rate = done / elapsed_s if elapsed_s > 0 else 0.0
    line = f"{description}: {done}/{total if total is not None else '?'}, {rate:.3g}/s"
    if total is not None and rate > 0:
        line += f", {(total - done) / rate:.0f} s left"
    return line

"""The hub cache: where it is, which models it holds completely, and whether the hub answers."""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from fmri_lightning.doctor.disks import shown, size_bytes, size_text
from fmri_lightning.doctor.wanted import Wanted
from fmri_lightning.embeddings.hub_files import is_offline

TIMEOUT_S = 3.0


def hub_cache() -> Path:
    """Find the folder of the hub cache, as ``HF_HUB_CACHE`` or ``HF_HOME`` say."""
    from huggingface_hub.constants import HF_HUB_CACHE

    return Path(HF_HUB_CACHE)


def cache_line() -> str:
    """Say where the hub cache is and how large."""
    folder = hub_cache()
    if not folder.is_dir():
        return f"hub cache {shown(folder)}: not there yet (HF_HOME moves it)"
    n_bytes, whole = size_bytes(folder)
    return f"hub cache {shown(folder)}: {'' if whole else 'more than '}{size_text(n_bytes)}"


def model_lines(wanted: list[Wanted]) -> Iterator[str]:
    """Say which models the cache holds completely.

    Args:
        wanted: Models to look for.

    Yields:
        A line for those that are whole, one for those that are absent, one for each that is there in part.
    """
    from huggingface_hub.constants import HF_HUB_CACHE

    whole, absent = [], []
    for one in wanted:
        files = one.files
        name = f"{files.model_id} ({one.what}{'' if files.revision else ', no revision pinned'})"
        if files.cached() is not None:
            whole.append(name)
        elif (Path(HF_HUB_CACHE) / f"models--{files.model_id.replace('/', '--')}" / "snapshots").is_dir():
            yield f"there in part, or of another revision: {name}"
        else:
            absent.append(name)
    if whole:
        yield f"complete: {', '.join(whole)}"
    if absent:
        yield f"absent: {', '.join(absent)}"


@dataclass(frozen=True)
class Answer:
    """What the hub said to one HEAD request.

    Attributes:
        answered: Whether anything came back, an error page included.
        text: In words.
    """

    answered: bool
    text: str


def ask_hub() -> Callable[[], Answer]:
    """Ask the hub for a sign of life in the background.

    Returns:
        A function that waits, 3 s at most in all, and says what was found; it never fails.
    """
    from huggingface_hub.constants import ENDPOINT

    answers: list[Answer] = []

    def ask() -> None:
        try:
            with urllib.request.urlopen(urllib.request.Request(ENDPOINT, method="HEAD"), timeout=TIMEOUT_S):
                answers.append(Answer(True, f"{ENDPOINT} answers"))
        except urllib.error.HTTPError as error:
            answers.append(Answer(True, f"{ENDPOINT} answers ({error.code})"))
        except (OSError, ValueError, HTTPException) as error:
            answers.append(Answer(False, f"{ENDPOINT} does not answer ({getattr(error, 'reason', error)})"))

    # A thread, because looking up a name may take longer than any time-out.
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()

    def answer() -> Answer:
        asking.join(TIMEOUT_S)
        return answers[0] if answers else Answer(False, f"{ENDPOINT} does not answer within {TIMEOUT_S:g} s")

    return answer


def reach(network: bool) -> Callable[[], str]:
    """Start to find out whether the hub answers, where that is allowed.

    Args:
        network: False asks nothing.

    Returns:
        A function that says what was found.
    """
    if is_offline():
        return lambda: "HF_HUB_OFFLINE is set: loaders ask the cache alone"
    if not network:
        return lambda: "hub not asked (--network false)"
    asked = ask_hub()
    return lambda: asked().text

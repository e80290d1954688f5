"""``doctor --fetch``: put the hub files of a configuration into the cache, for nodes without a network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fmri_lightning.doctor.caches import ask_hub
from fmri_lightning.doctor.disks import size_text
from fmri_lightning.doctor.wanted import Wanted, of_words
from fmri_lightning.embeddings.hub_files import is_offline
from fmri_lightning.errors import BadInputError, ResourceError, StageError


def fetch_lines(words: Sequence[str], dry_run: bool = False) -> Iterator[str]:
    """Download what configurations would load, or print the commands that do.

    Args:
        words: YAML files of predict, merged in order, and names of embedding spaces.
        dry_run: Print the commands, with sizes where the hub tells them, and download nothing.

    Yields:
        One or two lines a model.

    Raises:
        BadInputError: A file is no configuration, or a model or revision is not on the hub.
        ResourceError: There is no network, or no room; the commands were printed.
    """
    wanted = of_words(words)
    if not wanted:
        yield "nothing to fetch: these configurations load no model of the hub"
        return
    for one in wanted:
        if one.files.revision is None:
            yield f"! {one.what}: no revision is pinned; the hub's main branch may change, pin a 40-digit commit"
    silence = _silence()
    if dry_run:
        yield from _commands(wanted, silence)
        return
    unreached: list[Wanted] = []
    for one in wanted:
        folder = one.files.cached() if silence else None
        if folder is not None:
            yield f"{one.what}: {one.files.model_id}, was in the cache already, {folder}"
        elif silence:
            unreached.append(one)
        else:
            yield _fetched(one)
    if unreached:
        yield f"{silence}; where a network is, with the same HF_HOME, run:"
        yield from (f"  {one.files.command()}" for one in unreached)
        raise ResourceError(f"{silence}: {len(unreached)} of {len(wanted)} models are not here; see the lines above")


def _silence() -> str:
    """Say why the hub cannot be asked, or "" where it answers; its own client would try again for half a minute."""
    if is_offline():
        return "HF_HUB_OFFLINE is set"
    answer = ask_hub()()
    return "" if answer.answered else answer.text


def _fetched(one: Wanted) -> str:
    """Download one model; a second call downloads nothing."""
    missing_bytes = sum(n_bytes for n_bytes, is_cached in _listed(one) if not is_cached)
    try:
        folder = one.files.download()
    except (OSError, ValueError) as error:
        raise _refusal(one, error) from error
    lacking = one.files.missing(folder)
    if lacking:
        raise BadInputError(
            f"{one.what}: {one.files.model_id} has no {', '.join(lacking)}; it is another kind of model"
        )
    done = "was in the cache already" if missing_bytes == 0 else f"fetched {size_text(missing_bytes)}"
    return f"{one.what}: {one.files.model_id}, {done}, {folder}"


def _listed(one: Wanted) -> list[tuple[int, bool]]:
    """Ask the hub for sizes, and which files are in the cache."""
    try:
        return one.files.listed()
    except (OSError, ValueError) as error:
        raise _refusal(one, error) from error


def _commands(wanted: list[Wanted], silence: str) -> Iterator[str]:
    for one in wanted:
        size = ""
        if not silence:
            listed = _listed(one)
            size = f"  # {len(listed)} files, {size_text(sum(n_bytes for n_bytes, _ in listed))}"
        yield f"{one.files.command()}{size}"
    if silence:
        yield f"# sizes are not known: {silence}"


def _refusal(one: Wanted, error: Exception) -> StageError:
    """Tell what the hub does not have from a hub that does not answer."""
    files = one.files
    what = f"{one.what}: {files.model_id}"
    name = type(error).__name__
    if name == "RevisionNotFoundError":
        return BadInputError(f"{what} has no revision {files.revision}; pin a commit of its history")
    if name == "GatedRepoError":
        return BadInputError(f"{what} asks for an accepted licence; accept it on the hub, then: hf auth login")
    if name == "RepositoryNotFoundError":
        return BadInputError(f"{what} is gone or private; set another model_id, or: hf auth login")
    if name == "HFValidationError":
        return BadInputError(f"{what} is neither a folder nor a hub id")
    return ResourceError(f"{what}: {' '.join(str(error).split())[:200]}")

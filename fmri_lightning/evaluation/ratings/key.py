"""The answer key of a page: what its opaque numbers mean. It stays with the experimenter."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fmri_lightning.errors import BadInputError
from fmri_lightning.manifest import content_hash, read_json

FORMAT = "fmri-lightning ratings key 1"


@dataclass(frozen=True)
class KeyTrial:
    """What one trial of a page asked.

    Attributes:
        trial: Its number on the page.
        nsd_id: Stimulus that was shown, or its position among the names of two folders.
        name: What it is called.
        distractor: The stimulus beside it.
        answer: Which of the two listed pictures is right, 0 or 1.
        check: Whether it is an attention check.
    """

    trial: int
    nsd_id: int
    name: str
    distractor: int
    answer: int
    check: bool


@dataclass(frozen=True)
class Key:
    """Everything that scoring needs beside the answers.

    Attributes:
        page: Id of the page that it belongs to.
        trials: In the order of the page.
        about: Source of the pictures, simulated or not, hashes, settings, versions.
    """

    page: str
    trials: tuple[KeyTrial, ...]
    about: dict[str, Any]

    @property
    def content_hash(self) -> str:
        """Hash over page and answers."""
        return content_hash(self.page, repr(self.trials))

    def to_dict(self) -> dict[str, Any]:
        """The file's contents, in plain types."""
        return {"format": FORMAT, "page": self.page, **self.about, "trials": [asdict(t) for t in self.trials]}


def key_file(page: Path) -> Path:
    """Where the key of a page lies: beside it, as ``{page}_key.json``."""
    return page.with_name(f"{page.stem}_key.json")


def read_key(path: Path) -> Key:
    """Read a key.

    Args:
        path: ``{page}_key.json``.

    Returns:
        The key.

    Raises:
        BadInputError: It is missing, unreadable, or something else.
    """
    plain = read_json(path)
    if not isinstance(plain, dict) or plain.get("format") != FORMAT:
        raise BadInputError(f"{path} is no key of a ratings page; it is the file ..._key.json beside the page")
    try:
        trials = tuple(KeyTrial(**trial) for trial in plain["trials"])
        about = {name: value for name, value in plain.items() if name not in ("format", "page", "trials")}
        key = Key(str(plain["page"]), trials, about)
    except (KeyError, TypeError) as error:
        raise BadInputError(f"{path} is a damaged key ({error}); write page and key again") from error
    if [trial.trial for trial in trials] != list(range(len(trials))) or any(t.answer not in (0, 1) for t in trials):
        raise BadInputError(f"{path} is a damaged key (its trials are not in order); write page and key again")
    return key

"""Result files of raters: read, checked against the key, refused with the name of the file."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.errors import BadInputError
from fmri_lightning.evaluation.ratings.key import Key
from fmri_lightning.manifest import content_hash, read_json

FORMAT = "fmri-lightning ratings 1"
_LONGEST_CODE = 200


@dataclass(frozen=True, eq=False)
class Session:
    """What one rater chose, in the order of the trials asked.

    Attributes:
        rater: The rater's name in the results, unique among the sessions that are scored together.
        code: What the rater typed; may be empty, or the same in several sessions.
        session: Random id of the session.
        trial: Number of each answered trial on the page (n,) int32.
        correct: Whether the right picture was chosen (n,).
        left: Whether the left picture was chosen (n,).
        position: Place of each trial in the rater's order, 0-based (n,) int32.
        time_ms: Response time in milliseconds, NaN where the page was out of sight (n,).
        revised: Whether an earlier answer was taken back (n,).
        path: The file.
        digest: Hash over the answers.
    """

    rater: str
    code: str
    session: str
    trial: NDArray[np.int32]
    correct: NDArray[np.bool_]
    left: NDArray[np.bool_]
    position: NDArray[np.int32]
    time_ms: NDArray[np.float64]
    revised: NDArray[np.bool_]
    path: Path
    digest: str


def read_sessions(paths: list[Path], key: Key) -> list[Session]:
    """Read result files of one page.

    Args:
        paths: Files that the page saved.
        key: The page's key.

    Returns:
        One session a file. Raters without a code, and those whose code several sessions carry, get the beginning of
        the session's id into their name.

    Raises:
        BadInputError: A file is no result file, damaged, or of another page; or two files are of one session.
    """
    plain = [_read(path, key) for path in paths]
    seen: dict[str, Path] = {}
    for path, one in zip(paths, plain, strict=True):
        earlier = seen.setdefault(one["session"], path)
        if earlier is not path:
            raise BadInputError(
                f"{path} and {earlier} are of the same session {one['session'][:8]}; keep the one with more answers"
            )
    codes = [one["rater"].strip() for one in plain]
    shared = Counter(codes)
    names = [
        code if code and shared[code] == 1 else f"{code or 'rater'}-{one['session'][:8]}"
        for code, one in zip(codes, plain, strict=True)
    ]
    return [_session(path, one, name, key) for path, one, name in zip(paths, plain, names, strict=True)]


def _read(path: Path, key: Key) -> dict[str, Any]:
    plain = read_json(path)
    if not isinstance(plain, dict) or plain.get("format") != FORMAT:
        raise BadInputError(f"{path} is no result file of a ratings page")
    if plain.get("page") != key.page:
        raise BadInputError(
            f"{path} holds ratings of another page ({str(plain.get('page'))[:8]}, the key is of {key.page[:8]}); "
            "score it with that page's key"
        )
    _require(path, isinstance(plain.get("session"), str) and len(plain["session"]) >= 8, "has no session id")
    code = plain.get("rater")
    _require(path, isinstance(code, str) and len(code) <= _LONGEST_CODE, "has no readable rater code")
    _require(path, isinstance(plain.get("answers"), list), "has no list of answers")
    seen: set[int] = set()
    for number, answer in enumerate(plain["answers"]):
        _check_answer(path, number, answer, len(key.trials))
        _require(path, answer["trial"] not in seen, f"answers trial {answer['trial']} twice")
        seen.add(answer["trial"])
    return plain


def _check_answer(path: Path, number: int, answer: Any, n_trials: int) -> None:
    where = f"is damaged at answer {number + 1}"
    _require(path, isinstance(answer, dict), where)
    _require(path, _whole(answer.get("trial"), n_trials), f"{where}: trial {answer.get('trial')!r} of {n_trials}")
    _require(path, _whole(answer.get("chosen"), 2), f"{where}: chosen {answer.get('chosen')!r} is neither 0 nor 1")
    _require(path, answer.get("side") in ("left", "right"), f"{where}: side {answer.get('side')!r}")
    _require(path, _whole(answer.get("position"), n_trials), f"{where}: position {answer.get('position')!r}")
    _require(path, isinstance(answer.get("revised", False), bool), f"{where}: revised {answer.get('revised')!r}")
    time = answer.get("time_ms")
    measured = isinstance(time, int | float) and not isinstance(time, bool) and math.isfinite(time) and time >= 0
    _require(path, time is None or measured, f"{where}: time_ms {time!r}")


def _whole(value: Any, below: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < below


def _require(path: Path, fine: bool, what: str) -> None:
    if not fine:
        raise BadInputError(f"{path} {what}; ask the rater to save the results again")


def _session(path: Path, plain: dict[str, Any], name: str, key: Key) -> Session:
    answers = plain["answers"]
    trial = np.array([a["trial"] for a in answers], dtype=np.int32)
    chosen = np.array([a["chosen"] for a in answers], dtype=np.int8)
    right = np.array([t.answer for t in key.trials], dtype=np.int8)
    times = [math.nan if a.get("time_ms") is None else float(a["time_ms"]) for a in answers]
    return Session(
        rater=name,
        code=plain["rater"].strip(),
        session=plain["session"],
        trial=trial,
        correct=chosen == right[trial],
        left=np.array([a["side"] == "left" for a in answers], dtype=np.bool_),
        position=np.array([a["position"] for a in answers], dtype=np.int32),
        time_ms=np.array(times, dtype=np.float64),
        revised=np.array([a.get("revised", False) for a in answers], dtype=np.bool_),
        path=path,
        digest=content_hash(plain["session"], trial, chosen),
    )

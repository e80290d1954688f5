"""One W&B run a command: offline where there is no key, in the run's own folder, and always finished."""

from __future__ import annotations

import contextlib
import importlib.util
import netrc
import os
import secrets
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fmri_lightning.errors import InterruptedRunError, StageError, UsageError

PROJECT = "fmri-lightning"
"""Project of the runs where neither the configuration nor WANDB_PROJECT names one."""
HOST = "api.wandb.ai"
"""Machine that ``wandb login`` wrote into netrc for years."""
CONNECT_S = 30.0
"""How long a run waits for the server before it goes on offline."""

_opened: list[Any] = []


@dataclass(frozen=True)
class RunLabels:
    """How a run is called and where it stands in the runs table.

    Attributes:
        name: For instance "ridge/subj01".
        job_type: The stage: fit-encoder, fit-adapter, fit-generator, predict, evaluate, report.
        group: The subject, or None.
        tags: Words to filter by.
    """

    name: str
    job_type: str
    group: str | None = None
    tags: tuple[str, ...] = ()


def require_wandb() -> Any:
    """Import wandb.

    Returns:
        The module.

    Raises:
        UsageError: It is not installed.
    """
    if importlib.util.find_spec("wandb") is None:
        raise UsageError(
            "this run is to be logged to W&B, which is not installed: pip install 'wandb>=0.29,<0.32'; "
            "without it, leave out configs/logger/wandb.yaml or --wandb: CSV logs and the report need nothing"
        )
    import wandb

    return wandb


def open_run(
    folder: Path,
    labels: RunLabels,
    config: dict[str, Any] | None = None,
    project: str | None = None,
    entity: str | None = None,
    notes: str | None = None,
) -> Any:
    """Open a run, or take the one that a notebook has opened itself.

    Without WANDB_MODE and without a key it is kept offline; no question is ever asked. A server that does not answer
    within 30 s makes the run an offline one, unless WANDB_MODE asks for a server.

    Args:
        folder: The run's output folder; files go to its ``wandb/`` unless WANDB_DIR is set.
        labels: Name, stage, subject, tags.
        config: Settings of the run, nested plain types.
        project: Project; None takes WANDB_PROJECT, else "fmri-lightning".
        entity: Team or user; None takes WANDB_ENTITY, else the user's own.
        notes: A sentence about the run.

    Returns:
        The run of wandb.

    Raises:
        UsageError: wandb is not installed, or WANDB_MODE=online and there is no key or no server.
    """
    wandb = require_wandb()
    if wandb.run is not None and not any(run is wandb.run for run in _opened):
        return wandb.run
    finish_runs()
    place = os.environ.get("WANDB_DIR")
    where = folder if place is None else Path(place)
    where.mkdir(parents=True, exist_ok=True)
    # Pictures of tables are kept here until they are sent; by default in the home folder, whose quota they fill.
    os.environ.setdefault("WANDB_DATA_DIR", str(where.resolve() / "wandb" / "data"))
    arguments: dict[str, Any] = {
        "id": os.environ.get("WANDB_RUN_ID") or secrets.token_hex(4),
        "dir": None if place is not None else str(folder),
        "name": labels.name,
        "group": labels.group,
        "job_type": labels.job_type,
        "tags": list(labels.tags) or None,
        "config": config,
        "project": project or os.environ.get("WANDB_PROJECT", PROJECT),
        "entity": entity,
        "notes": notes,
        "settings": wandb.Settings(silent="WANDB_SILENT" not in os.environ or _silent(), init_timeout=CONNECT_S),
    }
    run = _start(wandb, {name: value for name, value in arguments.items() if value is not None})
    _opened.append(run)
    _tell(run)
    return run


def _silent() -> bool:
    return os.environ["WANDB_SILENT"].lower() in ("true", "1")


def _start(wandb: Any, arguments: dict[str, Any]) -> Any:
    asked = "WANDB_MODE" in os.environ
    if not asked and wandb.setup().settings.mode == "online" and not _has_key(wandb):
        return wandb.init(mode="offline", **arguments)
    try:
        return wandb.init(**arguments)
    except wandb.errors.Error as error:
        line = " ".join(str(error).split())[:200]
        if asked:
            raise UsageError(f"W&B refuses the run: {line}; WANDB_MODE=offline keeps it on this machine") from error
        print(f"W&B does not answer ({line}): this run is kept offline", file=sys.stderr)
        # What the attempt has left; a folder of a run that never was.
        for left in (Path(arguments.get("dir") or os.environ["WANDB_DIR"]) / "wandb").glob(f"run-*-{arguments['id']}"):
            shutil.rmtree(left, ignore_errors=True)
        # The service does not give an id out twice.
        return wandb.init(mode="offline", **{**arguments, "id": secrets.token_hex(4)})


def _has_key(wandb: Any) -> bool:
    """Whether wandb would find a key without asking: in the environment, its settings, or netrc."""
    settings = wandb.setup().settings
    if any(os.environ.get(name) for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE")):
        return True
    if getattr(settings, "api_key", None) or getattr(settings, "identity_token_file", None):
        return True
    files = [os.environ["NETRC"]] if os.environ.get("NETRC") else ["~/.netrc", "~/_netrc"]
    hosts = [urlsplit(str(settings.base_url)).netloc]
    if "WANDB_BASE_URL" not in os.environ:
        hosts.append(HOST)  # the service has another address by now, and takes keys of this one
    for file in files:
        with contextlib.suppress(OSError, netrc.NetrcParseError):
            found = netrc.netrc(os.path.expanduser(file))
            if any(found.authenticators(host) is not None for host in hosts):
                return True
    return False


def _tell(run: Any) -> None:
    """Say in one line where the run is."""
    if run.settings.mode == "disabled":
        return
    if not run.offline:
        print(f"W&B: {run.url}", file=sys.stderr)
        return
    folder = Path(run.dir).parent
    print(f"W&B offline: look with: wandb leet {folder}; send with: wandb sync {folder}", file=sys.stderr)


def finish_runs(exit_code: int = 0) -> None:
    """Finish the runs that were opened here; runs of a notebook's own are left alone.

    Args:
        exit_code: 0, or what the command ends with.
    """
    while _opened:
        _opened.pop().finish(exit_code=exit_code)


@contextlib.contextmanager
def runs_finished() -> Iterator[None]:
    """Finish the runs that a block opens, with its exit code: a run that is left open looks as if it went on."""
    try:
        yield
    except BaseException as error:
        finish_runs(_exit_code(error))
        raise
    finish_runs()


def _exit_code(error: BaseException) -> int:
    if isinstance(error, StageError):
        return error.exit_code
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    return InterruptedRunError.exit_code if isinstance(error, KeyboardInterrupt) else 1

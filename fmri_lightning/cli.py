"""Entry point: the commands in flow order, one-line errors, exit codes.

Nothing heavy is imported until a command needs it; ``fmri-lightning --help`` must answer at once.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import inspect
import json
import os
import signal
import sys
import threading
import traceback
import typing
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from fmri_lightning import __version__
from fmri_lightning.errors import BadInputError, InterruptedRunError, ResourceError, StageError, UsageError
from fmri_lightning.usage import OneLineErrors, closest

TRACEBACK_VARIABLE = "FMRI_LIGHTNING_TRACEBACK"


@dataclass(frozen=True)
class Command:
    """One word of the command line.

    Attributes:
        summary: What it does, for ``--help``.
        function: "module:function", or None for what LightningCLI runs.
    """

    summary: str
    function: str | None = None


COMMANDS: dict[str, Command] = {
    "demo": Command("run every stage on a simulated brain and end with a page", "fmri_lightning.demo:demo"),
    "simulate": Command(
        "write a simulated brain in the layout of NSD or another", "fmri_lightning.simulate.command:simulate"
    ),
    "index": Command("list which trial showed which picture, and split", "fmri_lightning.index.command:index"),
    "betas": Command("read betas, z-score, scale, choose voxels", "fmri_lightning.betas.command:betas"),
    "clip-cache": Command("embed every picture once", "fmri_lightning.embeddings.command:clip_cache"),
    "fit": Command("train an encoder, an adapter or a generator from a configuration"),
    "validate": Command("score a trained part on the validation split"),
    "calibrate": Command(
        "give an encoder's predictions the spread of real embeddings", "fmri_lightning.adapter.command:calibrate"
    ),
    "reliability": Command(
        "learn on val pictures how far off each prediction is", "fmri_lightning.adapter.reliability.command:reliability"
    ),
    "predict": Command("draw pictures from brain activity"),
    "evaluate": Command("score pictures by published protocols", "fmri_lightning.evaluation.command:evaluate"),
    "ratings": Command(
        "write a page for blind ratings by people, or score them", "fmri_lightning.evaluation.ratings.command:ratings"
    ),
    "brain": Command(
        "show which voxels and regions a run's decoding rests on", "fmri_lightning.evaluation.voxels.command:brain"
    ),
    "report": Command("write one page with pictures and numbers", "fmri_lightning.report.command:report"),
    "subjects": Command(
        "run the stages of several subjects, each on its own, to one table and page",
        "fmri_lightning.studies.subjects:subjects",
    ),
    "ceiling": Command(
        "compare encoders with the best possible on a known simulated brain", "fmri_lightning.ceiling.command:ceiling"
    ),
    "low-data": Command(
        "fit encoders on the first sessions, more and more, and score all on one test set",
        "fmri_lightning.studies.low_data:low_data",
    ),
    "doctor": Command(
        "show what this machine can do, check a run, show an artefact's lineage, fetch models",
        "fmri_lightning.doctor.command:doctor",
    ),
}

# Known and harmless: told once here instead of to every user.
_SILENCED = (
    "LightningCLI's args parameter is intended to run from within Python",
    ".*does not have many workers",
    ".*LeafSpec",
    ".*exists and is not empty",
    ".*is smaller than the logging interval",
    ".*Experiment logs directory",
    "The dirpath has changed",
    "You're using the WeightAveraging callback",
)


def main(args: list[str] | None = None) -> int:
    """Run one command.

    Args:
        args: Words after ``fmri-lightning``; those of the process when None.

    Returns:
        0, or an exit code: 1 unexpected, 2 usage or configuration, 3 bad input, 4 resources, 75 resumable.
    """
    words = sys.argv[1:] if args is None else list(args)
    with _process_state_kept():
        try:
            _dispatch(words)
        except SystemExit as error:
            return _code_of_exit(error)
        except KeyboardInterrupt:
            return _fail(InterruptedRunError("interrupted; the same command continues"))
        except BrokenPipeError:
            raise
        except Exception as error:
            if os.environ.get(TRACEBACK_VARIABLE) == "1":
                traceback.print_exc()
            return _fail(_as_stage_error(error))
    return 0


def console_script() -> None:
    """Run the command line of the process and exit with its code."""
    try:
        code = main()
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader, `head` for instance, has seen enough; nothing more can be told to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    sys.exit(code)


def _dispatch(words: list[str]) -> None:
    if not words or words[0] in ("-h", "--help"):
        print(_help_text())
        return
    if words[0] == "--version":
        print(f"fmri-lightning {__version__}")
        return
    name, rest = words[0], words[1:]
    if name == "test":
        raise UsageError("there is no 'test': it pads batches across devices; scores come from fmri-lightning evaluate")
    if name.startswith("-"):
        raise UsageError(f"option {name} before the command; write fmri-lightning COMMAND {name} ...")
    if name not in COMMANDS:
        raise UsageError(f"unknown command {name!r}{closest(name, COMMANDS) or '; see fmri-lightning --help'}")
    target = COMMANDS[name].function
    if target is not None:
        module, _, function = target.partition(":")
        run_function(name, getattr(importlib.import_module(module), function), rest)
        return
    from fmri_lightning.lightning_cli import run_lightning

    run_lightning([name, *rest])


def _help_text() -> str:
    width = max(map(len, COMMANDS))
    lines = [
        "usage: fmri-lightning COMMAND [--config FILE] [--option VALUE ...]",
        "",
        "Stages, in the order of the flow:",
    ]
    lines += [f"  {name:<{width}}  {command.summary}" for name, command in COMMANDS.items()]
    lines += ["", "fmri-lightning COMMAND --help lists a command's options; --version prints the version."]
    return "\n".join(lines)


def run_function(name: str, function: Callable[..., None], words: list[str]) -> None:
    """Run a plain function whose flags are its parameters.

    Args:
        name: The command's name.
        function: Its signature gives flags and types, its docstring their help.
        words: The rest of the command line.

    Raises:
        UsageError: If the words do not fit the signature.
    """
    parser = function_parser(name, function)
    parsed = parser.instantiate_classes(parser.parse_args(spell_out(words, function)))
    values = parsed.as_dict()
    function(**{key: values[key] for key in inspect.signature(function).parameters})


def function_parser(name: str, function: Callable[..., None]) -> Any:
    """Build the parser of a command that is a plain function.

    Args:
        name: The command's name.
        function: Its signature gives flags and types, its docstring their help.

    Returns:
        A jsonargparse parser whose errors are one line.
    """
    import jsonargparse

    class Parser(OneLineErrors, jsonargparse.ArgumentParser):
        pass

    # jsonargparse would resolve annotations by executing the imports that a module makes for type checkers only.
    function.__annotations__.update(typing.get_type_hints(function))
    summary = (inspect.getdoc(function) or "").split("\n", 1)[0]
    parser = Parser(prog=f"fmri-lightning {name}", description=summary, allow_abbrev=False)
    parser.add_argument("--config", action=jsonargparse.ActionConfigFile, help="YAML file with any of these options.")
    parser.add_function_arguments(function, as_group=False, fail_untyped=True)
    return parser


def spell_out(words: list[str], function: Callable[..., Any]) -> list[str]:
    """Let a list option take several words and a yes-or-no option none.

    Args:
        words: A command line, for instance ``--run a b --dry_run``.
        function: Whose parameters the options are.

    Returns:
        The same with one value an option, as jsonargparse wants it.

    Example:
        >>> def report(run: list[str], dry_run: bool = False) -> None: ...
        >>> spell_out(["--run", "a", "b", "--dry_run"], report)
        ['--run=["a", "b"]', '--dry_run=true']
    """
    hints = typing.get_type_hints(function)
    spelled: list[str] = []
    position = 0
    while position < len(words):
        word = words[position]
        position += 1
        hint = hints.get(word.removeprefix("--")) if word.startswith("--") else None
        values: list[str] = []
        if hint is bool or _is_list(hint):
            while position < len(words) and not words[position].startswith("--"):
                if hint is bool and (values or words[position] not in ("true", "false")):
                    break
                values.append(words[position])
                position += 1
        if hint is bool:
            spelled.append(f"{word}={values[0] if values else 'true'}")
        elif values and not values[0].startswith("["):
            spelled.append(f"{word}={json.dumps(values)}")
        else:
            spelled += [word, *values]
    return spelled


def _is_list(hint: Any) -> bool:
    if typing.get_origin(hint) is list:
        # Numbers would arrive as text; they are written as [1,2].
        return not {int, float} & set(typing.get_args(hint))
    return any(_is_list(part) for part in typing.get_args(hint))


@contextlib.contextmanager
def _process_state_kept() -> Iterator[None]:
    """Give back what a command changed in its process: the demo and the tests call main many times."""
    environment = dict(os.environ)
    in_main_thread = threading.current_thread() is threading.main_thread()
    handlers = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)} if in_main_thread else {}
    torch = sys.modules.get("torch")
    before = (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) if torch else None
    try:
        with warnings.catch_warnings():
            for message in _SILENCED:
                warnings.filterwarnings("ignore", message=message)
            yield
    finally:
        for key in set(os.environ) - set(environment):
            del os.environ[key]
        os.environ.update(environment)
        for number, handler in handlers.items():
            if handler is not None:
                signal.signal(number, handler)
        if torch is not None and before is not None:
            torch.set_num_threads(before[0])
            torch.use_deterministic_algorithms(before[1])


def _code_of_exit(error: SystemExit) -> int:
    # Lightning turns Ctrl-C into exit 1 and SIGTERM during fit into an exit of its own.
    if isinstance(error.__context__, KeyboardInterrupt) or type(error).__name__ == "SIGTERMException":
        return _fail(InterruptedRunError("interrupted; predict continues by the same command, fit with --ckpt_path"))
    if isinstance(error.code, str):
        return _fail(StageError(error.code))
    return int(error.code or 0)


def _as_stage_error(error: Exception) -> StageError:
    """Name the exit code of errors that libraries raise."""
    if isinstance(error, StageError):
        return error
    line = " ".join(str(error).split())
    kind = type(error).__name__
    if isinstance(error, MemoryError) or kind == "OutOfMemoryError" or "can't allocate memory" in line:
        return ResourceError(f"out of memory: {line or kind}; lower the batch size")
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return ResourceError(f"no space left: {line}")
    if line.startswith("Error(s) in loading state_dict"):
        return UsageError(f"the checkpoint is of another model than the configured one: {line[:300]}")
    if kind == "MisconfigurationException":
        return UsageError(line)
    if isinstance(error, FileNotFoundError) and error.filename:
        return BadInputError(f"{error.filename} does not exist")
    where = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{os.path.basename(where.filename)}:{where.lineno}"
    return StageError(f"unexpected {kind} at {place}: {line}; set {TRACEBACK_VARIABLE}=1 to see where")


def _fail(error: StageError) -> int:
    print(f"fmri-lightning: {' '.join(str(error).split())}", file=sys.stderr)
    return error.exit_code

"""``doctor``: what this installation and this machine can do, before a long run finds out."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
from pathlib import Path

from fmri_lightning import __version__
from fmri_lightning.errors import BadInputError

# Import name that each optional extra brings, and what it is for.
EXTRAS = {
    "tensorboard": ("tensorboard", "TensorBoard logs"),
    "lora": ("peft", "LoRA training of generators"),
    "eval-nets": ("torchvision", "perceptual networks of the published protocols"),
    "brain": ("nilearn", "brain maps"),
    "demo": ("stlpips_pytorch", "the demo's judge network"),
}
MINI_MODELS = ("source_encoder", "target_encoder", "generator")


def doctor(
    data: Path | None = None,
    files: Path | None = None,
    subject: str = "subj01",
    leaks: Path | None = None,
    pairing: Path | None = None,
    expect: Path | None = None,
) -> None:
    """Show versions, devices, optional parts and the shipped models, or check data files or a finished run.

    Args:
        data: A data root or run folder whose free space is told too.
        files: An NSD tree or the folder of MindEye2's files: check that all files of a subject agree.
        subject: Subject of --files.
        leaks: A run folder: recompute every statistic from training trials and name trials that leaked.
        pairing: A run folder: ask the betas themselves whether trials are paired with the pictures they showed.
        expect: A run folder: compare its voxels, trials, test size, cosine and top-1 with published figures.

    Raises:
        BadInputError: If a required library is missing, a folder does not exist, or a check fails.
    """
    if files is not None:
        _check_files(files, subject)
        return
    if leaks is not None or pairing is not None:
        _check_runs(leaks, pairing)
    if expect is not None:
        _check_expectations(expect)
    if any(run is not None for run in (leaks, pairing, expect)):
        return
    if data is not None and not data.exists():
        raise BadInputError(f"{data} does not exist; give a data root or a run folder with --data")
    print(f"fmri-lightning {__version__}, Python {platform.python_version()}, {platform.system()} {platform.machine()}")
    missing = _print_libraries()
    _print_devices()
    _print_extras()
    _print_mini_models()
    _print_space(data)
    if missing:
        raise BadInputError(f"not installed: {', '.join(missing)}; install again with: pip install fmri-lightning")


def _check_files(root: Path, subject: str) -> None:
    from fmri_lightning.doctor.files import check_files

    failed, n_checks = [], 0
    for check in check_files(root, subject):
        print(check.line(), flush=True)
        n_checks += 1
        failed += [check.name] if check.passed is False else []
    if failed:
        raise BadInputError(f"{len(failed)} of {n_checks} checks of {subject} in {root} failed: {', '.join(failed)}")


def _check_runs(leaks: Path | None, pairing: Path | None) -> None:
    from fmri_lightning.doctor import runs

    for line in () if leaks is None else runs.leaks(leaks):
        print(line, flush=True)
    for line in () if pairing is None else runs.pairing(pairing):
        print(line, flush=True)


def _check_expectations(run: Path) -> None:
    from fmri_lightning.doctor.expectations import expectations

    found = list(expectations(run))
    print("\n".join(one.line() for one in found))
    outside = [one.name for one in found if one.met is False]
    if outside:
        raise BadInputError(f"{run}: {len(outside)} figures are not what NSD lets expect: {', '.join(outside)}")


def required_libraries() -> list[str]:
    """List the distribution names that this package requires, without extras.

    Returns:
        Names as in the package metadata, or none when the package runs from a checkout only.
    """
    try:
        requirements = importlib.metadata.requires("fmri-lightning") or []
    except importlib.metadata.PackageNotFoundError:
        return []
    return [re.split(r"[\s\[<>=!~;(]", r, maxsplit=1)[0] for r in requirements if "extra ==" not in r]


def _print_libraries() -> list[str]:
    missing, found = [], []
    for name in required_libraries():
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    print(f"libraries: {', '.join(found) or 'unknown, this runs from a checkout that is not installed'}")
    return missing


def _print_devices() -> None:
    if importlib.util.find_spec("torch") is None:
        print("devices: torch is not installed")
        return
    import torch

    print(f"devices: CPU with {os.cpu_count()} cores, torch {torch.__version__}")
    for number in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(number)
        print(f"  cuda:{number} {properties.name}, {properties.total_memory / 2**30:.0f} GiB")


def _print_extras() -> None:
    for extra, (module, purpose) in EXTRAS.items():
        there = importlib.util.find_spec(module) is not None
        print(f"extra {extra}: {'present' if there else f'absent, pip install {module}'} ({purpose})")


def _print_mini_models() -> None:
    from fmri_lightning.embeddings.packaged import packaged_path

    for name in MINI_MODELS:
        try:
            place = str(packaged_path(f"checkpoints/mini/{name}"))
        except BadInputError:
            place = "absent; the demo needs it"
        print(f"mini {name}: {place}")


def _print_space(data: Path | None) -> None:
    for folder in [Path()] if data is None else [Path(), data]:
        print(f"free space at {folder.resolve()}: {shutil.disk_usage(folder).free / 2**30:.1f} GiB")

"""What this process may use: cores, memory and CUDA devices, as SLURM and cgroups allow."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
GIB = 2**30


def cores() -> int:
    """Count the CPU cores that this process may run on: its affinity, which SLURM and taskset set."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS has no affinity
        return os.cpu_count() or 1


def quota_cores(group: Path | None = None) -> float | None:
    """Read how many cores' worth of time the cgroup grants.

    Args:
        group: Folder of the cgroup; by default that of this process.

    Returns:
        For instance 1.5, or None for no limit.
    """
    for folder in _groups(group):
        if (folder / "cpu.max").is_file():
            limit, period = (_text(folder / "cpu.max") or "max 1").split()[:2]
        else:
            limit, period = _text(folder / "cpu.cfs_quota_us") or "-1", _text(folder / "cpu.cfs_period_us") or "1"
        if limit.isdigit() and int(limit) > 0:
            return int(limit) / int(period)
    return None


def memory_bytes(group: Path | None = None) -> tuple[int, int | None]:
    """Read how much memory there is.

    Args:
        group: Folder of the cgroup; by default that of this process.

    Returns:
        Bytes of the machine, and the cgroup's limit in bytes where it is smaller, else None.
    """
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for folder in _groups(group):
        for name in ("memory.max", "memory.limit_in_bytes"):
            limit = _text(folder / name) or ""
            if limit.isdigit() and int(limit) < total:
                return total, int(limit)
    return total, None


def cpu_line() -> str:
    """Say how many cores and how much memory this process may use."""
    allowed, there, quota = cores(), os.cpu_count(), quota_cores()
    words = [f"{allowed} of {there} CPU cores"]
    if quota is not None and quota < allowed:
        words.append(f"time for {quota:g} (cgroup)")
    if job := os.environ.get("SLURM_JOB_ID"):
        words.append(f"SLURM job {job}, {os.environ.get('SLURM_CPUS_PER_TASK', '?')} CPUs a task")
    total, limit = memory_bytes()
    memory = f"{total / GIB:.1f} GiB memory"
    words.append(memory if limit is None else f"{limit / GIB:.1f} GiB memory (cgroup; the machine has {memory})")
    return ", ".join(words)


def cuda_lines() -> Iterator[str]:
    """Describe the CUDA devices, or say why there are none.

    Yields:
        One line per device; a first one about the driver.
    """
    import torch

    if torch.version.cuda is None and torch.version.hip is None:
        yield f"no CUDA: torch {torch.__version__} is a build without it"
        return
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    driver = _driver() or "no driver found"
    hidden = "" if visible is None else f", CUDA_VISIBLE_DEVICES={visible!r}"
    if not torch.cuda.is_available():
        yield f"no CUDA device: torch is built for CUDA {torch.version.cuda}, driver: {driver}{hidden}"
        return
    yield f"CUDA {torch.version.cuda} of torch, driver {driver}{hidden}"
    same: dict[str, list[int]] = {}
    for number in range(torch.cuda.device_count()):
        same.setdefault(_device(number), []).append(number)
    for about, numbers in same.items():
        yield f"cuda:{','.join(map(str, numbers))} {about}"


def _device(number: int) -> str:
    import torch

    try:
        about = torch.cuda.get_device_properties(number)
        free, _ = torch.cuda.mem_get_info(number)
    except RuntimeError as error:
        return f"UNUSABLE: {str(error).splitlines()[0]}"
    # Older devices emulate it, slower than float32.
    bf16 = "bf16" if about.major >= 8 else "no bf16"
    total = about.total_memory
    return f"{about.name}, {total / GIB:.0f} GiB ({free / total:.0%} free), sm_{about.major}{about.minor}, {bf16}"


def _driver() -> str:
    """Read the driver's version where Linux shows it."""
    words = (_text(Path("/proc/driver/nvidia/version")) or "").split()
    return next((word for word in words if word[:1].isdigit() and "." in word), "")


def _groups(group: Path | None) -> Iterator[Path]:
    """Folders that may hold limits: the process's own group, then those around it, of either cgroup version."""
    if group is not None:
        yield group
        return
    for line in (_text(Path("/proc/self/cgroup")) or "").splitlines():
        _, controllers, name = line.split(":", 2)
        base = CGROUP / controllers if controllers else CGROUP
        own = base / name.lstrip("/")
        yield own
        yield from (parent for parent in own.parents if parent.is_relative_to(base))


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return None

"""Time and memory of a whole subject, from NSD's files to a fitted ridge; run by hand.

    python tests/benchmarks/bench_subject.py                  # a small simulated subject, a minute
    python tests/benchmarks/bench_subject.py --full           # 30,000 trials of 15,724 voxels: 8 GB, half an hour
    python tests/benchmarks/bench_subject.py --root $NSD --space vit-b-32      # your own

Every stage is the command that a user types, in a process of its own; its CPU time and peak memory are what the
system counted for that process. Memory includes pages of the memory-mapped store, which the system takes back when
others need them.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

FULL = ["--shared", "1000", "--unique", "9000", "--sessions", "40", "--nsdgeneral_voxels", "15724"]
SMALL = ["--shared", "100", "--unique", "500", "--sessions", "6", "--nsdgeneral_voxels", "1500"]


def stage(*arguments: str) -> None:
    """Run one command and print what it cost."""
    started_s = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "fmri_lightning", *arguments], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    wall_s = time.perf_counter() - started_s
    if status:
        raise SystemExit(f"{' '.join(arguments)} ended with {os.waitstatus_to_exitcode(status)}")
    name = " ".join(arguments[:3] if arguments[0] == "fit" else arguments[:1])
    print(
        f"{name:40} {wall_s:8.1f} s, {used.ru_utime + used.ru_stime:8.1f} CPU-s, peak {used.ru_maxrss / 1e6:5.2f} GB",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", help="an NSD tree (default: a simulated one)")
    parser.add_argument("--subject", default="subj01")
    parser.add_argument("--space", default="mini-source")
    parser.add_argument("--full", action="store_true", help="simulate a subject of NSD's size")
    parser.add_argument("--jobs", default="1")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--work", help="folder for what the stages write; kept (default: a temporary one)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(arguments.work or temporary)
        root = arguments.root
        if root is None:
            root = str(work / "nsd")
            stage("simulate", "--out", root, "--subjects", "1", "--nifti", "none", *(FULL if arguments.full else SMALL))
        subject = ["--subject", arguments.subject]
        stage("index", "--root", root, *subject, "--out", str(work / "index"))
        places = ["--index", str(work / "index"), "--out", str(work / "betas"), "--preproc_out", str(work / "preproc")]
        stage("betas", "--root", root, *subject, *places, "--jobs", arguments.jobs, "--dtype", arguments.dtype)
        stage("clip-cache", "--root", root, "--space", arguments.space, "--out", str(work / "clip.parquet"))
        data = {"subject": arguments.subject, "index_root": work / "index", "betas": work / "betas"}
        data |= {"preproc": work / "preproc", "clip_cache": work / "clip.parquet"}
        flags = [part for name, value in data.items() for part in (f"--data.{name}", str(value))]
        stage("fit", "--config", "configs/encoder/ridge.yaml", *flags, "--model.root", str(work / "checkpoints"))


if __name__ == "__main__":
    main()

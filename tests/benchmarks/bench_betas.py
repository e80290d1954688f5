"""Trials per CPU-second and peak memory of reading a mask from one NSD session; run by hand.

    python tests/benchmarks/bench_betas.py                                     # a ninth of a session, a minute
    python tests/benchmarks/bench_betas.py --box 81,104,83 --voxels 15724      # true size, 6 GB of disk, ten minutes

Writes a replica of a session (one HDF5 chunk per voxel, as NSD has it) and the same betas as .nii.gz. Ours is the
whole step of the store: read the mask, percent signal change, T0, rows on disk; of HDF5 the mean of four sessions in a
row, as in a store. It is compared with reading the whole dataset by h5py, and nibabel's get_fdata, each masked; these
do neither T0 nor writing. Every reader runs in a process of its own, so that its peak memory is its own, and their
answers are compared.
"""

import argparse
import hashlib
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

_PERIOD = 20011  # voxels until the noise repeats: beyond the window of gzip, which would else pack it to nothing


def write_replica(folder: Path, box: tuple[int, int, int], trials: int) -> None:
    """One chunk per voxel, x fastest in the file, noise of NSD's amplitude; and the same as NIfTI."""
    import h5py
    import nibabel
    import numpy as np

    x, y, z = box
    noise = np.random.default_rng(0).normal(300, 300, (_PERIOD, trials)).astype("<i2")
    with h5py.File(folder / "betas_session01.hdf5", "w") as handle:
        dataset = handle.create_dataset("betas", (trials, z, y, x), "<i2", chunks=(trials, 1, 1, 1))
        for number, (k, j, i) in enumerate(np.ndindex(z, y, x)):
            dataset.id.write_direct_chunk((0, k, j, i), noise[number % _PERIOD].tobytes())
    voxels = np.arange(x * y * z) % _PERIOD
    volume = noise[voxels].reshape(z, y, x, trials).transpose(2, 1, 0, 3)
    nibabel.openers.Opener.default_compresslevel = 1
    nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), folder / "betas_session02.nii.gz")


def mask(box, n_voxels):
    """A compact region of cortex, not scattered voxels: what a mask touches in the file is what matters."""
    import numpy as np

    centre = np.array(box) / np.array([2, 4, 2])
    near = np.argsort(np.square(np.indices(box).reshape(3, -1).T - centre).sum(axis=1), kind="stable")
    return np.stack(np.unravel_index(np.sort(near[:n_voxels]), box), axis=1).astype(np.int32)


def ours(path: Path, ijk, trials: int):
    """The step of the store: read, T0, rows on disk; returns the percent signal change that T0 saw."""
    import numpy as np

    from fmri_lightning.betas.nsd_volumes import NSDVolumes
    from fmri_lightning.betas.partial import PartialStore
    from fmri_lightning.betas.sessions import SessionWork, write_session

    source = NSDVolumes(ijk, {}, {1: path}, {}, {1: trials})
    rows = np.arange(trials)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        partial = PartialStore(Path(folder) / "store", "", (trials, len(ijk)), "float32")
        found = write_session(SessionWork(source, 1, "", rows, rows, rows % 10 > 0, False, "float32"), partial)
        z = np.asarray(partial.betas)
    return z * found.statistics.std + found.statistics.mean


def whole_h5py(path: Path, ijk, trials: int):
    import h5py
    import numpy as np

    with h5py.File(path) as handle:
        betas = handle["betas"][...]
    return betas.transpose(0, 3, 2, 1)[:, *ijk.T].astype(np.float32) / np.float32(300)


def get_fdata(path: Path, ijk, trials: int):
    import nibabel
    import numpy as np

    return nibabel.load(path).get_fdata()[tuple(ijk.T)].T.astype(np.float32) / np.float32(300)


READERS = {
    "ours, HDF5, with T0 and write": ("betas_session01.hdf5", ours),
    "h5py dset[...], then mask": ("betas_session01.hdf5", whole_h5py),
    "ours, nii.gz, with T0 and write": ("betas_session02.nii.gz", ours),
    "nibabel get_fdata, then mask": ("betas_session02.nii.gz", get_fdata),
}


def run_one(name: str, folder: Path, box, n_voxels: int, trials: int) -> None:
    """Time one reader in this process and print what it cost."""
    import h5py  # noqa: F401  (imports are not what is timed)
    import nibabel  # noqa: F401
    import numpy as np

    file, reader = READERS[name]
    ijk = mask(box, n_voxels)
    repeats = 4 if name == "ours, HDF5, with T0 and write" else 1
    before = resource.getrusage(resource.RUSAGE_SELF)
    for _ in range(repeats):
        betas = reader(folder / file, ijk, trials)
    after = resource.getrusage(resource.RUSAGE_SELF)
    rounded = np.round(betas * 300).astype(np.int16)
    print(
        json.dumps(
            {
                "cpu_s": (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / repeats,
                "peak_gb": after.ru_maxrss / 1e6,
                "answer": hashlib.sha256(rounded.tobytes()).hexdigest(),
            }
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--box", default="40,50,45")
    parser.add_argument("--trials", type=int, default=750)
    parser.add_argument("--voxels", type=int, default=2000)
    parser.add_argument("--work", help="folder for the replica; kept there (default: a temporary one)")
    parser.add_argument("--run", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    box = tuple(int(n) for n in arguments.box.split(","))
    if arguments.run == "replica":
        write_replica(Path(arguments.work), box, arguments.trials)
        return
    if arguments.run:
        run_one(arguments.run, Path(arguments.work), box, arguments.voxels, arguments.trials)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(arguments.work or temporary)
        command = [sys.executable, __file__, "--box", arguments.box, "--trials", str(arguments.trials)]
        command += ["--voxels", str(arguments.voxels), "--work", str(folder), "--run"]
        if not (folder / "betas_session02.nii.gz").is_file():
            subprocess.run([*command, "replica"], check=True)
        sizes = ", ".join(f"{p.name} {p.stat().st_size / 1e9:.2f} GB" for p in sorted(folder.glob("betas_*")))
        print(f"{box} voxels, {arguments.trials} trials, mask of {arguments.voxels}: {sizes}")
        costs = {}
        for name in READERS:
            runs = 3 if name.startswith("ours, HDF5") else 1
            outputs = [subprocess.run([*command, name], check=True, stdout=subprocess.PIPE).stdout for _ in range(runs)]
            costs[name] = sorted((json.loads(output) for output in outputs), key=lambda c: c["cpu_s"])[runs // 2]
    assert len({cost["answer"] for cost in costs.values()}) == 1, "the readers disagree"
    best = {suffix: next(c["cpu_s"] for n, c in costs.items() if suffix in n) for suffix in ("HDF5", "nii.gz")}
    for name, cost in costs.items():
        ratio = cost["cpu_s"] / best["HDF5" if "h5py" in name or "HDF5" in name else "nii.gz"]
        print(
            f"{name:33} {arguments.trials / cost['cpu_s']:7.0f} trials/CPU-s, peak {cost['peak_gb']:5.2f} GB, "
            f"{ratio:6.1f} times the CPU of ours"
        )


if __name__ == "__main__":
    main()

"""Trials per CPU-second of reading a mask from one NSD session; run by hand.

    python tests/benchmarks/bench_betas.py --box 81,104,83 --trials 750 --voxels 15724

Writes a replica of a session (one HDF5 chunk per voxel, as NSD has it, 1.1 GB at full size) and compares our reader
with reading the whole dataset by h5py and masking it, and with nibabel's get_fdata on a NIfTI file of fewer trials.
Every reader's answer is compared with ours.
"""

import argparse
import resource
import tempfile
from pathlib import Path

import h5py
import nibabel
import numpy as np

from fmri_lightning.betas.reader import read_voxels

_PERIOD = 20011  # voxels until the noise repeats: beyond the window of gzip, which would else pack it to nothing


def write_replica(path: Path, box: tuple[int, int, int], trials: int) -> None:
    """One chunk per voxel, x fastest in the file, noise of NSD's amplitude."""
    x, y, z = box
    noise = np.random.default_rng(0).normal(300, 300, (_PERIOD, trials)).astype("<i2")
    with h5py.File(path, "w") as handle:
        dataset = handle.create_dataset("betas", (trials, z, y, x), "<i2", chunks=(trials, 1, 1, 1))
        for number, (k, j, i) in enumerate(np.ndindex(z, y, x)):
            dataset.id.write_direct_chunk((0, k, j, i), noise[number % _PERIOD].tobytes())


def cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--box", default="40,50,45")
    parser.add_argument("--trials", type=int, default=750)
    parser.add_argument("--voxels", type=int, default=2000)
    parser.add_argument("--nifti_trials", type=int, default=60)
    arguments = parser.parse_args()
    box = tuple(int(n) for n in arguments.box.split(","))
    # A compact region of cortex, not scattered voxels: what a mask touches in the file is what matters.
    centre = np.array(box) / np.array([2, 4, 2])
    near = np.argsort(np.square(np.indices(box).reshape(3, -1).T - centre).sum(axis=1), kind="stable")
    ijk = np.stack(np.unravel_index(np.sort(near[: arguments.voxels]), box), axis=1)

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "betas_session01.hdf5"
        write_replica(path, box, arguments.trials)
        print(f"{path.stat().st_size / 1e9:.2f} GB, {box} voxels, {arguments.trials} trials, mask of {len(ijk)}")

        def whole_h5() -> np.ndarray:
            with h5py.File(path) as handle:
                return (handle["betas"][:].transpose(0, 3, 2, 1)[:, *ijk.T]).astype(np.float32) / np.float32(300)

        runs = {"ours": [], "h5py, whole dataset then mask": []}
        for _ in range(3):
            started = cpu_s()
            ours = read_voxels(path, ijk)
            runs["ours"].append(cpu_s() - started)
        started = cpu_s()
        assert np.array_equal(whole_h5(), ours)
        runs["h5py, whole dataset then mask"].append(cpu_s() - started)
        rates = {name: arguments.trials / np.median(times) for name, times in runs.items()}

        few = arguments.nifti_trials
        with h5py.File(path) as handle:
            volume = handle["betas"][:few].transpose()
        path = Path(folder) / "betas_session02.nii.gz"
        nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), path)
        started = cpu_s()
        plain = nibabel.load(path).get_fdata()[tuple(ijk.T)].T.astype(np.float32) / np.float32(300)
        rates["nibabel get_fdata then mask (nii.gz)"] = few / (cpu_s() - started)
        started = cpu_s()
        assert np.array_equal(read_voxels(path, ijk), plain)
        rates["ours (nii.gz, streamed, checksum verified)"] = few / (cpu_s() - started)

    for name, rate in rates.items():
        print(f"{name:45} {rate:8.0f} trials/CPU-s   ours is {rates['ours'] / rate:6.1f} times as fast")


if __name__ == "__main__":
    main()

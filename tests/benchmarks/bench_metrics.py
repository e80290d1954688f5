"""CPU seconds, agreement and memory of the metrics against the published scripts' formulation; run by hand.

    python tests/benchmarks/bench_metrics.py                            # 1,000 pairs at 425 px, 4 minutes
    python tests/benchmarks/bench_metrics.py --n 50 --size 128          # some seconds

Each metric has a process of its own, in which ours and the peer take turns on the same float32 arrays after a warm-up
on a few of them; medians of the turns that fit into half a minute, one at least. The peers are the lines of MindEye's
scripts: ``np.corrcoef`` picture by picture; scikit-image's SSIM picture by picture after ``rgb2gray`` of the stack;
``np.corrcoef`` of the stacked features of AlexNet's second and fifth layer, compared with its diagonal. The memory is
what a turn needs beside its input. BLAS threads wait for each other by spinning: on a machine with other work, set
OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

TARGETS = {"ratio": 3.0, "difference": 1e-6}
SECONDS_PER_METRIC = 30
FEATURES = {"two-way, AlexNet 2": 184_512, "two-way, AlexNet 5": 57_600}
# The stacked features in float64, as many again for the transpose, and the two float64 copies that are stacked.
PEER_BYTES_PER_FEATURE = 2 * (8 + 8 + 8)


def pictures(n: int, size: int):
    """Smooth shapes with flat and saturated areas under noise, and pictures that resemble them."""
    import numpy as np

    rng = np.random.default_rng(0)
    grid = -(-size // 16)
    coarse = rng.uniform(-0.3, 1.3, (16, grid, grid, 3)).astype(np.float32)
    shapes = coarse.repeat(16, axis=1).repeat(16, axis=2)[:, :size, :size]
    truth = np.empty((n, size, size, 3), dtype=np.float32)
    recon = np.empty_like(truth)
    for i in range(n):
        noise = rng.random((2, size, size, 3), dtype=np.float32)
        truth[i] = np.clip(0.8 * shapes[i % 16] + 0.2 * shapes[i // 16 % 16] + 0.2 * noise[0] * (i % 3), 0, 1)
        recon[i] = np.clip(0.7 * truth[i] + 0.3 * noise[1], 0, 1)
    return truth, recon


def features(n: int, d: int):
    """Maps after a ReLU: half zero, alike between pictures, more so between a picture and its reconstruction."""
    import numpy as np

    rng = np.random.default_rng(0)
    common = rng.standard_normal(d, dtype=np.float32)
    truth = rng.standard_normal((n, d), dtype=np.float32)
    recon = rng.standard_normal((n, d), dtype=np.float32)
    for i in range(n):
        truth[i] += 0.5 * common
        # From hardly to well reconstructed, so that the score lies below its ceiling.
        recon[i] += 0.5 * common + (i / n) ** 2 * 0.1 * truth[i]
        np.maximum(truth[i], 0, out=truth[i])
        np.maximum(recon[i], 0, out=recon[i])
    return truth, recon


def pixcorr():
    import numpy as np

    from fmri_lightning.metrics.pixcorr import pixel_correlation

    def peer(truth, recon):
        return np.array([np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(truth, recon, strict=True)])

    return pixel_correlation, peer


def ssim():
    import numpy as np
    from skimage.color import rgb2gray
    from skimage.metrics import structural_similarity as peer_ssim

    from fmri_lightning.metrics.ssim import structural_similarity

    arguments = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}

    def peer(truth, recon):
        grey = rgb2gray(truth), rgb2gray(recon)
        return np.array([peer_ssim(b, a, **arguments) for a, b in zip(*grey, strict=True)])

    return structural_similarity, peer


def two_way():
    import numpy as np

    from fmri_lightning.metrics.identification import correlation_matrix, two_way_identification

    def ours(truth, recon):
        r = correlation_matrix(truth, recon)
        return np.concatenate([two_way_identification(r), r.ravel()])

    def peer(truth, recon):
        n = len(truth)
        r = np.corrcoef(truth, recon)[:n, n:]
        success = r < np.diag(r)
        return np.concatenate([np.sum(success, 0) / (n - 1), r.ravel()])

    return ours, peer


METRICS = {"PixCorr": pixcorr, "SSIM": ssim, **dict.fromkeys(FEATURES, two_way)}


def one_turn(method, truth, recon):
    """Result, CPU seconds of user and system, and memory in GB that the method needed beside its input."""
    start_memory = reset_peak()
    before = resource.getrusage(resource.RUSAGE_SELF)
    result = method(truth, recon)
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return result, cpu, memory("VmHWM") - start_memory


def reset_peak() -> float:
    """Forget the peak of the resident memory (Linux), and return what is resident."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return float("nan")
    return memory("VmRSS")


def memory(field: str, table: str = "/proc/self/status") -> float:
    """A line of a table of /proc in GB; NaN where there is none."""
    try:
        lines = Path(table).read_text().splitlines()
    except OSError:
        return float("nan")
    return next(int(line.split()[1]) * 1024 / 1e9 for line in lines if line.startswith(field + ":"))


def run_one(name: str, n: int, size: int, runs: int) -> None:
    """Let ours and the peer take turns in this process, and print what they cost."""
    import numpy as np

    ours, peer = METRICS[name]()
    truth, recon = features(n, FEATURES[name]) if name in FEATURES else pictures(n, size)
    for method in (ours, peer):
        method(truth[:3], recon[:3])
    costs: dict[str, list[float]] = {"ours": [], "peer": [], "ours_gb": [], "peer_gb": []}
    start, difference = time.perf_counter(), 0.0
    for turn in range(runs):
        if turn and (time.perf_counter() - start) * (turn + 1) / turn > SECONDS_PER_METRIC:
            break
        results = {}
        for side, method in (("ours", ours), ("peer", peer)):
            results[side], cpu, gb = one_turn(method, truth, recon)
            costs[side].append(cpu)
            costs[f"{side}_gb"].append(gb)
        difference = max(difference, float(np.abs(results["ours"] - results["peer"]).max()))
    scores = float(results["ours"][:n].mean()), float(results["peer"][:n].mean())
    ratio = statistics.median(p / o for o, p in zip(costs["ours"], costs["peer"], strict=True))
    found = {key: statistics.median(values) for key, values in costs.items()}
    print(json.dumps({**found, "runs": len(costs["ours"]), "ratio": ratio, "difference": difference, "scores": scores}))


def room_for_peer(name: str, n: int) -> bool:
    """Whether numpy's copies of all features fit into the memory that is free."""
    need = n * FEATURES.get(name, 0) * (PEER_BYTES_PER_FEATURE + 8) / 1e9
    return not memory("MemAvailable", "/proc/meminfo") < need


def verdict(value: float, target: float, at_least: bool) -> str:
    met = value >= target if at_least else value <= target
    return f"{'met' if met else 'MISSED'}: {'at least' if at_least else 'at most'} {target:g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=1000, help="pairs")
    parser.add_argument("--size", type=int, default=425, help="side of the pictures in px")
    parser.add_argument("--runs", type=int, default=3, help="turns at most")
    parser.add_argument("--run", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        run_one(arguments.run, arguments.n, arguments.size, arguments.runs)
        return
    print(f"{arguments.n} pairs; pictures of {arguments.size} px, features of {list(FEATURES.values())} values")
    for name in METRICS:
        if not room_for_peer(name, arguments.n):
            print(f"{name}: skipped, numpy's copies of the features do not fit into the free memory")
            continue
        command = [sys.executable, __file__, f"--n={arguments.n}", f"--size={arguments.size}"]
        command += [f"--runs={arguments.runs}", "--run", name]
        cost = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
        print(
            f"{name:19} ours {cost['ours']:7.2f} CPU-s, {cost['ours_gb']:.2f} GB; "
            f"peer {cost['peer']:7.2f} CPU-s, {cost['peer_gb']:.2f} GB; median of {cost['runs']}; "
            f"{cost['ratio']:.1f} times less ({verdict(cost['ratio'], TARGETS['ratio'], True)}); "
            f"differ by {cost['difference']:.0e} ({verdict(cost['difference'], TARGETS['difference'], False)}); "
            f"mean {cost['scores'][0]:.6f} and {cost['scores'][1]:.6f}"
        )


if __name__ == "__main__":
    main()

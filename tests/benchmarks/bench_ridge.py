"""CPU seconds, peak memory and share of the machine's matrix-product rate of the ridge regression; run by hand.

    python tests/benchmarks/bench_ridge.py                                          # true size, 15 minutes
    python tests/benchmarks/bench_ridge.py --runs 1 --trials 800 --voxels 1600      # some seconds
    python tests/benchmarks/bench_ridge.py --large                                  # ours on a whole subject, 2 minutes

Every stimulus is one row, as after averaging its repeats: leave-one-stimulus-out is then scikit-learn's leave-one-out,
and the two are compared with each other, as are ours and himalaya's on the same five folds. All solve for the same ten
alphas and must choose the same. Runs are interleaved, each in a process of its own; imports and making the data are
not timed, and the peak memory is that of the process with the data. BLAS threads wait for each other by spinning: on a
machine with other work, set OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1. Operations are counted for the algorithm of
ours: n²p of the Gram matrix, 9n³ of the eigendecomposition, 2n²t per alpha, and the blocks of the folds.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time

N_FOLDS = 5
TARGETS = {"cpu": {"sklearn": 2.7, "himalaya": 3.2}, "peak_gb": 0.6, "share": 0.65}


def make_data(trials: int, voxels: int, targets: int):
    """Signal in a tenth of the voxels' directions under noise, so that the best alpha lies inside the grid."""
    import numpy as np

    rng = np.random.default_rng(0)
    y = rng.standard_normal((trials, targets), dtype=np.float32)
    mixing = rng.standard_normal((targets, voxels), dtype=np.float32) / np.float32(2 * targets**0.5)
    x = rng.standard_normal((trials, voxels), dtype=np.float32)
    for start in range(0, trials, 256):
        x[start : start + 256] += y[start : start + 256] @ mixing
    return x, y, voxels * np.logspace(-2, 2.5, 10)


def ours(x, y, alphas):
    from fmri_lightning.encoder.ridge import fit_ridge

    return lambda: fit_ridge(x, y, None, alphas).alpha[0]


def ours_folds(x, y, alphas):
    from fmri_lightning.encoder.ridge import fit_ridge

    return lambda: fit_ridge(x, y, None, alphas, cv=N_FOLDS).alpha[0]


def sklearn_eigen(x, y, alphas):
    from sklearn.linear_model import RidgeCV

    return lambda: RidgeCV(alphas=alphas, gcv_mode="eigen").fit(x, y).alpha_


def himalaya(backend):
    def prepare(x, y, alphas):
        import numpy as np
        from himalaya.backend import set_backend
        from himalaya.kernel_ridge import KernelRidgeCV
        from himalaya.scoring import l2_neg_loss
        from sklearn.model_selection import PredefinedSplit

        set_backend(backend)
        model = KernelRidgeCV(
            alphas=alphas.astype(np.float32),
            fit_intercept=True,
            cv=PredefinedSplit(np.arange(len(x)) % N_FOLDS),
            solver_params={"score_func": l2_neg_loss, "local_alpha": False},
        )

        def fit():
            model.fit(x, y)
            # Ours returns weights of voxels too.
            model.get_primal_coef()
            return model.best_alphas_[0]

        return fit

    return prepare


METHODS = {
    "ours, leave one stimulus out": ours,
    "sklearn RidgeCV eigen, leave one out": sklearn_eigen,
    "ours, 5 folds": ours_folds,
    "himalaya KernelRidgeCV torch, 5 folds": himalaya("torch"),
    "himalaya KernelRidgeCV numpy, 5 folds": himalaya("numpy"),
}
RATE = "matrix products"


def run_one(name: str, trials: int, voxels: int, targets: int) -> None:
    """Time one method in this process and print what it cost."""
    if name == RATE:
        print(json.dumps(product_rate()))
        return
    x, y, alphas = make_data(trials, voxels, targets)
    fit = METHODS[name](x, y, alphas)
    before, start = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    alpha = float(fit())
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF)
    cost = {
        "cpu_s": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "wall_s": wall,
        "peak_gb": after.ru_maxrss / 1e6,
        "choice": int(abs(alphas - alpha).argmin()),
    }
    print(json.dumps(cost))


def product_rate() -> dict[str, float]:
    """The best rate of float32 products of square matrices, in operations per second and per CPU second."""
    import numpy as np

    a = np.random.default_rng(0).standard_normal((4096, 4096), dtype=np.float32)
    out = np.empty_like(a)
    walls, cpus = [], []
    for _ in range(6):
        cpu, start = time.process_time(), time.perf_counter()
        np.matmul(a, a, out=out)
        walls.append(time.perf_counter() - start)
        cpus.append(time.process_time() - cpu)
    return {"wall_s": 2 * 4096**3 / min(walls), "cpu_s": 2 * 4096**3 / min(cpus)}


def operations(n: int, p: int, t: int, folds: int = 0, alphas: int = 10) -> float:
    """Operations of ours: the dual form when trials are fewer than voxels, else the primal one."""
    k = min(n, p)
    rotate, per_alpha, weights = 2 * n * k * t, 2 * n * k * t, 2 * k * k * t
    total = n * p * k + 9 * k**3 + rotate + alphas * (per_alpha + 2 * n * k) + weights
    total += 2 * n * p * t if n < p else 2 * n * p * p
    if folds:
        m = n / folds
        total += alphas * folds * (m * m * k + m**3 / 3 + 2 * m * m * t)
    return total


def measured(names: list[str], runs: int, size: tuple[int, int, int]) -> dict[str, dict[str, float]]:
    """Median cost of every method over interleaved runs."""
    command = [
        sys.executable,
        __file__,
        *(f"--{n}={v}" for n, v in zip(("trials", "voxels", "targets"), size, strict=True)),
    ]
    costs: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for _ in range(runs):
        for name in names:
            done = subprocess.run([*command, "--run", name], check=True, stdout=subprocess.PIPE)
            costs[name].append(json.loads(done.stdout))
    return {
        name: {key: statistics.median(cost[key] for cost in found) for key in found[0]} for name, found in costs.items()
    }


def verdict(value: float, target: float, at_least: bool) -> str:
    met = value >= target if at_least else value <= target
    return f"{'met' if met else 'MISSED'}: {'at least' if at_least else 'at most'} {target:g}"


def compare(runs: int, size: tuple[int, int, int], with_all: bool) -> None:
    """Print the costs, and the ratios next to what is promised."""
    names = [RATE, *(name for name in METHODS if with_all or "numpy" not in name)]
    costs = measured(names, runs, size)
    rate = costs.pop(RATE)
    print(f"{size[0]} trials, {size[1]} voxels, {size[2]} targets, 10 alphas, median of {runs}")
    print(f"best float32 product: {rate['wall_s'] / 1e9:.0f} GF/s, {rate['cpu_s'] / 1e9:.0f} GF per CPU second")
    for name, cost in costs.items():
        print(f"{name:38} {cost['cpu_s']:7.2f} CPU-s {cost['wall_s']:7.2f} s, peak {cost['peak_gb']:.2f} GB")
    assert len({cost["choice"] for cost in costs.values()}) == 1, "the methods chose different alphas"
    one, folds = costs["ours, leave one stimulus out"], costs["ours, 5 folds"]
    for name, cost in costs.items():
        package = name.split()[0]
        if package in TARGETS["cpu"]:
            ratio = cost["cpu_s"] / (folds if "folds" in name else one)["cpu_s"]
            print(f"CPU of {name}: {ratio:.1f} times ours ({verdict(ratio, TARGETS['cpu'][package], True)})")
    for name, cost, n_folds in (("leave one out", one, 0), ("5 folds", folds, N_FOLDS)):
        by_wall, by_cpu = (operations(*size, n_folds) / cost[key] / rate[key] for key in ("wall_s", "cpu_s"))
        print(f"share of the product rate, {name}: {by_wall:.0%} ({verdict(by_wall, TARGETS['share'], True)})")
        print(f"    by CPU seconds, which other work on the machine disturbs less: {by_cpu:.0%}")
        print(f"peak, {name}: {cost['peak_gb']:.2f} GB ({verdict(cost['peak_gb'], TARGETS['peak_gb'], False)})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=4000)
    parser.add_argument("--voxels", type=int, default=8000)
    parser.add_argument("--targets", type=int, default=512)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--all", action="store_true", help="himalaya's numpy backend too")
    parser.add_argument("--large", action="store_true", help="ours alone on 9,000 x 15,700 x 512")
    parser.add_argument("--run", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    size = (arguments.trials, arguments.voxels, arguments.targets)
    if arguments.run:
        run_one(arguments.run, *size)
    elif arguments.large:
        size = (9000, 15700, 512)
        costs = measured([RATE, "ours, leave one stimulus out"], 1, size)
        rate, cost = costs[RATE], costs["ours, leave one stimulus out"]
        by_wall, by_cpu = (operations(*size) / cost[key] / rate[key] for key in ("wall_s", "cpu_s"))
        print(
            f"9000 x 15700 x 512: {cost['wall_s']:.0f} s, {cost['cpu_s']:.0f} CPU-s, peak {cost['peak_gb']:.2f} GB "
            f"({verdict(cost['peak_gb'], 8, False)}), {by_wall:.0%} of the product rate, {by_cpu:.0%} by CPU seconds"
        )
    else:
        compare(arguments.runs, size, arguments.all)


if __name__ == "__main__":
    main()

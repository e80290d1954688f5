"""What a picture costs by each of the real generators, with random weights; run by hand.

    python tests/benchmarks/bench_cost.py                                  # four tables
    python tests/benchmarks/bench_cost.py --models sd15-ip --precision bf16-true
    python tests/benchmarks/bench_cost.py --keep cost.json                 # goes on with what an earlier run measured
    python tests/benchmarks/bench_cost.py --px 256 --batch 2               # how good the computed memory is

*architecture*: parameters, weights, operations of a U-Net evaluation, of decoding and of a picture as shipped. Exact,
and the same everywhere.

*time*: seconds of one step and of decoding, measured on the device at hand; all steps of a picture by multiplication.
On a CPU these are CPU-seconds of one thread, and what would take longer than --seconds or does not fit into memory is
computed from the rate of operations of the rows above, and says so.

*peer*: the same step and decoding by diffusers' own pipeline, in the same process, on the same weights.

*memory*: peak of both presets, computed from weights and live tensors for batches of 1 and 8, and measured where it was
run.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from tests.benchmarks.cost_tables import Row
    from tests.benchmarks.one_draw import Measured

GIB = 2**30


def measure_rows(rows: list[Row], given: argparse.Namespace) -> None:
    """Draw every row in processes of their own, the cheap ones first; what ``--keep`` holds is not drawn again."""
    from tests.benchmarks.cost_tables import PRESETS, memory_of
    from tests.benchmarks.one_draw import Measured

    kept = json.loads(given.keep.read_text()) if given.keep and given.keep.is_file() else {}
    rate = 0.0
    for row in rows:
        computed = {preset: memory_of(row, given.batch, given.precision, preset) for preset in PRESETS}
        for preset in PRESETS:
            if preset == "low" and computed["low"] == computed["default"]:
                row.measured["low"] = row.measured["default"]  # it changes nothing here
                continue
            key = f"{row.name} {row.model.px} {given.batch} {given.precision} {preset}"
            if key not in kept:
                found = _draw(row, preset, rate, computed[preset].peak, given)
                if found is None:
                    continue
                kept[key] = asdict(found)
                if given.keep:
                    given.keep.write_text(json.dumps(kept, indent=1))
            row.measured[preset] = found = Measured(**kept[key])
            rate = row.batch_flops(given.batch) / (found.step_s + found.decode_s)


def _draw(row: Row, preset: str, rate: float, peak: int, given: argparse.Namespace) -> Measured | None:
    """Draw one row, where memory and time are enough for it."""
    from tests.benchmarks.one_draw import measure

    # Of two rows the stock pipelines mix the IP-Adapter's pictures.
    with_peer = preset == "default" and not (row.model.ip_adapter and given.batch > 1)
    rounds = 2
    if not torch.cuda.is_available():
        expected_s = row.batch_flops(given.batch) / rate if rate else 0.0
        if expected_s > given.seconds or 1.3 * peak + GIB > _available():
            return None
        with_peer &= 2 * expected_s <= given.seconds
        rounds = 2 if 4 * expected_s <= given.seconds else 1
    return measure(row.name, row.model.px, given.batch, given.precision, preset, with_peer, rounds, given.threads)


def _available() -> float:
    path = Path("/proc/meminfo")
    if not path.is_file():
        return float("inf")
    return next(
        int(line.split()[1]) * 1024 for line in path.read_text().splitlines() if line.startswith("MemAvailable")
    )


def main() -> None:
    """Count, measure and print."""
    from tests.benchmarks.cost_tables import Row, architecture, memory_table, peer_table, time_table
    from tests.benchmarks.counting import count
    from tests.benchmarks.one_draw import DTYPES
    from tests.benchmarks.real_models import MODELS

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--px", type=int, help="another side than the trained one, for all")
    parser.add_argument("--batch", type=int, default=1, help="of IP-Adapters diffusers draws no batch right: no peer")
    parser.add_argument("--precision", choices=list(DTYPES), help="16-true on a GPU, 32-true on a CPU")
    parser.add_argument("--threads", type=int, default=1, help="on a CPU")
    parser.add_argument("--seconds", type=float, default=360, help="longest expected run of a row on a CPU")
    parser.add_argument("--keep", type=Path, help="file that takes what was measured; drawn once is enough")
    parser.add_argument("--count-only", action="store_true", help="nothing is run")
    given = parser.parse_args()
    on_cuda = torch.cuda.is_available()
    given.precision = given.precision or ("16-true" if on_cuda else "32-true")
    chosen = {name: replace(MODELS[name], px=given.px or MODELS[name].px) for name in given.models}
    rows = [Row(name, model, count(model)) for name, model in chosen.items()]
    print("\n".join(architecture(rows)))
    if not given.count_only:
        measure_rows(rows, given)
        device = torch.cuda.get_device_name() if on_cuda else f"CPU-seconds, {given.threads} thread"
        print(f"\n{device}, {given.precision}, batch of {given.batch}, torch {torch.__version__}\n")
        print("\n".join([*time_table(rows, given.batch), "", *peer_table(rows)]))
    print()
    print("\n".join(memory_table(rows, given.batch, given.precision)))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    main()

"""What the low-level path gives and costs, on a finished demo; run by hand.

    fmri-lightning demo --out outputs/demo
    python tests/benchmarks/low_level.py --demo outputs/demo --out outputs/low_level

Latents of the mini autoencoder are predicted by ridge. Strengths are compared on the validation pictures, where the
best is chosen; the test pictures are then drawn once with it, without it, and with a pixel blend. Every figure is a
difference from the run without low-level path, paired over stimuli, with a 95 % bootstrap interval. What lies in
``--out`` already is not drawn again.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from fmri_lightning.cli import main as fmri_lightning
from fmri_lightning.evaluation.tables.comparisons import paired_differences
from fmri_lightning.evaluation.tables.scored import read_scores
from fmri_lightning.metrics.bootstrap import bootstrap_interval

METRICS = ("pixcorr", "ssim", "judge2_two_way", "judge5_two_way")
STRENGTHS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


def command(*words: object) -> None:
    """Run one command of ours in this process."""
    code = fmri_lightning([str(word) for word in words])
    if code:
        sys.exit(f"{words[0]} ended with {code}")


class Runs:
    """Draws and scores runs of one encoder of a demo."""

    def __init__(self, demo: Path, out: Path, encoder: str) -> None:
        self.demo, self.out, self.encoder = demo, out, encoder
        self.low_level = out / "checkpoints" / "low_level" / "subj01" / "low_level.ckpt"

    def data(self) -> list[object]:
        """Where index, betas and preprocessing lie."""
        names = {"index_root": "nsd_index", "betas": "betas", "preproc": "preproc"}
        return [word for key, name in names.items() for word in (f"--data.{key}", self.demo / name)]

    def prepare(self) -> None:
        """Make the latents and fit the ridge onto them."""
        cache = self.out / "clip_cache" / "mini-vae.parquet"
        command("clip-cache", "--root", self.demo / "nsd", "--space", "mini-vae", "--out", cache)
        if not self.low_level.is_file():
            command(
                "fit", "--config", "configs/encoder/low_level.yaml", *self.data(), "--data.clip_cache", cache,
                "--model.root", self.out / "checkpoints",
            )  # fmt: skip

    def scored(self, name: str, *more: object) -> Path:
        """Draw a run and score it, if that was not done; its folder of scores."""
        run, caches, checkpoints = self.out / self.encoder / name, self.demo / "clip_cache", self.demo / "checkpoints"
        scores = run / "evaluation" / "demo"
        if not (scores / "summary.json").is_file():
            command(
                "predict", "--config", "configs/predict.yaml", "--config", "configs/decoder/mini.yaml",
                "--data.root", self.demo / "nsd", *self.data(), "--data.clip_cache", caches / "clip.parquet",
                "--data.target_cache", caches / "mini-target.parquet",
                "--model.encoder_ckpt", checkpoints / self.encoder / "subj01" / f"{self.encoder}.ckpt",
                "--model.adapter_ckpt", checkpoints / "clip_adapter" / "subj01" / "mini-target" / "adapter.ckpt",
                "--output_dir", run, *more,
            )  # fmt: skip
            command("evaluate", "--run", run, "--protocol", "demo")
        return scores

    def blurry(self, name: str) -> Path:
        """Score the blurry pictures of a run by themselves."""
        run = self.out / self.encoder / name
        scores = run / "evaluation_of_low_level"
        if not (scores / "demo" / "summary.json").is_file():
            command(
                "evaluate", "--generated", run / "low_level", "--truth", self.demo / "nsd", "--protocol", "demo",
                "--out", scores,
            )  # fmt: skip
        return scores / "demo"


def line(name: str, scores: Path, base: Path) -> str:
    """Write a run's scores and their differences from another run."""
    cells = []
    of_run, of_base = read_scores(scores / "scores.parquet"), read_scores(base / "scores.parquet")
    for metric in METRICS:
        if metric not in of_run:
            cells.append("-")
            continue
        own, (_, influence, _) = of_run[metric], paired_differences(of_run[metric], of_base[metric])
        differs = bootstrap_interval(influence, seed=0)
        mean = float(np.mean(own.defined().values))
        cells.append(f"{mean:.3f} ({differs.value:+.3f} [{differs.low:+.3f}, {differs.high:+.3f}])")
    return f"| {name} | {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demo", type=Path, required=True, help="folder of a finished demo")
    parser.add_argument("--out", type=Path, required=True, help="folder for runs")
    parser.add_argument("--encoder", default="mlp", help="encoder of the embeddings, ridge or mlp")
    parser.add_argument("--strengths", type=float, nargs="*", default=STRENGTHS, help="tried on validation pictures")
    parser.add_argument("--chosen", type=float, help="draw the test pictures with this strength")
    parser.add_argument("--blend", type=float, default=0.25, help="share of the blurry picture in the blended run")
    args = parser.parse_args()
    runs = Runs(args.demo, args.out, args.encoder)
    runs.prepare()
    started = ("--model.low_level", runs.low_level, "--model.strength")
    print(f"| | {' | '.join(METRICS)} |")
    on_val = ("--data.test_set", "val")
    base = runs.scored("val_alone", *on_val)
    print(line("val, no low-level path", base, base), flush=True)
    for strength in args.strengths:
        scores = runs.scored(f"val_{strength:g}", *on_val, *started, strength)
        print(line(f"val, strength {strength:g}", scores, base), flush=True)
    if args.chosen is None:
        return
    on_test = ("--data.limit", 64)
    base = runs.scored("test_alone", *on_test)
    print(line("test, no low-level path", base, base), flush=True)
    name = f"test_{args.chosen:g}"
    print(line(f"test, strength {args.chosen:g}", runs.scored(name, *on_test, *started, args.chosen), base), flush=True)
    print(line("test, the blurry pictures alone", runs.blurry(name), base), flush=True)
    blended = runs.scored(f"{name}_blend", *on_test, *started, args.chosen, "--model.low_level_blend", args.blend)
    print(line(f"test, the same with a blend of {args.blend:g}", blended, base), flush=True)


if __name__ == "__main__":
    main()

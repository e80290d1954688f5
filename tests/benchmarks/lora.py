"""What a LoRA and a direct projection of the mini generator are worth on a finished demo, beside the base weights.

``python -m tests.benchmarks.lora outputs/demo/outputs outputs/lora_benchmark --minutes 6`` trains both on half true and
half out-of-fold embeddings (ridge's), draws the validation pictures, the 64 test pictures of the demo and the controls
from true source embeddings with the MLP's predictions, and lets evaluate compare them, stimulus by stimulus. A
setting is judged by the validation pictures; figures of test pictures are for the report.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

from fmri_lightning.cli import main

TARGETS = "[to_q,to_k,to_v,to_out.0,time_emb_proj,class_embedding.linear_1,class_embedding.linear_2]"
SHOWN = ("pixcorr", "ssim", "pixcorr_two_way", "judge2_two_way", "judge5_two_way", "judge_distance")


def run(*words: object) -> None:
    """Run a command; a failed one ends the benchmark."""
    code = main([str(word) for word in words])
    if code:
        raise SystemExit(code)


def options(**named: object) -> list[object]:
    """Write flags of the data."""
    return [word for name, value in named.items() for word in (f"--data.{name}", value)]


def train(demo: Path, out: Path, minutes: int) -> tuple[Path, Path]:
    """Train both; return the LoRA's folder and the pipeline with a direct projection."""
    caches, ridge = demo / "clip_cache", demo / "checkpoints/ridge/subj01/out_of_fold"
    common = [
        "--model.decoder.family", "mini", "--model.training.lr", "1e-3", "--trainer.max_steps", 100000,
        "--trainer.max_time", f"00:00:{minutes:02d}:00",
        *options(
            root=demo / "nsd", index_root=demo / "nsd_index", target_cache=caches / "mini-target.parquet",
            cache_dir=out / "cache", batch_size=32, steps_per_epoch=50, out_of_fold=ridge,
        ),
    ]  # fmt: skip
    adapter = demo / "checkpoints/clip_adapter/subj01/mini-target/adapter.ckpt"
    run(
        "fit", "--config", "configs/lora.yaml", *common, "--model.target_modules", TARGETS, "--model.root", out,
        "--data.adapter_ckpt", adapter, "--trainer.default_root_dir", out / "lora_fit",
        "--trainer.callbacks.init_args.dirpath", out / "lora_fit",
    )  # fmt: skip
    run(
        "fit", "--config", "configs/direct_projection.yaml", *common, "--data.clip_cache", caches / "clip.parquet",
        "--trainer.default_root_dir", out / "direct_fit",
    )  # fmt: skip
    return out / "lora/subj01/mini-target", Path("outputs/direct_projection/pipeline")


def draw(demo: Path, out: Path, *words: object) -> Path:
    """Draw by the MLP's predictions with the settings of configs/decoder/mini.yaml."""
    run(
        "predict", "--config", "configs/predict.yaml", "--config", "configs/decoder/mini.yaml",
        *options(
            root=demo / "nsd", index_root=demo / "nsd_index", betas=demo / "betas", preproc=demo / "preproc",
            clip_cache=demo / "clip_cache/clip.parquet", target_cache=demo / "clip_cache/mini-target.parquet",
            subject="subj01",
        ),
        "--model.encoder_ckpt", demo / "checkpoints/mlp/subj01/mlp.ckpt",
        "--model.adapter_ckpt", demo / "checkpoints/clip_adapter/subj01/mini-target/adapter.ckpt",
        "--output_dir", out, *words,
    )  # fmt: skip
    return out


def compare(out: Path, *runs: Path) -> None:
    """Score runs and print the paired differences with their 95 % intervals."""
    run("evaluate", "--run", *runs, "--protocol", "demo")
    for table in sorted(out.glob("evaluation/*/comparisons.csv")):
        for row in csv.DictReader(table.open()):
            if row["metric"] in SHOWN:
                numbers = " ".join(f"{float(row[key]):+.3f}" for key in ("difference", "ci_low", "ci_high"))
                print(f"{row['first']} - {row['second']}: {row['metric']} {numbers} (n = {row['n']})")


def benchmark() -> None:
    """Train, draw, compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("demo", type=Path, help="outputs of a finished demo")
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=int, default=6, help="of each training")
    given = parser.parse_args()
    lora, pipeline = train(given.demo, given.out, given.minutes)
    direct = ["--model.decoder.model_id", pipeline, "--model.adapter_ckpt", "null", "--data.target_cache", "null"]
    variants = {"base": [], "lora": ["--model.decoder.lora", lora], "direct": direct}
    for name, which in (
        ("val", ["--data.test_set", "val"]),
        ("test", ["--data.limit", 64]),
        ("true_source", ["--data.limit", 64, "--model.condition", "true_source"]),
    ):
        folders = [draw(given.demo, given.out / name / key, *words, *which) for key, words in variants.items()]
        if name == "true_source":
            folders.pop(1)  # evaluate tells controls apart by their decoder, and a LoRA's is the base
        inside = Path("controls/true_source") if name == "true_source" else Path()
        compare(given.out / name, *(folder / inside for folder in folders))


if __name__ == "__main__":
    benchmark()

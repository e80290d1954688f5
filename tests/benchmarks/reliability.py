"""A noise level of its own for every picture, beside one for all: what it is worth on val pictures; run by hand.

    python tests/benchmarks/reliability.py --demo DIR                          # mlp and ridge, about 20 minutes
    python tests/benchmarks/reliability.py --demo DIR --encoders mlp --n 32    # two minutes

Reads the validation pictures of a finished demo, never its test set. Expected errors are held out: each picture's comes
from a map that was fitted on the other folds. All settings draw with the same seeds. The best level and the best scale
are chosen on the other folds too, so that neither is scored on the pictures it was chosen by. Two-way identification by
the judge's second layer, which took no part in conditioning; the cosine is that of the encoder's own space, which
conditions the pictures, and is circular. Intervals: 95 %, bootstrap over pictures, paired.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from fmri_lightning.adapter.reliability.error_map import fit_error_map, held_out_errors
from fmri_lightning.adapter.reliability.fit import TargetOf, fit_reliability
from fmri_lightning.adapter.reliability.noise_levels import match_levels
from fmri_lightning.adapter.voxels import open_voxels
from fmri_lightning.embeddings.cache import EmbeddingCache
from fmri_lightning.embeddings.image_encoder import ImageEncoder
from fmri_lightning.generation.decoder import DecoderConfig, Steering
from fmri_lightning.generation.families.unclip import UnclipDecoder, load_unclip
from fmri_lightning.generation.sampler import SamplingOptions
from fmri_lightning.metrics.bootstrap import bootstrap_difference, bootstrap_interval, two_way_influence
from fmri_lightning.metrics.cosine import cosine
from fmri_lightning.metrics.identification import correlation_matrix
from tests.benchmarks.mini_models import Looker, embed, shipped_options, table, validation

LEVELS = (0, 50, 100, 150, 200, 250, 300, 350)
SCALES = (0.25, 0.35, 0.5, 0.65, 0.8)
MAX_LEVEL = 350
BATCH = 32


def draw(decoder: UnclipDecoder, embeddings: torch.Tensor, levels: np.ndarray, options: SamplingOptions) -> np.ndarray:
    """One picture an embedding at its level, seeds in order: uint8 (n, side, side, 3)."""
    parts = []
    with torch.inference_mode():
        for start in range(0, len(embeddings), BATCH):
            part = embeddings[start : start + BATCH]
            own = torch.from_numpy(levels[start : start + BATCH].astype(np.int64))
            seeds = list(range(start, start + len(part)))
            parts.append(decoder.draw(part, seeds, options, steering=Steering(noise_levels=own)).images.numpy())
    return np.concatenate(parts)


class Judged:
    """What a setting's pictures look like to the judge and to the encoder's own image tower."""

    def __init__(self, pictures: np.ndarray, looker: Looker, tower: ImageEncoder, true: np.ndarray) -> None:
        self.features = looker.features(pictures)["judge2"]
        self.cosine = cosine(embed(tower, pictures).numpy(), true)

    def influence(self, true: np.ndarray) -> np.ndarray:
        return two_way_influence(correlation_matrix(true, self.features))


def chosen(settings: dict[float, Judged], fold: np.ndarray, true: np.ndarray) -> tuple[np.ndarray, np.ndarray, list]:
    """Influence and cosine of the pictures whose setting was chosen on the other folds, and what was chosen."""
    influences = {name: one.influence(true) for name, one in settings.items()}
    picked = []
    features = next(iter(settings.values())).features.copy()
    cosines = np.empty(len(fold))
    for f in np.unique(fold):
        best = max(settings, key=lambda name: influences[name][fold != f].mean())
        picked.append(best)
        features[fold == f] = settings[best].features[fold == f]
        cosines[fold == f] = settings[best].cosine[fold == f]
    return two_way_influence(correlation_matrix(true, features)), cosines, picked


def compare(demo: Path, encoder: str, n: int | None, noise_mode: str) -> None:
    folder = demo / "checkpoints"
    subject = validation(demo, encoder)
    voxels = open_voxels(
        folder / encoder / "subj01" / f"{encoder}.ckpt", demo / "nsd_index", demo / "betas", demo / "preproc",
        demo / "clip_cache/clip.parquet", "subj01",
    )  # fmt: skip
    truth = EmbeddingCache.open(demo / "clip_cache/mini-target.parquet")
    target = TargetOf(voxels.encoder, folder / "clip_adapter/subj01/mini-target/adapter.ckpt", None, truth)
    found = fit_reliability(voxels, target)
    evidence = found.evidence
    expected, fold = held_out_errors(evidence.signals, evidence.errors, evidence.nsd_ids)
    _, ordering = fit_error_map(evidence.signals, evidence.errors, evidence.nsd_ids)
    print(
        f"\n{encoder}: rank correlation of expected and true error {ordering.rho:.3f} "
        f"[{ordering.low:.3f}, {ordering.high:.3f}], {ordering.n_stimuli} val pictures; map {found.error_map.kind}"
    )
    subject, expected, fold = subject.first(n or len(expected)), expected[:n], fold[:n]
    options = replace(shipped_options(), noise_mode=noise_mode)
    decoder, looker, tower = load_unclip(DecoderConfig("mini")), Looker(), ImageEncoder.from_space("mini-source")
    true, true_source = looker.features(subject.pictures)["judge2"], embed(tower, subject.pictures).numpy()

    def judged(levels: np.ndarray) -> Judged:
        return Judged(draw(decoder, subject.embeddings, levels, options), looker, tower, true_source)

    rows = []
    by_kind: dict[str, dict[float, Judged]] = {"one level": {}, "own levels, scale": {}}
    settings = [("one level", float(level)) for level in LEVELS] + [("own levels, scale", scale) for scale in SCALES]
    for kind, value in settings:
        levels = np.full(len(expected), int(value))
        if kind != "one level":
            levels = match_levels(expected * value, noise_mode, False, MAX_LEVEL)
        one = by_kind[kind][value] = judged(levels)
        score = bootstrap_interval(one.influence(true))
        rows.append(
            {
                "setting": f"{kind} {value:g}",
                "levels": f"{levels.min()} to {levels.max()}, median {int(np.median(levels))}",
                "two-way judge2": f"{100 * score.value:.1f} [{100 * score.low:.1f}, {100 * score.high:.1f}]",
                "cosine (circular)": float(one.cosine.mean()),
            }
        )
    table(rows)
    (ours, our_cosine, scales), (theirs, their_cosine, levels_) = (
        chosen(by_kind[kind], fold, true) for kind in ("own levels, scale", "one level")
    )
    for what, a, b, factor in (
        ("two-way judge2, points", ours, theirs, 100.0),
        ("cosine (circular)", our_cosine, their_cosine, 1.0),
    ):
        difference = bootstrap_difference(a * factor, b * factor)
        print(
            f"own levels minus one level, {what}: {difference.value:+.3f} [{difference.low:+.3f}, "
            f"{difference.high:+.3f}] (chosen on the other folds: scales {scales}, levels {levels_})",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demo", type=Path, required=True, help="folder of a finished demo")
    parser.add_argument("--encoders", nargs="+", default=["mlp", "ridge"])
    parser.add_argument("--n", type=int, default=None, help="first N val pictures only")
    parser.add_argument("--noise_mode", choices=("label_only", "add"), default="label_only")
    args = parser.parse_args()
    torch.set_num_threads(1)
    for encoder in args.encoders:
        compare(args.demo, encoder, args.n, args.noise_mode)


if __name__ == "__main__":
    main()

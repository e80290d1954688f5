"""What the mini models reach, for their cards; run by hand (make mini-figures), after training them.

    python tests/benchmarks/mini_models.py quality            tables on held-out scenes and photographs
    python tests/benchmarks/mini_models.py sweep --demo DIR   sampling defaults: solver, steps, guidance, noise
    python tests/benchmarks/mini_models.py variety            seeds of one embedding; nearest training photograph
    python tests/benchmarks/mini_models.py cost               CPU-seconds of one picture on one core
    python tests/benchmarks/mini_models.py curves             losses of the runs under outputs/mini

Pictures are judged by the shift-tolerant AlexNet, which took no part in training. The sweep reads predictions of the
validation stimuli of a demo, never of its test set. Tables go to the terminal, sheets to --out.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch
import yaml
from PIL import Image
from torch import Tensor

from fmri_lightning.adapter.load import load_adapter
from fmri_lightning.betas.preprocess import Preprocess
from fmri_lightning.betas.rows import average_repeats
from fmri_lightning.betas.store import BetaStore
from fmri_lightning.embeddings.distillation_pictures import heldout_pictures, photographs_folder, training_pictures
from fmri_lightning.embeddings.image_encoder import ImageEncoder
from fmri_lightning.embeddings.packaged import packaged_path
from fmri_lightning.encoder.load import load_encoder
from fmri_lightning.evaluation.networks.opening import open_network
from fmri_lightning.evaluation.protocols import PROTOCOLS
from fmri_lightning.evaluation.resizing import Resize, resize
from fmri_lightning.generation.decoder import DecoderConfig
from fmri_lightning.generation.families.unclip import UnclipDecoder, load_unclip
from fmri_lightning.generation.frontend import padded_forward
from fmri_lightning.generation.sampler import SamplingOptions
from fmri_lightning.index.stimuli import open_stimuli
from fmri_lightning.index.table import read_index
from fmri_lightning.metrics.identification import correlation_matrix, two_way_identification
from fmri_lightning.metrics.retrieval import retrieval_ranks

JUDGE_STEPS = (Resize(128, "bilinear_antialias"),)  # as in the demo's protocol
GALLERY = 100


def shipped_options() -> SamplingOptions:
    """The sampling defaults of configs/decoder/mini.yaml."""
    given = yaml.safe_load(packaged_path("configs/decoder/mini.yaml").read_text())["model"]["init_args"]
    return SamplingOptions(**{f.name: given[f.name] for f in fields(SamplingOptions) if f.name in given})


@dataclass(frozen=True)
class Subject:
    """Pictures to draw and what to draw them from.

    Attributes:
        name: for the table.
        pictures: uint8 (n, size, size, 3).
        embeddings: of the target space, float32 (n, dim).
    """

    name: str
    pictures: np.ndarray
    embeddings: Tensor

    def first(self, n: int) -> Subject:
        return replace(self, pictures=self.pictures[:n], embeddings=self.embeddings[:n])


class Looker:
    """The judge's features of pictures."""

    def __init__(self) -> None:
        self.judge = open_network(PROTOCOLS["demo"].networks[0])

    def features(self, pictures: np.ndarray) -> dict[str, np.ndarray]:
        found: dict[str, list[np.ndarray]] = {"pixels": [pictures.reshape(len(pictures), -1) / np.float32(255)]}
        for start in range(0, len(pictures), 16):
            seen = self.judge.features(resize(pictures[start : start + 16], JUDGE_STEPS))
            for name, values in seen.items():
                found.setdefault(name, []).append(values)
        return {name: np.concatenate(parts) for name, parts in found.items()}

    def distances(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        parts = []
        for start in range(0, len(first), 16):
            a, b = (resize(x[start : start + 16], JUDGE_STEPS) for x in (first, second))
            parts.append(self.judge.look(a, b).distances["judge_distance"])
        return np.concatenate(parts)


def scores(drawn: dict[str, np.ndarray], true: dict[str, np.ndarray]) -> dict[str, float]:
    """PixCorr, two-way identification, and top-1 in blocks of GALLERY pictures."""
    line = {}
    for name in ("pixels", "judge2", "judge5"):
        similarity = correlation_matrix(true[name], drawn[name])
        if name == "pixels":
            line["PixCorr"] = float(np.diagonal(similarity).mean())
        line[f"two-way {name}"] = float(two_way_identification(similarity).mean())
        blocks = [similarity[i : i + GALLERY, i : i + GALLERY] for i in range(0, len(similarity), GALLERY)]
        ranks = [retrieval_ranks(block.T) for block in blocks if len(block) == GALLERY]
        if ranks:
            line[f"top-1 {name}"] = float((np.concatenate(ranks) == 1).mean())
    return line


def draw(decoder: UnclipDecoder, embeddings: Tensor, options: SamplingOptions, first_seed: int = 0) -> np.ndarray:
    """One picture an embedding, seeds in order: uint8 (n, size, size, 3)."""
    parts = []
    with torch.inference_mode():
        for start in range(0, len(embeddings), 32):
            part = embeddings[start : start + 32]
            seeds = list(range(first_seed + start, first_seed + start + len(part)))
            parts.append(decoder.generate(part, seeds, options).numpy())
    return np.concatenate(parts)


def table(rows: list[dict[str, object]]) -> None:
    names = list(rows[0])
    print("| " + " | ".join(names) + " |\n|" + "---|" * len(names))
    for row in rows:
        cells = (row.get(name, "") for name in names)
        print("| " + " | ".join(f"{c:.3f}" if isinstance(c, float) else str(c) for c in cells) + " |", flush=True)
    print(flush=True)


def sheet(path: Path, *rows: np.ndarray, columns: int = 12, scale: int = 1) -> None:
    """Write rows of pictures under each other, again and again until all are shown."""
    bands = []
    for start in range(0, len(rows[0]), columns):
        for pictures in rows:
            band = np.concatenate(list(pictures[start : start + columns]), axis=1)
            missing = columns * pictures.shape[2] - band.shape[1]
            bands.append(np.pad(band, ((0, 2), (0, missing), (0, 0)), constant_values=255))
        bands.append(np.full((6, *bands[-1].shape[1:]), 255, np.uint8))
    picture = Image.fromarray(np.concatenate(bands[:-1]))
    picture = picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.NEAREST)
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, quality=90)
    print(f"wrote {path}")


def embed(encoder: ImageEncoder, pictures: np.ndarray) -> Tensor:
    with torch.inference_mode():
        return torch.cat([encoder(part) for part in torch.from_numpy(pictures).split(128)])


def heldout(args: argparse.Namespace) -> list[Subject]:
    """Scenes, and where they are at hand photographs, that no mini model has seen."""
    encoder = ImageEncoder.from_space(args.encoder)
    found = heldout_pictures(photographs_folder(None), 500, 64, args.cache)
    subjects = []
    for name, kept in (("scenes", found.labels < 0), ("photographs", found.labels >= 0)):
        pictures = found.pictures[kept]
        if name == "photographs":  # they come class by class: a gallery of 100 must not be one class
            pictures = pictures[np.random.default_rng(0).permutation(len(pictures))]
        pictures = pictures[: args.n or None]
        if len(pictures):
            subjects.append(Subject(name, pictures, embed(encoder, pictures)))
    return subjects


def validation(demo: Path, encoder: str) -> Subject:
    """Validation stimuli of a demo's subject, and what an encoder and the adapter predict for them."""
    table_ = read_index(demo / "nsd_index", "subj01")
    rows = np.flatnonzero(table_.split == "val")
    betas = np.asarray(BetaStore.open(demo / "betas" / "subj01").betas[rows], np.float32)
    ids, means = average_repeats(betas, table_.nsd_id[rows])
    found = padded_forward(Preprocess.load(demo / "preproc" / "subj01"), means)
    checkpoints = demo / "checkpoints"
    found = padded_forward(load_encoder(checkpoints / encoder / "subj01" / f"{encoder}.ckpt"), found)
    found = padded_forward(load_adapter(checkpoints / "clip_adapter/subj01/mini-target/adapter.ckpt"), found)
    return Subject(f"predicted ({encoder})", open_stimuli(demo / "nsd").read(ids), torch.from_numpy(found))


def quality(args: argparse.Namespace, decoder: UnclipDecoder, looker: Looker) -> None:
    rows: list[dict[str, object]] = []
    for subject in heldout(args):
        true = looker.features(subject.pictures)
        restored = decode_truth(decoder, subject.pictures)
        rows.append({"pictures": subject.name, "drawn": "autoencoder alone"} | scores(looker.features(restored), true))
        for guidance in (1.0, args.options.guidance_scale):
            options = replace(args.options, guidance_scale=guidance)
            drawn = draw(decoder, subject.embeddings, options)
            rows.append({"pictures": subject.name, "drawn": f"guidance {guidance:g}"})
            rows[-1] |= scores(looker.features(drawn), true)
        sheet(args.out / f"{subject.name}.jpg", subject.pictures[:24], drawn[:24])
        # Photographs may not be passed on; what was drawn from their embeddings may.
        sheet(args.out / f"{subject.name}_drawn.jpg", drawn[:24])
    table(rows)


def decode_truth(decoder: UnclipDecoder, pictures: np.ndarray) -> np.ndarray:
    from fmri_lightning.generation.training.pictures import from_unit, to_unit

    vae = decoder.vae
    with torch.inference_mode():
        parts = [vae.encode(to_unit(part)).latent_dist.mode() for part in torch.from_numpy(pictures).split(64)]
        return torch.cat([from_unit(vae.decode(part).sample) for part in parts]).numpy()


def sweep(args: argparse.Namespace, decoder: UnclipDecoder, looker: Looker) -> None:
    subjects = [heldout(args)[0].first(args.n or 100), validation(args.demo, "mlp").first(args.n or 100)]
    true = [looker.features(subject.pictures) for subject in subjects]
    for title, grid in sweep_grids(args.options):
        print(f"### {title}\n")
        rows: list[dict[str, object]] = []
        for options in grid:
            row: dict[str, object] = {
                "solver": options.scheduler, "steps": options.num_inference_steps, "guidance": options.guidance_scale,
                "noise_level": options.noise_level, "noise_mode": options.noise_mode,
            }  # fmt: skip
            for subject, features in zip(subjects, true, strict=True):
                found = scores(looker.features(draw(decoder, subject.embeddings, options)), features)
                row[subject.name] = " / ".join(f"{found[key]:.3f}" for key in COMPARED)
            rows.append(row)
        table(rows)
    noise_robustness(subjects[0], true[0], args, decoder, looker)


COMPARED = ("two-way judge2", "two-way judge5", "PixCorr")


def sweep_grids(base: SamplingOptions) -> Iterator[tuple[str, list[SamplingOptions]]]:
    """Solver and steps; then guidance, noise level and noise mode at the base solver."""
    solvers = itertools.product(("unipc", "dpm++2m", "ddim", "euler"), (6, 10, 20))
    yield "Solver and steps", [replace(base, scheduler=s, num_inference_steps=n) for s, n in solvers]
    noise: list[tuple[int, str]] = [(0, "add")]
    noise += itertools.product((100, 250), ("add", "label_only"))
    guided = itertools.product((1.0, 2.0, 4.0, 6.0), noise)
    yield (
        "Guidance and noise",
        [replace(base, guidance_scale=g, noise_level=level, noise_mode=mode) for g, (level, mode) in guided],  # type: ignore[arg-type]
    )


def noise_robustness(
    subject: Subject, true: dict[str, np.ndarray], args: argparse.Namespace, decoder: UnclipDecoder, looker: Looker
) -> None:
    """Two-way of scenes against noise added to the true embedding, in units of its standard deviation."""
    std = decoder.normalizer.std
    noise = torch.randn(subject.embeddings.shape, generator=torch.Generator().manual_seed(0)) * std
    print("### Noise on the true embedding\n")
    rows: list[dict[str, object]] = []
    for share in (0.0, 0.25, 0.5, 1.0):
        row: dict[str, object] = {"noise / std": share}
        for level, mode in ((0, "add"), (100, "add"), (250, "add"), (100, "label_only"), (250, "label_only")):
            options = replace(args.options, noise_level=level, noise_mode=mode)  # type: ignore[arg-type]
            found = scores(looker.features(draw(decoder, subject.embeddings + share * noise, options)), true)
            row[f"level {level}, {mode}"] = " / ".join(f"{found[key]:.3f}" for key in COMPARED[:2])
        rows.append(row)
    table(rows)


def variety(args: argparse.Namespace, decoder: UnclipDecoder, looker: Looker) -> None:
    found_here = heldout(args)
    if len(found_here) < 2:
        raise SystemExit("variety compares scenes with photographs; set FMRI_LIGHTNING_PHOTOGRAPHS")
    scenes, photographs = found_here
    few = scenes.first(100)
    true = looker.features(few.pictures)
    seeds = [draw(decoder, few.embeddings, args.options, first_seed=1000 * k) for k in range(8)]
    found = [scores(looker.features(drawn), true) for drawn in seeds]
    same = [looker.distances(a, b).mean() for a, b in itertools.combinations(seeds, 2)]
    other = [looker.distances(a, np.roll(a, 1, axis=0)).mean() for a in seeds]
    print(
        f"eight seeds of {len(few.pictures)} scenes: judge distance between seeds of one embedding {np.mean(same):.3f}"
    )
    print(f"between different embeddings {np.mean(other):.3f}")
    two_way = [line["two-way judge2"] for line in found]
    print(f"two-way judge2 of each seed {min(two_way):.3f} to {max(two_way):.3f}\n")
    sheet(args.out / "seeds.jpg", few.pictures[:12], *(drawn[:12] for drawn in seeds))
    nearest_photographs(args, decoder, looker, photographs.first(args.n or 200))


def nearest_photographs(args: argparse.Namespace, decoder: UnclipDecoder, looker: Looker, heldout_: Subject) -> None:
    """The training photograph most like each drawn photograph, and how like it is: no copies."""
    train = training_pictures(photographs_folder(None), 0, 64, args.cache).pictures
    drawn = draw(decoder, heldout_.embeddings, args.options)
    features = looker.features(drawn)["judge5"]
    best = np.full(len(drawn), -2.0)
    nearest = np.zeros(len(drawn), int)
    for start in range(0, len(train), 512):
        similarity = correlation_matrix(features, looker.features(train[start : start + 512])["judge5"])
        here = similarity.max(1) > best
        nearest[here] = start + similarity.argmax(1)[here]
        best = np.maximum(best, similarity.max(1))
    distance = looker.distances(drawn, train[nearest])
    own = looker.distances(drawn, heldout_.pictures)
    truth = looker.distances(heldout_.pictures, train[nearest])
    print(f"{len(drawn)} drawn photographs, judge distance to the nearest of {len(train)} training photographs:")
    print(f"median {np.median(distance):.3f}, smallest {distance.min():.3f}; to their own {np.median(own):.3f}")
    print(f"held-out photographs themselves to those neighbours, median {np.median(truth):.3f}\n")
    worst = np.argsort(distance)[:12]
    sheet(args.out / "nearest_training.jpg", heldout_.pictures[worst], drawn[worst], train[nearest[worst]])


def cost(args: argparse.Namespace, decoder: UnclipDecoder, looker: Looker) -> None:
    torch.set_num_threads(1)
    embeddings = torch.randn(8, decoder.space.dim)
    rows: list[dict[str, object]] = []
    for dtype, channels_last in itertools.product((torch.float32, torch.bfloat16), (False, True)):
        layout = torch.channels_last if channels_last else torch.contiguous_format
        for part in decoder.halves():
            part.to(dtype, memory_format=layout)
        row: dict[str, object] = {"weights": str(dtype).removeprefix("torch."), "channels_last": channels_last}
        for n in (1, 8):
            row[f"batch of {n}, CPU-s a picture"] = cpu_s(lambda n=n: draw(decoder, embeddings[:n], args.options)) / n
        rows.append(row)
    table(rows)


def cpu_s(work: Callable[[], object]) -> float:
    """Median of five runs after one to warm up."""
    work()
    found = []
    for _ in range(5):
        start = time.process_time()
        work()
        found.append(time.process_time() - start)
    return float(np.median(found))


def curves(args: argparse.Namespace, decoder: UnclipDecoder, looker: Looker) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    runs = ("source_encoder", "target_encoder", "autoencoder", "generator")
    figure, axes = plt.subplots(1, len(runs), figsize=(12, 2.6), layout="constrained")
    for axis, run in zip(axes, runs, strict=True):
        for name, points in logged(args.logs / run).items():
            axis.plot(*zip(*points, strict=True), label=name, linewidth=1)
        axis.set(title=run.replace("_", " "), xlabel="step")
        axis.legend(fontsize=6)
    args.out.mkdir(parents=True, exist_ok=True)
    figure.savefig(args.out / "curves.png", dpi=80)
    print(f"wrote {args.out / 'curves.png'}")


def logged(run: Path) -> dict[str, list[tuple[int, float]]]:
    """Logged losses of a run, all its sessions."""
    found: dict[str, list[tuple[int, float]]] = {}
    for path in sorted(run.glob("log/version_*/metrics.csv")):
        with path.open(encoding="utf-8") as handle:
            for line in csv.DictReader(handle):
                for name in ("train_loss", "val_loss", "val_loss_unconditional", "val_scenes_centred",
                             "val_photographs_centred", "train_l1"):  # fmt: skip
                    if line.get(name):
                        found.setdefault(name, []).append((int(line["step"]), float(line[name])))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    works = {w.__name__: w for w in (quality, sweep, variety, cost, curves)}
    parser.add_argument("work", choices=works)
    parser.add_argument("--generator", default=None, help="folder of a generator; the packaged one by default")
    parser.add_argument("--encoder", default="mini-target", help="space or folder of its embeddings")
    parser.add_argument("--demo", type=Path, default=Path("outputs/demo"), help="a finished demo, for sweep")
    parser.add_argument("--cache", type=Path, default=Path("outputs/mini/cache"))
    parser.add_argument("--logs", type=Path, default=Path("outputs/mini"), help="logs of the training runs")
    parser.add_argument("--out", type=Path, default=Path("outputs/mini/figures"))
    parser.add_argument("--n", type=int, default=0, help="pictures of each kind; 0 takes all")
    args = parser.parse_args()
    args.options = shipped_options()
    decoder = load_unclip(DecoderConfig(family="mini", model_id=args.generator)).eval()
    works[args.work](args, decoder, Looker())


if __name__ == "__main__":
    main()

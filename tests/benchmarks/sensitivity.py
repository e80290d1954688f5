"""How much each choice of a protocol moves each number, on fixed pictures: the table of the evaluation guide.

    python tests/benchmarks/sensitivity.py

Forty-eight rendered scenes of 425 px with a fixed texture stand for photographs; the reconstructions are 512 px
mixtures with another scene, blurred, of another colour and with noise, like a decoder's. Every draw is seeded.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter
from skimage.color import rgb2gray
from skimage.metrics import structural_similarity as skimage_ssim

from fmri_lightning.evaluation.networks.base import PerceptualNetwork
from fmri_lightning.evaluation.networks.judge import judge_weights
from fmri_lightning.evaluation.networks.opening import open_network
from fmri_lightning.evaluation.protocols import PROTOCOLS
from fmri_lightning.evaluation.resizing import Filter, Resize, resize
from fmri_lightning.metrics.identification import correlation_matrix, two_way_identification
from fmri_lightning.metrics.pixcorr import pixel_correlation
from fmri_lightning.metrics.retrieval import pooled_top_1, retrieval_ranks, top_k
from fmri_lightning.metrics.ssim import ssim_columns, structural_similarity
from fmri_lightning.simulate.scenes import draw_scenes

N, POOL, DRAWS = 48, 12, 300
PACKAGES = ("numpy", "scipy", "torch", "torchvision", "torchmetrics", "pillow", "scikit-image")
MINDEYE = PROTOCOLS["mindeye"].pixel_steps
TAKAGI = "Takagi & Nishimoto; Dynadiff's script"
Pictures = NDArray[np.uint8]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Line:
    """One line of the table; who scores so; None where a choice does not touch a number."""

    choice: str
    user: str
    pixcorr: float | None = None
    ssim: float | None = None
    pixels: float | None = None
    judge2: float | None = None
    judge5: float | None = None


@cache
def _drawn(n: int = N) -> tuple[Pictures, Pictures, Floats]:
    """Ground truths, reconstructions as saved, and as a decoder's floats before they are clamped."""
    rng = np.random.default_rng(2026)
    scenes = draw_scenes("stimuli", range(n), 0, 425)[0].astype(np.float64)
    texture = gaussian_filter(rng.normal(size=(n, 425, 425, 1)), (0, 1.2, 1.2, 0)) * 45.0
    truth = np.clip(scenes + texture, 0, 255).round().astype(np.uint8)
    mixed = 0.6 * truth + 0.4 * np.roll(truth, 1, axis=0)
    blurred = gaussian_filter(mixed, (0, 3.0, 3.0, 0))
    coloured = blurred * rng.uniform(0.8, 1.2, (n, 1, 1, 3)) + rng.uniform(-25, 25, (n, 1, 1, 3))
    large = [
        Image.fromarray(np.clip(p, 0, 255).round().astype(np.uint8)).resize((512, 512), Image.Resampling.BICUBIC)
        for p in coloured
    ]
    noisy = np.stack([np.asarray(p) for p in large]) + rng.normal(0, 10, (n, 512, 512, 3))
    return truth, np.clip(noisy, 0, 255).round().astype(np.uint8), (noisy / 255).astype(np.float32)


def fixed_pictures() -> tuple[Pictures, Pictures]:
    """Ground truths uint8 (n, 425, 425, 3) and reconstructions uint8 (n, 512, 512, 3)."""
    return _drawn()[:2]


def pixels(steps: tuple[Resize, ...]) -> tuple[Floats, Floats]:
    """Ground truths and reconstructions, resized."""
    truth, recon = fixed_pictures()
    return resize(truth, steps), resize(recon, steps)


def two_way(truth: NDArray[np.floating], recon: NDArray[np.floating], anchor: str = "reconstruction") -> float:
    """Two-way identification of flattened features."""
    similarity = correlation_matrix(truth.reshape(len(truth), -1), recon.reshape(len(recon), -1))
    return float(two_way_identification(similarity if anchor == "reconstruction" else similarity.T).mean())


def of_pixels(choice: str, user: str, truth: Floats, recon: Floats, ssim: Callable[..., NDArray[np.float64]]) -> Line:
    """All metrics of pixels."""
    score = float(pixel_correlation(truth, recon).mean())
    return Line(choice, user, score, float(ssim(truth, recon).mean()), two_way(truth, recon))


def of_ssim(choice: str, user: str, ssim: Callable[[Floats, Floats], float]) -> Line:
    """Another definition of SSIM on MindEye's pixels."""
    return Line(choice, user, ssim=float(np.mean([ssim(a, b) for a, b in zip(*pixels(MINDEYE), strict=True)])))


def _torchmetrics(a: Floats, b: Floats) -> float:
    import torch
    from torchmetrics.functional.image import structural_similarity_index_measure

    x, y = (torch.from_numpy(rgb2gray(p)).float()[None, None] for p in (a, b))
    return float(structural_similarity_index_measure(x, y, sigma=1.5, kernel_size=11, data_range=1.0))


def published_line() -> Line:
    """What the others are compared with."""
    choice = "mindeye: 256, then 425 px, no antialias, 2-D SSIM"
    return of_pixels(choice, "MindEye 1 and 2, MindBridge", *pixels(MINDEYE), structural_similarity)


def size_lines() -> list[Line]:
    """Other ways to the size, and of saving."""
    steps: list[tuple[str, str, tuple[tuple[int, Filter], ...]]] = [
        (
            "antialias on",
            "MindEye's code with torchvision from 0.17",
            ((256, "bilinear_antialias"), (425, "bilinear_antialias")),
        ),
        ("straight to 425 px", "", ((425, "bilinear"),)),
        ("straight to 425 px, antialias on", "", ((425, "bilinear_antialias"),)),
        ("Pillow bilinear to 425 px", "", ((425, "pil_bilinear"),)),
        (
            "Pillow bicubic to 425 px",
            "Brain-Diffuser's code with scikit-image from 0.20",
            ((425, "pil_bicubic"),),
        ),
    ]
    lines = [
        of_pixels(choice, user, *pixels(tuple(Resize(*step) for step in way)), structural_similarity)
        for choice, user, way in steps
    ]
    truth, floats = pixels(MINDEYE)[0], _drawn()[2]
    for choice, user, recon in (
        ("reconstructions as floats, clamped", "MindEye 1, MindBridge", np.clip(floats, 0, 1)),
        ("reconstructions as floats, not clamped", "MindEye 2", floats),
    ):
        lines.append(of_pixels(choice, user, truth, resize(recon, MINDEYE), structural_similarity))
    return lines


def ssim_lines() -> list[Line]:
    """Other definitions of SSIM."""
    published = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    sample = published | {"use_sample_covariance": True}
    bicubic = pixels((Resize(425, "pil_bicubic"),))
    return [
        of_pixels(
            "brain_diffuser: Pillow bicubic to 425 px, SSIM by columns", "Brain-Diffuser", *bicubic, ssim_columns
        ),
        of_ssim(
            "SSIM by columns",
            "MindEye's code with scikit-image up to 0.19",
            lambda a, b: float(ssim_columns(a[None], b[None])[0]),
        ),
        of_ssim(
            "SSIM with a uniform 7 x 7 window",
            "scikit-image's default",
            lambda a, b: float(skimage_ssim(rgb2gray(a), rgb2gray(b), data_range=1.0)),
        ),
        of_ssim("SSIM of colours", "", lambda a, b: float(skimage_ssim(a, b, channel_axis=2, **published))),
        of_ssim(
            "SSIM with sample covariance", "", lambda a, b: float(skimage_ssim(rgb2gray(a), rgb2gray(b), **sample))
        ),
        of_ssim("SSIM of torchmetrics", "", _torchmetrics),
    ]


def anchor_line() -> Line:
    """The other anchor of two-way identification."""
    return Line("two-way anchored on the original", TAKAGI, pixels=two_way(*pixels(MINDEYE), "original"))


def pixel_lines() -> list[Line]:
    """Lines that need no network, MindEye's first."""
    return [published_line(), *size_lines(), *ssim_lines(), anchor_line()]


def judge_features(judge: PerceptualNetwork, steps: tuple[Resize, ...]) -> list[dict[str, NDArray[np.floating]]]:
    """The judge's features of ground truths and reconstructions."""
    found = []
    for pictures in fixed_pictures():
        parts = [judge.features(resize(pictures[start : start + 8], steps)) for start in range(0, N, 8)]
        found.append({name: np.concatenate([part[name] for part in parts]) for name in parts[0]})
    return found


def judge_lines() -> list[Line]:
    """Lines of the judge, which stands in for AlexNet; empty where its weights are not installed."""
    if judge_weights() is None:
        return []
    judge = open_network(PROTOCOLS["demo"].networks[0])
    lines = []
    ways: tuple[tuple[str, str, tuple[Resize, ...]], ...] = (
        ("256, then 128 px, no antialias", "MindEye 1 and 2", (Resize(256, "bilinear"), Resize(128, "bilinear"))),
        (
            "256, then 128 px, antialias on",
            "MindEye's code with torchvision from 0.17",
            (Resize(256, "bilinear_antialias"), Resize(128, "bilinear_antialias")),
        ),
        ("straight to 128 px by Pillow", "Brain-Diffuser", (Resize(128, "pil_bilinear"),)),
    )
    for choice, user, steps in ways:
        truth, recon = judge_features(judge, steps)
        scores = [two_way(truth[layer], recon[layer]) for layer in ("judge2", "judge5")]
        lines.append(Line(f"network sees {choice}", user, judge2=scores[0], judge5=scores[1]))
        if len(lines) == 1:
            scores = [two_way(truth[layer], recon[layer], "original") for layer in ("judge2", "judge5")]
            lines.append(Line("the same, anchored on the original", TAKAGI, judge2=scores[0], judge5=scores[1]))
    return lines


def retrieval_lines() -> list[tuple[str, float]]:
    """Shares by pixels: both directions of top-1, and random pools, which move top-1 and leave two-way alone."""
    truth, recon = pixels(MINDEYE)
    similarity = correlation_matrix(recon.reshape(N, -1), truth.reshape(N, -1))
    generator = np.random.default_rng(0)
    pools = [np.sort(generator.choice(N, POOL, replace=False)) for _ in range(DRAWS)]
    pooled = [two_way_identification(similarity.T[np.ix_(pool, pool)]).mean() for pool in pools]
    return [
        (f"which picture, of {N}", float(top_k(retrieval_ranks(similarity), 1).mean())),
        (f"which reconstruction, of {N}", float(top_k(retrieval_ranks(similarity.T), 1).mean())),
        (f"which picture, of {POOL}", float(pooled_top_1(similarity, pool=POOL, draws=DRAWS).per_draw.mean())),
        (f"two-way, of {N}", float(two_way_identification(similarity.T).mean())),
        (f"two-way, of {POOL}", float(np.mean(pooled))),
    ]


def environment() -> str:
    """Versions that the numbers were computed with."""
    found = [f"Python {platform.python_version()}"]
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"no {name}")
    return ", ".join(found)


def table(lines: list[Line]) -> list[str]:
    """Markdown; in brackets the difference from the first line that has the number."""
    names = ("pixcorr", "ssim", "pixels", "judge2", "judge5")
    first = {name: next((v for line in lines if (v := getattr(line, name)) is not None), None) for name in names}
    rows = [
        "| choice | who | PixCorr | SSIM | two-way, pixels | judge layer 2 | judge layer 5 |",
        "|---|---|--:|--:|--:|--:|--:|",
    ]
    for line in lines:
        cells = []
        for name in names:
            value, reference = getattr(line, name), first[name]
            if value is None or reference is None:
                cells.append("")
                continue
            change = f"{value - reference:+.3f}"
            cells.append(f"{value:.3f}" + ("" if change in ("+0.000", "-0.000") else f" ({change})"))
        rows.append(f"| {line.choice} | {line.user or '–'} | {' | '.join(cells)} |")
    return rows


if __name__ == "__main__":
    print("\n".join(table(pixel_lines() + judge_lines())))
    for gallery, share in retrieval_lines():
        print(f"{gallery}: {100 * share:.1f} %")
    print(environment())

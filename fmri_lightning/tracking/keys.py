"""The names under which runs log: the one list behind ``define_metric`` and behind the guide's table."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

Best = Literal["max", "min"]


@dataclass(frozen=True)
class Key:
    """One name, or a family of names.

    Attributes:
        name: The key; ``<word>`` stands for any word.
        jobs: Job types that log it.
        meaning: What it is, in words.
        best: Whether its highest or lowest value counts; None where neither does.
        x: What it is plotted over, when not the optimiser's steps.
    """

    name: str
    jobs: tuple[str, ...]
    meaning: str
    best: Best | None = None
    x: str | None = None

    def matches(self, key: str) -> bool:
        """Whether a logged key is this one.

        Args:
            key: For instance "train/mse".

        Example:
            >>> Key("train/<part>", ("fit-encoder",), "").matches("train/mse")
            True
        """
        pattern = "".join("[^/]+" if part.startswith("<") else re.escape(part) for part in _split(self.name))
        return re.fullmatch(pattern, key) is not None


def _split(name: str) -> list[str]:
    return [part for part in re.split(r"(<[^>]+>)", name) if part]


_FIT = ("fit-encoder", "fit-adapter")
_ENCODER, _ADAPTER, _PREDICT, _EVALUATE = ("fit-encoder",), ("fit-adapter",), ("predict",), ("evaluate",)
_GENERATOR = ("fit-generator",)
_MINI = ("fit-autoencoder", "fit-distillation")
_EVERY_FIT = (*_FIT, *_GENERATOR, *_MINI)

KEYS: tuple[Key, ...] = (
    Key("trainer/global_step", (*_EVERY_FIT, *_PREDICT), "optimiser steps, the x-axis; pictures done in predict"),
    Key("epoch", _EVERY_FIT, "epoch, from 0"),
    Key("train/loss", _FIT, "loss, mean over the epoch", "min"),
    Key("train/<part>", _ENCODER, "parts of the loss: cosine, mse, contrast"),
    Key("lr-<optimizer>", _EVERY_FIT, "learning rate"),
    Key("val/centred_cosine", _FIT, "cosine after the mean training embedding is taken off; 0 is chance", "max"),
    Key("val/centred_cosine_low", _FIT, "lower end of its 95 % interval", "max"),
    Key("val/cosine", _FIT, "cosine; read it beside val/mean_vector_cosine", "max"),
    Key("val/mean_vector_cosine", _FIT, "what the mean training embedding reaches"),
    Key("val/two_way", _FIT, "two-way identification; 0.5 is chance", "max"),
    Key("val/picture_from_brain_top1", _FIT, "which picture did this brain see, in pools of val/pool", "max"),
    Key("val/picture_from_brain_top5", _FIT, "the same, among the first five", "max"),
    Key("val/picture_from_brain_median_rank", _FIT, "median rank among all val/n; 1 is best", "min"),
    Key("val/brain_from_picture_top1", _FIT, "which brain saw this picture, in pools of val/pool", "max"),
    Key("val/brain_from_picture_top5", _FIT, "the same, among the first five", "max"),
    Key("val/brain_from_picture_median_rank", _FIT, "median rank among all val/n; 1 is best", "min"),
    Key("val/r2", _FIT, "explained variance, mean over dimensions", "max"),
    Key("val/pool", _FIT, "rows of a retrieval pool"),
    Key("val/n", _FIT, "rows scored"),
    Key("ridge/log10_alpha", _ENCODER, "penalties that were tried", x="itself"),
    Key("ridge/cv_r2", _ENCODER, "left-out R² of each penalty; a best one at the edge asks for wider alphas", "max",
        x="ridge/log10_alpha"),
    Key("val/predicted_centred_cosine", _ADAPTER, "the score on what an encoder predicts, where one is named", "max"),
    Key("val/panel", (*_ADAPTER, *_GENERATOR), "pictures, one a validation trial; needs the panels' configuration"),
    Key("val/clip_cos_recon", _ADAPTER, "cosine of drawn and true picture, by the target space's encoder", "max"),
    Key("train_loss", (*_GENERATOR, *_MINI), "loss of a batch; of a generator the squared velocity error", "min"),
    Key("val_loss", _GENERATOR, "the same on held-out pictures, averaged weights", "min"),
    Key("val_loss_unconditional", _GENERATOR, "the same without the embedding", "min"),
    Key("train_<part>", _MINI, "parts of the loss"),
    Key("val_<score>", _MINI, "scores on held-out pictures"),
    Key("predict/done", _PREDICT, "pictures drawn: of the first device while it runs, of all at the end"),
    Key("predict/failed", _PREDICT, "pictures that were not finite or blank, counted alike"),
    Key("predict/images_per_s", _PREDICT, "pictures a second of the first device"),
    Key("eval/<metric>", _EVALUATE, "the score; names as in summary.json"),
    Key("eval/<metric>_ci_low", _EVALUATE, "lower end of its 95 % interval"),
    Key("eval/<metric>_ci_high", _EVALUATE, "upper end of its 95 % interval"),
    Key("eval/<metric>_null", _EVALUATE, "score of the shuffled control, where it was drawn"),
    Key("eval/<metric>_ceiling", _EVALUATE, "score of the true embedding or of repeats, where known"),
    Key("eval/<metric>_published", _EVALUATE, "best published number, where comparable"),
    Key("eval/brain_correlation_<region>", _EVALUATE, "with --brain_correlation true"),
    Key("eval/per_image", _EVALUATE, "table: picture seen, drawn, nearest training picture, scores of each"),
    Key("eval/report", ("report",), "the page of fmri-lightning report"),
)  # fmt: skip
"""Every key, in the order of the flow. ``lr-<optimizer>`` needs LearningRateMonitor, which wandb.yaml brings."""


def keys_of(job: str) -> list[Key]:
    """List the keys of one job type.

    Args:
        job: For instance "fit-encoder".
    """
    return [key for key in KEYS if job in key.jobs]


def key_table() -> str:
    """Write the list as the Markdown table of the guide.

    Returns:
        One line a key, without a trailing newline.
    """
    lines = ["| key | job type | best | meaning |", "|---|---|---|---|"]
    lines += [f"| `{key.name}` | {', '.join(key.jobs)} | {key.best or ''} | {key.meaning} |" for key in KEYS]
    return "\n".join(lines)


def define_metrics(run: Any, job: str) -> None:
    """Tell a run its x-axes, and that the runs table shows the best value: ``val/cosine.max``, not the last one.

    Args:
        run: The run of wandb.
        job: Its job type; an unknown one gets the x-axis alone.
    """
    step = "trainer/global_step"
    run.define_metric(step)
    run.define_metric("*", step_metric=step, step_sync=True)
    for key in keys_of(job):
        if key.x == "itself":
            run.define_metric(key.name, hidden=True)
        elif "<" not in key.name and (key.best or key.x):
            run.define_metric(key.name, step_metric=key.x or step, step_sync=key.x is None, summary=key.best)

"""Learning rate over a fit."""

from __future__ import annotations

import math
from typing import Any, Literal

from lightning.pytorch import LightningModule
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch.optim.lr_scheduler import OneCycleLR

from fmri_lightning.errors import UsageError

WARM_UP = 0.1
"""Share of all steps over which one cycle rises; it falls over the others."""
LAST_RATE = 1e-3
"""Rate of the last step, in units of the first."""


def optimizer_and_scheduler(
    module: LightningModule,
    optimizer: OptimizerCallable,
    scheduler: LRSchedulerCallable | None,
    schedule: Literal["constant", "one_cycle"] = "constant",
) -> Any:
    """Build what ``configure_optimizers`` returns.

    Args:
        module: Its parameters are trained; its trainer knows the number of steps.
        optimizer: Builds the optimiser.
        scheduler: Builds a scheduler that is stepped once an epoch, or None.
        schedule: "one_cycle" (Smith & Topin, 2019) rises to the optimiser's rate and falls to nearly nothing, step
            by step; "constant" leaves the rate to ``scheduler``.

    Returns:
        The optimiser, or the dictionary that Lightning takes.

    Raises:
        UsageError: If one cycle is asked for and the number of steps is not known.
    """
    built = optimizer(module.parameters())
    if schedule == "one_cycle":
        steps = module.trainer.estimated_stepping_batches
        if not math.isfinite(steps):
            raise UsageError("one cycle needs to know its end: set --trainer.max_epochs or --trainer.max_steps")
        rates = [group["lr"] for group in built.param_groups]
        cycle = OneCycleLR(
            built, rates, total_steps=int(steps), pct_start=WARM_UP, final_div_factor=1 / LAST_RATE,
            cycle_momentum=False,
        )  # fmt: skip
        return {"optimizer": built, "lr_scheduler": {"scheduler": cycle, "interval": "step"}}
    return built if scheduler is None else {"optimizer": built, "lr_scheduler": scheduler(built)}

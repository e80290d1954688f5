"""When pictures are drawn during a fit, and that drawing them changes nothing."""

from __future__ import annotations

from abc import abstractmethod

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from fmri_lightning.errors import UsageError
from fmri_lightning.seeding import random_state_kept


class Panels(Callback):
    """Draws after every N epochs and at the end of a fit, on the first rank; the others wait.

    A fit goes on as it would without: the random state and the module's mode are given back.

    Args:
        trials: How many fixed trials are drawn, the first of the validation set.
        every_n_epochs: Epochs between two panels.
        seed: Seed of the pictures, the same in every panel.

    Raises:
        UsageError: A number is below 1, or trials above 108, which W&B would cut.
    """

    def __init__(self, trials: int, every_n_epochs: int, seed: int) -> None:
        self.trials, self.every_n_epochs, self.seed = trials, every_n_epochs, seed
        self._drawn_at = -1

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check numbers, and let :meth:`open` check the rest before anything is written."""
        if not 1 <= self.trials <= 108 or self.every_n_epochs < 1:
            raise UsageError(
                f"panels draw 1 to 108 trials every 1 epoch or more, got {self.trials} and {self.every_n_epochs}"
            )
        if stage == "fit":
            with random_state_kept():
                self.open(trainer, pl_module)

    @abstractmethod
    def open(self, trainer: Trainer, module: LightningModule) -> None:
        """Check and load what is needed; called in every rank.

        Args:
            trainer: The trainer, its data module set up.
            module: The module.
        """

    @abstractmethod
    def draw(self, trainer: Trainer, module: LightningModule) -> None:
        """Draw and log one panel; called in the first rank, in evaluation mode, without gradients.

        Args:
            trainer: The trainer.
            module: The module.
        """

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw where it is time."""
        due = (trainer.current_epoch + 1) % self.every_n_epochs == 0
        if due and not trainer.sanity_checking:
            self._draw(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the last weights, if the last epoch did not."""
        self._draw(trainer, pl_module)

    def _draw(self, trainer: Trainer, module: LightningModule) -> None:
        # Without a logger nobody would see them.
        if not trainer.is_global_zero or not trainer.loggers or trainer.global_step == self._drawn_at:
            return
        self._drawn_at = trainer.global_step
        training = {name: part.training for name, part in module.named_modules()}
        try:
            with random_state_kept(), torch.no_grad():
                module.eval()
                self.draw(trainer, module)
        finally:
            for name, part in module.named_modules():
                part.training = training[name]

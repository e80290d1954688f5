"""TensorBoard beside the CSV log; named in configs/logger/tensorboard.yaml."""

from __future__ import annotations

import importlib.util

from lightning.pytorch.loggers import TensorBoardLogger

from fmri_lightning.errors import UsageError


class TensorBoardRunLogger(TensorBoardLogger):
    """Lightning's TensorBoard logger, which says in one line what is missing.

    Args:
        save_dir: Folder that ``tensorboard --logdir`` is given.
        name: Folder inside it, with one folder a run.

    Raises:
        UsageError: TensorBoard is not installed.
    """

    def __init__(self, save_dir: str = "outputs/runs", name: str = "tensorboard") -> None:
        self.require()
        # Lightning would add a made-up score to the hyperparameters.
        super().__init__(save_dir, name=name, default_hp_metric=False)

    @staticmethod
    def require() -> None:
        """Check that TensorBoard is installed.

        Raises:
            UsageError: It is not.
        """
        if importlib.util.find_spec("tensorboard") is None:
            raise UsageError(
                "this run is to be logged to TensorBoard, which is not installed: pip install "
                "'fmri-lightning[tensorboard]'; without it, leave out configs/logger/tensorboard.yaml"
            )

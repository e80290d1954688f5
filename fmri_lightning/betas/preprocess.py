"""T1 and T2 as a torch module, so that they run on the device inside fit and predict."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fmri_lightning.errors import BadInputError
from fmri_lightning.manifest import Manifest


class Preprocess(nn.Module):
    """Scale and mask T0 betas (T1) and project them on principal components (T2).

    Args:
        arrays: ``columns``, then for T1 ``mean`` and ``scale``, then for T2 ``pca_mean`` and ``components``
            (see :class:`fmri_lightning.betas.fit.FittedPreprocess`).
        n_voxels: Voxels of the store.
        content_hash: Hash of the arrays.

    Attributes:
        n_voxels: Width of the input.
        n_features: Width of the output.
        content_hash: Names the preprocessing in what is made with it.
        manifest: Of the folder it was loaded from, or None.
    """

    columns: Tensor
    mean: Tensor | None
    scale: Tensor | None
    pca_mean: Tensor | None
    components: Tensor | None

    def __init__(self, arrays: dict[str, NDArray[Any]], n_voxels: int, content_hash: str) -> None:
        super().__init__()
        self.n_voxels = n_voxels
        self.content_hash = content_hash
        self.manifest: Manifest | None = None
        self.register_buffer("columns", torch.from_numpy(arrays["columns"].astype(np.int64)))
        for name in ("mean", "scale", "pca_mean", "components"):
            array = arrays.get(name)
            self.register_buffer(name, None if array is None else torch.from_numpy(array.astype(np.float32)))
        self.n_features = len(arrays["components"]) if "components" in arrays else len(arrays["columns"])

    @classmethod
    def load(cls, folder: Path | str) -> Preprocess:
        """Load a fitted preprocessing.

        Args:
            folder: For instance ``outputs/preproc/subj01``.

        Returns:
            The module, on the CPU.

        Raises:
            BadInputError: If it is missing or damaged.
        """
        from fmri_lightning.betas.artefact import read_preprocess

        fitted, manifest = read_preprocess(folder)
        module = cls(fitted.arrays, int(manifest.config["n_voxels"]), manifest.content_hash)
        module.manifest = manifest
        return module

    def forward(self, betas: Tensor) -> Tensor:
        """Apply the tier.

        Args:
            betas: T0 betas of trials, or means of T0 betas over repeats, (batch, n_voxels).

        Returns:
            float32 (batch, n_features).

        Raises:
            BadInputError: If the width is not that of the store it was fitted on.
        """
        if betas.shape[-1] != self.n_voxels:
            raise BadInputError(
                f"the preprocessing was fitted on {self.n_voxels} voxels, the betas have {betas.shape[-1]}; "
                "run again: fmri-lightning betas --overwrite"
            )
        # Full precision under every Lightning precision: the inputs of the encoder must not depend on it.
        with torch.autocast(betas.device.type, enabled=False):
            x = betas.float().index_select(-1, self.columns)
            if self.mean is not None and self.scale is not None:
                x = (x - self.mean) / self.scale
            if self.components is not None and self.pca_mean is not None:
                x = (x - self.pca_mean) @ self.components.T
        return x

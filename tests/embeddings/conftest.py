"""A tiny CLIP image tower of the real class, with pictures to show it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def save_tiny_tower(folder: Path, seed: int = 0, dim: int = 24) -> Path:
    import torch
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    config = CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=64,
        patch_size=16,
        projection_dim=dim,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = CLIPVisionModelWithProjection(config)
        # The library's initialisation is so small that pictures hardly differ.
        for parameter in model.parameters():
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=0.2)
    model.half().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_tower(tmp_path_factory):
    return save_tiny_tower(tmp_path_factory.mktemp("towers") / "tiny")


@pytest.fixture(scope="session")
def pictures():
    """Eleven smooth pictures, uint8 (11, 48, 64, 3)."""
    rng = np.random.default_rng(3)
    coarse = rng.integers(0, 256, (11, 6, 8, 3), dtype=np.uint8)
    return np.stack([np.asarray(Image.fromarray(small).resize((64, 48), Image.Resampling.BICUBIC)) for small in coarse])


@dataclass
class ListedPictures:
    """Pictures in memory with the interface of a stimulus source."""

    ids: np.ndarray
    pictures: np.ndarray

    def read(self, ids):
        return self.pictures[np.searchsorted(self.ids, ids)]


@pytest.fixture
def source(pictures):
    return ListedPictures(np.array([2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31], dtype=np.int32), pictures)


@pytest.fixture
def picture_folder(tmp_path, source):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for nsd_id, picture in zip(source.ids, source.pictures, strict=True):
        Image.fromarray(picture).save(folder / f"nsd{nsd_id:05d}.png")
    return folder

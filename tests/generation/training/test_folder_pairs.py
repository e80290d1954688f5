"""A generator of one's own: any folder of pictures with the CLIP cache made from it, through the real commands."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from fmri_lightning.cli import main
from fmri_lightning.embeddings.cache import EmbeddingCache
from fmri_lightning.errors import BadInputError, UsageError
from fmri_lightning.generation.training.pairs_folder import FolderPairDataModule
from fmri_lightning.index.command import index
from fmri_lightning.index.table import read_index
from tests.index.tiny_nsd import write_tiny_nsd

N, DIM = 12, 16


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with images/ and clip.parquet, made by clip-cache with an untrained tower."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "images").mkdir()
    rng = np.random.default_rng(0)
    for i in range(N):
        colour = np.broadcast_to(rng.integers(0, 255, (1, 1, 3)), (40, 48, 3)).astype(np.uint8)
        Image.fromarray(colour).save(folder / "images" / f"picture_{i:02d}.png")
    torch.manual_seed(0)
    config = CLIPVisionConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2, image_size=32,
        patch_size=8, projection_dim=DIM,
    )  # fmt: skip
    CLIPVisionModelWithProjection(config).save_pretrained(folder / "tower")
    command = ["clip-cache", "--images", str(folder / "images"), "--space", str(folder / "tower")]
    assert main([*command, "--out", str(folder / "clip.parquet")]) == 0
    return folder


def data(own: Path, tmp_path: Path, **changes: object) -> FolderPairDataModule:
    given = {
        "clip_cache": str(own / "clip.parquet"), "images": str(own / "images"), "autoencoder": "pixels",
        "cache_dir": str(tmp_path), "picture_px": 16, "heldout_share": 0.25,
    }  # fmt: skip
    return FolderPairDataModule(**{**given, **changes})  # type: ignore[arg-type]


def test_every_picture_is_paired_with_the_row_of_its_own_id(own: Path, tmp_path: Path) -> None:
    """Each picture has one colour, so latents tell which picture they are of."""
    pairs = data(own, tmp_path)
    pairs.setup("fit")
    cache = EmbeddingCache.open(own / "clip.parquet")
    seen = []
    for part in ("train", "heldout"):
        for latent, embedding in zip(pairs.pairs[f"{part}_latents"], pairs.pairs[f"{part}_embeddings"], strict=True):
            row = int(np.abs(cache.embeddings - embedding.float().numpy()).sum(1).argmin())
            with Image.open(own / "images" / f"picture_{cache.ids[row]:02d}.png") as image:
                colour = np.asarray(image)[0, 0] / 127.5 - 1
            # Pixels two by two in channels, times 2; four numbers a colour.
            np.testing.assert_allclose(latent[:, 0, 0].float().numpy() / 2, np.repeat(colour, 4), atol=0.01)
            seen.append(int(cache.ids[row]))
    assert sorted(seen) == list(range(N)), "held-out pictures are others than training pictures, and none is lost"


def test_excluded_ids_are_never_read(own: Path, tmp_path: Path) -> None:
    (tmp_path / "test_ids.txt").write_text("0\n5\n")
    pairs = data(own, tmp_path, exclude_ids=str(tmp_path / "test_ids.txt"))
    pairs.setup("fit")
    assert len(pairs.pairs["train_latents"]) + len(pairs.pairs["heldout_latents"]) == N - 2
    with pytest.raises(BadInputError, match="one nsd_id a line"):
        data(own, tmp_path, exclude_ids=str(tmp_path / "absent.txt")).setup("fit")


def test_a_cache_of_other_pictures_is_refused(own: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for i in range(N):
        Image.new("RGB", (40, 40), (i, i, i)).save(other / f"picture_{i:02d}.png")
    with pytest.raises(BadInputError, match="made from other pictures"):
        data(own, tmp_path, images=str(other)).setup("fit")


def test_of_an_nsd_tree_only_training_stimuli_are_shown(own: Path, tmp_path: Path) -> None:
    tree = write_tiny_nsd(tmp_path / "nsd", nifti=False)
    index(tree.root, out=tmp_path / "index")
    command = ["clip-cache", "--root", str(tree.root), "--space", str(own / "tower")]
    assert main([*command, "--out", str(tmp_path / "clip.parquet")]) == 0
    given = {"clip_cache": str(tmp_path / "clip.parquet"), "images": None, "root": str(tree.root)}
    with pytest.raises(UsageError, match="index_root"):
        data(own, tmp_path, **given).setup("fit")
    pairs = data(own, tmp_path, **given, index_root=str(tmp_path / "index"))
    pairs.setup("fit")
    shown = torch.cat([pairs.pairs["train_embeddings"], pairs.pairs["heldout_embeddings"]]).float().numpy()
    train = np.unique(read_index(tmp_path / "index", "subj01").of_split("train").nsd_id)
    allowed = EmbeddingCache.open(tmp_path / "clip.parquet").rows(train)
    assert len(shown) == len(train)
    distances = np.abs(shown[:, None] - allowed[None]).max(2)
    assert distances.min(1).max() < 5e-3, "a row that belongs to no training stimulus"


def test_fit_and_draw_from_vectors_of_that_space(own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """configs/generator.yaml, small: embeddings of the cache's own width condition the pictures, no adapter."""
    from fmri_lightning.generation.decoder import DecoderConfig
    from fmri_lightning.generation.families.unclip import load_unclip
    from fmri_lightning.generation.sampler import SamplingOptions

    monkeypatch.chdir(tmp_path)
    assert main([
        "fit", "--config", "configs/generator.yaml", "--data.images", str(own / "images"),
        "--data.clip_cache", str(own / "clip.parquet"), "--data.picture_px", "16", "--data.steps_per_epoch", "2",
        "--data.batch_size", "4", "--trainer.max_steps", "2", "--model.dim", str(DIM), "--model.channels", "[32,32]",
        "--model.attention", "[false,true]", "--model.latent_side", "8", "--trainer.precision", "32-true",
    ]) == 0  # fmt: skip
    folder = tmp_path / "outputs" / "generator" / "pipeline"
    assert json.loads((folder / "embedding_space.json").read_text())["dim"] == DIM
    decoder = load_unclip(DecoderConfig(family="unclip", model_id=str(folder)))
    pictures = decoder.generate(torch.randn(2, DIM), [0, 1], SamplingOptions(num_inference_steps=2))
    assert pictures.shape == (2, 16, 16, 3)

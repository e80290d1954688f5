"""Distillation of the mini encoders: targets, order of pictures, resume, and the exported folder."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from PIL import Image
from sklearn.decomposition import PCA
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor, nn

from fmri_lightning.embeddings import distillation_data
from fmri_lightning.embeddings.distillation import DistillationModule
from fmri_lightning.embeddings.distillation_data import DistillationDataModule, StepBatches
from fmri_lightning.embeddings.distillation_export import ExportFolder
from fmri_lightning.embeddings.distillation_neighbours import five_nearest_accuracy
from fmri_lightning.embeddings.distillation_pictures import read_photographs, read_scenes
from fmri_lightning.embeddings.distillation_teacher import fit_projection, weighted
from fmri_lightning.embeddings.image_encoder import ImageEncoder
from fmri_lightning.errors import BadInputError, UsageError

DIM = 16


class PooledColours(nn.Module):
    """A teacher small enough for a test: colours of a coarse grid, and their products."""

    def extract_features(self, x: Tensor) -> Tensor:
        coarse = nn.functional.adaptive_avg_pool2d(x, 4)
        return torch.cat([coarse, coarse.square(), coarse * coarse.roll(1, 1)], 1)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders train/ and test/ of two classes."""
    folder = tmp_path_factory.mktemp("photographs")
    rng = np.random.default_rng(0)
    for split, n in (("train", 24), ("test", 6)):
        for i in range(n):
            path = folder / split / f"class{i % 2}" / f"image_{i:04d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(path)
    return folder


@pytest.fixture
def data(photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DistillationDataModule:
    monkeypatch.setattr(distillation_data, "load_teacher", lambda name, size_px: PooledColours())
    return make_data(photographs, tmp_path / "cache")


def make_data(photographs: Path, cache: Path) -> DistillationDataModule:
    return DistillationDataModule(
        "efficientnet-lite0",
        dim=DIM,
        cache_dir=str(cache),
        photographs=str(photographs),
        n_scenes=0,
        n_heldout_scenes=0,
        picture_px=32,
        teacher_px=32,
        batch_size=8,
        steps_per_epoch=2,
    )


def student() -> DistillationModule:
    torch.manual_seed(0)
    return DistillationModule(DIM, hidden_size=16, n_layers=1, n_heads=2, picture_px=32, warmup_steps=2)


def trainer(folder: Path, max_steps: int, *callbacks: L.Callback) -> L.Trainer:
    keep = ModelCheckpoint(dirpath=folder, filename="{step}", save_top_k=-1, every_n_epochs=1)
    return L.Trainer(
        accelerator="cpu",
        devices=1,
        max_steps=max_steps,
        logger=False,
        callbacks=[keep, *callbacks],
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )


class Witness(L.Callback):
    """Notes the pictures of every step."""

    def __init__(self) -> None:
        self.sums: list[int] = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        self.sums.append(int(batch[0].long().sum()))


def test_tar_and_folder_are_the_same_photographs(photographs: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "train.tar", "w") as tar:
        for file in sorted((photographs / "train").rglob("*.png"), reverse=True):
            member = tarfile.TarInfo(file.relative_to(photographs / "train").as_posix())
            member.size = file.stat().st_size
            tar.addfile(member, io.BytesIO(file.read_bytes()))
    from_tar = read_photographs(tmp_path, "train", 32)
    from_folder = read_photographs(photographs, "train", 32)
    np.testing.assert_array_equal(from_tar.pictures, from_folder.pictures)
    np.testing.assert_array_equal(from_tar.labels, from_folder.labels)
    assert set(from_folder.labels) == {0, 1}


def test_missing_photographs_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"neither .*train\.tar nor"):
        read_photographs(tmp_path, "train")


def test_training_and_heldout_scenes_differ() -> None:
    drawn = read_scenes("mini_heldout", 2, 32)
    assert drawn.pictures.shape == (2, 32, 32, 3)
    assert (drawn.labels == -1).all()
    other = read_scenes("mini_train", 2, 32)
    assert (drawn.pictures != other.pictures).any(axis=(1, 2, 3)).all()


def test_projection_keeps_the_principal_subspace_norm_and_mean() -> None:
    generator = torch.Generator().manual_seed(0)
    scales = torch.linspace(4, 0.1, 60)
    flat = torch.randn(400, 60, generator=generator) * scales + 3 * torch.rand(60)
    features = flat.reshape(400, 5, 12)
    projection = fit_projection(features, DIM, quadrant_weight=0.5, norm=12.0, mean_cosine=0.5)
    embeddings = projection(features, 0.5)
    norms = embeddings.norm(dim=1)
    assert norms.square().mean().sqrt().item() == pytest.approx(12.0, rel=1e-3)
    assert embeddings.mean(0).norm().item() == pytest.approx(6.0, rel=1e-3)
    # A rotation and one scale are free; distances between pictures are not.
    oracle = PCA(DIM).fit_transform(weighted(features, 0.5).numpy())
    ours, theirs = torch.pdist(embeddings).numpy(), torch.pdist(torch.from_numpy(oracle)).numpy()
    np.testing.assert_allclose(ours / ours.mean(), theirs / theirs.mean(), rtol=2e-3)


def test_five_nearest_accuracy_is_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 300)
    x = rng.normal(size=(300, 8)) + 0.8 * np.eye(8)[labels]
    gallery, queries = x[:200], x[200:]
    unit = [
        (a - gallery.mean(0)) / np.linalg.norm(a - gallery.mean(0), axis=1, keepdims=True) for a in (gallery, queries)
    ]
    oracle = KNeighborsClassifier(5).fit(unit[0], labels[:200]).score(unit[1], labels[200:])
    ours = five_nearest_accuracy(gallery, labels[:200], queries, labels[200:])
    # Ties are broken differently: by the nearest here, by the smallest class there.
    assert ours == pytest.approx(oracle, abs=0.06)
    assert 0.4 < ours < 1
    scenes = np.full(200, -1)
    assert np.isnan(five_nearest_accuracy(gallery, scenes, queries, labels[200:]))


def test_mirrored_pictures_meet_mirrored_targets() -> None:
    pictures = torch.randint(0, 255, (5, 4, 4, 3), dtype=torch.uint8)
    plain = pictures[:, 0, 0].float()
    mirrored = pictures[:2].flip(2)[:, 0, 0].float()
    batches = StepBatches(pictures, torch.cat([plain, mirrored]).half(), 64, 3, lambda: 0, 0)
    for shown, targets in batches:
        torch.testing.assert_close(shown[:, 0, 0].float(), targets, rtol=0, atol=0.5)


def test_every_epoch_shows_other_pictures_and_resume_shows_what_was_next(
    data: DistillationDataModule, photographs: Path, tmp_path: Path
) -> None:
    whole, resumed = Witness(), Witness()
    module = student()
    trainer(tmp_path / "whole", 6, whole).fit(module, datamodule=data)
    assert len(set(whole.sums)) == 6
    again, other = student(), make_data(photographs, tmp_path / "cache")
    checkpoint = str(tmp_path / "whole" / "step=4.ckpt")
    trainer(tmp_path / "resumed", 6, resumed).fit(again, datamodule=other, ckpt_path=checkpoint)
    assert resumed.sums == whole.sums[4:]
    for (name, a), b in zip(module.student.named_parameters(), again.student.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6, msg=name)


def test_student_learns_and_its_folder_is_what_the_project_loads(data: DistillationDataModule, tmp_path: Path) -> None:
    folder = tmp_path / "encoder"
    folder.mkdir()
    (folder / "stale.txt").write_text("of an earlier run")
    module = student()
    module.hparams["lr"] = 1e-2
    export = ExportFolder(str(folder), "Tiny encoder", "Noise.")
    data.setup("fit")
    pictures = torch.from_numpy(data.train_pictures.pictures)
    start = nn.functional.mse_loss(module(pictures), data.train_targets())
    trainer(tmp_path / "run", 40, export).fit(module, datamodule=data)
    end = nn.functional.mse_loss(module(pictures), data.train_targets())
    assert end < 0.7 * start
    assert not (folder / "stale.txt").exists()
    encoder = ImageEncoder.from_space(str(folder))
    with torch.no_grad():
        expected = module(pictures)
        torch.testing.assert_close(encoder(pictures), expected, rtol=1e-3, atol=1e-3)
    card = (folder / "README.md").read_text()
    for part in ("# Tiny encoder", "5-NN accuracy", "| steps | 40 |", "model.safetensors` sha256"):
        assert part in card


def test_cut_short_run_exports_nothing(data: DistillationDataModule, tmp_path: Path) -> None:
    class Stop(L.Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
            trainer.should_stop = trainer.global_step >= 2

    export = ExportFolder(str(tmp_path / "encoder"), "Tiny encoder", "Noise.")
    trainer(tmp_path / "run", 40, export, Stop()).fit(student(), datamodule=data)
    assert not (tmp_path / "encoder").exists()


def test_export_of_another_module_is_refused(tmp_path: Path) -> None:
    export = ExportFolder(str(tmp_path / "x"), "", "")
    with pytest.raises(UsageError, match="no export"):
        export.setup(trainer(tmp_path, 1), L.LightningModule(), "fit")

"""The command `clip-cache`, through Lightning's predict loop."""

import numpy as np
import pytest
import torch
from PIL import Image

from fmri_lightning.embeddings import module
from fmri_lightning.embeddings.cache import EmbeddingCache, write_cache
from fmri_lightning.embeddings.command import clip_cache
from fmri_lightning.embeddings.data import EmbeddingDataModule, shard_ids
from fmri_lightning.embeddings.image_encoder import ImageEncoder
from fmri_lightning.embeddings.module import EmbeddingModule
from fmri_lightning.errors import BadInputError, InterruptedRunError, UsageError
from tests.embeddings.conftest import save_tiny_tower


def run(picture_folder, tower, out, **flags):
    clip_cache(images=picture_folder, space=str(tower), out=out, devices="1", batch_size=4, **flags)
    return EmbeddingCache.open(out)


@pytest.fixture(scope="module")
def encoder(tiny_tower):
    return ImageEncoder.from_space(str(tiny_tower))


def retrieved_ids(cache, queries):
    """The id of the nearest row of each query, by squared distance."""
    distances = ((queries[:, None] - cache.embeddings[None]) ** 2).sum(-1)
    return cache.ids[distances.argmin(1)]


def test_encoding_a_stimulus_finds_its_own_row(picture_folder, tiny_tower, tmp_path, source, encoder):
    cache = run(picture_folder, tiny_tower, tmp_path / "clip.parquet")
    with torch.inference_mode():
        alone = torch.cat([encoder(torch.from_numpy(source.read(source.ids[i : i + 1]))) for i in range(11)])
    np.testing.assert_array_equal(retrieved_ids(cache, alone.numpy()), source.ids)
    np.testing.assert_allclose(cache.rows(source.ids), alone, rtol=1e-4, atol=1e-5)
    # The oracle sees a shift of one id, the usual mistake between 73KID and nsd_id.
    shifted = np.roll(cache.embeddings, 1, axis=0)
    write_cache(tmp_path / "shifted.parquet", cache.ids, shifted, cache.space)
    wrong = EmbeddingCache.open(tmp_path / "shifted.parquet")
    assert (retrieved_ids(wrong, alone.numpy()) != source.ids).all()


def test_cache_declares_its_space(picture_folder, tiny_tower, tmp_path, encoder):
    space = run(picture_folder, tiny_tower, tmp_path / "clip.parquet").space
    assert (space.dim, space.scale, space.weights_hash) == (24, "raw", encoder.space.weights_hash)
    assert len(space.probe) == 8


def test_batches_of_other_sizes_agree_to_rounding(source, encoder):
    def encode(batch_size):
        step = EmbeddingModule(encoder, batch_size)
        loader = EmbeddingDataModule(source, source.ids, batch_size).predict_dataloader()
        with torch.inference_mode():
            return torch.cat([step.predict_step(batch)["embedding"] for batch in loader])

    torch.testing.assert_close(encode(4), encode(16), rtol=1e-4, atol=1e-5)


def test_a_stopped_run_resumes_to_the_same_bytes(picture_folder, tiny_tower, tmp_path, monkeypatch):
    whole = run(picture_folder, tiny_tower, tmp_path / "whole.parquet")
    monkeypatch.setattr(module, "PART_SIZE", 4)
    out = tmp_path / "stopped.parquet"
    calls = []
    original = EmbeddingModule.predict_step

    def power_cut(self, batch, batch_idx=0):
        calls.append(batch["nsd_id"].tolist())
        if len(calls) == 2:
            raise RuntimeError("power cut")
        return original(self, batch, batch_idx)

    monkeypatch.setattr(EmbeddingModule, "predict_step", power_cut)
    with pytest.raises(RuntimeError, match="power cut"):
        run(picture_folder, tiny_tower, out)
    assert not out.exists()
    resumed = run(picture_folder, tiny_tower, out)
    assert calls[0] not in calls[2:]
    assert resumed.content_hash == whole.content_hash
    assert not (tmp_path / "stopped.parquet.parts").exists()


def test_sigterm_keeps_finished_vectors_and_says_resumable(picture_folder, tiny_tower, tmp_path, monkeypatch):
    import os
    import signal

    original = EmbeddingModule.predict_step

    def step(self, batch, batch_idx=0):
        if batch_idx == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, batch, batch_idx)

    out = tmp_path / "clip.parquet"
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(EmbeddingModule, "predict_step", step)
    with pytest.raises(InterruptedRunError, match="same command"):
        run(picture_folder, tiny_tower, out)
    assert signal.getsignal(signal.SIGTERM) is before
    (part,) = (tmp_path / "clip.parquet.parts").glob("part_*.parquet")
    assert len(EmbeddingCache.open(part)) == 8


def test_limit_takes_the_first_and_a_later_run_adds_the_rest(picture_folder, tiny_tower, tmp_path, capsys):
    out = tmp_path / "clip.parquet"
    assert run(picture_folder, tiny_tower, out, limit=4).ids.tolist() == [2, 3, 5, 7]
    grown = run(picture_folder, tiny_tower, out)
    whole = run(picture_folder, tiny_tower, tmp_path / "whole.parquet")
    assert grown.content_hash == whole.content_hash
    capsys.readouterr()
    run(picture_folder, tiny_tower, out)
    assert "complete already" in capsys.readouterr().out


def test_one_file_never_mixes_models(picture_folder, tiny_tower, tmp_path):
    out = tmp_path / "clip.parquet"
    before = run(picture_folder, tiny_tower, out, limit=4).content_hash
    other = save_tiny_tower(tmp_path / "other", seed=1)
    with pytest.raises(BadInputError, match="one file holds one space"):
        run(picture_folder, other, out)
    assert EmbeddingCache.open(out).content_hash == before
    assert run(picture_folder, other, out, overwrite=True).content_hash != before


def test_changed_weights_in_the_same_folder_are_noticed(picture_folder, tmp_path):
    tower = save_tiny_tower(tmp_path / "tower")
    run(picture_folder, tower, tmp_path / "clip.parquet", limit=4)
    save_tiny_tower(tower, seed=1)
    with pytest.raises(BadInputError, match="other weights"):
        run(picture_folder, tower, tmp_path / "clip.parquet")


def test_other_pictures_of_the_same_ids_are_refused(picture_folder, tiny_tower, tmp_path):
    out = tmp_path / "clip.parquet"
    run(picture_folder, tiny_tower, out, limit=4)
    Image.new("RGB", (64, 48)).save(picture_folder / "nsd00002.png")
    with pytest.raises(BadInputError, match="other pictures"):
        run(picture_folder, tiny_tower, out)


@pytest.mark.parametrize("world_size", [1, 2, 3, 16])
def test_shares_cover_the_work_for_any_number_of_devices(world_size):
    ids = np.arange(10, dtype=np.int32) * 3
    shares = [shard_ids(ids, rank, world_size) for rank in range(world_size)]
    assert all(len(share) for share in shares)
    assert set(np.concatenate(shares).tolist()) == set(ids.tolist())
    assert max(map(len, shares)) <= -(-10 // world_size)


def test_dry_run_writes_nothing_and_needs_no_weights(picture_folder, tmp_path, capsys):
    clip_cache(images=picture_folder, space="vit-h-14", out=tmp_path / "new" / "clip.parquet", dry_run=True)
    assert "11 to do" in capsys.readouterr().out
    assert not (tmp_path / "new").exists()


def test_pictures_must_come_from_one_place(tmp_path):
    with pytest.raises(UsageError, match="either"):
        clip_cache(out=tmp_path / "clip.parquet")


def test_missing_weights_leave_nothing_behind(picture_folder, tmp_path, monkeypatch):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(BadInputError, match="hf download"):
        clip_cache(
            images=picture_folder, model_id="nobody/no-clip", revision="0" * 40, out=tmp_path / "o" / "c.parquet"
        )
    assert not (tmp_path / "o").exists()

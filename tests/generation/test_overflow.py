"""Half precision that overflows: the picture is drawn once more in float32, or listed as a failure."""

import io
import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from fmri_lightning.errors import StageError
from fmri_lightning.generation.decoder import DecoderConfig
from fmri_lightning.generation.drawing import in_float32
from tests.generation.conftest import pictures, summary
from tests.generation.tiny import write_generator


def write_scaled(folder, factor):
    """A generator whose autoencoder ends in pixels ``factor`` times too large."""
    written = write_generator(folder)
    path = written / "vae" / "diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    weights["decoder.conv_out.weight"] *= factor
    save_file(weights, path)
    return DecoderConfig("mini", str(written))


def lines(run):
    return [json.loads(line) for line in (run / "shards" / "rank0000.jsonl").read_text().splitlines()]


def test_pictures_that_overflow_in_half_are_drawn_in_float32(tmp_path, predict):
    # Float16 ends at 65,504: the weights stay below, the pixels do not.
    decoder = write_scaled(tmp_path / "bright", 4e5)
    full = predict(tmp_path / "full", data_limit=4, decoder=decoder)
    half = predict(tmp_path / "half", data_limit=4, decoder=decoder, trainer={"precision": "16-true"})
    assert {line["retried_in"] for line in lines(full)} == {""}
    assert {line["retried_in"] for line in lines(half)} == {"float32"}
    # Weights were stored in float16 and came back from it, so pictures agree but for their low bits.
    for name, data in pictures(half).items():
        here, there = (np.asarray(Image.open(io.BytesIO(d)), int) for d in (data, pictures(full)[name]))
        assert np.mean(here != there) < 0.05
        assert here.std() > 50
    assert {p.dtype for p in predict.module.decoder.unet.parameters()} == {torch.float16}
    assert {p.dtype for p in predict.module.decoder.vae.parameters()} == {torch.float16}


def test_only_the_picture_that_failed_is_drawn_again(tmp_path, predict, monkeypatch):
    from fmri_lightning.generation.families.unclip import UnclipDecoder

    usual = predict(tmp_path / "usual", trainer={"precision": "bf16-true"})
    pixels, calls = UnclipDecoder.pixels, []

    def fails_for_seed_43(self, embeddings, seeds, options, *more):
        drawn = pixels(self, embeddings, seeds, options, *more)
        calls.append((next(self.unet.parameters()).dtype, list(seeds)))
        if calls[-1][0] == torch.bfloat16 and 43 in seeds:
            drawn[seeds.index(43)] = torch.nan
        return drawn

    monkeypatch.setattr(UnclipDecoder, "pixels", fails_for_seed_43)
    run = predict(tmp_path / "run", trainer={"precision": "bf16-true"})
    # One more batch, of the same shape, with the failed picture alone.
    assert calls[1] == (torch.float32, [43] * 3)
    assert [dtype for dtype, _ in calls].count(torch.float32) == 1
    retried = [line["image"] for line in lines(run) if line["retried_in"]]
    assert len(retried) == 1
    for name, data in pictures(run).items():
        assert (data == pictures(usual)[name]) == (name not in retried)


@pytest.mark.parametrize("precision", ["32-true", "16-true"])
def test_what_fails_in_float32_too_is_listed(tmp_path, predict, precision):
    decoder = write_scaled(tmp_path / "nan", float("nan"))
    with pytest.raises(StageError, match=r"2 of 2 pictures are missing .*not finite"):
        predict(tmp_path / "run", data_limit=2, decoder=decoder, trainer={"precision": precision})
    found = summary(tmp_path / "run")
    assert [failure["reason"] for failure in found["failures"]] == ["latents or pixels are not finite"] * 2
    assert found["results"] == []


def test_no_memory_for_float32_is_a_failure_of_that_picture_alone(tmp_path, predict, monkeypatch):
    from fmri_lightning.generation.families.unclip import UnclipDecoder

    pixels = UnclipDecoder.pixels

    def fails_for_seed_43(self, embeddings, seeds, options, *more):
        if next(self.unet.parameters()).dtype == torch.float32:
            raise torch.cuda.OutOfMemoryError("too much")
        drawn = pixels(self, embeddings, seeds, options, *more)
        if 43 in seeds:
            drawn[seeds.index(43)] = torch.nan
        return drawn

    monkeypatch.setattr(UnclipDecoder, "pixels", fails_for_seed_43)
    with pytest.raises(StageError, match="1 of 7 pictures are missing"):
        predict(tmp_path, trainer={"precision": "bf16-true"})
    assert {line["batch_shape"] for line in lines(tmp_path)} == {3}
    assert {p.dtype for p in predict.module.decoder.unet.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_come_back_as_they_were(dtype):
    module = torch.nn.Linear(64, 64).to(dtype)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    with in_float32([module]):
        assert module.weight.dtype == torch.float32
    for name, tensor in module.state_dict().items():
        assert tensor.dtype == dtype
        assert torch.equal(tensor, before[name])

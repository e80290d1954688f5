"""Pictures that start from another one, by the IP-Adapter families; and every way of steering at once."""

import warnings

import numpy as np
import pytest
import torch

from fmri_lightning.errors import UsageError
from fmri_lightning.generation.decoder import DecoderConfig, Steering, load_decoder
from fmri_lightning.generation.img2img import start_latents
from fmri_lightning.generation.low_level import check_low_level
from fmri_lightning.generation.sampler import SamplingOptions, make_scheduler
from fmri_lightning.seeding import torch_generator
from tests.generation.families.tiny_ip import config, ip_adapter_weights, stock_pipeline
from tests.generation.tiny import N_TARGET

SEEDS = [7, 8]
OPTIONS = SamplingOptions(num_inference_steps=4, guidance_scale=4.0, scheduler="ddim", strength=0.5)
PIPELINES = {"sd15": "StableDiffusionImg2ImgPipeline", "sdxl": "StableDiffusionXLImg2ImgPipeline"}


def embeddings(n=2):
    return torch.randn(n, N_TARGET, generator=torch_generator(0)) * 3


def starts(n=2, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (n, 16, 16, 3), dtype=np.uint8)
    return torch.from_numpy(pixels)


def pixels_of(decoder, steering, e=None, options=OPTIONS):
    with torch.no_grad():
        drawn = decoder.pixels(embeddings() if e is None else e, SEEDS, options, steering=steering)
    return (drawn / 2 + 0.5).clamp(0, 1)


def image_to_image(family, folder, vae):
    """What the stock image-to-image pipeline draws of each picture alone."""
    import diffusers

    text = stock_pipeline(family, folder)
    weights = {"image_proj": {}, "ip_adapter": {}}
    for name, tensor in ip_adapter_weights(text.unet).items():
        part, rest = name.split(".", 1)
        weights[part][rest] = tensor
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        text.load_ip_adapter(weights, subfolder="", weight_name="", image_encoder_folder=None)
        more = {"requires_safety_checker": False} if family == "sd15" else {"add_watermarker": False}
        pipeline = getattr(diffusers, PIPELINES[family])(**text.components, **more)
    pipeline.set_progress_bar_config(disable=True)
    found = []
    for place, seed in enumerate(SEEDS):
        pipeline.scheduler = make_scheduler("ddim", pipeline.scheduler.config)
        one = embeddings()[place : place + 1]
        with torch.no_grad():
            latents = start_latents(vae, starts()[place : place + 1], 16)
        drawn = pipeline(
            prompt="", image=latents, strength=0.5, num_inference_steps=4, guidance_scale=4.0, output_type="np",
            ip_adapter_image_embeds=[torch.cat([torch.zeros_like(one), one])[:, None]],
            generator=torch_generator(seed),
        )  # fmt: skip
        found.append(torch.from_numpy(drawn.images).permute(0, 3, 1, 2))
    return torch.cat(found)


@pytest.mark.parametrize("family", PIPELINES)
def test_a_start_is_that_of_the_image_to_image_pipeline(ip_folders, family):
    decoder = load_decoder(config(ip_folders, family))
    found = pixels_of(decoder, Steering(start=starts()))
    assert (found - image_to_image(family, ip_folders[family][0], decoder.vae)).abs().max() <= 2e-5


@pytest.mark.parametrize("family", PIPELINES)
def test_start_and_embedding_both_steer_their_own_picture(ip_folders, family):
    decoder = load_decoder(config(ip_folders, family))
    first = pixels_of(decoder, Steering(start=starts()))
    other = starts()
    other[1] = 255 - other[1]
    moved = (first - pixels_of(decoder, Steering(start=other))).abs().amax(dim=(1, 2, 3))
    assert moved[0] == 0
    assert moved[1] > 1e-2
    assert (first - pixels_of(decoder, Steering(start=starts()), -embeddings())).abs().amax(dim=(1, 2, 3)).min() > 1e-3


def test_levels_and_starts_of_a_batch_are_those_of_each_picture(brain, generator):
    """Both at once, at one batch shape: what each picture of its own run would be."""
    decoder = load_decoder(DecoderConfig("mini", str(generator)))
    levels = torch.tensor([0, 300])
    both = pixels_of(decoder, Steering(levels, starts()))
    for place, level in enumerate(levels.tolist()):
        alone = pixels_of(decoder, Steering(torch.full((2,), level), starts()))
        assert torch.equal(alone[place], both[place])
    assert not torch.equal(both, pixels_of(decoder, Steering(None, starts())))
    assert not torch.equal(both, pixels_of(decoder, Steering(levels)))


@pytest.mark.parametrize("family", ["kandinsky", "text_null"])
def test_families_that_start_from_no_picture_say_so(family):
    with pytest.raises(UsageError, match="starts from no picture"):
        check_low_level("low_level.ckpt", 0.0, OPTIONS, DecoderConfig(family))

"""Starting from a picture is diffusers' own image-to-image arithmetic, scheduler by scheduler."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from fmri_lightning.errors import UsageError
from fmri_lightning.generation.decoder import Steering
from fmri_lightning.generation.families.unclip import UnclipDecoder
from fmri_lightning.generation.img2img import require_a_step, start_latents
from fmri_lightning.generation.sampler import SCHEDULERS, SamplingOptions, make_scheduler
from fmri_lightning.seeding import torch_generator
from tests.generation.tiny import N_TARGET, TARGET, generator_parts

SEEDS = [7, 8, 9]


@pytest.fixture(scope="module")
def decoder():
    from diffusers import StableUnCLIPImg2ImgPipeline

    return UnclipDecoder(StableUnCLIPImg2ImgPipeline(**generator_parts()), TARGET)


def embeddings(n=3, seed=0):
    return torch.randn(n, N_TARGET, generator=torch_generator(seed)) * 3


def smooth(n=3, side=16, seed=0):
    """Pictures that differ in layout, uint8 (n, side, side, 3)."""
    coarse = np.random.default_rng(seed).integers(0, 256, (n, 3, 3, 3), dtype=np.uint8)
    large = [np.asarray(Image.fromarray(one).resize((side, side), Image.Resampling.BICUBIC)) for one in coarse]
    return torch.from_numpy(np.stack(large))


def pixels(decoder, e, start, seeds=SEEDS, **options):
    with torch.no_grad():
        return decoder.pixels(
            e, seeds, SamplingOptions(**{"num_inference_steps": 5, **options}), steering=Steering(start=start)
        )


def reference(parts, e, pictures, seeds, name, n_steps, strength, guidance):
    """The steps of ``StableDiffusionImg2ImgPipeline``, by its own methods, with unCLIP's condition."""
    from diffusers import StableDiffusionImg2ImgPipeline, StableUnCLIPImg2ImgPipeline
    from diffusers.image_processor import VaeImageProcessor

    unet, vae, scheduler = parts["unet"], parts["vae"], make_scheduler(name, parts["scheduler"].config)
    stock = SimpleNamespace(scheduler=scheduler, vae=vae)
    unclip = StableUnCLIPImg2ImgPipeline(**parts)
    generators = [torch_generator(seed) for seed in seeds]
    noise = torch.cat([torch.randn(1, N_TARGET, generator=g) for g in generators])
    told = unclip.noise_image_embeddings(image_embeds=e, noise_level=0, noise=noise)
    told = torch.cat([torch.zeros_like(told), told])
    image = VaeImageProcessor(vae_scale_factor=2).preprocess([Image.fromarray(p.numpy()) for p in pictures])
    modes = torch.cat([vae.encode(one).latent_dist.mode() for one in image.split(1)]) * vae.config.scaling_factor
    scheduler.set_timesteps(n_steps)
    timesteps, _ = StableDiffusionImg2ImgPipeline.get_timesteps(stock, n_steps, strength, "cpu")
    # Pictures of four channels are taken for latents: so their mode is used, and not a sample.
    latents = StableDiffusionImg2ImgPipeline.prepare_latents(
        stock, modes, timesteps[:1].repeat(len(e)), len(e), 1, torch.float32, "cpu", generators
    )
    draws = {"generator": generators} if name in ("ddim", "euler", "euler_a") else {}
    for timestep in timesteps:
        inputs = scheduler.scale_model_input(torch.cat([latents] * 2), timestep)
        one, other = unet(inputs, timestep, encoder_hidden_states=None, class_labels=told).sample.chunk(2)
        latents = scheduler.step(one + guidance * (other - one), timestep, latents, **draws).prev_sample
    return vae.decode(latents / vae.config.scaling_factor).sample


@pytest.mark.parametrize("strength", [0.2, 0.5, 1.0])
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_bit_identical_to_diffusers_arithmetic(decoder, scheduler, strength):
    with torch.no_grad():
        expected = reference(generator_parts(), embeddings(), smooth(), SEEDS, scheduler, 5, strength, 4.0)
    found = pixels(decoder, embeddings(), smooth(), scheduler=scheduler, strength=strength, guidance_scale=4.0)
    assert torch.equal(found, expected)
    assert found.std() > 0.02, "a flat picture would agree with anything"


@pytest.mark.parametrize(("steps", "strength", "run"), [(10, 0.75, 7), (10, 1.0, 10), (25, 0.3, 7), (3, 0.34, 1)])
def test_as_many_steps_are_run_as_diffusers_runs(steps, strength, run):
    from diffusers import StableDiffusionImg2ImgPipeline

    scheduler = make_scheduler("ddim", generator_parts()["scheduler"].config)
    scheduler.set_timesteps(steps)
    kept, _ = StableDiffusionImg2ImgPipeline.get_timesteps(SimpleNamespace(scheduler=scheduler), steps, strength, "cpu")
    options = SamplingOptions(num_inference_steps=steps, strength=strength)
    assert steps - options.skipped() == len(kept) == run
    assert options.evaluations(from_start=True) == 2 * run
    assert options.evaluations() == 2 * steps


def test_guidance_acts_in_its_part_of_the_whole_schedule():
    options = SamplingOptions(num_inference_steps=10, strength=0.5, guidance_interval=(0.0, 0.6))
    assert options.evaluations(from_start=True) == 2 + 4, "step 5 is guided, 6 to 9 are not"


def test_embedding_and_start_both_steer(decoder):
    e, start = embeddings(), smooth()
    first = pixels(decoder, e, start)
    assert not torch.equal(first, pixels(decoder, embeddings(seed=1), start))
    assert not torch.equal(first, pixels(decoder, e, smooth(seed=1)))
    assert not torch.equal(first, pixels(decoder, e, None))
    assert torch.equal(first, pixels(decoder, e, start))


def test_a_start_changes_its_own_picture_only(decoder):
    e, start = embeddings(), smooth()
    changed = start.clone()
    changed[1] = 255 - changed[1]
    first, second = pixels(decoder, e, start), pixels(decoder, e, changed)
    assert torch.equal(first[[0, 2]], second[[0, 2]])
    assert not torch.equal(first[1], second[1])


def test_less_strength_keeps_more_of_the_layout(decoder):
    e, start = embeddings(), smooth()
    with torch.no_grad():
        kept = decoder.decode(start_latents(decoder.vae, start, 16))
    options = {"num_inference_steps": 20, "scheduler": "ddim"}
    away = [(pixels(decoder, e, start, strength=s, **options) - kept).square().mean().item() for s in (0.05, 0.3, 1.0)]
    assert away == sorted(away)
    assert away[0] < away[-1] / 4


def test_a_start_of_any_size_is_brought_to_the_decoders(decoder):
    large = smooth(side=16).repeat_interleave(3, 1).repeat_interleave(3, 2)
    found = pixels(decoder, embeddings(), large, strength=0.2)
    assert found.shape == (3, 3, 16, 16)
    assert (found - pixels(decoder, embeddings(), smooth(side=16), strength=0.2)).abs().mean() < 0.02


def test_a_strength_that_runs_no_step_is_refused():
    with pytest.raises(UsageError, match="runs none of them"):
        require_a_step(SamplingOptions(num_inference_steps=5, strength=0.19))
    require_a_step(SamplingOptions(num_inference_steps=5, strength=0.2))
    for strength in (0.0, 1.1):
        with pytest.raises(UsageError, match="strength lies above 0"):
            SamplingOptions(strength=strength)

import shutil
import warnings

import pytest
import torch

from fmri_lightning.errors import BadInputError, UsageError
from fmri_lightning.generation.families.unclip import UnclipDecoder
from fmri_lightning.generation.sampler import SCHEDULERS, SamplingOptions, make_scheduler, noised_condition
from fmri_lightning.seeding import torch_generator
from tests.generation.tiny import N_TARGET, TARGET, generator_parts
from tests.generation.tiny_text import cross_attention_parts

SEEDS = [7, 8, 9]


@pytest.fixture(scope="module")
def decoder():
    from diffusers import StableUnCLIPImg2ImgPipeline

    return UnclipDecoder(StableUnCLIPImg2ImgPipeline(**generator_parts()), TARGET)


def draw(decoder, embeddings, seeds, **options):
    with torch.no_grad():
        return decoder.generate(embeddings, seeds, SamplingOptions(**{"num_inference_steps": 3, **options}))


def embeddings(n=3, seed=0):
    return torch.randn(n, N_TARGET, generator=torch_generator(seed)) * 3


@pytest.fixture(scope="module")
def with_text(tmp_path_factory):
    """Makes the parts of a model with cross-attention, as Stable Diffusion 2.1 is."""
    folder = tmp_path_factory.mktemp("tokenizer")
    return lambda: cross_attention_parts(folder)


@pytest.fixture(scope="module")
def text_decoder(with_text):
    from diffusers import StableUnCLIPImg2ImgPipeline

    return UnclipDecoder(StableUnCLIPImg2ImgPipeline(**with_text()), TARGET)


def reference_pictures(parts, e, **options):
    """What the stock pipeline draws, rounded."""
    from diffusers import StableUnCLIPImg2ImgPipeline
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    tiny_tower = CLIPVisionConfig(
        hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, image_size=8, patch_size=8
    )
    parts["image_encoder"] = CLIPVisionModelWithProjection(tiny_tower)  # the pipeline reads its dtype
    pipeline = StableUnCLIPImg2ImgPipeline(**parts)
    pipeline.set_progress_bar_config(disable=True)
    if parts["text_encoder"] is None:
        nothing = torch.zeros(len(e), 1, 1)
        text = {"prompt_embeds": nothing, "negative_prompt_embeds": nothing}
    else:
        text = {"prompt": [""] * len(e)}
    drawn = pipeline(
        image_embeds=e, generator=[torch_generator(seed) for seed in SEEDS], num_inference_steps=3, output_type="np",
        **text, **options,
    ).images  # fmt: skip
    return torch.from_numpy((drawn * 255).round()).to(torch.uint8)


@pytest.mark.parametrize("kind", ["plain", "text"])
@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize(("guidance", "noise_level"), [(4.0, 0), (1.0, 250)])
def test_bit_identical_to_the_pipeline(decoder, text_decoder, with_text, scheduler, guidance, noise_level, kind):
    parts, ours = (generator_parts(), decoder) if kind == "plain" else (with_text(), text_decoder)
    parts["scheduler"] = make_scheduler(scheduler, parts["scheduler"].config)
    options = {"guidance_scale": guidance, "noise_level": noise_level}
    expected = reference_pictures(parts, embeddings(), **options)
    found = draw(ours, embeddings(), SEEDS, scheduler=scheduler, **options)
    assert torch.equal(found, expected)
    assert found.float().std() > 5, "a flat picture would agree with anything"


def test_another_embedding_or_seed_is_another_picture(decoder):
    first = draw(decoder, embeddings(), SEEDS)
    assert not torch.equal(first, draw(decoder, embeddings(seed=1), SEEDS))
    assert not torch.equal(first, draw(decoder, embeddings(), [seed + 10 for seed in SEEDS]))
    assert torch.equal(first, draw(decoder, embeddings(), SEEDS))


def test_each_picture_depends_on_its_own_embedding_only(decoder):
    e = embeddings()
    first = draw(decoder, e, SEEDS)
    changed = e.clone()
    changed[1] *= -1
    second = draw(decoder, changed, SEEDS)
    assert torch.equal(first[[0, 2]], second[[0, 2]])
    assert not torch.equal(first[1], second[1])


def test_order_and_companions_do_not_matter_at_one_batch_shape(decoder):
    e = embeddings()
    first = draw(decoder, e, SEEDS)
    order = [2, 0, 1]
    assert torch.equal(draw(decoder, e[order], [SEEDS[i] for i in order]), first[order])
    padded = draw(decoder, e[[0, 0, 0]], [SEEDS[0]] * 3)
    assert torch.equal(padded[0], first[0])


@pytest.mark.parametrize("kind", ["plain", "text"])
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_a_batch_of_eight_is_eight_singles(decoder, text_decoder, kind, scheduler):
    ours = decoder if kind == "plain" else text_decoder
    e, seeds, options = embeddings(8), list(range(8)), SamplingOptions(num_inference_steps=3, scheduler=scheduler)
    with torch.no_grad():
        together = ours.pixels(e, seeds, options) / 2
        alone = torch.cat([ours.pixels(e[i : i + 1], [seeds[i]], options) / 2 for i in range(8)])
    assert (together - alone).abs().max() <= 2e-5, "on the scale of 0..1"
    assert (together - together.roll(1, dims=0)).abs().max() > 1e-2


@pytest.mark.parametrize("kind", ["plain", "text"])
def test_the_low_memory_preset_draws_the_same_within_rounding(decoder, text_decoder, with_text, kind):
    from diffusers import StableUnCLIPImg2ImgPipeline

    parts = generator_parts() if kind == "plain" else with_text()
    ours = decoder if kind == "plain" else text_decoder
    low = UnclipDecoder(StableUnCLIPImg2ImgPipeline(**parts), TARGET)
    low.prepare("low", compiled=False)
    assert low.vae.use_slicing
    if kind == "text":
        assert {type(p).__name__ for p in low.unet.attn_processors.values()} == {"SlicedAttnProcessor"}
    options = SamplingOptions(num_inference_steps=3)
    with torch.no_grad():
        difference = low.pixels(embeddings(), SEEDS, options) - ours.pixels(embeddings(), SEEDS, options)
    assert difference.abs().max() < 1e-4


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_compiled_blocks_draw_the_same_within_rounding(text_decoder, with_text):
    from diffusers import StableUnCLIPImg2ImgPipeline

    compiled = UnclipDecoder(StableUnCLIPImg2ImgPipeline(**with_text()), TARGET)
    compiled.prepare("default", compiled=True)
    options = SamplingOptions(num_inference_steps=2)
    with torch.no_grad():
        difference = compiled.pixels(embeddings(), SEEDS, options) - text_decoder.pixels(embeddings(), SEEDS, options)
    assert difference.abs().max() < 1e-4


def test_guidance_outside_its_interval_is_no_guidance(decoder):
    e = embeddings()
    never = draw(decoder, e, SEEDS, guidance_scale=6.0, guidance_interval=(0.0, 0.0))
    assert torch.equal(never, draw(decoder, e, SEEDS, guidance_scale=1.0))
    some = draw(decoder, e, SEEDS, guidance_scale=6.0, guidance_interval=(0.3, 1.0))
    assert not torch.equal(some, never)
    assert SamplingOptions(num_inference_steps=10, guidance_interval=(0.2, 0.7)).evaluations() == 15


def test_noise_level_changes_the_condition(decoder):
    e = embeddings()
    assert not torch.equal(draw(decoder, e, SEEDS), draw(decoder, e, SEEDS, noise_level=400))


def test_a_level_may_be_told_without_being_added(decoder):
    """label_only at level 0 is add at level 0; above, the picture follows the embedding as it is."""
    e = embeddings()
    told = draw(decoder, e, SEEDS, noise_level=400, noise_mode="label_only")
    assert not torch.equal(told, draw(decoder, e, SEEDS, noise_level=400))
    assert not torch.equal(told, draw(decoder, e, SEEDS))
    assert torch.equal(draw(decoder, e, SEEDS, noise_mode="label_only"), draw(decoder, e, SEEDS))
    noise = torch.randn(e.shape, generator=torch_generator(3))
    parts = (e, noise, 400, decoder.normalizer, decoder._noising)
    clean = noised_condition(e, noise, 0, decoder.normalizer, decoder._noising)
    label_only, added = noised_condition(*parts, "label_only"), noised_condition(*parts)
    assert torch.equal(label_only[:, : e.shape[1]], clean[:, : e.shape[1]])
    assert torch.equal(label_only[:, e.shape[1] :], added[:, e.shape[1] :])
    assert not torch.equal(added[:, : e.shape[1]], clean[:, : e.shape[1]])


def test_unconditional_ignores_the_embedding(decoder):
    options = SamplingOptions(num_inference_steps=2)
    with torch.no_grad():
        one = decoder.draw(embeddings(), SEEDS, options, unconditional=True).images
        other = decoder.draw(embeddings(seed=4), SEEDS, options, unconditional=True).images
    assert torch.equal(one, other)


def test_latents_that_are_not_finite_are_marked(decoder):
    e = embeddings()
    e[1, 0] = torch.nan
    with torch.no_grad():
        drawn = decoder.draw(e, SEEDS, SamplingOptions(num_inference_steps=2))
    assert drawn.finite.tolist() == [True, False, True]
    assert drawn.images[1].max() == 0
    assert drawn.images[0].float().std() > 5


def test_half_precision_of_the_frozen_parts_keeps_noise_and_size(decoder):
    from diffusers import StableUnCLIPImg2ImgPipeline

    half = UnclipDecoder(StableUnCLIPImg2ImgPipeline(**generator_parts()), TARGET)
    for part in half.halves():
        part.to(torch.bfloat16)
    difference = (draw(half, embeddings(), SEEDS).int() - draw(decoder, embeddings(), SEEDS).int()).abs()
    assert 0 < difference.float().mean() < 6


def test_wrong_width_is_refused(decoder):
    with pytest.raises(BadInputError, match="16"), warnings.catch_warnings():
        draw(decoder, torch.zeros(3, 8), SEEDS)


@pytest.mark.parametrize(
    "wrong",
    [
        {"scheduler": "dpm"},
        {"num_inference_steps": 0},
        {"noise_level": 1000},
        {"guidance_interval": (1, 0)},
        {"noise_mode": "ad"},
    ],
)
def test_wrong_options_are_refused(wrong):
    with pytest.raises(UsageError):
        SamplingOptions(**wrong)

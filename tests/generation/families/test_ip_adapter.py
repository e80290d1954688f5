"""Stable Diffusion 1.5 and XL with an IP-Adapter: as the stock pipelines for one picture, and right for many."""

import shutil
import warnings

import pytest
import torch

from fmri_lightning.errors import BadInputError, UsageError
from fmri_lightning.generation.decoder import DecoderConfig, IPAdapterConfig, decoder_space, load_decoder
from fmri_lightning.generation.families import ip_adapter_folder
from fmri_lightning.generation.families.ip_adapter import IPAdapterDecoder
from fmri_lightning.generation.families.repository import space_by_name
from fmri_lightning.generation.sampler import SCHEDULERS, SamplingOptions, make_scheduler
from fmri_lightning.seeding import torch_generator
from tests.generation.families.tiny_ip import WEIGHTS, config, ip_adapter_weights, stock_pipeline, write_ip_adapter
from tests.generation.tiny import N_TARGET, TARGET

FAMILIES = ["sd15", "sdxl"]
SEEDS = [7, 8, 9]
STEPS = 3


@pytest.fixture(scope="module")
def decoders(ip_folders):
    return {family: load_decoder(config(ip_folders, family)) for family in FAMILIES}


@pytest.fixture(scope="module")
def stock(ip_folders):
    """The stock pipelines, their IP-Adapter loaded by diffusers' own loader."""
    found = {}
    for family in FAMILIES:
        pipeline = stock_pipeline(family, ip_folders[family][0])
        weights = {"image_proj": {}, "ip_adapter": {}}
        for name, tensor in ip_adapter_weights(pipeline.unet).items():
            part, rest = name.split(".", 1)
            weights[part][rest] = tensor
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pipeline.load_ip_adapter(weights, subfolder="", weight_name="", image_encoder_folder=None)
        pipeline.set_progress_bar_config(disable=True)
        found[family] = pipeline
    return found


def embeddings(n=3, seed=0):
    return torch.randn(n, N_TARGET, generator=torch_generator(seed)) * 3


def ours(decoder, e, seeds=SEEDS, unconditional=False, **options):
    """Pixels on the scale of 0..1."""
    with torch.no_grad():
        usual = {"num_inference_steps": STEPS, "guidance_scale": 4.0, "scheduler": "ddim"}
        settings = SamplingOptions(**{**usual, **options})
        return (decoder.pixels(e, seeds, settings, unconditional) / 2 + 0.5).clamp(0, 1)


def theirs(pipeline, e, seeds=SEEDS, guidance=4.0, scheduler="ddim", prompt=""):
    """What the stock pipeline draws in one call."""
    pipeline.scheduler = make_scheduler(scheduler, pipeline.scheduler.config)
    told = e[:, None] if guidance <= 1 else torch.cat([torch.zeros_like(e), e])[:, None]
    drawn = pipeline(
        prompt=[prompt] * len(e), ip_adapter_image_embeds=[told], guidance_scale=guidance, num_inference_steps=STEPS,
        generator=[torch_generator(seed) for seed in seeds], output_type="np", height=16, width=16,
    )  # fmt: skip
    return torch.from_numpy(drawn.images).permute(0, 3, 1, 2)


def stock_singles(pipeline, e, **options):
    one_by_one = zip(e.split(1), SEEDS, strict=True)
    return torch.cat([theirs(pipeline, single, [seed], **options) for single, seed in one_by_one])


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("guidance", [4.0, 1.0])
def test_every_picture_of_a_batch_is_the_pipelines_single_one(decoders, stock, family, scheduler, guidance):
    expected = stock_singles(stock[family], embeddings(), guidance=guidance, scheduler=scheduler)
    found = ours(decoders[family], embeddings(), scheduler=scheduler, guidance_scale=guidance)
    assert (found - expected).abs().max() <= 2e-5
    assert expected.std() > 0.02, "a flat picture would agree with anything"


@pytest.mark.parametrize("family", FAMILIES)
def test_the_stock_batch_mixes_embeddings_and_ours_does_not(decoders, stock, family):
    """diffusers issue 9813, in the pinned release: a neighbour's embedding changes a picture."""
    e, changed = embeddings(), embeddings()
    changed[1] *= -1

    def moved(draw):
        return (draw(e)[[0, 2]] - draw(changed)[[0, 2]]).abs().max()

    assert moved(lambda told: theirs(stock[family], told)) > 1e-2
    assert moved(lambda told: ours(decoders[family], told)) == 0


@pytest.mark.parametrize("family", FAMILIES)
def test_embedding_and_seed_steer_each_picture(decoders, family):
    first = ours(decoders[family], embeddings())
    other = ours(decoders[family], embeddings(seed=1))
    assert (first - other).abs().amax(dim=(1, 2, 3)).min() > 1e-2
    assert (first - ours(decoders[family], embeddings(), [70, 80, 90])).abs().amax(dim=(1, 2, 3)).min() > 1e-2
    assert torch.equal(first, ours(decoders[family], embeddings()))


@pytest.mark.parametrize("family", FAMILIES)
def test_order_and_companions_do_not_matter(decoders, family):
    e, order = embeddings(), [2, 0, 1]
    first = ours(decoders[family], e)
    assert torch.equal(ours(decoders[family], e[order], [SEEDS[i] for i in order]), first[order])
    assert torch.equal(ours(decoders[family], e[[0, 0, 0]], [SEEDS[0]] * 3)[0], first[0])


@pytest.mark.parametrize("family", FAMILIES)
def test_unconditional_ignores_the_embedding(decoders, family):
    one, other = (ours(decoders[family], embeddings(seed=s), unconditional=True) for s in (0, 4))
    assert torch.equal(one, other)
    assert not torch.equal(one, ours(decoders[family], embeddings()))


@pytest.mark.parametrize("family", FAMILIES)
def test_prompt_and_scale_are_those_of_the_configuration(ip_folders, stock, family):
    base = config(ip_folders, family)
    told = load_decoder(config(ip_folders, family, prompt="a b"))
    expected = stock_singles(stock[family], embeddings(), prompt="a b")
    assert (ours(told, embeddings()) - expected).abs().max() <= 2e-5
    beside = IPAdapterConfig(base.ip_adapter.model_id, weight_name=WEIGHTS, scale=0.0)
    silent = load_decoder(config(ip_folders, family, ip_adapter=beside))
    assert torch.equal(ours(silent, embeddings()), ours(silent, embeddings(seed=1))), "scale 0 leaves the embedding out"


@pytest.mark.parametrize("family", FAMILIES)
def test_a_picture_that_is_not_finite_is_marked_alone(decoders, family):
    e = embeddings()
    e[1, 0] = torch.nan
    with torch.no_grad():
        drawn = decoders[family].draw(e, SEEDS, SamplingOptions(num_inference_steps=2))
    assert drawn.finite.tolist() == [True, False, True]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_low_memory_preset_keeps_the_ip_adapter(ip_folders, decoders, family):
    low = load_decoder(config(ip_folders, family))
    low.prepare("low", compiled=False)
    assert low.vae.use_slicing
    assert (ours(low, embeddings()) - ours(decoders[family], embeddings())).abs().max() <= 2e-5


def test_an_autoencoder_that_overflows_in_half_precision_stays_in_float32(decoders):
    assert decoders["sdxl"].vae.config.force_upcast
    assert decoders["sdxl"].halves() == [decoders["sdxl"].unet]
    assert decoders["sd15"].halves() == [decoders["sd15"].unet, decoders["sd15"].vae]


@pytest.mark.parametrize("family", FAMILIES)
def test_half_precision_of_the_frozen_parts_draws_nearly_the_same(ip_folders, decoders, family):
    half = load_decoder(config(ip_folders, family))
    for part in half.halves():
        part.to(torch.bfloat16)
    difference = (ours(half, embeddings()) - ours(decoders[family], embeddings())).abs()
    assert 0 < difference.mean() < 6 / 255


@pytest.mark.parametrize("family", FAMILIES)
def test_the_space_is_that_of_the_file(ip_folders, family, tmp_path):
    assert decoder_space(config(ip_folders, family)) == TARGET
    other = write_ip_adapter(family, tmp_path, dim=24)
    beside = IPAdapterConfig(str(other), weight_name=WEIGHTS)
    assert decoder_space(config(ip_folders, family, ip_adapter=beside)).dim == 24


def test_the_shipped_files_read_the_spaces_that_they_were_trained_on():
    """Without a network: by the file's name in h94/IP-Adapter."""
    vit_h = DecoderConfig("sdxl")
    big_g = DecoderConfig("sdxl", ip_adapter=IPAdapterConfig(weight_name="sdxl_models/ip-adapter_sdxl.safetensors"))
    found = [decoder_space(one) for one in (DecoderConfig("sd15"), vit_h, big_g)]
    assert [(space.name, space.dim) for space in found] == [
        ("vit-h-14", 1024),
        ("vit-h-14", 1024),
        ("vit-bigg-14", 1280),
    ]


class TestRefused:
    def test_an_adapter_of_another_width(self, decoders, stock):
        with pytest.raises(BadInputError, match="takes 16 numbers"):
            IPAdapterDecoder(stock["sd15"], space_by_name("narrow", 8))
        with pytest.raises(BadInputError, match=r"takes \(3, 16\)"):
            ours(decoders["sd15"], torch.zeros(3, 8))

    def test_an_adapter_of_the_other_family(self, ip_folders):
        wrong = IPAdapterConfig(str(ip_folders["sdxl"][1]), weight_name=WEIGHTS)
        with pytest.raises(BadInputError, match="does not fit the U-Net"):
            load_decoder(config(ip_folders, "sd15", ip_adapter=wrong))

    def test_a_model_of_the_other_family(self, ip_folders):
        with pytest.raises(BadInputError, match="expected StableDiffusionPipeline"):
            decoder_space(config(ip_folders, "sd15", model_id=str(ip_folders["sdxl"][0])))

    def test_a_variant_that_reads_tokens(self, ip_folders, tmp_path):
        from safetensors.torch import save_file

        save_file({"image_proj.latents": torch.zeros(1, 16, 8)}, tmp_path / "plus.safetensors")
        beside = IPAdapterConfig(str(tmp_path), weight_name="plus.safetensors")
        with pytest.raises(BadInputError, match="reads one projected embedding"):
            decoder_space(config(ip_folders, "sd15", ip_adapter=beside))

    def test_pickled_weights_and_missing_files(self, ip_folders):
        adapter = str(ip_folders["sd15"][1])
        for name, message in (("models/x.bin", "not safetensors"), ("models/x.safetensors", "does not exist")):
            beside = IPAdapterConfig(adapter, weight_name=name)
            with pytest.raises((BadInputError, UsageError), match=message):
                decoder_space(config(ip_folders, "sd15", ip_adapter=beside))

    def test_a_noise_level(self, ip_folders, predict, tmp_path):
        with pytest.raises(UsageError, match="knows no noise level"):
            predict(tmp_path, decoder=config(ip_folders, "sd15"), noise_level=100)

    def test_a_safety_checker_of_a_family_without(self, ip_folders):
        with pytest.raises(UsageError, match="only family sd15"):
            decoder_space(config(ip_folders, "sdxl", safety_checker=True))


@pytest.mark.parametrize("family", FAMILIES)
def test_weights_prompt_and_scale_tell_runs_apart(ip_folders, family, tmp_path):
    mine = config(ip_folders, family)
    before = ip_adapter_folder.weights_fingerprint(mine)
    other = write_ip_adapter(family, tmp_path, dim=24)
    changed = config(ip_folders, family, ip_adapter=IPAdapterConfig(str(other), weight_name=WEIGHTS))
    assert ip_adapter_folder.weights_fingerprint(changed) != before
    fields = ip_adapter_folder.further_fields(mine)
    assert fields["decoder.ip_adapter.scale"] == 1.0
    assert fields != ip_adapter_folder.further_fields(config(ip_folders, family, prompt="x"))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_compiled_blocks_draw_the_same_within_rounding(ip_folders, decoders):
    compiled = load_decoder(config(ip_folders, "sd15"))
    compiled.prepare("default", compiled=True)
    difference = ours(compiled, embeddings()) - ours(decoders["sd15"], embeddings())
    assert difference.abs().max() < 1e-4

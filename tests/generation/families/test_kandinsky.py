"""Kandinsky 2.2: as the stock pipeline, one embedding a picture, and the empty picture for the unconditional half."""

import warnings

import pytest
import torch

from fmri_lightning.errors import BadInputError, UsageError
from fmri_lightning.generation.decoder import DecoderConfig, decoder_space, load_decoder, takes
from fmri_lightning.generation.families import kandinsky_folder
from fmri_lightning.generation.families.kandinsky import KandinskyDecoder, embed_nothing
from fmri_lightning.generation.families.repository import space_by_name
from fmri_lightning.generation.sampler import SCHEDULERS, SamplingOptions, make_scheduler
from fmri_lightning.seeding import torch_generator
from tests.generation.conftest import pictures, summary
from tests.generation.families.tiny_kandinsky import write_kandinsky, write_negative, write_prior, zero_embedding
from tests.generation.tiny import N_TARGET, TARGET

SEEDS = [7, 8, 9]
STEPS = 3
STOCK = ["ddim", "euler", "dpm++2m", "euler_a"]
"""Schedulers whose step takes a generator, which the stock pipeline always hands over."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("kandinsky")
    return write_kandinsky(root / "decoder"), write_prior(root / "prior")


def config(folders, **changes):
    return DecoderConfig(**{"family": "kandinsky", "model_id": str(folders[0]), "prior": str(folders[1]), **changes})


@pytest.fixture(scope="module")
def decoder(folders):
    return load_decoder(config(folders))


@pytest.fixture(scope="module")
def negative(folders):
    return zero_embedding(folders[1])


@pytest.fixture(scope="module")
def stock(folders):
    from diffusers import KandinskyV22Pipeline

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pipeline = KandinskyV22Pipeline.from_pretrained(folders[0], use_safetensors=True)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def embeddings(n=3, seed=0):
    return torch.randn(n, N_TARGET, generator=torch_generator(seed)) * 3


def ours(decoder, e, seeds=SEEDS, unconditional=False, **options):
    """Pixels on the scale of 0..1."""
    with torch.no_grad():
        usual = {"num_inference_steps": STEPS, "guidance_scale": 4.0, "scheduler": "ddim"}
        settings = SamplingOptions(**{**usual, **options})
        return (decoder.pixels(e, seeds, settings, unconditional) / 2 + 0.5).clamp(0, 1)


def stock_singles(pipeline, negative, e, guidance=4.0, scheduler="ddim", scaled=True):
    """What the stock pipeline draws one by one; without the variance, which these schedulers cannot use.

    It forgets to scale the U-Net's input, which Euler's methods need and warn of; a hook does that in its place.
    """

    def scale(module, arguments, named):
        sample = pipeline.scheduler.scale_model_input(named["sample"], named["timestep"])
        return arguments, {**named, "sample": sample}

    settings = {k: v for k, v in pipeline.scheduler.config.items() if k != "variance_type"}
    drawn = []
    before = pipeline.scheduler
    hook = pipeline.unet.register_forward_pre_hook(scale, with_kwargs=True) if scaled else None
    try:
        for one, seed in zip(e.split(1), SEEDS, strict=True):
            pipeline.scheduler = make_scheduler(scheduler, settings)
            found = pipeline(
                image_embeds=one, negative_image_embeds=negative, guidance_scale=guidance, num_inference_steps=STEPS,
                generator=[torch_generator(seed)], output_type="np", height=16, width=16,
            )  # fmt: skip
            drawn.append(torch.from_numpy(found.images).permute(0, 3, 1, 2))
    finally:
        pipeline.scheduler = before
        if hook is not None:
            hook.remove()
    return torch.cat(drawn)


@pytest.mark.parametrize("scheduler", STOCK)
@pytest.mark.parametrize("guidance", [4.0, 1.0])
def test_every_picture_of_a_batch_is_the_pipelines_single_one(decoder, stock, negative, scheduler, guidance):
    expected = stock_singles(stock, negative, embeddings(), guidance, scheduler)
    found = ours(decoder, embeddings(), scheduler=scheduler, guidance_scale=guidance)
    assert (found - expected).abs().max() <= 5e-5
    assert expected.std() > 0.02, "a flat picture would agree with anything"


@pytest.mark.parametrize("scheduler", STOCK)
def test_the_stock_pipeline_is_wrong_with_eulers_methods(decoder, stock, negative, scheduler):
    """In the pinned release: an input that is not scaled is much too large for the U-Net."""
    drawn = stock_singles(stock, negative, embeddings(), scheduler=scheduler, scaled=False)
    differs = (ours(decoder, embeddings(), scheduler=scheduler) - drawn).abs().max() > 0.1
    assert differs == (scheduler in ("euler", "euler_a"))


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_every_scheduler_draws_and_batches_are_singles(decoder, scheduler):
    """UniPC too, which the stock pipeline cannot run; the model's own scheduler expects a learned variance."""
    drawn = ours(decoder, embeddings(), scheduler=scheduler)
    one_by_one = [
        ours(decoder, one, [seed], scheduler=scheduler) for one, seed in zip(embeddings().split(1), SEEDS, strict=True)
    ]
    assert (drawn - torch.cat(one_by_one)).abs().max() <= 5e-5
    assert drawn.std() > 0.02


def test_embedding_and_seed_steer_each_picture(decoder):
    first = ours(decoder, embeddings())
    assert (first - ours(decoder, embeddings(seed=1))).abs().amax(dim=(1, 2, 3)).min() > 1e-2
    assert (first - ours(decoder, embeddings(), [70, 80, 90])).abs().amax(dim=(1, 2, 3)).min() > 1e-2
    assert torch.equal(first, ours(decoder, embeddings()))


def test_order_and_companions_do_not_matter(decoder):
    e, order = embeddings(), [2, 0, 1]
    first = ours(decoder, e)
    assert torch.equal(ours(decoder, e[order], [SEEDS[i] for i in order]), first[order])
    assert torch.equal(ours(decoder, e[[0, 0, 0]], [SEEDS[0]] * 3)[0], first[0])


def test_unconditional_draws_the_empty_picture(decoder, negative):
    one, other = (ours(decoder, embeddings(seed=s), unconditional=True) for s in (0, 4))
    assert torch.equal(one, other)
    assert torch.equal(one, ours(decoder, negative.expand(3, -1)))
    assert not torch.equal(one, ours(decoder, torch.zeros(3, N_TARGET))), "zeros are another embedding"


def test_the_negative_is_that_of_the_stock_prior(decoder, folders, negative):
    assert torch.equal(decoder.negative[None], negative)
    assert torch.equal(embed_nothing(folders[1] / "image_encoder")[None], negative)
    assert negative.abs().max() > 0.01


def test_a_stored_negative_is_taken_and_tells_runs_apart(folders, negative, tmp_path):
    folder = write_kandinsky(tmp_path / "decoder")
    absent = DecoderConfig("kandinsky", str(folder))
    write_negative(folder, negative[0] + 1)
    stored = load_decoder(absent)
    assert torch.equal(stored.negative, negative[0] + 1)
    named = config((folder, folders[1]))
    assert torch.equal(load_decoder(named).negative, negative[0]), "a prior that is named comes first"
    prints = [kandinsky_folder.weights_fingerprint(one) for one in (absent, named)]
    write_negative(folder, negative[0] + 2)
    prints.append(kandinsky_folder.weights_fingerprint(absent))
    assert len(set(prints)) == 3
    assert kandinsky_folder.further_fields(absent) == {"decoder.prior": None}
    assert kandinsky_folder.further_fields(named) == {"decoder.prior": str(folders[1])}


def test_a_picture_that_is_not_finite_is_marked_alone(decoder):
    e = embeddings()
    e[1, 0] = torch.nan
    with torch.no_grad():
        drawn = decoder.draw(e, SEEDS, SamplingOptions(num_inference_steps=2))
    assert drawn.finite.tolist() == [True, False, True]


def test_the_low_memory_preset_draws_the_same(folders, decoder):
    low = load_decoder(config(folders))
    low.prepare("low", compiled=False)
    assert (ours(low, embeddings()) - ours(decoder, embeddings())).abs().max() <= 5e-5


def test_half_precision_of_the_frozen_parts_draws_nearly_the_same(folders, decoder):
    half = load_decoder(config(folders))
    for part in half.halves():
        part.to(torch.bfloat16)
    difference = (ours(half, embeddings()) - ours(decoder, embeddings())).abs()
    assert 0 < difference.mean() < 6 / 255


def test_the_space_is_that_of_the_weights(folders, tmp_path):
    assert decoder_space(config(folders)) == TARGET
    other = write_kandinsky(tmp_path, dim=24)
    assert decoder_space(config((other, folders[1]))).dim == 24
    shipped = decoder_space(DecoderConfig("kandinsky"))
    assert (shipped.name, shipped.dim) == ("vit-bigg-14", 1280)
    assert not takes(DecoderConfig("kandinsky"), "start")


def test_the_hub_ids_are_pinned_and_of_the_prior_one_part_is_read():
    decoder, encoder = kandinsky_folder.hub_files(DecoderConfig("kandinsky"))
    assert (decoder.model_id, decoder.revision) == (kandinsky_folder.DEFAULT_ID, kandinsky_folder.DEFAULT_REVISION)
    assert (encoder.model_id, encoder.revision) == (kandinsky_folder.PRIOR_ID, kandinsky_folder.PRIOR_REVISION)
    assert {name.split("/")[0] for name in encoder.allow} == {"image_encoder"}
    assert kandinsky_folder.hub_files(DecoderConfig("kandinsky", "some/other", "abc", prior="a/b"))[1].revision is None


def test_predict_draws_each_its_own_and_another_prior_is_another_run(tmp_path, predict, folders):
    run = predict(tmp_path / "run", decoder=config(folders), data_limit=3)
    drawn = pictures(run)
    assert len(set(drawn.values())) == 3
    found = summary(run)
    assert found["diffusion_model"] == str(folders[0])
    assert "null_decoder" not in found
    assert found["provenance"]["decoder"]["decoder.prior"] == str(folders[1])
    shuffled = predict(tmp_path / "run", decoder=config(folders), data_limit=3, condition="shuffled")
    assert all(data != drawn[name] for name, data in pictures(shuffled).items())
    other = write_prior(tmp_path / "prior")
    with pytest.raises(BadInputError, match="holds another run"):
        predict(tmp_path / "run", decoder=config((folders[0], other)), data_limit=3)


class TestRefused:
    def test_another_width(self, decoder, stock, negative):
        with pytest.raises(BadInputError, match="takes 16 numbers"):
            KandinskyDecoder(stock, space_by_name("narrow", 8), negative[0])
        with pytest.raises(BadInputError, match="takes 16 numbers"):
            KandinskyDecoder(stock, TARGET, negative[0, :8])
        with pytest.raises(BadInputError, match=r"takes \(3, 16\)"):
            ours(decoder, torch.zeros(3, 8))

    def test_a_prior_of_another_width(self, folders, tmp_path):
        with pytest.raises(BadInputError, match="embedding of the empty picture has"):
            load_decoder(config((folders[0], write_prior(tmp_path, dim=24))))

    def test_a_prior_without_an_image_encoder(self, folders, tmp_path):
        with pytest.raises(BadInputError, match="holds no image_encoder in safetensors"):
            decoder_space(config(folders, prior=str(tmp_path)))

    def test_a_folder_without_a_negative_names_the_prior_that_is_not_here(self, folders):
        with pytest.raises(BadInputError, match="hf download kandinsky-community/kandinsky-2-2-prior --revision 9fc51"):
            load_decoder(config(folders, prior=None))

    def test_a_negative_that_is_none(self, tmp_path):
        from safetensors.torch import save_file

        folder = write_kandinsky(tmp_path)
        save_file({"other": torch.zeros(16)}, folder / "negative_embedding.safetensors")
        with pytest.raises(BadInputError, match="holds no tensor 'negative'"):
            load_decoder(DecoderConfig("kandinsky", str(folder)))

    def test_another_pipeline(self, folders, generator):
        with pytest.raises(BadInputError, match="expected KandinskyV22Pipeline"):
            decoder_space(config(folders, model_id=str(generator)))

    def test_a_u_net_that_takes_no_embedding_alone(self, folders, tmp_path):
        folder = write_kandinsky(tmp_path, dim=24)
        path = folder / "unet" / "config.json"
        path.write_text(
            path.read_text().replace('"encoder_hid_dim_type": "image_proj"', '"encoder_hid_dim_type": null')
        )
        with pytest.raises(BadInputError, match="takes no image embedding alone"):
            decoder_space(config((folder, folders[1])))

    @pytest.mark.parametrize("option", [{"prompt": "x"}, {"safety_checker": True}])
    def test_settings_of_other_families(self, folders, option):
        with pytest.raises(UsageError, match=r"only family .* reads model.decoder"):
            decoder_space(config(folders, **option))

    def test_a_noise_level_and_compiling(self, folders, predict, tmp_path):
        with pytest.raises(UsageError, match="knows no noise level"):
            predict(tmp_path, decoder=config(folders), noise_level=100)
        with pytest.raises(UsageError, match="no transformer blocks"):
            predict(tmp_path, decoder=config(folders), compile=True)

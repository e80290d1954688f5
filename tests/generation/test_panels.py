"""Pictures drawn during a fit: they show the right things and leave the fit as it would be without them."""

import json
import random

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger
from PIL import Image

from fmri_lightning.adapter.data import AdapterDataModule
from fmri_lightning.adapter.module import AdapterModule
from fmri_lightning.errors import BadInputError, UsageError
from fmri_lightning.generation.decoder import DecoderConfig
from fmri_lightning.generation.panels.adapter import AdapterPanels
from fmri_lightning.generation.panels.generator import GeneratorPanels
from fmri_lightning.generation.panels.when import Panels
from fmri_lightning.seeding import random_state_kept
from tests.generation.tiny import N_VAL, write_generator, write_stimuli
from tests.generation.training.test_generator_training import pair_data, parts, small_generator  # noqa: F401

TINY = {"num_inference_steps": 2, "every_n_epochs": 2}


def quiet(folder, callbacks, max_epochs=3):
    return Trainer(
        accelerator="cpu", devices=1, max_epochs=max_epochs, logger=CSVLogger(folder, name="logs"),
        callbacks=callbacks, enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
        enable_checkpointing=False,
    )  # fmt: skip


def fit_adapter(brain, folder, *callbacks):
    torch.manual_seed(0)
    module = AdapterModule(form="residual", hidden=8, dropout=0.5, root=str(folder))
    names = ("index_root", "clip_cache", "target_cache", "subject")
    data = AdapterDataModule(**{name: brain.data[name] for name in names}, batch_size=5)
    trainer = quiet(folder, list(callbacks))
    trainer.fit(module, data)
    return module, trainer


def captions(folder):
    lines = (folder / "logs/version_0/pictures/captions.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def adapter_panels(generator, root, **changes):
    return AdapterPanels(DecoderConfig("mini", str(generator)), root=str(root), **{**TINY, **changes})


class Disturbing(Panels):
    """Draws nothing, and takes as many random numbers as it can."""

    def open(self, trainer, module):
        torch.rand(7)

    def draw(self, trainer, module):
        assert not module.training
        torch.rand(7), np.random.rand(7), random.random()  # noqa: NPY002


@pytest.fixture(scope="module")
def root(brain, tmp_path_factory):
    place = tmp_path_factory.mktemp("pictures") / "nsd"
    write_stimuli(place, brain.table)
    return place


def test_a_fit_with_panels_gives_the_same_weights(brain, generator, root, tmp_path):
    alone, _ = fit_adapter(brain, tmp_path / "alone")
    watched, _ = fit_adapter(brain, tmp_path / "watched", adapter_panels(generator, root), Disturbing(1, 1, 0))
    for name, weights in alone.state_dict().items():
        assert torch.equal(weights, watched.state_dict()[name]), name
    assert [part.training for part in watched.modules()] == [part.training for part in alone.modules()]
    # after the second epoch, and at the end of the third; the first two by id are all of val
    drawn = captions(tmp_path / "watched")
    assert [line["step"] for line in drawn] == [8] * N_VAL + [12] * N_VAL
    first = drawn[0]
    nsd_id = int(first["caption"].split(",")[0].removeprefix("nsd"))
    sheet = np.asarray(Image.open(tmp_path / "watched/logs/version_0/pictures" / first["file"]))
    seen = Image.open(root / "stimuli" / f"nsd{nsd_id:05d}.png").resize((128, 128), Image.Resampling.BICUBIC)
    assert np.array_equal(sheet[-128:, :128], np.asarray(seen))
    ceilings = [
        np.asarray(Image.open(tmp_path / "watched/logs/version_0/pictures" / line["file"]))[-128:, 256:384]
        for line in (drawn[0], drawn[N_VAL])
    ]
    assert np.array_equal(*ceilings), "the true embedding and the seed stay"


def test_panels_without_stimuli_show_what_was_drawn_and_nothing_else(brain, generator, root, tmp_path):
    fit_adapter(brain, tmp_path / "with", adapter_panels(generator, root))
    fit_adapter(brain, tmp_path / "without", adapter_panels(generator, root, stimuli=False))
    for whole, part in zip(captions(tmp_path / "with"), captions(tmp_path / "without"), strict=True):
        assert whole["caption"] == part["caption"]
        sheets = [
            np.asarray(Image.open(tmp_path / name / "logs/version_0/pictures" / line["file"]))[-128:]
            for name, line in (("with", whole), ("without", part))
        ]
        assert np.array_equal(sheets[0][:, 128:384], sheets[1])


def test_dropout_would_show_a_disturbance(brain, tmp_path):
    """The comparison above can fail: random numbers taken outside of the guard change the weights."""

    class Careless(Disturbing):
        def on_train_batch_end(self, *_):
            torch.rand(7)

    alone, _ = fit_adapter(brain, tmp_path / "alone")
    disturbed, _ = fit_adapter(brain, tmp_path / "disturbed", Careless(1, 1, 0))
    states = alone.state_dict(), disturbed.state_dict()
    assert not all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"trials": 0}, UsageError, "1 to 108 trials"),
        ({"trials": 109}, UsageError, "1 to 108 trials"),
        ({"num_inference_steps": 0}, UsageError, "num_inference_steps"),
        ({"root": "nowhere"}, BadInputError, "no pictures in nowhere"),
    ],
)
def test_wrong_settings_end_the_fit_before_it_starts(brain, generator, root, tmp_path, changes, error, says):
    with pytest.raises(error, match=says):
        fit_adapter(brain, tmp_path, adapter_panels(generator, **{"root": root, **changes}))
    assert not list(tmp_path.rglob("metrics.csv"))


def test_a_decoder_of_another_space_is_refused(brain, root, tmp_path):
    from tests.generation.tiny import N_TARGET, space

    other = write_generator(tmp_path / "other", space("tiny-other", N_TARGET, 9))
    with pytest.raises(BadInputError, match="tiny-other"):
        fit_adapter(brain, tmp_path / "fit", adapter_panels(other, root))


def test_a_generators_panels_show_held_out_pictures(parts, tmp_path):  # noqa: F811
    def train(folder, *callbacks) -> LightningModule:
        module = small_generator()
        torch.manual_seed(2)
        quiet(folder, list(callbacks), max_epochs=2).fit(module, pair_data(parts, tmp_path / "cache"))
        return module

    alone = train(tmp_path / "alone")
    # Its training draws from the global random state, which no epoch sets anew.
    panels = GeneratorPanels(trials=3, num_inference_steps=2), Disturbing(1, 1, 0)
    watched = train(tmp_path / "watched", *panels)
    assert all(torch.equal(a, b) for a, b in zip(alone.parameters(), watched.parameters(), strict=True))
    drawn = captions(tmp_path / "watched")
    assert [line["step"] for line in drawn] == [3] * 3 + [6] * 3
    sheet = np.asarray(Image.open(tmp_path / "watched/logs/version_0/pictures" / drawn[-1]["file"]))
    left, right = sheet[-128:, :128], sheet[-128:, 128:]
    assert left.std() > 1
    assert right.std() > 1
    assert not np.array_equal(left, right)


def test_random_state_is_given_back_after_an_error():
    before = torch.get_rng_state()

    def fail():
        with random_state_kept():
            raise ValueError(f"planted after {torch.rand(3)}")

    with pytest.raises(ValueError, match="planted"):
        fail()
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    ("family", "settings", "says"),
    [
        ("none", {}, "draw from embeddings, which family none does not"),
        ("nearest_neighbour", {}, "draw from embeddings"),
        ("text_null", {}, "draw from embeddings"),
        ("sdxl", {"noise_level": 5}, "knows no noise level"),
    ],
)
def test_a_decoder_that_draws_nothing_from_embeddings_is_refused(brain, root, tmp_path, family, settings, says):
    panels = AdapterPanels(DecoderConfig(family), root=str(root), **{**TINY, **settings})
    with pytest.raises(UsageError, match=says):
        fit_adapter(brain, tmp_path, panels)


def test_panels_of_another_family_are_drawn(brain, root, tmp_path):
    from tests.generation.families.tiny_kandinsky import write_kandinsky, write_prior

    decoder = DecoderConfig(
        "kandinsky", str(write_kandinsky(tmp_path / "decoder")), prior=str(write_prior(tmp_path / "prior"))
    )
    fit_adapter(brain, tmp_path / "fit", AdapterPanels(decoder, root=str(root), **TINY))
    assert len(captions(tmp_path / "fit")) == 2 * N_VAL

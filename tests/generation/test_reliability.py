"""A noise level of its own for every picture: in the table, in the summary, in the pixels, and in no other run."""

import json

import numpy as np
import pytest
import torch

from fmri_lightning.adapter.load import load_adapter
from fmri_lightning.adapter.reliability.artefact import Evidence, Reliability, Settings, save_reliability
from fmri_lightning.adapter.reliability.error_map import ErrorMap, Ordering
from fmri_lightning.encoder.load import load_encoder
from fmri_lightning.encoder.uncertainty.leverage import fit_leverage
from fmri_lightning.encoder.uncertainty.repeats import RepeatNoise
from fmri_lightning.encoder.uncertainty.signals import Uncertainty
from fmri_lightning.errors import BadInputError, UsageError
from fmri_lightning.generation.controls import shuffled_partners
from fmri_lightning.generation.decoder import DecoderConfig, Steering
from fmri_lightning.generation.families.unclip import load_unclip
from fmri_lightning.generation.predictions import read_predictions
from fmri_lightning.generation.sampler import SamplingOptions
from fmri_lightning.index.table import index_manifest
from tests.generation.conftest import pictures, summary
from tests.generation.tiny import N_SOURCE, N_TARGET, N_VOXELS


def write(brain, folder, trial_mode="average", kind="power_law", seed=0):
    """A reliability of the tiny brain's parts, whose expected errors differ between items."""
    rng = np.random.default_rng(seed)
    leverage = fit_leverage(rng.normal(size=(40, N_VOXELS)), [3.0], rng.normal(size=(40, N_SOURCE)))
    noise = RepeatNoise(0.5, 0.3, 6.0)
    exponents, index = np.array([0.7, 0.2, 0.1]), np.array([-6.0, 6.0])
    return save_reliability(
        folder,
        Reliability(
            Uncertainty(np.zeros(N_SOURCE), np.ones(N_SOURCE), leverage, [], noise, trial_mode),
            ErrorMap(kind, exponents, index, 0.4 * index - 1.0),
            Ordering(0.5, 0.3, 0.6, 20),
            Evidence(np.arange(20, dtype=np.int32), rng.random((20, 3)), rng.random(20)),
            Settings(1.0, 999, 1.0),
            [],
            {
                "encoder": load_encoder(brain.folder / "ridge.ckpt").content_hash,
                "adapter": load_adapter(brain.folder / "adapter.ckpt").content_hash,
                "split": index_manifest(brain.folder / "index", "subj01").config["split_hash"],
            },
        ),
    )


@pytest.fixture(scope="module")
def folder(brain, tmp_path_factory):
    return write(brain, tmp_path_factory.mktemp("reliability"))


def levels_of(run):
    return read_predictions(run / "predictions.parquet")[0].noise_level


def test_levels_are_in_the_table_and_the_summary(predict, folder, tmp_path):
    run = predict(tmp_path / "run", reliability=str(folder))
    levels = levels_of(run)
    assert len(np.unique(levels)) > 3
    found = summary(run)
    assert [result["noise_level"] for result in found["results"]] == levels.tolist()
    assert found["provenance"]["reliability"] == str(folder)
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["inputs"]["reliability"] == json.loads((folder / "manifest.json").read_text())["content_hash"]


def test_levels_reach_the_pixels(predict, folder, tmp_path):
    own = predict(tmp_path / "own", reliability=str(folder))
    plain = predict(tmp_path / "plain")
    level = int(levels_of(own)[0])
    one = predict(tmp_path / "one", noise_level=level)
    same = [pictures(own)[name] == picture for name, picture in pictures(one).items()]
    assert same[0]
    assert not all(same)
    assert pictures(own) != pictures(plain)


def test_a_run_without_one_is_what_it_was(predict, tmp_path):
    run = predict(tmp_path / "run")
    assert levels_of(run) is None
    assert "noise_level" not in summary(run)["results"][0]
    assert "reliability" not in summary(run)["provenance"]
    assert "reliability" not in json.loads((run / "manifest.json").read_text())["inputs"]


def test_limit_ids_and_batches_do_not_move_a_bit(predict, folder, tmp_path):
    whole = predict(tmp_path / "whole", reliability=str(folder))
    limited = predict(tmp_path / "limited", reliability=str(folder), data_limit=2)
    table, _ = read_predictions(whole / "predictions.parquet")
    assert np.array_equal(levels_of(limited), table.noise_level[:2])
    ids = [int(table.nsd_id[5]), int(table.nsd_id[1])]
    some = predict(tmp_path / "some", reliability=str(folder), data_nsd_ids=ids)
    assert np.array_equal(levels_of(some), table.noise_level[[1, 5]])
    for part in (limited, some):
        assert all(pictures(whole)[name] == picture for name, picture in pictures(part).items())


def test_a_shuffled_item_has_its_partners_level(predict, folder, tmp_path):
    levels = levels_of(predict(tmp_path / "run", reliability=str(folder)))
    run = predict(tmp_path / "shuffled", reliability=str(folder), condition="shuffled")
    partners = shuffled_partners(predict.module.datamodule.items, 42)
    assert np.array_equal(levels_of(run), levels[partners])
    assert not np.array_equal(levels_of(run), levels)


@pytest.mark.parametrize("condition", ["true_target", "true_source", "mean", "unconditional"])
def test_what_is_not_predicted_has_the_level_of_the_run(predict, folder, tmp_path, condition):
    run = predict(tmp_path / "run", reliability=str(folder), condition=condition, noise_level=7)
    assert levels_of(run) is None
    assert summary(run)["noise_level"] == 7


def test_levels_follow_the_noise_mode(predict, folder, tmp_path):
    none = DecoderConfig("none")
    added, told = (
        levels_of(predict(tmp_path / mode, reliability=str(folder), noise_mode=mode, decoder=none))
        for mode in ("add", "label_only")
    )
    assert (added <= told).all()
    assert (added < told).any()


def test_single_trials_have_levels_of_their_own(predict, brain, folder, tmp_path):
    single = write(brain, tmp_path / "single", "single")
    run = predict(tmp_path / "run", reliability=str(single), data_trial_mode="single")
    assert len(np.unique(levels_of(run))) > 5
    with pytest.raises(BadInputError, match="is of trial_mode average, this run has single"):
        predict(tmp_path / "other", reliability=str(folder), data_trial_mode="single")


def test_another_reliability_is_another_run(predict, brain, folder, tmp_path):
    predict(tmp_path / "run", reliability=str(folder), data_limit=1)
    other = write(brain, tmp_path / "other", seed=1)
    with pytest.raises(BadInputError, match=r"holds another run .reliability: "):
        predict(tmp_path / "run", reliability=str(other), data_limit=1)
    with pytest.raises(BadInputError, match=r"holds another run .reliability: "):
        predict(tmp_path / "run", data_limit=1)


def test_other_families_and_foreign_embeddings_refuse_it(predict, brain, folder, tmp_path):
    with pytest.raises(UsageError, match="family nearest_neighbour knows no noise level; leave"):
        predict(tmp_path / "a", reliability=str(folder), decoder=DecoderConfig("nearest_neighbour"))
    with pytest.raises(UsageError, match=r"takes no --model.reliability"):
        predict(
            tmp_path / "b",
            reliability=str(folder),
            encoder_ckpt=None,
            data_embeddings=str(brain.folder / "clip.parquet"),
        )
    with pytest.raises(BadInputError, match=r"this run has \['encoder', 'split'\]"):
        predict(tmp_path / "c", reliability=str(folder), adapter_ckpt=None, decoder=DecoderConfig("none"))


def test_a_dry_run_says_so(predict, folder, tmp_path, capsys):
    predict(tmp_path / "run", reliability=str(folder), dry_run=True)
    assert "each at a noise_level of its own" in capsys.readouterr().out
    predict(tmp_path / "run", dry_run=True)
    assert "noise_level" not in capsys.readouterr().out


@pytest.mark.parametrize("mode", ["add", "label_only"])
@pytest.mark.parametrize("levels", [[0, 250, 999], [350, 3, 100]])
def test_a_batch_of_levels_is_the_batches_of_one_level(generator, mode, levels):
    decoder = load_unclip(DecoderConfig("mini", str(generator)))
    embeddings = torch.randn(3, N_TARGET, generator=torch.Generator().manual_seed(1))
    options = SamplingOptions(num_inference_steps=2, noise_mode=mode)
    with torch.no_grad():
        mixed = decoder.pixels(embeddings, [5, 6, 7], options, steering=Steering(torch.tensor(levels)))
        for place, level in enumerate(levels):
            alone = SamplingOptions(num_inference_steps=2, noise_mode=mode, noise_level=level)
            assert torch.equal(decoder.pixels(embeddings, [5, 6, 7], alone)[place], mixed[place])

"""A new subject borrows a trunk: from its own sessions only, and from no trunk that knows what it is scored on."""

import dataclasses

import numpy as np
import pytest
import torch

from fmri_lightning.cli import main
from fmri_lightning.embeddings.cache import EmbeddingCache, write_cache
from fmri_lightning.encoder.data import EncoderDataModule
from fmri_lightning.encoder.load import load_encoder
from fmri_lightning.encoder.shared.data import NewSubjectDataModule
from fmri_lightning.encoder.shared.new_subject import NewSubjectModule
from fmri_lightning.encoder.shared.reading import fit_reading
from fmri_lightning.encoder.shared.trunk import load_trunk, require_foreign
from fmri_lightning.encoder.stored import read_checkpoint
from fmri_lightning.errors import BadInputError, UsageError
from fmri_lightning.index.table import read_index
from tests.encoder.fitting import Killed, fit_mlp_module, trainer
from tests.encoder.shared_fits import fit_new, fit_shared, small_world


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    world = small_world(tmp_path_factory.mktemp("world"))
    world.write_cache()
    world.write_subject(1)
    world.write_subject(2)
    return world


@pytest.fixture(scope="module")
def trunk(world, tmp_path_factory):
    """Checkpoint of a trunk of subj01 and subj02."""
    return fit_shared(world, tmp_path_factory.mktemp("trunk"))[1] / "trunk" / "shared.ckpt"


@pytest.fixture(scope="module")
def few(world):
    """Inputs of subj03 with two of its four sessions."""
    return world.write_subject(3, sessions=2, tree="few")


@pytest.fixture(scope="module")
def fitted(few, trunk, tmp_path_factory):
    """(trainer, encoder), fitted once."""
    return fit_new(few, trunk, tmp_path_factory.mktemp("new"))


def test_the_encoder_is_one_of_the_new_subject(few, trunk, fitted):
    run, path = fitted
    encoder, alone = load_encoder(path), EncoderDataModule(**few)
    alone.setup("fit")
    assert (encoder.name, encoder.subject, encoder.inputs) == ("new_subject", "subj03", alone.inputs)
    torch.testing.assert_close(encoder.predictor.target_mean, alone.target_mean)
    assert encoder.fitted["trunk"] == {
        "content_hash": load_trunk(trunk).content_hash,
        "subjects": ["subj01", "subj02"],
    }
    assert (path.parent / "subj03_new_subject.json").is_file()
    network = run.lightning_module.predictor.eval()
    state = torch.load(path.parent / "fit" / "new_subject.ckpt", weights_only=True)
    run.lightning_module.load_state_dict(state["state_dict"])
    features = alone.val_rows().features
    with torch.inference_mode():
        assert torch.equal(encoder(features), network("subj03", features))


def test_sessions_that_are_not_indexed_cannot_influence_the_fit(world, few, fitted, trunk, tmp_path):
    later = dataclasses.replace(world, folder=tmp_path)
    later.write_cache()
    changed = later.write_subject(3, sessions=2, tree="few", change_later=100.0)
    _, path = fit_new(changed, trunk, tmp_path / "checkpoints")
    assert path.read_bytes() == fitted[1].read_bytes()


def test_a_change_in_an_indexed_session_is_seen(world, few, fitted, trunk, tmp_path):
    earlier = dataclasses.replace(world, folder=tmp_path, noise_seed=1)
    earlier.write_cache()
    _, path = fit_new(earlier.write_subject(3, sessions=2, tree="few"), trunk, tmp_path / "checkpoints")
    assert path.read_bytes() != fitted[1].read_bytes()


def test_a_frozen_trunk_stays_and_its_input_layer_moves(few, trunk, tmp_path):
    borrowed = load_trunk(trunk)
    run, _ = fit_new(few, trunk, tmp_path, frozen_share=1.0, max_epochs=2)
    network = run.lightning_module.predictor
    state = network.state_dict()
    assert all(torch.equal(state[f"trunk.{name}"], value) for name, value in borrowed.layers.items())
    assert all(torch.equal(state[f"skip.{name}"], value) for name, value in borrowed.skip.items())
    moved = (state["inputs.0.layer.weight"] - borrowed.input_weight).abs().max()
    assert moved > 1e-4


def test_the_trunk_moves_at_its_own_rate_once_it_is_free(few, trunk, tmp_path):
    borrowed = load_trunk(trunk)
    distance = {}
    for rate in (0.01, 1.0):
        run, _ = fit_new(few, trunk, tmp_path / str(rate), frozen_share=0.5, trunk_rate=rate, max_epochs=2)
        state = run.lightning_module.predictor.state_dict()
        distance[rate] = max(float((state[f"trunk.{k}"] - v).abs().max()) for k, v in borrowed.layers.items())
    assert 0 < distance[0.01] < 0.1 * distance[1.0]


def test_readings_take_the_scale_of_the_trunks(few, trunk, fitted):
    alone, reading = EncoderDataModule(**few), fitted[0].datamodule.readings["subj03"]
    alone.setup("fit")
    own = fit_reading(alone)
    assert float(reading.left_out.std()) == pytest.approx(load_trunk(trunk).reading_std, rel=1e-5)
    factor = load_trunk(trunk).reading_std / float(own.left_out.std())
    torch.testing.assert_close(reading.weight, own.weight * factor)
    torch.testing.assert_close(reading.bias, own.bias * factor)


def test_the_input_layer_starts_at_the_mean_of_the_trunks_subjects(few, trunk, tmp_path):
    run, _ = fit_new(few, trunk, tmp_path, max_epochs=1, optimizer=lambda p: torch.optim.SGD(p, lr=0.0))
    state = read_checkpoint(trunk, "trunk")["state_dict"]
    mean = (state["predictor.inputs.0.layer.weight"] + state["predictor.inputs.1.layer.weight"]) / 2
    torch.testing.assert_close(run.lightning_module.predictor.input_of("subj03").layer.weight, mean)


@pytest.mark.parametrize("epoch", [1, 2])
def test_interrupted_it_resumes_to_the_same_weights(few, trunk, fitted, tmp_path, epoch):
    with pytest.raises(Killed):
        fit_new(few, trunk, tmp_path, stop_after=epoch)
    last = tmp_path / "new_subject" / "subj03" / "fit" / "last.ckpt"
    _, path = fit_new(few, trunk, tmp_path, ckpt_path=last)
    assert load_encoder(path).content_hash == load_encoder(fitted[1]).content_hash


def test_refuses_a_trunk_of_this_very_subject_unless_allowed(world, trunk, tmp_path, capsys):
    own = world.inputs() | {"subject": "subj02"}
    with pytest.raises(UsageError, match=r"was trained on subj02 itself.*--model\.allow_own true"):
        fit_new(own, trunk, tmp_path, max_epochs=1)
    assert list(tmp_path.iterdir()) == []
    _, path = fit_new(own, trunk, tmp_path, max_epochs=1, allow_own=True)
    assert "was trained on subj02 itself, as allowed" in capsys.readouterr().out
    assert load_encoder(path).fitted["trunk"]["trained_on_this_subject"]


@pytest.mark.parametrize(
    ("of_trunk", "split", "how"),
    [("train_ids", "val", "trained on"), ("train_ids", "test", "trained on"), ("val_ids", "test", "chosen by")],
)
def test_refuses_a_trunk_that_saw_one_held_out_picture(few, trunk, of_trunk, split, how):
    table = read_index(few["index_root"], "subj03")
    leaked = int(table.of_split(split).nsd_id[0])
    borrowed = load_trunk(trunk)
    ids = np.append(getattr(borrowed, of_trunk), np.int32(leaked))
    with pytest.raises(BadInputError, match=rf"was {how} 1 pictures of the {split} of subj03 \(nsd_id {leaked}\)"):
        require_foreign(dataclasses.replace(borrowed, **{of_trunk: ids}), "subj03", borrowed.space, table)
    require_foreign(borrowed, "subj03", borrowed.space, table)


def test_refuses_a_trunk_fitted_with_leaking_splits(world, few, tmp_path):
    """Through files: a trunk whose subjects trained on what is test for everyone else."""
    leaking = small_world(tmp_path)
    leaking.write_cache()
    leaking.write_subject(1, leak_test=True)
    _, folder = fit_shared(leaking, tmp_path / "checkpoints", subjects=["subj01"], max_epochs=1)
    with pytest.raises(BadInputError, match="pictures of the test of subj03"):
        fit_new(few, folder / "trunk" / "shared.ckpt", tmp_path / "new", max_epochs=1)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("change", [{"dim": 8}, {"name": "another"}])
def test_refuses_another_embedding_space(few, trunk, tmp_path, change):
    cache = EmbeddingCache.open(few["clip_cache"])
    space = dataclasses.replace(cache.space, mean=None, std=None, **change)
    write_cache(tmp_path / "other.parquet", cache.ids, np.array(cache.embeddings[:, : space.dim]), space)
    with pytest.raises(BadInputError, match=r"works in|was trained on embeddings 'known-brain'"):
        fit_new(few | {"clip_cache": str(tmp_path / "other.parquet")}, trunk, tmp_path / "new", max_epochs=1)


def test_refuses_what_is_no_trunk(few, trunk, fitted, small, tmp_path):
    checkpoint = torch.load(trunk, weights_only=True)
    checkpoint["trunk"]["train_ids"][0] += 1
    torch.save(checkpoint, tmp_path / "changed.ckpt")
    _, mlp = fit_mlp_module(small, tmp_path, max_epochs=1)
    for path, message in (
        (tmp_path / "changed.ckpt", "does not match its own content hash"),
        (tmp_path / "absent.ckpt", "does not exist"),
        (mlp, "is an encoder, expected a trunk"),
        (fitted[1].parent / "fit" / "new_subject.ckpt", "is a new_subject, expected a trunk"),
    ):
        with pytest.raises(BadInputError, match=message):
            fit_new(few, path, tmp_path / "new", max_epochs=1)
    with pytest.raises(BadInputError, match="is a trunk, expected an encoder"):
        load_encoder(trunk)


@pytest.mark.parametrize("wrong", [{"frozen_share": 1.5}, {"frozen_share": -0.1}, {"trunk_rate": -1.0}])
def test_refuses_settings_out_of_range(wrong):
    with pytest.raises(UsageError, match=r"frozen_share lies in 0\.\.1"):
        NewSubjectModule("trunk.ckpt", **wrong)


def test_needs_data_of_its_own_class(few, trunk):
    with pytest.raises(UsageError, match="needs data of class NewSubjectDataModule, got EncoderDataModule"):
        trainer().fit(NewSubjectModule(str(trunk)), EncoderDataModule(**few))
    assert NewSubjectDataModule(**few).subject == "subj03"


def test_the_commands_of_the_guide(world, few, tmp_path):
    where = ["--model.root", str(tmp_path), "--trainer.default_root_dir", str(tmp_path / "runs")]
    small_fit = [*where, "--trainer.max_steps", "6", "--trainer.accelerator", "cpu"]
    data = [word for key, value in world.inputs().items() for word in (f"--data.{key}", value)]
    subjects = ["--data.subjects", "[subj01,subj02]"]
    assert main(["fit", "--config", "configs/encoder/shared.yaml", *data, *subjects, *small_fit]) == 0
    trunk = str(tmp_path / "shared" / "trunk" / "shared.ckpt")
    data = [word for key, value in few.items() for word in (f"--data.{key}", value)]
    config = ["--config", "configs/encoder/new_subject.yaml"]
    assert main(["fit", *config, *data, "--model.trunk", trunk, *small_fit]) == 0
    assert load_encoder(tmp_path / "new_subject" / "subj03" / "new_subject.ckpt").subject == "subj03"
    assert (tmp_path / "shared" / "trunk" / "fit.yaml").is_file()
    assert main(["doctor", "--show", trunk]) == 0

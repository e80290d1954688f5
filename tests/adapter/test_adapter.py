import numpy as np
import pytest
import torch

from fmri_lightning.adapter.data import AdapterDataModule
from fmri_lightning.adapter.load import load_adapter
from fmri_lightning.adapter.losses import adapter_loss
from fmri_lightning.adapter.module import AdapterModule
from fmri_lightning.adapter.network import AdapterNetwork
from fmri_lightning.embeddings.cache import EmbeddingCache, write_cache
from fmri_lightning.encoder.load import load_encoder
from fmri_lightning.errors import BadInputError, UsageError
from tests.adapter.fitting import fit, pairs
from tests.encoder.fitting import Killed


@pytest.fixture(scope="module")
def fitted(small, tmp_path_factory):
    """(trainer, checkpoint), fitted once."""
    return fit(small, tmp_path_factory.mktemp("adapter"))


@pytest.mark.parametrize(("n_target", "parameters"), [(768, 395_520), (1024, 527_360), (1280, 659_200)])
def test_seed_form_has_the_published_number_of_parameters(n_target, parameters):
    assert sum(p.numel() for p in AdapterNetwork(512, n_target).parameters()) == parameters


def test_input_counts_by_direction_and_output_is_raw():
    network = AdapterNetwork(6, 4)
    source = torch.randn(9, 6, generator=torch.Generator().manual_seed(0))
    mean, std = torch.tensor([5.0, -3.0, 0.0, 1.0]), torch.tensor([2.0, 1.0, 4.0, 0.5])
    network.set_statistics(source, mean, std)
    torch.testing.assert_close(network(7 * source), network(source))
    standardised = network.standardised(source)
    torch.testing.assert_close(network(source), standardised * std + mean)
    torch.testing.assert_close(network.standardise(network(source)), standardised)
    # LayerNorm: every output has the length of a standardised embedding.
    torch.testing.assert_close(standardised.norm(dim=1), torch.full((9,), 2.0), rtol=1e-3, atol=0)


def test_without_layer_norm_it_is_affine_in_the_unit_vector():
    network = AdapterNetwork(6, 4, layer_norm=False)
    network.set_statistics(torch.randn(9, 6), torch.zeros(4), torch.ones(4))
    unit = torch.nn.functional.normalize(torch.randn(2, 6), dim=1)
    linear = (unit - network.source_mean) / network.source_std @ network.linear.weight.T + network.linear.bias
    torch.testing.assert_close(network(unit * 30), linear)


def test_loss_weighs_squared_error_and_cosine():
    network = AdapterNetwork(6, 4)
    generator = torch.Generator().manual_seed(0)
    source, target = torch.randn(9, 6, generator=generator), torch.randn(9, 4, generator=generator) + 1
    network.set_statistics(source, target.mean(dim=0), target.std(dim=0))
    predicted = network(source)
    squared = (((predicted - target) / network.target_std) ** 2).mean()
    cosine = (1 - torch.cosine_similarity(predicted, target)).mean()
    loss = adapter_loss(network, network.standardised(source), target, 0.3)
    torch.testing.assert_close(loss, 0.3 * squared + 0.7 * cosine)


def test_checkpoint_says_what_it_is(small, fitted):
    run, path = fitted
    adapter = load_adapter(path)
    assert (adapter.source_space.name, adapter.target_space.name, adapter.subject) == ("clip", "target", "subj01")
    assert adapter.inputs == run.datamodule.inputs
    assert set(adapter.inputs) == {"split", "clip_cache", "target_cache"}
    source, target = pairs(small, "train")
    np.testing.assert_allclose(adapter.network.target_mean, target.mean(axis=0), rtol=1e-4)
    np.testing.assert_allclose(adapter.network.target_std, target.std(axis=0), rtol=1e-4)
    assert torch.load(path, weights_only=True)["fmri_lightning"]["content_hash"] == adapter.content_hash
    assert adapter(torch.from_numpy(source)).shape == target.shape
    with pytest.raises(BadInputError, match="is an adapter, expected an encoder"):
        load_encoder(path)


def test_fit_does_not_depend_on_test_pictures(small, fitted, tmp_path):
    test = np.isin(small.table.nsd_id, small.table.nsd_id[small.table.split == "test"])
    ids = np.unique(small.table.nsd_id[test])
    changed = {}
    for name in ("clip", "target"):
        cache = EmbeddingCache.open(small.folder / f"{name}.parquet")
        vectors = np.array(cache.embeddings)
        vectors[cache.row_numbers(ids)] = -50 * vectors[cache.row_numbers(np.roll(ids, 1))]
        changed[f"{name}_cache"] = str(tmp_path / f"{name}.parquet")
        write_cache(changed[f"{name}_cache"], cache.ids, vectors, cache.space)
    run, path = fit(small, tmp_path / "checkpoints", **changed)
    whole, whole_path = fitted
    assert float(run.callback_metrics["val/cosine"]) == float(whole.callback_metrics["val/cosine"])
    state, other = (torch.load(p, weights_only=True)["state_dict"] for p in (path, whole_path))
    assert all(torch.equal(state[key], other[key]) for key in state)
    assert load_adapter(path).target_space.mean == load_adapter(whole_path).target_space.mean


def test_interrupted_adapter_resumes_to_the_same_weights(small, fitted, tmp_path):
    with pytest.raises(Killed):
        fit(small, tmp_path, stop_after=5)
    folder = tmp_path / "clip_adapter" / "subj01" / "target"
    assert not (folder / "subj01_clip_adapter.json").exists()
    _, path = fit(small, tmp_path, ckpt_path=folder / "last.ckpt")
    assert load_adapter(path).content_hash == load_adapter(fitted[1]).content_hash
    assert (folder / "subj01_clip_adapter.json").exists()


def test_refuses_a_cache_that_lacks_pictures(small, tmp_path):
    cache = EmbeddingCache.open(small.folder / "target.parquet")
    write_cache(tmp_path / "short.parquet", cache.ids[:-3], np.array(cache.embeddings[:-3]), cache.space)
    with pytest.raises(BadInputError, match=r"short\.parquet lacks"):
        AdapterDataModule(**small.adapter_inputs(target_cache=str(tmp_path / "short.parquet"))).setup("fit")


def test_refuses_a_weight_outside_its_range():
    with pytest.raises(UsageError, match="mse_weight"):
        AdapterModule(mse_weight=1.5)

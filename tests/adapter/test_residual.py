"""The residual form: a linear map and an MLP that starts at nothing."""

import numpy as np
import pytest
import torch
from scipy.special import erf

from fmri_lightning.adapter.load import load_adapter
from fmri_lightning.adapter.module import AdapterModule
from fmri_lightning.adapter.network import AdapterNetwork
from fmri_lightning.errors import BadInputError, UsageError
from tests.adapter.fitting import fit, pairs, write_shrunken
from tests.encoder.fitting import Killed

SMALL = {"form": "residual", "hidden": 12, "n_blocks": 2, "dropout": 0.2}


@pytest.fixture(scope="module")
def mixed(small, tmp_path_factory):
    """(trainer, checkpoint, folder of out-of-fold predictions): residual form, trained on both kinds of source."""
    folder = tmp_path_factory.mktemp("residual")
    out_of_fold = write_shrunken(small, folder)
    return *fit(small, folder, model=SMALL, out_of_fold=str(out_of_fold)), out_of_fold


def network(**changes):
    torch.manual_seed(0)
    made = AdapterNetwork(6, 4, **{"form": "residual", "hidden": 5, "n_blocks": 1, "dropout": 0.0, **changes})
    made.set_statistics(torch.randn(9, 6), torch.zeros(4), torch.ones(4))
    return made.eval()


def test_starts_as_the_linear_map_of_the_same_seed():
    torch.manual_seed(3)
    linear = AdapterNetwork(6, 4)
    torch.manual_seed(3)
    residual = AdapterNetwork(6, 4, form="residual", hidden=5)
    source = torch.randn(8, 6)
    assert torch.equal(linear(source), residual.eval()(source))
    assert set(residual.state_dict()) > set(linear.state_dict())


def layer_norm(x):
    return (x - x.mean(axis=1, keepdims=True)) / np.sqrt(x.var(axis=1, keepdims=True) + 1e-5)


def test_is_the_sum_of_linear_map_and_blocks():
    made = network(layer_norm=False)
    torch.nn.init.normal_(made.branch[-1].weight)
    source = torch.randn(7, 6)
    x = source.numpy() / np.linalg.norm(source.numpy(), axis=1, keepdims=True)
    x = (x - made.source_mean.numpy()) / made.source_std.numpy()

    def linear(layer, rows):
        return rows @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()

    hidden = linear(made.branch[0], x)
    block = made.branch[1].layers
    inner = linear(block[1], layer_norm(hidden))
    hidden = hidden + linear(block[4], inner * 0.5 * (1 + erf(inner / np.sqrt(2))))
    expected = linear(made.linear, x) + linear(made.branch[3], layer_norm(hidden))
    np.testing.assert_allclose(made(source).detach().numpy(), expected, atol=1e-5)


def test_its_parameters_can_be_counted():
    made = AdapterNetwork(512, 768, form="residual", hidden=1024, n_blocks=2)
    blocks = 2 * (2 * 1024 + 2 * (1024 * 1024 + 1024))
    branch = (512 * 1024 + 1024) + blocks + 2 * 1024 + (1024 * 768 + 768)
    assert sum(p.numel() for p in made.parameters()) == 395_520 + branch


def test_learns_what_no_linear_map_can(mixed):
    _, path, _ = mixed
    adapter = load_adapter(path)
    assert adapter.network.branch is not None
    assert float(adapter.network.branch[-1].weight.abs().sum()) > 0
    torch.manual_seed(0)
    source = torch.randn(400, 6)
    unit = torch.nn.functional.normalize(source, dim=1)
    target = torch.stack([unit[:, 0] * unit[:, 1], unit[:, 2].abs()], dim=1)
    losses = {}
    for form in ("linear", "residual"):
        torch.manual_seed(0)
        made = AdapterNetwork(6, 2, layer_norm=False, form=form, hidden=32, dropout=0.0)
        made.set_statistics(source, target.mean(dim=0), target.std(dim=0))
        optimizer = torch.optim.Adam(made.parameters(), lr=3e-3)
        for _ in range(200):
            loss = (made.standardised(source) - made.standardise(target)).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        losses[form] = float(loss.detach())
    assert losses["linear"] > 0.9
    assert losses["residual"] < 0.3


def test_loads_as_it_was_saved(small, mixed):
    _, path, _ = mixed
    described = torch.load(path, weights_only=True)["fmri_lightning"]
    assert described["network"] == {"n_source": 16, "n_target": 24, "layer_norm": True, **SMALL}
    adapter = load_adapter(path)
    source, target = pairs(small, "val")
    assert adapter(torch.from_numpy(source)).shape == target.shape
    assert not adapter.network.training


def test_a_linear_adapter_describes_itself_as_before(small, tmp_path):
    """Checkpoints of earlier versions know three arguments; those of the linear form still name these three."""
    _, path = fit(small, tmp_path, max_epochs=1)
    described = torch.load(path, weights_only=True)["fmri_lightning"]
    assert described["network"] == {"n_source": 16, "n_target": 24, "layer_norm": True}
    assert "out_of_fold_share" not in described


def test_refuses_a_form_of_another_version(mixed, tmp_path):
    checkpoint = torch.load(mixed[1], weights_only=True)
    checkpoint["fmri_lightning"]["network"]["form"] = "cubic"
    torch.save(checkpoint, tmp_path / "adapter.ckpt")
    with pytest.raises(BadInputError, match="is an adapter of another version; fit it again"):
        load_adapter(tmp_path / "adapter.ckpt")


def test_interrupted_residual_fit_on_mixed_sources_resumes_to_the_same_weights(small, mixed, tmp_path):
    _, whole, out_of_fold = mixed
    with pytest.raises(Killed):
        fit(small, tmp_path, model=SMALL, stop_after=5, out_of_fold=str(out_of_fold))
    last = tmp_path / "clip_adapter" / "subj01" / "target" / "last.ckpt"
    _, path = fit(small, tmp_path, model=SMALL, ckpt_path=last, out_of_fold=str(out_of_fold))
    assert load_adapter(path).content_hash == load_adapter(whole).content_hash


@pytest.mark.parametrize("wrong", [{"hidden": 0}, {"n_blocks": 0}, {"dropout": 1.0}])
def test_refuses_a_network_that_cannot_be(wrong):
    with pytest.raises(UsageError, match="hidden and n_blocks start at 1 and dropout lies in"):
        AdapterModule(form="residual", **wrong)

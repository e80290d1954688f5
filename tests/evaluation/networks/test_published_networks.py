"""The published networks with random weights: nodes, widths, normalisation, and the plain model as reference."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch

from fmri_lightning.embeddings.image_encoder import weights_hash
from fmri_lightning.errors import BadInputError
from fmri_lightning.evaluation.networks.lpips import LpipsNetwork, build_lpips
from fmri_lightning.evaluation.networks.opening import open_network
from fmri_lightning.evaluation.networks.swav import URL, with_trunk
from fmri_lightning.evaluation.networks.torchvision_networks import at_nodes, build, released_at
from fmri_lightning.evaluation.protocols import PROTOCOLS
from fmri_lightning.metrics.checks import require_equal_shapes

from .borrowed_torchvision import need_torchvision

need_torchvision()

# Only now: torchmetrics looks for torchvision when it is imported.
import torchmetrics.functional.image  # noqa: E402
import torchvision  # noqa: E402

WIDTHS = {
    "alexnet2": {256: 192 * 31 * 31, 224: 192 * 27 * 27},
    "alexnet5": {256: 256 * 15 * 15, 224: 256 * 13 * 13},
    "inception": {342: 2048, 224: 2048},
    "efficientnet_b1": {255: 1280, 224: 1280},
    "swav": {224: 2048},
}
USES = [
    pytest.param(use, id=f"{name}-{use.network}")
    for name in ("mindeye", "brain_diffuser")
    for use in PROTOCOLS[name].networks
    if use.network in ("alexnet", "inception_v3", "efficientnet_b1", "swav")
]


def pictures(size_px, n=2, seed=0):
    return np.random.default_rng(seed).random((n, size_px, size_px, 3)).astype(np.float32)


@pytest.mark.parametrize("use", USES)
def test_features_are_those_of_hooks_on_the_plain_model(use) -> None:
    """Brain-Diffuser registers forward hooks on the model; MindEye makes an extractor of it."""
    torch.manual_seed(0)
    model = build(use.network)
    network = at_nodes(model, use, {})
    seen = pictures(use.size_px)
    found = network.features(seen)
    normalise = (torch.from_numpy(seen).permute(0, 3, 1, 2) - torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)) / (
        torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
    )
    kept = {}
    for name, node in use.nodes:
        model.get_submodule(node).register_forward_hook(
            lambda module, inputs, output, name=name: kept.__setitem__(name, output.detach().clone())
        )
    with torch.no_grad():
        model(normalise)
    assert set(found) == {name for name, _ in use.nodes}
    for name, values in found.items():
        expected = kept[name].flatten(1).numpy()
        require_equal_shapes(values, expected, name)
        assert values.shape[1] == WIDTHS[name][use.size_px]
        assert values.dtype == (np.float32 if values.shape[1] <= 4096 else np.float16)
        assert np.abs(values - expected).max() <= 1e-3 * np.abs(expected).max()


@pytest.mark.parametrize("use", USES)
def test_a_picture_has_the_same_features_alone(use) -> None:
    torch.manual_seed(1)
    network = at_nodes(build(use.network), use, {})
    seen = pictures(use.size_px, 3)
    together = network.look(seen, seen[::-1].copy())
    for name, values in together.first.items():
        scale = np.abs(values).max()
        assert np.abs(network.features(seen[1:2])[name][0] - values[1]).max() <= 2e-3 * scale
        assert np.abs(together.second[name][2] - values[0]).max() <= 2e-3 * scale
    assert together.distances == {}


@pytest.mark.parametrize("use", USES)
def test_weights_and_normalisation_are_torchvisions(use) -> None:
    if use.network == "swav":
        assert use.weights in URL
        return
    weights = torchvision.models.get_model_weights(use.network)[use.weights]
    transform = weights.transforms()
    network = at_nodes(build(use.network), use, {})
    assert network._mean.flatten().tolist() == pytest.approx(transform.mean)
    assert network._std.flatten().tolist() == pytest.approx(transform.std)
    assert network.facts["weights"] == use.weights


def test_the_two_protocols_use_other_weights_of_efficientnet() -> None:
    used = {
        name: next(use.weights for use in PROTOCOLS[name].networks if use.network == "efficientnet_b1")
        for name in ("mindeye", "brain_diffuser")
    }
    enum = torchvision.models.EfficientNet_B1_Weights
    assert enum[used["mindeye"]] is enum.DEFAULT
    # What the older scripts' weights=True stands for.
    assert enum[used["brain_diffuser"]] is enum.IMAGENET1K_V1


def test_inception_scales_its_input_as_its_weights_were_trained() -> None:
    assert build("inception_v3").transform_input is True


def swav_file():
    state = {f"module.{name}": value for name, value in torchvision.models.resnet50().state_dict().items()}
    del state["module.fc.weight"], state["module.fc.bias"]
    return state | {"module.projection_head.0.weight": torch.ones(3), "module.prototypes.weight": torch.ones(2)}


def test_swavs_file_fills_the_trunk() -> None:
    state = swav_file()
    model = with_trunk(state)
    for name, value in model.state_dict().items():
        if not name.startswith("fc."):
            assert torch.equal(value, state[f"module.{name}"]), name
    # The manifest's hash would otherwise differ from run to run.
    assert weights_hash(model) == weights_hash(with_trunk(state))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda state: {k: v for k, v in state.items() if "layer3.0" not in k},
        lambda state: state | {"module.head.weight": torch.ones(1)},
        lambda state: state | {"module.conv1.weight": torch.ones(64, 3, 3, 3)},
        lambda state: torchvision.models.resnet50().state_dict(),
        lambda state: {"state_dict": state},
        lambda state: torch.ones(2),
    ],
    ids=["layers lack", "another head", "another shape", "with a classifier", "wrapped", "one tensor"],
)
def test_another_file_is_not_taken_for_swav(spoil) -> None:
    with pytest.raises(BadInputError, match="another network's weights than"):
        with_trunk(spoil(swav_file()))


@pytest.mark.parametrize("network", ["alexnet", "inception_v3", "efficientnet_b1"])
def test_another_file_is_not_taken_for_a_network_of_torchvision(network) -> None:
    for state in (torchvision.models.resnet18().state_dict(), torch.ones(2)):
        with pytest.raises(BadInputError, match=f"another network's weights than {network}'s"):
            build(network, state)


OPENED = [
    use
    for use in dict.fromkeys((*PROTOCOLS["mindeye"].networks, *PROTOCOLS["brain_diffuser"].networks))
    if use.network in ("efficientnet_b1", "swav", "lpips") or (use.network != "clip" and use.size_px != 224)
]


@pytest.mark.parametrize("use", OPENED, ids=lambda use: f"{use.network}-{use.weights}-{use.size_px}")
def test_a_network_opens_from_the_file_in_torchs_cache(use, monkeypatch) -> None:
    torch.manual_seed(0)
    trunk = "alexnet" if use.network == "lpips" else use.network
    url = URL if use.network == "swav" else released_at(trunk, "IMAGENET1K_V1" if trunk == "alexnet" else use.weights)
    state = swav_file() if use.network == "swav" else build(trunk).state_dict()
    with tempfile.TemporaryDirectory() as home:
        monkeypatch.setenv("TORCH_HOME", home)
        place = Path(home) / "hub/checkpoints" / url.rsplit("/", 1)[-1]
        place.parent.mkdir(parents=True)
        torch.save(state, place)
        network = open_network(use)
    seen = pictures(use.size_px)
    other = seen[::-1].copy()
    found = network.look(seen, other)
    assert set(found.first) == {name for name, _ in use.nodes}
    assert set(found.distances) == set(use.distances)
    if use.network == "lpips":
        expected = LpipsNetwork(build_lpips(state), {})
    else:
        expected = at_nodes(with_trunk(state) if trunk == "swav" else build(trunk, state), use, {})
        assert network.facts["hash"] == expected.facts["hash"]
    wanted = expected.look(seen, other)
    for ours, theirs in zip(found, wanted, strict=True):
        for name, values in theirs.items():
            assert np.array_equal(ours[name], values)
    assert network.facts["weights"] == use.weights
    assert network.facts["url"] == url
    assert len(network.facts["hash"]) == 64
    assert network.facts["torchvision"] == torchvision.__version__
    assert network.facts["torch"] == torch.__version__


def lpips_by_definition(alexnet, first, second):
    """Zhang et al. (2018), written from the paper, with the heads that torchmetrics ships."""
    folder = Path(torchmetrics.functional.image.__file__).parent
    heads = torch.load(folder / "lpips_models/alex.pth", map_location="cpu", weights_only=True)
    shift, scale = (
        torch.tensor(values).view(1, 3, 1, 1) for values in ((-0.030, -0.088, -0.188), (0.458, 0.448, 0.450))
    )
    maps = []
    for batch in (first, second):
        x = (2 * torch.from_numpy(batch).permute(0, 3, 1, 2) - 1 - shift) / scale
        kept = []
        for i, layer in enumerate(alexnet.features):
            # A copy: the rectifiers work in place.
            x = layer(x.clone())
            if i in (1, 4, 7, 9, 11):
                kept.append(x / (x.norm(dim=1, keepdim=True) + 1e-10))
        maps.append(kept)
    layers = [
        ((a - b) ** 2 * heads[f"lin{i}.model.1.weight"]).sum(1).mean((1, 2))
        for i, (a, b) in enumerate(zip(*maps, strict=True))
    ]
    return sum(layers).numpy()


def test_lpips_is_its_definition_pair_by_pair() -> None:
    torch.manual_seed(0)
    alexnet = build("alexnet")
    for layer in alexnet.features:
        if isinstance(layer, torch.nn.Conv2d):
            # As strong as trained maps, against which the two guards of the norm vanish.
            torch.nn.init.kaiming_normal_(layer.weight)
    network = LpipsNetwork(build_lpips(alexnet.state_dict()), {})
    first, second = pictures(64, 4), pictures(64, 4, seed=1)
    together = network.look(first, second)
    assert together.first == {}
    found = together.distances["lpips"]
    assert found.dtype == np.float64
    with torch.no_grad():
        assert found == pytest.approx(lpips_by_definition(alexnet, first, second), rel=1e-4)
    alone = [network.look(first[i : i + 1], second[i : i + 1]).distances["lpips"][0] for i in range(4)]
    assert found == pytest.approx(alone, abs=1e-6)
    assert network.look(first, first).distances["lpips"].tolist() == [0.0] * 4
    assert (found > 0.001).all()

"""What is said where a network cannot be had, and that nothing heavy is imported before."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from fmri_lightning.errors import BadInputError
from fmri_lightning.evaluation.networks.base import MissingNetworkError
from fmri_lightning.evaluation.networks.opening import OPENERS, open_network
from fmri_lightning.evaluation.networks.released_weights import filled
from fmri_lightning.evaluation.networks.torchvision_networks import torchvision_models
from fmri_lightning.evaluation.networks.uses import NetworkUse
from fmri_lightning.evaluation.protocols import PROTOCOLS
from fmri_lightning.evaluation.scoring import metrics_of, open_networks

ROOT = Path(__file__).parents[3]
NEED_TORCHVISION = ("alexnet", "inception_v3", "efficientnet_b1", "swav", "lpips")


def without_torchvision(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision", None)
    monkeypatch.setitem(sys.modules, "torchvision.models", None)


@pytest.mark.parametrize("network", NEED_TORCHVISION)
def test_without_torchvision_one_line_says_what_to_install(monkeypatch, network) -> None:
    without_torchvision(monkeypatch)
    use = next(use for use in PROTOCOLS["mindeye"].networks if use.network == network)
    with pytest.raises(MissingNetworkError) as error:
        open_network(use)
    assert str(error.value) == "pip install 'fmri-lightning[eval-nets]'"


def test_clip_names_the_download_that_is_missing(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    use = next(use for use in PROTOCOLS["mindeye"].networks if use.network == "clip")
    with pytest.raises(MissingNetworkError, match="openai/clip-vit-large-patch14") as error:
        open_network(use)
    assert "\n" not in str(error.value)


def test_a_torchvision_of_another_torch_is_said(monkeypatch) -> None:
    class Broken:
        def find_spec(self, name, path=None, target=None):
            if name.startswith("torchvision"):
                raise RuntimeError("operator torchvision::nms does not exist")

    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    with pytest.raises(MissingNetworkError, match=r"does not fit torch .*nms does not exist"):
        torchvision_models()


@pytest.mark.slow
def test_a_torchvision_of_another_torch_is_said_by_every_network_that_meets_it(tmp_path) -> None:
    """In a process of its own: transformers and torchmetrics look for torchvision when they are imported."""
    package = tmp_path / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    metadata = tmp_path / "torchvision-0.1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: torchvision\nVersion: 0.1.0\n")
    code = """
import json
from fmri_lightning.evaluation.networks.base import MissingNetworkError
from fmri_lightning.evaluation.networks.opening import open_network
from fmri_lightning.evaluation.protocols import PROTOCOLS
said = {}
for use in PROTOCOLS["mindeye"].networks:
    try:
        open_network(use)
    except MissingNetworkError as error:
        said[use.network] = str(error)
print(json.dumps(said))
"""
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    environment = os.environ | {"PYTHONPATH": path, "HF_HUB_CACHE": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    said = json.loads(done.stdout)
    assert set(said) == {*NEED_TORCHVISION, "clip"}
    version, _, build = torch.__version__.partition("+")
    for line in said.values():
        assert line.startswith("torchvision is installed but does not fit torch")
        assert "nms does not exist" in line
        assert f"pip install --force-reinstall torch=={version}" in line
        assert line.endswith(f"/whl/{build}" if build else "torchvision")
        assert "\n" not in line


URL = "https://example.org/net-7be5be79.pth"


@pytest.fixture
def place(monkeypatch, tmp_path):
    """Where the file of URL belongs; there is no network."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def offline(*arguments, **settings):
        raise OSError("no network\nmore")

    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    return tmp_path / "hub/checkpoints" / URL.rsplit("/", 1)[-1]


def linear(state):
    layer = torch.nn.Linear(2, 1)
    if set(state) != {"weight", "bias"}:
        raise BadInputError("another network's weights")
    layer.load_state_dict(state)
    return layer


def test_weights_that_cannot_be_fetched_name_file_and_address(place, capsys) -> None:
    with pytest.raises(MissingNetworkError) as error:
        filled(URL, linear)
    assert str(error.value) == f"weights are not at {place} (no network); download {URL} to that place"
    assert capsys.readouterr().out == ""


def test_weights_put_into_place_are_used(place) -> None:
    place.parent.mkdir(parents=True)
    layer = torch.nn.Linear(2, 1)
    torch.save(layer.state_dict(), place)
    assert torch.equal(filled(URL, linear).weight, layer.weight)


def spoilt_files():
    layer = io.BytesIO()
    torch.save(torch.nn.Linear(2, 1).state_dict(), layer)
    old = io.BytesIO()
    torch.save(torch.nn.Linear(2, 1).state_dict(), old, _use_new_zipfile_serialization=False)
    code = io.BytesIO()
    torch.save(subprocess.Popen, code)
    strangers = io.BytesIO()
    torch.save({"other": torch.ones(1)}, strangers)
    return {
        "page": b"<html>not found</html>",
        "empty": b"",
        "torn": layer.getvalue()[:-200],
        "torn, old format": old.getvalue()[:-20],
        "code": code.getvalue(),
        "another network's": strangers.getvalue(),
    }


@pytest.mark.parametrize("kind", spoilt_files())
def test_a_file_that_is_not_the_released_one_is_told_in_one_line(place, kind) -> None:
    place.parent.mkdir(parents=True)
    place.write_bytes(spoilt_files()[kind])
    with pytest.raises(MissingNetworkError) as error:
        filled(URL, linear)
    told = str(error.value)
    assert told.startswith(f"{place} is not the released file (")
    assert told.endswith(f"; delete it and download {URL} to that place")
    assert "\n" not in told
    assert ("another network's" in told) == (kind == "another network's")


def test_a_protocol_skips_the_metrics_of_missing_networks_and_no_others(monkeypatch) -> None:
    without_torchvision(monkeypatch)
    protocol = PROTOCOLS["mindeye"]
    networks, skipped = open_networks(protocol)
    assert not set(networks) & set(NEED_TORCHVISION)
    missing = [use for use in protocol.networks if use.network in NEED_TORCHVISION]
    assert set(metrics_of(protocol, missing)) <= set(skipped)
    assert {"pixcorr", "ssim", "mse", "psnr"}.isdisjoint(skipped)
    assert skipped["swav_distance"] == "not computed: pip install 'fmri-lightning[eval-nets]'"


def test_every_network_of_a_protocol_can_be_opened_by_name() -> None:
    for protocol in PROTOCOLS.values():
        assert {use.network for use in protocol.networks} <= set(OPENERS)
        assert all(isinstance(use, NetworkUse) for use in protocol.networks)


def test_looking_at_protocols_imports_no_network() -> None:
    code = (
        "import sys, fmri_lightning.evaluation.protocols, fmri_lightning.evaluation.networks.opening\n"
        "assert not {'torch', 'torchvision', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

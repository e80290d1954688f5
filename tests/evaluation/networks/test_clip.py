"""CLIP through the evaluation's own size and normalisation: raw projections, no cropping of its own."""

import numpy as np
import pytest
import torch
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from fmri_lightning.embeddings.image_encoder import weights_hash
from fmri_lightning.embeddings.spaces import SPACES
from fmri_lightning.evaluation.networks import clip
from fmri_lightning.evaluation.networks.base import MissingNetworkError
from fmri_lightning.evaluation.networks.opening import open_network
from fmri_lightning.evaluation.protocols import PROTOCOLS

USE = next(use for use in PROTOCOLS["mindeye"].networks if use.network == "clip")


def tiny():
    """ViT-L/14's input and output around a small trunk."""
    torch.manual_seed(0)
    config = CLIPVisionConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=224, patch_size=14,
        projection_dim=768,
    )  # fmt: skip
    return CLIPVisionModelWithProjection(config)


def test_features_are_raw_projections_of_normalised_pictures(tmp_path, monkeypatch) -> None:
    model = tiny().eval()
    model.save_pretrained(tmp_path)
    monkeypatch.setattr(clip, "SPACE", str(tmp_path))
    network = open_network(USE)
    pictures = np.random.default_rng(0).random((3, 224, 224, 3)).astype(np.float32)
    mean = np.array([0.48145466, 0.4578275, 0.40821073])
    std = np.array([0.26862954, 0.26130258, 0.27577711])
    pixels = torch.from_numpy(((pictures - mean) / std).astype(np.float32)).permute(0, 3, 1, 2)
    with torch.no_grad():
        expected = model(pixel_values=pixels).image_embeds.numpy()
    found = network.features(pictures)["clip"]
    assert found.dtype == np.float32
    assert found.shape == (3, 768)
    assert np.abs(found - expected).max() < 1e-5
    assert np.abs(np.linalg.norm(found, axis=1) - 1).min() > 1e-3
    assert np.abs(network.features(pictures[1:2])["clip"] - expected[1:2]).max() < 1e-5
    assert network.facts["weights"] == str(tmp_path)
    assert network.facts["hash"] == weights_hash(model)


def test_a_damaged_file_is_told_in_one_line(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(clip, "SPACE", str(tmp_path))
    tiny().save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"<html>not found</html>")
    with pytest.raises(MissingNetworkError, match=r"CLIP cannot be loaded .*run hf download") as error:
        open_network(USE)
    assert "\n" not in str(error.value)


def test_the_protocols_pin_the_weights_of_the_embedding_space() -> None:
    spec = SPACES[clip.SPACE]
    for name in ("mindeye", "brain_diffuser"):
        use = next(use for use in PROTOCOLS[name].networks if use.network == "clip")
        assert use.weights == f"{spec.model_id}@{spec.revision}"
        assert use.size_px == 224

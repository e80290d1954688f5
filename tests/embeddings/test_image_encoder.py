import json

import numpy as np
import pytest
import torch

from fmri_lightning.embeddings.image_encoder import ImageEncoder, probe_pictures
from fmri_lightning.errors import BadInputError
from fmri_lightning.records import require_same_space
from tests.embeddings.conftest import save_tiny_tower


@pytest.fixture(scope="module")
def encoder(tiny_tower):
    return ImageEncoder.from_space(str(tiny_tower))


def test_gives_the_raw_projection_of_the_reference_model(encoder, tiny_tower, pictures):
    from PIL import Image
    from transformers import CLIPVisionModelWithProjection
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    processor = CLIPImageProcessorPil(size={"shortest_edge": 64}, crop_size={"height": 64, "width": 64})
    pixels = processor([Image.fromarray(p) for p in pictures], return_tensors="pt")["pixel_values"]
    model = CLIPVisionModelWithProjection.from_pretrained(tiny_tower, dtype=torch.float32).eval()
    with torch.inference_mode():
        expected = model.visual_projection(model.vision_model(pixels).pooler_output)
        ours = encoder(torch.from_numpy(pictures))
    assert torch.nn.functional.cosine_similarity(ours, expected).min() > 0.999
    # Unit vectors would have lost the length that decoders were trained on.
    torch.testing.assert_close(ours.norm(dim=1), expected.norm(dim=1), rtol=1e-2, atol=0)


def test_halves_on_disk_are_floats_in_memory(encoder):
    assert {p.dtype for p in encoder.parameters()} == {torch.float32}
    assert not any(p.requires_grad for p in encoder.parameters())


def test_space_holds_the_vectors_of_the_probe_pictures(encoder):
    space = encoder.space
    with torch.inference_mode():
        expected = encoder(torch.from_numpy(probe_pictures()))
    np.testing.assert_allclose(space.probe, expected, rtol=1e-5, atol=1e-6)
    assert (space.dim, space.scale, space.revision) == (24, "raw", "")


def test_same_weights_are_one_space_and_others_are_not(encoder, tiny_tower, tmp_path):
    again = ImageEncoder.from_space(str(tiny_tower))
    assert again.space.weights_hash == encoder.space.weights_hash
    require_same_space(encoder.space, again.space, "one", "the other")
    other = ImageEncoder.from_space(str(save_tiny_tower(tmp_path / "other", seed=1)))
    assert other.space.weights_hash != encoder.space.weights_hash
    with pytest.raises(BadInputError, match="probe pictures differ"):
        require_same_space(encoder.space, other.space, "one", "the other")


def test_a_checkpoint_of_full_clip_gives_its_image_tower(tmp_path, pictures):
    from transformers import CLIPConfig, CLIPModel

    text = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = CLIPConfig(
        text_config={**text, "vocab_size": 50, "projection_dim": 8},
        vision_config={**vision, "image_size": 64, "patch_size": 32, "projection_dim": 8},
        projection_dim=8,
    )
    full = CLIPModel(config).eval()
    full.save_pretrained(tmp_path / "clip")
    encoder = ImageEncoder.from_space(str(tmp_path / "clip"))
    from fmri_lightning.embeddings.preprocess_images import preprocess_images

    images = torch.from_numpy(pictures)
    with torch.inference_mode():
        expected = full.get_image_features(preprocess_images(images, encoder.preprocessing)).pooler_output
        torch.testing.assert_close(encoder(images), expected, rtol=1e-4, atol=1e-5)


def test_missing_hub_model_gives_the_command_that_fetches_it(monkeypatch):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    revision = "0" * 40
    with pytest.raises(BadInputError, match=f"hf download nobody/no-clip --revision {revision}") as caught:
        ImageEncoder.from_space("nobody/no-clip", revision)
    assert "\n" not in str(caught.value)


def test_weights_that_are_not_safetensors_are_refused(tiny_tower, tmp_path):
    folder = tmp_path / "pickled"
    folder.mkdir()
    (folder / "config.json").write_text((tiny_tower / "config.json").read_text())
    torch.save({}, folder / "pytorch_model.bin")
    with pytest.raises(BadInputError, match="safetensors"):
        ImageEncoder.from_space(str(folder))


def test_half_a_checkpoint_is_refused_instead_of_filled_with_noise(tiny_tower, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "partial"
    folder.mkdir()
    (folder / "config.json").write_text((tiny_tower / "config.json").read_text())
    weights = load_file(tiny_tower / "model.safetensors")
    weights.pop("visual_projection.weight")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BadInputError, match="visual_projection"):
        ImageEncoder.from_space(str(folder))


def test_preprocessor_config_of_the_folder_is_used(tiny_tower, tmp_path, encoder):
    import shutil

    folder = shutil.copytree(tiny_tower, tmp_path / "towered")
    (folder / "preprocessor_config.json").write_text(json.dumps({"image_mean": [0.0] * 3, "image_std": [1.0] * 3}))
    other = ImageEncoder.from_space(str(folder))
    assert other.preprocessing.mean == (0.0, 0.0, 0.0)
    assert other.space.probe != encoder.space.probe

import numpy as np
import pytest
import torch
from PIL import Image

from fmri_lightning.embeddings.preprocess_images import (
    CLIP_STD,
    ImagePreprocessing,
    preprocess_images,
    resize_and_crop,
)
from fmri_lightning.errors import BadInputError


def structured_picture(height, width, seed):
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BILINEAR)).astype(int)
    return np.clip(smooth + rng.integers(-30, 31, smooth.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(("height", "width"), [(425, 425), (300, 500), (97, 64), (64, 64), (225, 224)])
@pytest.mark.parametrize("size_px", [64, 224])
def test_agrees_with_the_reference_processor_to_two_grey_levels(height, width, size_px):
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    picture = structured_picture(height, width, seed=height)
    reference = CLIPImageProcessorPil(size={"shortest_edge": size_px}, crop_size={"height": size_px, "width": size_px})(
        Image.fromarray(picture), return_tensors="np"
    )["pixel_values"][0]
    ours = preprocess_images(torch.from_numpy(picture)[None], ImagePreprocessing(size_px, size_px))[0].numpy()

    grey_levels = np.abs(ours - reference) * np.array(CLIP_STD)[:, None, None] * 255
    assert ours.shape == reference.shape == (3, size_px, size_px)
    assert grey_levels.max() <= 2.001
    assert grey_levels.mean() < 0.1


def test_a_picture_of_the_right_size_keeps_its_bytes():
    picture = structured_picture(64, 64, seed=1)
    kept = resize_and_crop(torch.from_numpy(picture)[None], ImagePreprocessing(64, 64))
    np.testing.assert_array_equal(kept[0].permute(1, 2, 0).numpy(), picture)


def test_each_picture_is_alone_in_its_batch():
    batch = torch.from_numpy(np.stack([structured_picture(100, 80, seed) for seed in range(3)]))
    steps = ImagePreprocessing(64, 64)
    assert torch.equal(preprocess_images(batch, steps)[1:2], preprocess_images(batch[1:2], steps))


def test_reads_both_generations_of_preprocessor_config():
    old = ImagePreprocessing.from_config({"size": 224, "crop_size": 224, "image_mean": [0.5] * 3}, 224)
    new = ImagePreprocessing.from_config(
        {"size": {"shortest_edge": 224}, "crop_size": {"height": 224, "width": 224}, "image_mean": [0.5] * 3}, 224
    )
    assert old == new
    assert new.mean == (0.5, 0.5, 0.5)


def test_a_config_of_another_model_is_refused():
    with pytest.raises(BadInputError, match="224"):
        ImagePreprocessing.from_config({"crop_size": 224}, 64)
    with pytest.raises(BadInputError, match="bicubic"):
        ImagePreprocessing.from_config({"resample": 2}, 64)


def test_floats_are_refused():
    with pytest.raises(BadInputError, match="uint8"):
        resize_and_crop(torch.rand(1, 64, 64, 3), ImagePreprocessing(64, 64))

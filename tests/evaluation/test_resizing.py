"""Every filter against its own library, and steps in order."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from fmri_lightning.evaluation.resizing import Resize, resize

PICTURES = np.random.default_rng(0).integers(0, 256, (3, 80, 80, 3), dtype=np.uint8)


@pytest.mark.parametrize(("name", "flag"), [("pil_bilinear", Image.BILINEAR), ("pil_bicubic", Image.BICUBIC)])
def test_pillow_works_on_8_bit_pictures(name, flag) -> None:
    expected = np.stack([np.asarray(Image.fromarray(p).resize((33, 33), flag)) for p in PICTURES]) / 255
    assert np.abs(resize(PICTURES, [Resize(33, name)]) - expected).max() < 1e-7


@pytest.mark.parametrize("antialias", [False, True])
def test_torch_filters_before_it_shrinks_only_when_asked(antialias) -> None:
    values = torch.from_numpy(PICTURES).permute(0, 3, 1, 2) / 255
    expected = functional.interpolate(values, (33, 33), mode="bilinear", antialias=antialias).permute(0, 2, 3, 1)
    name = "bilinear_antialias" if antialias else "bilinear"
    assert np.array_equal(resize(PICTURES, [Resize(33, name)]), expected.numpy())


def test_steps_follow_one_another() -> None:
    steps = [Resize(40, "pil_bicubic"), Resize(64, "bilinear")]
    assert np.array_equal(resize(PICTURES, steps), resize(resize(PICTURES, steps[:1]), steps[1:]))
    direct = resize(PICTURES, [Resize(64, "bilinear")])
    assert np.abs(resize(PICTURES, steps) - direct).max() > 0.05


def test_pictures_of_the_size_are_not_touched() -> None:
    for name in ("pil_bicubic", "bilinear", "bilinear_antialias"):
        assert np.array_equal(resize(PICTURES, [Resize(80, name)]), PICTURES.astype(np.float32) / np.float32(255))


def test_pillow_refuses_what_is_no_longer_8_bit() -> None:
    with pytest.raises(ValueError, match="33 px pil_bicubic works on 8-bit pictures, not on float32"):
        resize(PICTURES, [Resize(40, "bilinear"), Resize(33, "pil_bicubic")])

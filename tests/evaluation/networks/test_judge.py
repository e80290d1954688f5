"""The judge network: its blur by definition, its layers and distance as the published code has them."""

import numpy as np
import pytest
import torch
from scipy.ndimage import convolve, gaussian_filter

from fmri_lightning.errors import BadInputError
from fmri_lightning.evaluation.networks import judge as judge_module
from fmri_lightning.evaluation.networks.base import MissingNetworkError
from fmri_lightning.evaluation.networks.judge import BlurPool, JudgeNetwork, judge_weights, load_judge
from fmri_lightning.evaluation.networks.opening import open_network
from fmri_lightning.evaluation.protocols import PROTOCOLS
from fmri_lightning.evaluation.resizing import Resize, resize
from fmri_lightning.metrics.identification import correlation_matrix, two_way_identification
from fmri_lightning.simulate.scenes import draw_scenes


def look(judge, first, second, size_px):
    steps = [Resize(size_px, "bilinear_antialias")]
    return judge.look(resize(first, steps), resize(second, steps))


def test_blur_pool_equals_its_definition() -> None:
    maps = np.random.default_rng(0).random((2, 3, 11, 14)).astype(np.float32)
    kernel = np.outer([1, 2, 1], [1, 2, 1]) / 16.0
    bordered = np.pad(maps.astype(float), ((0, 0), (0, 0), (2, 2), (2, 2)), mode="reflect")
    expected = np.array([[convolve(channel, kernel)[1:-1:2, 1:-1:2] for channel in picture] for picture in bordered])
    ours = BlurPool(2)(torch.from_numpy(maps)).numpy()
    assert ours.shape == expected.shape == (2, 3, 7, 8)
    assert np.abs(ours - expected).max() < 1e-6


def test_equals_the_published_code(judge: JudgeNetwork) -> None:
    # Distances and layer means that the authors' own code gives for these pictures.
    a, b = np.random.default_rng(0).random((2, 2, 64, 64, 3)).astype(np.float32)
    seen = look(judge, a, b, 64)
    assert seen.distances["judge_distance"] == pytest.approx([0.03723415359854698, 0.03545127809047699], abs=2e-7)
    assert seen.first["judge2"].shape == (2, 192 * 15 * 15)
    assert seen.first["judge2"].mean(dtype=float) == pytest.approx(0.08849677, abs=1e-6)
    assert seen.first["judge5"].mean(dtype=float) == pytest.approx(0.015493326, abs=1e-6)


def test_layers_at_the_protocols_size_have_the_published_width(judge: JudgeNetwork) -> None:
    pictures = np.random.default_rng(1).random((1, 64, 64, 3)).astype(np.float32)
    seen = look(judge, pictures, pictures, 128)
    assert seen.first["judge2"].shape[1] == 184_512
    assert seen.distances["judge_distance"].tolist() == [0.0]


def test_blurred_scenes_are_identified(judge: JudgeNetwork) -> None:
    # The check that the input size was chosen by.
    scenes, _ = draw_scenes("stimuli", range(24))
    sharp = (scenes / 255.0).astype(np.float32)
    blurred = gaussian_filter(sharp, (0, 4, 4, 0)).astype(np.float32)
    seen = look(judge, sharp, blurred, 128)
    score = two_way_identification(correlation_matrix(seen.first["judge2"], seen.second["judge2"]))
    assert score.mean() > 0.95
    strangers = two_way_identification(correlation_matrix(seen.first["judge2"], np.roll(seen.second["judge2"], 1, 0)))
    assert abs(strangers.mean() - 0.5) < 4 * 0.29 / np.sqrt(24)


def test_distance_grows_with_the_change(judge: JudgeNetwork) -> None:
    scenes, _ = draw_scenes("stimuli", range(6))
    sharp = (scenes / 255.0).astype(np.float32)
    rng = np.random.default_rng(2)
    small, large = (np.clip(sharp + s * rng.standard_normal(sharp.shape), 0, 1).astype(np.float32) for s in (0.02, 0.3))
    near, far = (look(judge, sharp, changed, 128).distances["judge_distance"] for changed in (small, large))
    assert np.all((near > 0) & (near < far))
    shifted = look(judge, sharp[:, :, :-2], sharp[:, :, 2:], 128).distances["judge_distance"]
    assert shifted.mean() < 0.2 * far.mean()


def test_absent_and_damaged_weights(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge_module.importlib.util, "find_spec", lambda name: None)
    assert judge_weights() is None
    with pytest.raises(MissingNetworkError, match="pip install --no-deps stlpips-pytorch"):
        open_network(PROTOCOLS["demo"].networks[0])
    torch.save({"something": torch.zeros(1)}, tmp_path / "alex.pth")
    with pytest.raises(BadInputError, match="pip install --no-deps stlpips-pytorch"):
        load_judge(tmp_path / "alex.pth")
    for damaged in (b"PK\x03\x04 torn", b"<html>not found</html>", b""):
        (tmp_path / "torn.pth").write_bytes(damaged)
        with pytest.raises(BadInputError, match="is not the judge's network"):
            load_judge(tmp_path / "torn.pth")

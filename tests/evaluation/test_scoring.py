"""Scores of sets of pictures: known answers, resizing as the protocol says, chunks that cannot be seen."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from skimage.color import rgb2gray
from skimage.metrics import structural_similarity as skimage_ssim
from torch.nn import functional

from fmri_lightning.errors import BadInputError, UsageError
from fmri_lightning.evaluation import scoring
from fmri_lightning.evaluation.metric_table import METRICS
from fmri_lightning.evaluation.protocols import PROTOCOLS, find_protocol
from fmri_lightning.evaluation.resizing import resize
from fmri_lightning.evaluation.scoring import PictureScorer, metrics_of
from fmri_lightning.metrics.pixcorr import pixel_correlation
from fmri_lightning.simulate.scenes import draw_scenes


class Pictures:
    """A set of pictures in memory."""

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        self.pixels = pixels

    def __len__(self) -> int:
        return len(self.pixels)

    def read(self, start: int, stop: int) -> NDArray[np.uint8]:
        return self.pixels[start:stop]

    def name(self, position: int) -> str:
        return str(position)


SCENES = draw_scenes("stimuli", range(20))[0]
IDS = np.arange(20, dtype=np.int32)


def score(recon, truth=SCENES, ids=IDS, protocol="demo", judge=None):
    scorer = PictureScorer(PROTOCOLS[protocol], {} if judge is None else {"judge": judge})
    return scorer.score(Pictures(recon), Pictures(truth), ids, "test")


def test_every_metric_of_a_protocol_is_described() -> None:
    for protocol in PROTOCOLS.values():
        assert set(protocol.metrics) <= set(METRICS)
        assert {protocol.headline, protocol.fallback_headline} <= set(protocol.picture_metrics)


def test_every_metric_of_a_network_has_its_network_in_the_protocol() -> None:
    for protocol in PROTOCOLS.values():
        of_networks = set(metrics_of(protocol, list(protocol.networks)))
        assert of_networks == {name for name in protocol.metrics if METRICS[name].network is not None}


def test_identical_pictures_score_perfectly(judge) -> None:
    values = score(SCENES, judge=judge).values
    assert list(values) == list(PROTOCOLS["demo"].metrics)
    for metric in ("pixcorr", "ssim", "pixcorr_two_way", "judge2_two_way", "judge5_two_way"):
        assert values[metric] == pytest.approx(np.ones(20), abs=1e-9)
    assert values["judge_distance"].tolist() == [0.0] * 20


def test_pictures_of_other_stimuli_are_at_chance(judge) -> None:
    found = score(np.roll(SCENES, 1, axis=0), judge=judge)
    for metric in ("pixcorr_two_way", "judge2_two_way", "judge5_two_way"):
        assert abs(found.values[metric].mean() - 0.5) < 3 * 0.29 / np.sqrt(20)
    assert abs(found.values["pixcorr"].mean() - found.chance["pixcorr"]) < 0.15


def test_without_the_judge_its_metrics_are_left_out() -> None:
    assert list(score(SCENES).values) == ["pixcorr", "ssim", "pixcorr_two_way", "mse", "psnr"]


def test_chunks_and_order_do_not_matter(judge, monkeypatch: pytest.MonkeyPatch) -> None:
    recon = (0.5 * SCENES + 0.5 * np.roll(SCENES, 3, axis=0)).astype(np.uint8)
    whole = score(recon, judge=judge).values
    monkeypatch.setattr(scoring, "CHUNK", 7)
    order = np.random.default_rng(0).permutation(20)
    shuffled = score(recon[order], SCENES[order], IDS[order], judge=judge).values
    for metric, values in whole.items():
        assert shuffled[metric] == pytest.approx(values[order], abs=1e-6), metric


def test_equal_ids_are_never_distractors() -> None:
    recon, truth, ids = SCENES[[0, 0, 1]], SCENES[[0, 0, 1]], np.array([5, 5, 8], np.int32)
    assert score(recon, truth, ids).values["pixcorr_two_way"].tolist() == [1.0, 1.0, 1.0]


def test_larger_pictures_are_brought_to_the_protocols_size() -> None:
    large = np.repeat(np.repeat(SCENES, 4, axis=1), 4, axis=2)
    small = resize(large, PROTOCOLS["demo"].pixel_steps)
    assert small.shape == (20, 64, 64, 3)
    # The antialiasing triangle reaches into the neighbouring pixels, so equality is not expected.
    assert pixel_correlation(small, SCENES).min() > 0.97
    assert np.array_equal(resize(SCENES, PROTOCOLS["demo"].pixel_steps), (SCENES / np.float32(255)).astype(np.float32))


def test_mindeye_resizes_twice_without_antialiasing() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (1, 512, 512, 3), dtype=np.uint8)
    # Halving bilinearly without a filter averages 2 x 2 pixels.
    halved = picture.reshape(1, 256, 2, 256, 2, 3).mean(axis=(2, 4)) / 255.0
    position = (np.arange(425) + 0.5) * 256 / 425 - 0.5
    low = np.clip(np.floor(position).astype(int), 0, 255)
    high = np.clip(np.floor(position).astype(int) + 1, 0, 255)
    part = position - np.floor(position)
    rows = halved[:, low] * (1 - part)[:, None, None] + halved[:, high] * part[:, None, None]
    expected = rows[:, :, low] * (1 - part)[:, None] + rows[:, :, high] * part[:, None]
    assert np.abs(resize(picture, PROTOCOLS["mindeye"].pixel_steps) - expected).max() < 1e-4


def test_titles_never_promise_more_than_was_scored() -> None:
    mindeye, demo = PROTOCOLS["mindeye"], PROTOCOLS["demo"]
    less = mindeye.qualifications(16, 16, 1000, False, ["swav_distance"])
    assert mindeye.title(less) == "mindeye, partial 16/1000, metrics missing, not comparable"
    assert mindeye.qualifications(1000, 1000, 1000, False) == []
    assert mindeye.qualifications(982, 982, 982, None) == []
    assert mindeye.qualifications(1000, 1000, 1000, True) == ["simulated brain", "not comparable"]
    assert mindeye.qualifications(1000, 3000, 3000, False, trial_mode="single") == ["single trials", "not comparable"]
    # What is scored beside the published eight may be missing.
    assert mindeye.qualifications(1000, 1000, 1000, False, ["lpips"]) == []
    assert PROTOCOLS["brain_diffuser"].qualifications(1000, 1000, 1000, False)[0] == "partial 1000/982"
    assert demo.title(demo.qualifications(64, 64, 300, True)) == "demo, 64 of 300"
    assert demo.qualifications(300, 900, 900, True) == []


def test_both_anchors_are_two_way_and_differ(monkeypatch) -> None:
    from dataclasses import replace

    recon = (0.4 * SCENES + 0.6 * SCENES[[3] * 20]).astype(np.uint8)
    other = replace(PROTOCOLS["demo"], anchor="original")
    ours = score(recon).values["pixcorr_two_way"]
    theirs = PictureScorer(other, {}).score(Pictures(recon), Pictures(SCENES), IDS, "test").values["pixcorr_two_way"]
    flat = [pictures.reshape(20, -1) / 255.0 for pictures in (SCENES, recon)]
    r = np.corrcoef(*flat)[:20, 20:]
    assert ours == pytest.approx((r < np.diag(r)).sum(axis=0) / 19, abs=1e-9)
    assert theirs == pytest.approx((r < np.diag(r)[:, None]).sum(axis=1) / 19, abs=1e-9)
    assert ours.mean() != theirs.mean()


def test_impossible_requests_are_refused() -> None:
    with pytest.raises(BadInputError, match="do not pair up"):
        score(SCENES[:19])
    with pytest.raises(BadInputError, match="two different stimuli"):
        score(SCENES[:2], SCENES[:2], np.array([4, 4], np.int32))
    with pytest.raises(UsageError, match="choose demo, mindeye, brain_diffuser"):
        find_protocol("mindeye2")


def published_by(name, recon, truth):
    """PixCorr and SSIM as the two scripts compute them, from Pillow, torch, numpy and scikit-image alone."""
    if name == "brain_diffuser":
        sides = [
            [np.asarray(Image.fromarray(p).resize((425, 425))) / 255.0 for p in pictures] for pictures in (recon, truth)
        ]
        # scikit-image 0.17 took the columns of a grey picture for its channels when told multichannel=True.
        more = {"channel_axis": 1}
    else:
        sides, more = [], {}
        for pictures in (recon, truth):
            values = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255
            for size in (256, 425):
                values = functional.interpolate(values, (size, size), mode="bilinear", align_corners=False)
            sides.append(list(values.permute(0, 2, 3, 1).double().numpy()))
    pixcorr = [np.corrcoef(b.ravel(), a.ravel())[0, 1] for a, b in zip(*sides, strict=True)]
    ssim = [
        skimage_ssim(
            rgb2gray(a),
            rgb2gray(b),
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=1.0,
            **more,
        )
        for a, b in zip(*sides, strict=True)
    ]
    return np.array(pixcorr), np.array(ssim)


@pytest.mark.parametrize("name", ["mindeye", "brain_diffuser"])
def test_pixel_metrics_are_those_of_the_published_scripts(name) -> None:
    truth = draw_scenes("stimuli", range(4), 0, 425)[0]
    recon = draw_scenes("stimuli", range(1, 5), 0, 512)[0]
    mixed = (0.5 * recon + 0.5 * draw_scenes("stimuli", range(4), 0, 512)[0]).astype(np.uint8)
    values = score(mixed, truth, IDS[:4], protocol=name).values
    pixcorr, ssim = published_by(name, mixed, truth)
    assert values["pixcorr"] == pytest.approx(pixcorr, abs=1e-6)
    assert values["ssim"] == pytest.approx(ssim, abs=1e-6)

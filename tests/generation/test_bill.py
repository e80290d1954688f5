"""What --dry_run says a run will cost."""

import re
import shutil
import time

import pytest
import torch

from fmri_lightning.errors import ResourceError
from fmri_lightning.generation.bill import Rate, can_be_timed, measure_rate, priced
from fmri_lightning.generation.decoder import DecoderConfig
from fmri_lightning.generation.sampler import SamplingOptions
from tests.generation.tiny import N_TEST, TARGET


def test_dry_run_tells_the_price_and_writes_nothing(tmp_path, predict, capsys):
    predict(tmp_path / "run", dry_run=True)
    text = capsys.readouterr().out
    assert f"{N_TEST} pictures to draw (0 done)" in text
    assert f"{N_TEST * 4} in all" in text
    # Seven pictures in batches of three.
    assert re.search(
        r"about 0:00:\d\d of drawing: 3 batches a device at \d+\.\d\d s .*cpu\), peak memory \d+ MiB", text
    )
    assert not (tmp_path / "run").exists()


def test_dry_run_counts_what_is_left(tmp_path, predict, capsys):
    predict(tmp_path, data_limit=4)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    capsys.readouterr()
    predict(tmp_path, dry_run=True)
    text = capsys.readouterr().out
    assert "3 pictures to draw (4 done)" in text
    assert "1 batches a device" in text
    predict(tmp_path, dry_run=True, data_limit=4)
    text = capsys.readouterr().out
    assert "0 pictures to draw (4 done)" in text
    assert "about" not in text
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_dry_run_of_predictions_alone(tmp_path, predict, capsys):
    predict(tmp_path / "run", dry_run=True, adapter_ckpt=None, decoder=DecoderConfig("none"))
    assert "predictions.parquet only" in capsys.readouterr().out


class Timed:
    """A decoder whose clock is known: half a second a batch, and a second for each pass of the network."""

    space, resolution = TARGET, 8

    def __init__(self, monkeypatch, fits=1000):
        self.now_s, self.fits = 0.0, fits
        monkeypatch.setattr(time, "perf_counter", lambda: self.now_s)

    def halves(self):
        return [torch.nn.Linear(1, 1)]

    def draw(self, embeddings, seeds, options, unconditional=False, steering=None):
        assert embeddings.shape == (len(seeds), TARGET.dim)
        if len(seeds) > self.fits:
            raise torch.cuda.OutOfMemoryError("too much")
        self.now_s += 0.5 + options.evaluations()


@pytest.mark.parametrize(
    "options",
    [
        SamplingOptions(num_inference_steps=25),
        SamplingOptions(num_inference_steps=20, guidance_scale=1.0),
        SamplingOptions(num_inference_steps=10, guidance_interval=(0.2, 0.7)),
    ],
)
def test_the_rate_is_that_of_all_steps(monkeypatch, options):
    rate = measure_rate(Timed(monkeypatch), options, 4)
    assert rate.batch_s == pytest.approx(0.5 + options.evaluations())
    assert rate.peak_bytes > 2**20


def test_the_rate_from_a_start_picture_counts_the_steps_that_are_run(monkeypatch):
    options = SamplingOptions(num_inference_steps=20, strength=0.3)
    rate = measure_rate(Timed(monkeypatch), options, 4, torch.zeros(1, 8, 8, 3, dtype=torch.uint8))
    assert rate.batch_s == pytest.approx(0.5 + 12)


def test_a_batch_that_does_not_fit_is_halved_as_the_run_will_do(monkeypatch):
    rate = measure_rate(Timed(monkeypatch, fits=3), SamplingOptions(), 8)
    assert rate.shape == 2
    assert priced(rate, 8, 8, 1).endswith("; batches of 2, because 8 do not fit into memory")
    with pytest.raises(ResourceError, match="batch size 1"):
        measure_rate(Timed(monkeypatch, fits=0), SamplingOptions(), 8)


def test_nothing_is_downloaded_for_a_time(tmp_path, generator):
    timed, why_not = can_be_timed(DecoderConfig("unclip"))
    assert not timed
    assert "hf download sd2-community/stable-diffusion-2-1-unclip" in why_not
    assert can_be_timed(DecoderConfig("mini", str(generator))) == (True, "")
    shutil.copytree(generator, tmp_path / "half")
    for path in (tmp_path / "half" / "vae").glob("*.safetensors"):
        path.unlink()
    assert not can_be_timed(DecoderConfig("mini", str(tmp_path / "half")))[0]


@pytest.mark.parametrize(
    ("n_left", "shape", "world", "batches"), [(1, 8, 1, 1), (17, 8, 1, 3), (17, 8, 2, 2), (16, 8, 2, 1), (3, 1, 2, 2)]
)
def test_batches_of_the_busiest_device_decide(n_left, shape, world, batches):
    assert f"0:{batches:02d}:00 of drawing: {batches} batches a device" in priced(
        Rate(shape, 60.0, 0, "cpu"), n_left, shape, world
    )

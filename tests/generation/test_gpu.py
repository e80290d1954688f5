"""On a CUDA device: the same predictions, nearly the same pictures, halved batches; skipped where there is none."""

import io
import json

import numpy as np
import pytest
import torch
from PIL import Image

from tests.generation.conftest import pictures

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]


def pixels(data):
    return np.asarray(Image.open(io.BytesIO(data)), int)


@pytest.mark.parametrize("precision", ["32-true", "16-true", "bf16-true"])
def test_predictions_are_those_of_the_cpu_and_pictures_nearly(tmp_path, predict, precision):
    there = predict(tmp_path / "cpu")
    here = predict(tmp_path / "gpu", trainer={"accelerator": "gpu", "precision": precision})
    assert (here / "predictions.parquet").read_bytes() == (there / "predictions.parquet").read_bytes()
    for name, data in pictures(there).items():
        assert np.abs(pixels(data) - pixels(pictures(here)[name])).mean() < (1 if precision == "32-true" else 6)


def test_the_same_bytes_again_and_in_any_order(tmp_path, predict, brain):
    gpu = {"accelerator": "gpu", "precision": "16-true"}
    first = pictures(predict(tmp_path / "first", trainer=gpu))
    ids = np.unique(brain.table.of_split("test").nsd_id)[::-2].tolist()
    some = pictures(predict(tmp_path / "some", trainer=gpu, data_nsd_ids=ids))
    assert some == {name: first[name] for name in some}
    assert len(some) == len(ids)


def test_memory_that_runs_out_halves_the_batch(tmp_path, predict):
    gpu = {"accelerator": "gpu", "precision": "32-true"}
    whole = torch.cuda.get_device_properties(0).total_memory
    predict(tmp_path / "warm", trainer=gpu, data_limit=1)
    torch.cuda.empty_cache()
    try:
        torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 2**26) / whole)
        run = predict(tmp_path / "run", trainer=gpu, batch_size=2**14, data_limit=3)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    (told,) = json.loads((run / "run.json").read_text())["runs"]
    assert told["batch_shape_at_end"] < told["batch_shape"]
    assert len(pictures(run)) == 3

import json

import numpy as np
import pytest
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.utilities import rank_zero_only
from PIL import Image

from fmri_lightning.tracking.pictures import CAPTION_PX, log_pictures, side_by_side


def pictures(n, side=200):
    return [np.full((side, side, 3), 20 * i % 256, np.uint8) for i in range(n)]


def test_pictures_stand_in_their_order_below_their_words():
    sheet = side_by_side(pictures(3), ["a", "b", "c"])
    assert sheet.shape == (200 + CAPTION_PX, 600, 3)
    assert [int(sheet[100, 200 * i + 100, 0]) for i in range(3)] == [0, 20, 40]
    assert (sheet[:CAPTION_PX, 200:400] < 128).any(), "a word is written"


@pytest.mark.parametrize(("side", "shown"), [(16, 128), (200, 200), (512, 256)])
def test_small_pictures_grow_and_large_ones_shrink(side, shown):
    assert side_by_side(pictures(1, side), ["a"]).shape == (shown + CAPTION_PX, shown, 3)


def test_without_a_dashboard_pictures_are_files_beside_the_log(tmp_path):
    logger = CSVLogger(tmp_path, name="logs")
    log_pictures([logger], "val/panel", pictures(2), ["first", "second"], step=7)
    folder = tmp_path / "logs/version_0/pictures"
    lines = [json.loads(line) for line in (folder / "captions.jsonl").read_text().splitlines()]
    assert [(line["key"], line["step"], line["caption"]) for line in lines] == [
        ("val/panel", 7, "first"), ("val/panel", 7, "second"),
    ]  # fmt: skip
    found = [np.asarray(Image.open(folder / line["file"])) for line in lines]
    assert all(np.array_equal(a, b) for a, b in zip(found, pictures(2), strict=True))


def test_other_ranks_make_no_pictures(tmp_path, monkeypatch):
    monkeypatch.setattr(rank_zero_only, "rank", 1)

    def never():
        raise AssertionError("pictures were made on another rank")

    log_pictures([CSVLogger(tmp_path)], "val/panel", never, ["a"], step=0)
    assert list(tmp_path.iterdir()) == []


def test_a_list_that_would_be_cut_is_refused():
    with pytest.raises(ValueError, match="at most 108"):
        log_pictures([], "val/panel", pictures(109, 4), ["a"] * 109, step=0)


def test_tensorboard_shows_pictures_and_captions(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from fmri_lightning.tracking.tensorboard_logger import TensorBoardRunLogger

    logger = TensorBoardRunLogger(str(tmp_path))
    logger.log_hyperparams({"model": {"init_args": {"hidden": 8}}})
    log_pictures([logger], "val/panel", pictures(2), ["first", "second"], step=3)
    logger.finalize("success")
    events = EventAccumulator(logger.log_dir, size_guidance={"images": 0}).Reload()
    assert events.Tags()["images"] == ["val/panel/00", "val/panel/01"]
    assert events.Images("val/panel/01")[0].step == 3

"""What the summary says of an interval."""

import numpy as np
import pytest

from fmri_lightning.evaluation.results import Evaluation, Row, summarise
from fmri_lightning.metrics.bootstrap import bootstrap_interval

IDS = np.arange(40, dtype=np.int32)
NEAR_ALL = np.where(IDS == 0, 0.0, 1.0)
# What each stimulus adds as query and as candidate; its mean is that of the scores.
ADDED = NEAR_ALL + np.where(IDS < 2, 1.0, -2 / 38)


@pytest.mark.parametrize(("metric", "highest"), [("picture_from_brain_top5", 1.0), ("psnr", None)])
def test_the_interval_of_a_share_is_one_of_shares(metric, highest) -> None:
    free = bootstrap_interval(ADDED, IDS, n_resamples=500)
    assert free.high > 1, "the case is one that needs the limit"
    evaluation = Evaluation(Row(IDS, {metric: NEAR_ALL}, influence={metric: ADDED}), np.zeros(40, np.int16))
    entry = summarise(evaluation, 500, 0)["metrics"][metric]
    assert entry["value"] == pytest.approx(NEAR_ALL.mean())
    assert (entry["ci_low"], entry["ci_high"]) == (free.low, highest or free.high)

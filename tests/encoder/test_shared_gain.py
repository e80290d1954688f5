"""What a trunk is for, on a simulated subject with one session: the benchmark at half its steps."""

import pytest

from fmri_lightning.metrics.bootstrap import bootstrap_interval
from tests.benchmarks.shared_trunk import Comparison, fit_trunk
from tests.encoder.several_subjects import World


@pytest.mark.slow
def test_a_borrowed_trunk_beats_the_same_network_from_nothing_on_one_session(tmp_path):
    world = World(tmp_path, own=2200, test=300, seed=1)
    world.write_cache()
    scores = Comparison(world, fit_trunk(world, steps=200), sessions=1, steps=50).scores()
    for other in ("ridge", "mlp", "nothing"):
        assert bootstrap_interval(scores["new_subject"] - scores[other]).low > 0, other

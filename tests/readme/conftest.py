"""One set of runs for all guides of a session."""

import pytest

from tests.readme.guides import GUIDES, whole_run
from tests.readme.running import SharedRuns


@pytest.fixture(scope="session")
def runs(miniature, tmp_path_factory):
    """Executes each step of the guides once; says at the end what took longest."""
    every = [run for guide in GUIDES if (run := whole_run(guide))]
    shared = SharedRuns(every, miniature.root, tmp_path_factory.mktemp("guides"))
    yield shared
    slowest = sorted(((seconds, step) for step, seconds in shared.executed), key=lambda item: -item[0])
    print(f"\nsteps of guides: {len(slowest)}, {sum(seconds for seconds, _ in slowest):.0f} s")
    for seconds, step in slowest[:8]:
        print(f"  {seconds:5.1f} s  {step.place} {' '.join(step.words[:3])}")

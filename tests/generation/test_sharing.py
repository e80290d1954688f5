"""How pictures are dealt to processes: each exactly once, whatever their number, also when half of them are lost."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fmri_lightning.generation.plan import share_of


def units(n):
    return np.stack([np.arange(n), np.arange(n) % 3], axis=1)


def dealt(remaining, world):
    """What each of `world` ranks gets."""
    return [share_of(remaining, rank, world) for rank in range(world)]


def counted(shares):
    return sorted(map(tuple, np.concatenate(shares).tolist()))


@pytest.mark.parametrize("n", [1, 63, 64, 65, 129, 515, 982, 1001])
def test_sixty_four_ranks_draw_every_unit_once(n):
    shares = dealt(units(n), 64)
    assert counted(shares) == sorted(map(tuple, units(n).tolist()))
    sizes = [len(share) for share in shares]
    assert max(sizes) - min(sizes) <= 1


@given(
    n=st.integers(1, 300),
    world=st.integers(1, 80),
    survivors=st.integers(1, 80),
    seed=st.integers(0, 2**16),
)
def test_half_the_ranks_lost_and_the_rest_resume(n, world, survivors, seed):
    """Ranks die after any number of their units; a run of another size draws what is left, each unit once."""
    rng = np.random.default_rng(seed)
    first = dealt(units(n), world)
    lost = set(rng.permutation(world)[: (world + 1) // 2].tolist())
    done = [share[: rng.integers(0, len(share) + 1)] if rank in lost else share for rank, share in enumerate(first)]
    finished = set(map(tuple, np.concatenate(done).tolist()))
    remaining = np.array([unit for unit in units(n).tolist() if tuple(unit) not in finished], np.int64).reshape(-1, 2)
    second = dealt(remaining, survivors)
    assert counted([*done, *second]) == sorted(map(tuple, units(n).tolist()))


@given(n=st.integers(1, 200), parts=st.integers(1, 40), ranks=st.integers(1, 8))
def test_shards_of_an_array_of_jobs_and_their_ranks(n, parts, ranks):
    """As the datamodule deals: items to jobs, then what is left of each job's units to its ranks."""
    shares = [share for part in range(parts) for share in dealt(share_of(units(n), part, parts), ranks)]
    assert counted(shares) == sorted(map(tuple, units(n).tolist()))

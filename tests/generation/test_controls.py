import numpy as np
import pytest

from fmri_lightning.errors import BadInputError
from fmri_lightning.generation.controls import derangement, shuffled_partners
from fmri_lightning.generation.plan import Items, items_of_table, parse_shard, share_of
from fmri_lightning.generation.predictions import read_predictions
from tests.generation.conftest import pictures, summary
from tests.generation.tiny import trial_table


@pytest.mark.parametrize("n", [2, 3, 10, 100])
@pytest.mark.parametrize("seed", range(5))
def test_a_derangement_moves_everything_once(n, seed):
    moved = derangement(n, seed)
    assert sorted(moved) == list(range(n))
    assert not np.any(moved == np.arange(n))
    assert np.array_equal(moved, derangement(n, seed))


def test_derangements_are_uniform():
    seen = [tuple(derangement(4, seed)) for seed in range(900)]
    counts = [seen.count(d) for d in set(seen)]
    assert len(counts) == 9
    assert max(counts) < 145  # 100 expected, 4.8 standard deviations


def test_one_stimulus_cannot_be_shuffled():
    with pytest.raises(BadInputError, match="two stimuli"):
        derangement(1, 0)


def test_single_trials_are_never_exchanged_with_their_own_picture():
    items = items_of_table(trial_table(), "single")
    partners = shuffled_partners(items, seed=3)
    assert not np.any(items.nsd_id[partners] == items.nsd_id)
    for nsd_id in np.unique(items.nsd_id):
        assert len(set(items.nsd_id[partners[items.nsd_id == nsd_id]].tolist())) == 1


def test_shuffled_pairs_do_not_depend_on_the_limit(tmp_path, predict):
    run = predict(tmp_path / "all", condition="shuffled")
    assert run == tmp_path / "all" / "controls" / "shuffled"
    table, _ = read_predictions(run / "predictions.parquet")
    assert sorted(table.drawn_from_nsd_id) == sorted(table.nsd_id)
    assert not np.any(table.drawn_from_nsd_id == table.nsd_id)
    short, _ = read_predictions(predict(tmp_path / "short", condition="shuffled", data_limit=2) / "predictions.parquet")
    assert short.drawn_from_nsd_id.tolist() == table.drawn_from_nsd_id[:2].tolist()
    predicted, _ = read_predictions(predict(tmp_path / "all") / "predictions.parquet")
    at = np.searchsorted(predicted.nsd_id, table.drawn_from_nsd_id)
    assert np.array_equal(table.target, predicted.target[at])


def test_controls_draw_from_what_they_say(tmp_path, predict, brain):
    from fmri_lightning.embeddings.cache import EmbeddingCache

    caches = {name: EmbeddingCache.open(brain.data[f"{name}_cache"]) for name in ("clip", "target")}
    train = np.unique(brain.table.of_split("train").nsd_id)
    tables = {}
    for condition in ("true_target", "true_source", "mean", "unconditional"):
        run = predict(tmp_path, condition=condition, data_limit=2, encoder_ckpt=None)
        tables[condition], _ = read_predictions(run / "predictions.parquet")
        assert summary(run)["condition"] == condition
    ids = tables["mean"].nsd_id
    assert np.array_equal(tables["true_target"].target, caches["target"].rows(ids))
    assert np.array_equal(tables["true_source"].source, caches["clip"].rows(ids))
    assert np.allclose(tables["mean"].target, caches["target"].rows(train).mean(0), atol=1e-5)
    assert np.allclose(tables["true_source"].cosine_pred_gt, 1, atol=1e-6)
    assert not tables["unconditional"].target.any()
    drawn = [pictures(tmp_path / "controls" / c) for c in tables]
    assert len({d[f"images/nsd{ids[0]}_generated.png"] for d in drawn}) == len(drawn)


def test_items_follow_the_index():
    table = trial_table()
    items = items_of_table(table, "average")
    assert isinstance(items, Items)
    assert items.trial_id.tolist() == list(range(len(items)))
    for position, rows in enumerate(items.rows):
        assert set(table.nsd_id[rows]) == {items.nsd_id[position]}
        assert len(rows) == (table.nsd_id == items.nsd_id[position]).sum()


@pytest.mark.parametrize(("n", "parts"), [(0, 4), (1, 64), (63, 64), (64, 64), (129, 64), (7, 2)])
def test_every_unit_falls_to_one_rank(n, parts):
    units = np.arange(2 * n).reshape(n, 2)
    shares = [share_of(units, part, parts) for part in range(parts)]
    assert sorted(np.concatenate(shares)[:, 0].tolist()) == units[:, 0].tolist()
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "a/b", "1/2/3", "1/0"])
def test_a_shard_is_one_of_n(text):
    from fmri_lightning.errors import UsageError

    with pytest.raises(UsageError):
        parse_shard(text)

"""Records keep their types, and parts of different embedding spaces are never wired together."""

import dataclasses

import numpy as np
import pytest

from fmri_lightning.errors import BadInputError
from fmri_lightning.records import TRIAL_DTYPES, EmbeddingSpace, TrialTable, require_same_space


def space(**changes):
    rng = np.random.default_rng(0)
    vectors = tuple(tuple(float(x) for x in v) for v in rng.normal(size=(8, 4)))
    plain = EmbeddingSpace("mini-source", "checkpoints/mini/source_encoder", "", 4, "projection", "raw", 2.0)
    whole = dataclasses.replace(plain, mean=(0.0, 1.0, 2.0, 3.0), std=(1.0,) * 4, probe=vectors, weights_hash="abc")
    return dataclasses.replace(whole, **changes)


def turned(probe, angle):
    """The same lengths, each vector turned by an angle in a plane."""
    vectors = np.array(probe)
    other = np.roll(vectors, 1, axis=1)
    other -= vectors * ((other * vectors).sum(1) / (vectors**2).sum(1))[:, None]
    other *= (np.linalg.norm(vectors, axis=1) / np.linalg.norm(other, axis=1))[:, None]
    return tuple(map(tuple, np.cos(angle) * vectors + np.sin(angle) * other))


def test_a_space_survives_json():
    assert EmbeddingSpace.from_json(space().to_json()) == space()
    assert EmbeddingSpace.from_json(space().to_dict()) == space()
    bare = space(mean=None, std=None, probe=None)
    assert EmbeddingSpace.from_json(bare.to_json().encode()) == bare


@pytest.mark.parametrize("source", ["{", "{}", '{"name": "x"}', "[1]"])
def test_what_is_no_space_is_refused(source):
    with pytest.raises(BadInputError, match="not the description of an embedding space"):
        EmbeddingSpace.from_json(source)


@pytest.mark.parametrize("changes", [{"scale": "normalised"}, {"mean": (1.0,)}, {"probe": ((1.0, 2.0),)}])
def test_a_space_that_contradicts_itself_is_refused(changes):
    with pytest.raises(BadInputError, match="mini-source"):
        space(**changes)


def test_the_same_network_under_another_id_matches():
    require_same_space(space(), space(name="vit-h-14", model_id="mirror/vit-h", revision="f00"), "cache", "decoder")
    require_same_space(space(), space(probe=turned(space().probe, np.arccos(0.99995))), "cache", "decoder")
    require_same_space(space(), space(probe=None), "cache", "decoder")


@pytest.mark.parametrize(
    "other",
    [
        space(dim=3, mean=None, std=None, probe=None),
        space(scale="unit"),
        space(probe=turned(space().probe, np.arccos(0.9998))),
        space(probe=space().probe[:-1]),
        space(probe=((0.0,) * 4,) * 8),
    ],
    ids=["dimension", "normalised", "another model", "fewer probes", "zero vectors"],
)
def test_another_space_is_refused_naming_both(other):
    with pytest.raises(BadInputError, match=r"the adapter works in .* the decoder in"):
        require_same_space(space(), other, "the adapter", "the decoder")


def columns(n=6):
    made = {name: np.arange(n).astype(dtype) for name, dtype in TRIAL_DTYPES.items()}
    return made | {"split": np.array(["train", "val", "test"] * (n // 3))}


def test_a_table_keeps_types_and_order():
    table = TrialTable(**columns())
    assert len(table) == 6
    assert [f.name for f in dataclasses.fields(table)] == list(TRIAL_DTYPES)
    assert {name: getattr(table, name).dtype.kind for name in ("nsd_id", "shared1000", "split")} == {
        "nsd_id": "i",
        "shared1000": "b",
        "split": "U",
    }
    assert table.of_split("val").nsd_id.tolist() == [1, 4]
    assert table.where(table.nsd_id > 3).nsd_id.tolist() == [4, 5]
    assert len(table.where(np.zeros(6, dtype=bool))) == 0


def test_row_numbers_are_not_taken_for_a_mask():
    with pytest.raises(ValueError, match="bool mask of 6 rows"):
        TrialTable(**columns()).where(np.array([0, 1]))


def test_columns_of_unequal_length_are_refused():
    with pytest.raises(BadInputError, match="unequal"):
        TrialTable(**columns() | {"nsd_id": np.arange(5)})

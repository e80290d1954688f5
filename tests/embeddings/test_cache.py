import hashlib

import numpy as np
import pyarrow.parquet as pq
import pytest

from fmri_lightning.embeddings.cache import EmbeddingCache, write_cache
from fmri_lightning.errors import BadInputError
from fmri_lightning.records import EmbeddingSpace

SPACE = EmbeddingSpace("toy", "models/toy", "", 6, "projection", "raw")


@pytest.fixture
def rows():
    rng = np.random.default_rng(0)
    return np.array([30, 4, 17, 900, 2], dtype=np.int32), rng.normal(size=(5, 6)).astype(np.float32)


def test_rows_come_back_by_id(tmp_path, rows):
    ids, vectors = rows
    write_cache(tmp_path / "clip.parquet", ids, vectors, SPACE)
    cache = EmbeddingCache.open(tmp_path / "clip.parquet")
    assert cache.ids.tolist() == [2, 4, 17, 30, 900]
    np.testing.assert_array_equal(cache.rows(ids), vectors)
    np.testing.assert_array_equal(cache.rows(np.array([17, 17])), vectors[[2, 2]])


def test_file_has_the_contracted_columns_and_no_other(tmp_path, rows):
    write_cache(tmp_path / "clip.parquet", *rows, SPACE)
    schema = pq.read_schema(tmp_path / "clip.parquet")
    assert [(f.name, str(f.type)) for f in schema] == [
        ("nsd_id", "int32"),
        ("embedding", "fixed_size_list<element: float>[6]"),
    ]


def test_statistics_are_those_of_the_rows(tmp_path, rows):
    ids, vectors = rows
    write_cache(tmp_path / "clip.parquet", ids, vectors, SPACE)
    space = EmbeddingCache.open(tmp_path / "clip.parquet").space
    np.testing.assert_allclose(space.mean, vectors.mean(0), rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(space.std, vectors.std(0), rtol=1e-6)
    assert space.median_norm == pytest.approx(np.median(np.linalg.norm(vectors, axis=1)))
    assert (space.name, space.dim, space.scale) == ("toy", 6, "raw")


def test_hash_is_of_values_not_of_order(tmp_path, rows):
    ids, vectors = rows
    first = write_cache(tmp_path / "a.parquet", ids, vectors, SPACE)
    assert write_cache(tmp_path / "b.parquet", ids[::-1], vectors[::-1], SPACE) == first
    changed = vectors.copy()
    changed[3, 2] = np.nextafter(changed[3, 2], 9)
    assert write_cache(tmp_path / "c.parquet", ids, changed, SPACE) != first
    assert len(first) == hashlib.sha256().digest_size * 2


def test_second_open_maps_the_derived_copy(tmp_path, rows):
    write_cache(tmp_path / "clip.parquet", *rows, SPACE)
    first = EmbeddingCache.open(tmp_path / "clip.parquet")
    again = EmbeddingCache.open(tmp_path / "clip.parquet")
    assert isinstance(again.embeddings, np.memmap)
    np.testing.assert_array_equal(again.embeddings, first.embeddings)


def test_a_new_cache_of_the_same_name_never_reads_the_old_copy(tmp_path, rows):
    ids, vectors = rows
    write_cache(tmp_path / "clip.parquet", ids, vectors, SPACE)
    EmbeddingCache.open(tmp_path / "clip.parquet")
    write_cache(tmp_path / "clip.parquet", ids, vectors + 1, SPACE)
    np.testing.assert_array_equal(EmbeddingCache.open(tmp_path / "clip.parquet").rows(ids), vectors + 1)
    assert len(list(tmp_path.glob(".clip.*.npy"))) == 1


def test_a_flipped_bit_is_found(tmp_path, rows):
    ids, vectors = rows
    path = tmp_path / "clip.parquet"
    write_cache(path, ids, vectors, SPACE)
    raw = bytearray(path.read_bytes())
    raw[raw.index(vectors[4].tobytes()) + 5] ^= 1
    path.write_bytes(raw)
    with pytest.raises(BadInputError, match="damaged"):
        EmbeddingCache.open(path)


def test_missing_stimuli_are_named(tmp_path, rows):
    write_cache(tmp_path / "clip.parquet", *rows, SPACE)
    cache = EmbeddingCache.open(tmp_path / "clip.parquet")
    with pytest.raises(BadInputError, match="lacks 2 stimuli \\(nsd_id 3, 9999\\)"):
        cache.rows(np.array([2, 9999, 3]))


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda i, v: (i, v[:, :5]), "6-D"),
        (lambda i, v: (np.array([1, 2, 2, 3, 4]), v), "nsd_id 2 comes twice"),
        (lambda i, v: (i, np.where(v == v.max(), np.nan, v)), "not finite"),
        (lambda i, v: (i[:0], v[:0]), "no stimulus"),
    ],
)
def test_bad_rows_are_refused_and_nothing_is_written(tmp_path, rows, break_it, message):
    with pytest.raises(BadInputError, match=message):
        write_cache(tmp_path / "clip.parquet", *break_it(*rows), SPACE)
    assert list(tmp_path.iterdir()) == []


def test_other_files_are_refused(tmp_path):
    import pyarrow as pa

    with pytest.raises(BadInputError, match="does not exist"):
        EmbeddingCache.open(tmp_path / "none.parquet")
    pq.write_table(pa.table({"nsd_id": [1]}), tmp_path / "other.parquet")
    with pytest.raises(BadInputError, match="not an embedding cache"):
        EmbeddingCache.open(tmp_path / "other.parquet")
    (tmp_path / "text.parquet").write_text("hello")
    with pytest.raises(BadInputError, match="not a readable parquet"):
        EmbeddingCache.open(tmp_path / "text.parquet")

"""Faults of embedding files: flipped values, statistics and ids that are not what they say."""

import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fmri_lightning.embeddings.cache import EmbeddingCache
from tests.doctor.leaks.small_run import (
    copy_of,
    ids_of,
    refused,
    rewrite_cache,
    trials_of,
)


def test_a_flipped_value_in_a_cache_is_found_though_the_mapped_copy_is_whole(parts, run, tmp_path):
    path = shutil.copy(parts.brain["clip_cache"], tmp_path / "clip.parquet")
    nsd_id = ids_of(parts, "test")[5]
    row = EmbeddingCache.open(path).row_numbers([nsd_id])[0]  # opening derives the mapped copy
    table = pq.read_table(path)
    values = table.column("embedding").combine_chunks().flatten().to_numpy().copy()
    values[row * 12 + 3] += 0.25
    flipped = pa.FixedSizeListArray.from_arrays(pa.array(values), 12)
    pq.write_table(table.set_column(1, table.schema.field(1), flipped), path)
    refused(
        copy_of(run, tmp_path, data_clip_cache=path),
        r"clip.parquet does not hold what was hashed \(found \w{12}, expected \w{12}\)",
        rf"1 stimuli: nsd_id {nsd_id} \(test, global_trial {trials_of(parts, nsd_id)}.*clip-cache --overwrite",
    )


def test_a_flipped_value_in_the_mapped_copy_is_found(parts, run, tmp_path):
    path = shutil.copy(parts.brain["target_cache"], tmp_path / "target.parquet")
    cache = EmbeddingCache.open(path)
    sidecar = cache.embeddings.filename
    values = np.load(sidecar)
    values[7, 2] += 0.25
    np.save(sidecar, values)
    refused(
        copy_of(run, tmp_path, data_target_cache=path), r"target\.\w+\.npy does not hold", f"nsd_id {cache.ids[7]} "
    )


def test_a_cache_whose_own_mean_is_another_is_refused(parts, run, tmp_path):
    path = shutil.copy(parts.brain["clip_cache"], tmp_path / "clip.parquet")
    table = pq.read_table(path)
    key = b"fmri_lightning.clip_cache"
    about = json.loads(table.schema.metadata[key])
    about["space"]["mean"][4] += 0.01
    pq.write_table(table.replace_schema_metadata({key: json.dumps(about)}), path)
    refused(copy_of(run, tmp_path, data_clip_cache=path), "the mean in its description is not that of its pictures")


def test_a_cache_without_a_test_picture_is_refused(parts, run, tmp_path):
    missing = ids_of(parts, "test")[3]
    path = rewrite_cache(
        parts.brain["target_cache"], tmp_path / "target.parquet", lambda i, v: (i[i != missing], v[i != missing])
    )
    refused(copy_of(run, tmp_path, data_target_cache=path), rf"lacks 1 stimuli \(nsd_id {missing}\)")

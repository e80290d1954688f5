"""predictions.parquet: one row an item, with the embeddings its picture is drawn from."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.errors import BadInputError
from fmri_lightning.manifest import atomic_path, content_hash

FILE_NAME = "predictions.parquet"
_METADATA_KEY = b"fmri_lightning.predictions"


@dataclass(frozen=True, eq=False)
class Predictions:
    """Embeddings of the items asked for, in plan order.

    Attributes:
        nsd_id: Picture that was shown, (n,) int32.
        trial_id: From the index, (n,) int32.
        global_trial: The trial, -1 in the average modes, (n,) int32.
        source: Raw source embeddings the pictures are drawn from (n, dim) float32, or None.
        target: Raw embeddings in the decoder's space (n, dim) float32, or None.
        cosine_pred_gt: Cosine of the embedding used with the true one of nsd_id, (n,) float32; NaN where unknown.
        nn_nsd_id: Nearest training stimulus, (n,) int32; -1 where unknown.
        nn_cosine: Its cosine, (n,) float32.
        drawn_from_nsd_id: Whose embedding was used, (n,) int32; differs from nsd_id in condition shuffled.
        noise_level: How unreliable each embedding is, 0..999, (n,) int32; None where one level serves all.
        low_level: Predicted latents of an autoencoder, which give the layout, (n, dim) float32, or None.
    """

    nsd_id: NDArray[np.int32]
    trial_id: NDArray[np.int32]
    global_trial: NDArray[np.int32]
    source: NDArray[np.float32] | None
    target: NDArray[np.float32] | None
    cosine_pred_gt: NDArray[np.float32]
    nn_nsd_id: NDArray[np.int32]
    nn_cosine: NDArray[np.float32]
    drawn_from_nsd_id: NDArray[np.int32]
    noise_level: NDArray[np.int32] | None = None
    low_level: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.nsd_id)

    def take(self, rows: NDArray[np.intp]) -> Predictions:
        """Return a table of some rows, (m,), in the order asked for."""
        columns: dict[str, Any] = {column.name: getattr(self, column.name) for column in fields(self)}
        taken: dict[str, Any] = {name: None if values is None else values[rows] for name, values in columns.items()}
        return Predictions(**taken)


def write_predictions(path: Path, predictions: Predictions, about: dict[str, Any]) -> None:
    """Write the table, whole or not at all.

    Args:
        path: The parquet file.
        predictions: Its rows.
        about: What goes into the schema metadata: spaces, input hashes, condition, mean-vector cosine.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    arrays = {
        "nsd_id": pa.array(predictions.nsd_id),
        "trial_id": pa.array(predictions.trial_id),
        "global_trial": pa.array(predictions.global_trial),
        "source_embedding": _vectors(predictions.source, len(predictions)),
        "target_embedding": _vectors(predictions.target, len(predictions)),
        "cosine_pred_gt": pa.array(predictions.cosine_pred_gt),
        "nn_nsd_id": pa.array(predictions.nn_nsd_id),
        "nn_cosine": pa.array(predictions.nn_cosine),
        "drawn_from_nsd_id": pa.array(predictions.drawn_from_nsd_id),
    }
    if predictions.noise_level is not None:
        arrays["noise_level"] = pa.array(predictions.noise_level)
    if predictions.low_level is not None:
        arrays["low_level"] = _vectors(predictions.low_level, len(predictions))
    table = pa.table(arrays).replace_schema_metadata(
        {_METADATA_KEY: json.dumps({"content_hash": predictions_hash(predictions), **about}, sort_keys=True)}
    )
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, use_dictionary=False, compression="none", write_page_checksum=True)


def predictions_hash(predictions: Predictions) -> str:
    """Hash ids and embeddings by value."""
    none = np.empty(0, np.float32)
    return content_hash(
        predictions.trial_id,
        predictions.nsd_id,
        predictions.drawn_from_nsd_id,
        none if predictions.source is None else predictions.source,
        none if predictions.target is None else predictions.target,
        # Only where they are: tables of earlier versions keep their hash.
        *(extra for extra in (predictions.noise_level, predictions.low_level) if extra is not None),
    )


def _vectors(vectors: NDArray[np.float32] | None, n: int) -> Any:
    import pyarrow as pa

    if vectors is None:
        return pa.nulls(n, pa.list_(pa.float32(), 1))
    flat = pa.array(np.ascontiguousarray(vectors, np.float32).ravel())
    return pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])


def read_predictions(path: Path) -> tuple[Predictions, dict[str, Any]]:
    """Read what :func:`write_predictions` wrote.

    Args:
        path: The parquet file.

    Returns:
        The rows, and the metadata.

    Raises:
        BadInputError: Missing, damaged, or of another kind.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(path, page_checksum_verification=True).read()
    except (OSError, pa.ArrowException) as error:
        line = str(error).splitlines()[0]
        raise BadInputError(f"{path} cannot be read ({line}); run fmri-lightning predict again") from error
    metadata = (table.schema.metadata or {}).get(_METADATA_KEY)
    if metadata is None:
        raise BadInputError(f"{path} is not a predictions.parquet of fmri-lightning predict")
    about: dict[str, Any] = json.loads(metadata)

    def column(name: str) -> NDArray[Any]:
        values: NDArray[Any] = table.column(name).to_numpy()
        return values

    predictions = Predictions(
        nsd_id=column("nsd_id"),
        trial_id=column("trial_id"),
        global_trial=column("global_trial"),
        source=_matrix(table.column("source_embedding")),
        target=_matrix(table.column("target_embedding")),
        cosine_pred_gt=column("cosine_pred_gt"),
        nn_nsd_id=column("nn_nsd_id"),
        nn_cosine=column("nn_cosine"),
        drawn_from_nsd_id=column("drawn_from_nsd_id"),
        noise_level=column("noise_level") if "noise_level" in table.column_names else None,
        low_level=_matrix(table.column("low_level")) if "low_level" in table.column_names else None,
    )
    if predictions_hash(predictions) != about.get("content_hash"):
        raise BadInputError(f"{path} does not hold what its hash says; remove it and run fmri-lightning predict again")
    return predictions, about


def _matrix(column: Any) -> NDArray[np.float32] | None:
    if column.null_count:
        return None
    values: NDArray[np.float32] = column.combine_chunks().flatten().to_numpy()
    return values.reshape(len(column), -1)

"""Tables of voxels, regions and sets of voxels, as Parquet and CSV."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from fmri_lightning.manifest import atomic_path

if TYPE_CHECKING:
    import pyarrow as pa

REGION_COLUMNS = ("value", "ci_low", "ci_high", "median", "q25", "q75")
ABLATION_COLUMNS = ("value", "ci_low", "ci_high", "difference", "difference_ci_low", "difference_ci_high")


def region_rows(quantities: dict[str, dict[str, dict[str, Any]]]) -> dict[str, list[Any]]:
    """Columns of the table of regions: a row a quantity and region.

    Args:
        quantities: Quantity to region to its numbers.
    """
    rows = [
        (quantity, region, entry["n_voxels"], *(entry[key] for key in REGION_COLUMNS))
        for quantity, regions in quantities.items()
        for region, entry in regions.items()
    ]
    return _columns(("quantity", "region", "n_voxels", *REGION_COLUMNS), rows)


def ablation_rows(ablation: dict[str, Any]) -> dict[str, list[Any]]:
    """Columns of the table of sets of voxels: a row a region, whether it is kept or dropped, and metric.

    Args:
        ablation: What :func:`fmri_lightning.evaluation.voxels.ablation.ablate` found.
    """
    rows = []
    for metric, entry in ablation["full"].items():
        rows.append(("all voxels", ablation["n_voxels"], "full", metric, *_numbers(entry), None, None, None, None))
    for region, entry in ablation["regions"].items():
        for kind in ("keep", "drop"):
            for metric, one in entry.get(kind, {}).items():
                controls = one["controls"]
                spread = (sum(controls) / len(controls), min(controls), max(controls)) if controls else (None,) * 3
                rows.append((region, entry["n_voxels"], kind, metric, *_numbers(one), *spread, one["p"]))
    names = ("region", "n_voxels", "set", "metric", *ABLATION_COLUMNS)
    return _columns((*names, "controls_mean", "controls_min", "controls_max", "p"), rows)


def _numbers(entry: dict[str, Any]) -> tuple[float | None, ...]:
    change = entry.get("difference") or {}
    of_set = (entry["value"], entry["ci_low"], entry["ci_high"])
    return (*of_set, *(change.get(key) for key in ("value", "ci_low", "ci_high")))


def _columns(names: tuple[str, ...], rows: list[tuple[Any, ...]]) -> dict[str, list[Any]]:
    return {name: [row[i] for row in rows] for i, name in enumerate(names)}


def write_table(folder: Path, name: str, columns: dict[str, Any]) -> list[Path]:
    """Write a table as Parquet and as CSV.

    Args:
        folder: Where.
        name: Of both files.
        columns: Name to values.

    Returns:
        Both files.
    """
    import pyarrow as pa
    import pyarrow.csv as csv
    import pyarrow.parquet as pq

    table: pa.Table = pa.table({key: pa.array(values) for key, values in columns.items()})
    parquet, text = folder / f"{name}.parquet", folder / f"{name}.csv"
    with atomic_path(parquet) as temporary:
        pq.write_table(table, temporary, write_page_checksum=True)
    with atomic_path(text) as temporary:
        csv.write_csv(_without_nan(table), temporary)
    return [parquet, text]


def _without_nan(table: pa.Table) -> pa.Table:
    """Empty cells where a number is not defined: "nan" is a word to most readers of CSV."""
    import pyarrow as pa
    import pyarrow.compute as pc

    for i, field in enumerate(table.schema):
        if pa.types.is_floating(field.type):
            column = table.column(i)
            table = table.set_column(i, field.name, pc.if_else(pc.is_nan(column), None, column))
    return table

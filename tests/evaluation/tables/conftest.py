"""Evaluated folders written by hand: the tables depend on the contents of the files alone."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fmri_lightning.manifest import Manifest, write_manifest


def entry_of(values, ids, **changes):
    """What summary.json says of a metric; the interval is no bootstrap but easy to recognise."""
    values = np.asarray(values, float)
    defined = np.isfinite(values)
    value = float(values[defined].mean()) if defined.any() else None
    return {
        "value": value,
        "ci_low": None if value is None else value - 0.05,
        "ci_high": None if value is None else value + 0.05,
        "n": int(defined.sum()),
        "chance": None,
        "null": None,
        "ceiling": None,
        "statistic": "mean",
        "higher_is_better": True,
        "circular": False,
        "undefined": np.asarray(ids)[~defined].tolist(),
        "rows": {},
    } | changes


class Written:
    """Writes evaluated folders below one place."""

    def __init__(self, base):
        self.base = base

    def run(self, name, scores, ids=None, subject="subj01", protocol="demo", beside=None, entries=None, **changes):
        """Write {name}/evaluation/{protocol}.

        Args:
            name: Of the run folder, below the subject's.
            scores: Metric to scores.
            ids: Stimulus of each item.
            subject: Whose run.
            protocol: Bare name.
            beside: Row to metric to scores.
            entries: Metric to changes of its entry.
            changes: Changes of the summary.
        """
        folder = self.base / subject / name / "evaluation" / protocol
        folder.mkdir(parents=True)
        n = len(next(iter(scores.values())))
        ids = np.arange(n) if ids is None else np.asarray(ids)
        metrics = {m: entry_of(v, ids, **(entries or {}).get(m, {})) for m, v in scores.items()}
        lines = [(int(i), m, float(x)) for m, v in scores.items() for i, x in zip(ids, v, strict=True)]
        for row, of_row in (beside or {}).items():
            for m, v in of_row.items():
                found = entry_of(v, ids)
                metrics[m]["rows"][row] = {key: found[key] for key in ("value", "ci_low", "ci_high", "n")} | {
                    "from": None
                }
                lines += [(int(i), f"{row}/{m}", float(x)) for i, x in zip(ids, v, strict=True)]
        summary = {
            "protocol": protocol,
            "protocol_name": protocol,
            "protocol_settings": {"name": protocol},
            "comparable": False,
            "headline": "pixcorr",
            "n": n,
            "test_set": "shared1000",
            "n_test_set": n,
            "simulated": True,
            "subject": subject,
            "encoder": name.removesuffix("_diffusion"),
            "decoder": "mini",
            "condition": "predicted",
            "trial_mode": "average",
            "n_samples": 1,
            "metrics": metrics,
            "skipped": {},
        } | changes
        (folder / "summary.json").write_text(json.dumps(summary))
        columns = {
            "nsd_id": pa.array([line[0] for line in lines], pa.int32()),
            "sample": pa.array([0] * len(lines), pa.int16()),
            "metric": pa.array([line[1] for line in lines]),
            "value": pa.array([line[2] for line in lines], pa.float64()),
            "influence": pa.array([line[2] for line in lines], pa.float64()),
        }
        pq.write_table(pa.table(columns), folder / "scores.parquet", write_page_checksum=True)
        write_manifest(folder, Manifest("evaluation", "ab" * 32))
        return folder


@pytest.fixture
def written(tmp_path):
    return Written(tmp_path / "recon")

"""A run folder written by hand in the layout of predict and evaluate, with its stimuli."""

import json
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

IDS = (4, 9, 12, 20)
NEIGHBOURS = {4: 1, 9: 2, 12: 1, 20: 3}


def scene(nsd_id, size_px=48):
    rng = np.random.default_rng(nsd_id)
    coarse = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8))
    return np.asarray(coarse.resize((size_px, size_px), Image.Resampling.BICUBIC))


def write_stimuli(root: Path) -> Path:
    path = root / "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5"
    path.parent.mkdir(parents=True)
    with h5py.File(path, "w") as file:
        file["imgBrick"] = np.stack([scene(i) for i in range(24)])
    return root


def write_run(folder: Path, root: Path, encoder="mlp", condition="predicted", drawn_from=None, first=100, **fields):
    (folder / "images").mkdir(parents=True)
    results = []
    for trial_id, nsd_id in enumerate(IDS):
        Image.fromarray(scene(first + nsd_id, 64)).save(folder / f"images/nsd{nsd_id}_generated.png")
        results.append(
            {
                "trial_id": trial_id,
                "nsdId": nsd_id,
                "cosine_pred_gt": 0.5 + trial_id / 10,
                "nn_nsdId": NEIGHBOURS[nsd_id],
                "nn_cosine": 0.7,
                "image_path": f"images/nsd{nsd_id}_generated.png",
            }
        )
    summary = {
        "subject": "subj01",
        "encoder": encoder,
        "checkpoint": f"checkpoints/{encoder}/subj01/{encoder}.ckpt",
        "diffusion_model": "checkpoints/mini/generator",
        "guidance_scale": 3.0,
        "num_inference_steps": 25,
        "n_generated": len(results),
        "mean_cosine": 0.65,
        "results": results,
        "condition": condition,
        "mean_vector_cosine": 0.4,
        "gallery": {"size": 10, "limit": None},
        "failures": [],
        "simulated": True,
        "noise_level": 0,
        "noise_mode": "add",
        "n_samples": 1,
        "seed": 42,
        "trial_mode": "average",
        "test_set": "shared1000",
        "provenance": {
            "root": str(root),
            "inputs": {"clip_cache": "ab" * 32},
            "decoder": {"family": "mini", "revision": None},
            "spaces": {"source": {"name": "mini-source", "dim": 512, "scale": "raw"}, "target": None},
            "versions": {"fmri_lightning": "0.1.0"},
        },
    } | fields
    (folder / "decode_summary.json").write_text(json.dumps(summary))
    used = drawn_from or {i: i for i in IDS}
    pq.write_table(
        pa.table(
            {"nsd_id": pa.array(IDS, pa.int32()), "drawn_from_nsd_id": pa.array([used[i] for i in IDS], pa.int32())}
        ),
        folder / "predictions.parquet",
    )
    return folder


def write_evaluation(
    folder: Path, value=0.8, low=0.7, high=0.9, null=(0.5, 0.45, 0.55), protocol="demo", centred_low=0.1
):
    target = folder / "evaluation" / protocol
    target.mkdir(parents=True)
    rows = {"true_target": {"value": 0.95, "ci_low": 0.9, "ci_high": 1.0, "n": 4, "from": None}}
    if null is not None:
        rows["shuffled"] = dict(zip(("value", "ci_low", "ci_high"), null, strict=True)) | {"n": 4, "from": None}
    metrics = {
        "judge2_two_way": {
            "value": value,
            "ci_low": low,
            "ci_high": high,
            "chance": 0.5,
            "null": None if null is None else null[0],
            "ceiling": 0.95,
            "rows": rows,
        },
        "pixcorr": {"value": 0.312, "ci_low": 0.25, "ci_high": 0.37, "chance": None, "null": 0.01, "ceiling": 0.6},
        "source_centred_cosine": {"value": 0.2, "ci_low": centred_low, "ci_high": 0.3, "chance": 0.0},
        "source_cosine": {"value": 0.65, "ci_low": 0.6, "ci_high": 0.7, "chance": None, "circular": True},
    }
    summary = {
        "metrics": metrics,
        "skipped": {"inception": "needs the extra eval-nets"},
        "n": 4,
        "test_set": "shared1000",
        "protocol": protocol,
        "simulated": True,
    }
    (target / "summary.json").write_text(json.dumps(summary))
    scores = [(i, f"{prefix}judge2_two_way", (k + 1) / 4) for prefix in ("", "shuffled/") for k, i in enumerate(IDS)]
    pq.write_table(
        pa.table(
            {
                "nsd_id": pa.array([s[0] for s in scores], pa.int32()),
                "sample": pa.array([0] * len(scores), pa.int16()),
                "metric": [s[1] for s in scores],
                "value": [s[2] for s in scores],
            }
        ),
        target / "scores.parquet",
    )


@pytest.fixture(scope="session")
def stimuli_root(tmp_path_factory):
    return write_stimuli(tmp_path_factory.mktemp("nsd"))


@pytest.fixture
def scored_run(tmp_path, stimuli_root):
    folder = write_run(tmp_path / "mlp_diffusion", stimuli_root)
    write_run(folder / "controls/true_target", stimuli_root, condition="true_target", first=200)
    derangement = dict(zip(IDS, (*IDS[1:], IDS[0]), strict=True))
    write_run(folder / "controls/shuffled", stimuli_root, condition="shuffled", drawn_from=derangement, first=300)
    write_evaluation(folder)
    return folder

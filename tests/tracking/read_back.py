"""Reads an offline run as its user does, by ``wandb leet``; nothing of W&B's insides is imported."""

import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image


@dataclass
class WrittenRun:
    """What one run folder says.

    Attributes:
        folder: offline-run-….
        about: Name, group, job type, tags.
        config: Nested settings.
        history: One dictionary a log call.
        summary: Last or best values.
        artifacts: As logged.
        exit_code: None where the run was not finished.
    """

    folder: Path
    about: dict = field(default_factory=dict)
    config: dict = field(default_factory=dict)
    history: list = field(default_factory=list)
    summary: dict = field(default_factory=dict)
    artifacts: list = field(default_factory=list)
    exit_code: int | None = None

    def keys(self) -> set[str]:
        """Keys of history and summary, without those that W&B adds."""
        found = {key for item in self.history for key in item} | set(self.summary)
        return {key for key in found if not key.startswith("_")}

    def own_keys(self) -> set[str]:
        """The same without the parts of pictures and tables, whose keys go on with a dot."""
        return {key.split(".")[0] for key in self.keys()}

    def pictures(self, key: str) -> list[np.ndarray]:
        """Pictures of the last log call of a key, uint8."""
        files = [item[f"{key}.filenames"] for item in self.history if f"{key}.filenames" in item][-1]
        return [np.asarray(Image.open(self.folder / "files" / name).convert("RGB")) for name in files]

    def captions(self, key: str) -> list[str]:
        return [item[f"{key}.captions"] for item in self.history if f"{key}.captions" in item][-1]

    def table(self, key: str) -> tuple[list[str], list[list]]:
        """Columns and rows of a table; its pictures as uint8, read where they wait to be sent."""
        content = next(a["manifest"]["contents"] for a in self.artifacts if a["type"] == "run_table")
        local = {entry["path"]: entry["local_path"] for entry in content}
        table = json.loads(Path(local[f"{key}.table.json"]).read_text())

        def cell(value):
            picture = isinstance(value, dict) and value.get("_type") == "image-file"
            return np.asarray(Image.open(local[value["path"]]).convert("RGB")) if picture else value

        return table["columns"], [[cell(value) for value in row] for row in table["data"]]


def run_folders(place: Path) -> list[Path]:
    """All run folders below a folder, oldest first."""
    return sorted(place.rglob("*run-*/run-*.wandb"), key=lambda path: path.stat().st_mtime)


def read_run(file: Path) -> WrittenRun:
    done = subprocess.run(
        [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(file)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    run = WrittenRun(file.parent)
    for line in done.stdout.splitlines():
        record = json.loads(line)
        content = record[record["type"]]
        match record["type"]:
            case "run":
                run.about, run.config = content, dict(content.get("config", {}).get("update", {}))
            case "config":
                run.config |= content.get("update", {})
            case "history":
                run.history.append(content["item"])
            case "summary":
                run.summary |= content.get("update", {})
            case "artifact":
                run.artifacts.append(content)
            case "exit":
                run.exit_code = content.get("exit_code", 0)
    return run


def only_run(place: Path) -> WrittenRun:
    """The one run below a folder."""
    (file,) = run_folders(place)
    return read_run(file)


def alike(a: np.ndarray, b: np.ndarray) -> float:
    """Mean absolute difference, 0..255."""
    return float(np.abs(a.astype(float) - b.astype(float)).mean())

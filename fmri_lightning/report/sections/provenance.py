"""Where everything came from, and how to make the page's numbers again."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Any

from fmri_lightning.report.paths import short_path, shorten_in_yaml, shorten_paths
from fmri_lightning.report.runs import ReportRun, read_optional
from fmri_lightning.report.sections.section import Material, Section

CONFIGURATION = "predict.yaml"
HASH_DIGITS = 12


@dataclass(frozen=True)
class Configuration:
    """The settings that drew a run: its label, and the text of predict.yaml with short paths."""

    run: str
    text: str


@dataclass(frozen=True)
class ProvenanceSection(Section):
    """Where everything came from.

    Attributes:
        labels: Of the runs.
        rows: A name and a value a run.
        configurations: Of the runs that have one.
        commands: Lines for a shell.
        shortened: Whether the commands hold paths that were cut.
    """

    anchor = "provenance"
    title = "Where this comes from"
    template = "sections/provenance.html.j2"
    labels: list[str]
    rows: list[tuple[str, list[str]]]
    configurations: list[Configuration]
    commands: list[str]
    shortened: bool


def build(material: Material) -> ProvenanceSection:
    """Gather provenance, configurations and commands of all runs."""
    commands = _commands(material)
    return ProvenanceSection(
        labels=[run.label for run in material.runs],
        rows=provenance(material.runs, material.share),
        configurations=[one for run in material.runs if (one := _configuration(run, material.share)) is not None],
        commands=commands,
        shortened=material.share or any("…" in line for line in commands),
    )


def provenance(runs: list[ReportRun], share: bool = False) -> list[tuple[str, list[str]]]:
    """List where everything came from.

    Args:
        runs: Runs of the page.
        share: Cut paths to their last part.

    Returns:
        A name and one value a run, without names that no run has.
    """
    listed = [_provenance_of(run, share) for run in runs]
    names = list(dict.fromkeys(name for one in listed for name in one))
    return [(name, [one.get(name, "–") for one in listed]) for name in names]


def _provenance_of(run: ReportRun, share: bool) -> dict[str, str]:
    summary, recorded = run.summary, run.summary.get("provenance") or {}
    decoder = recorded.get("decoder") or {}
    values: dict[str, Any] = {
        "subject": summary.get("subject"),
        "brain": "simulated" if summary.get("simulated") else None,
        "encoder": summary.get("encoder"),
        "checkpoint": _path(summary.get("checkpoint"), share),
        "adapter": _path(recorded.get("adapter"), share),
        "diffusion model": None if summary.get("diffusion_model") is None else str(summary["diffusion_model"]),
        "decoder family": decoder.get("family"),
        "decoder revision": decoder.get("revision"),
        "resolution": decoder.get("resolution"),
        "trial mode": summary.get("trial_mode"),
        "test set": _test_set(summary),
        "prediction only": (summary.get("prediction_only") or {}).get("in_words"),
        "pictures": summary.get("n_generated"),
        "failures": len(summary.get("failures") or []),
        "gallery of neighbours": _plain(summary.get("gallery")),
        "embedding cosine": _digits(summary.get("mean_cosine")),
        "mean-vector cosine": _digits(summary.get("mean_vector_cosine")),
        "guidance scale": summary.get("guidance_scale"),
        "guidance interval": _plain(summary.get("guidance_interval")),
        "steps": summary.get("num_inference_steps"),
        "scheduler": summary.get("scheduler"),
        "noise level": summary.get("noise_level"),
        "noise mode": summary.get("noise_mode"),
        "samples": summary.get("n_samples"),
        "seed": summary.get("seed"),
        "precision": recorded.get("precision"),
    }
    for name, space in (recorded.get("spaces") or {}).items():
        if space:
            values[f"{name} space"] = _space(space)
    values["controls"] = ", ".join(run.controls) or None
    manifest = read_optional(run.folder / "manifest.json") or {}
    values |= {"drawn at": manifest.get("created"), "hash of the run": _hash(manifest.get("content_hash"))}
    values |= {f"hash of {name}": _hash(digest) for name, digest in (recorded.get("inputs") or {}).items()}
    versions = dict(recorded.get("versions") or {})
    values["code version"] = versions.pop("fmri_lightning", None)
    values["code commit"] = versions.pop("commit", None)
    values |= {f"version of {name}": version for name, version in versions.items()}
    values |= _of_scoring(run)
    return {name: shorten_paths(str(value), share) for name, value in values.items() if value is not None}


def _of_scoring(run: ReportRun) -> dict[str, Any]:
    """Seeds, resamples and network weights behind every protocol's scores."""
    values: dict[str, Any] = {}
    for protocol in run.evaluations:
        manifest = read_optional(run.folder / "evaluation" / protocol / "manifest.json") or {}
        config = manifest.get("config") or {}
        values[f"{protocol}: scored at"] = manifest.get("created")
        values[f"{protocol}: bootstrap"] = _bootstrap(config)
        for name, facts in (config.get("networks") or {}).items():
            said = {key: _hash(value) if key == "hash" else value for key, value in facts.items()}
            values[f"{protocol}: network {name}"] = _plain(said)
    return values


def _bootstrap(config: dict[str, Any]) -> str | None:
    if config.get("resamples") is None:
        return None
    return f"{config['resamples']} resamples, seed {config.get('seed', '?')}"


def _test_set(summary: dict[str, Any]) -> str | None:
    if summary.get("test_set") is None:
        return None
    size = summary.get("n_test_set")
    named = (summary.get("provenance") or {}).get("own_test_set") or summary["test_set"]
    return f"{named}{f' ({size} items)' if size else ''}"


def _space(space: dict[str, Any]) -> str:
    text = f"{space.get('name')} ({space.get('dim')}-D, {space.get('scale')})"
    revision = space.get("revision")
    return f"{text}, revision {str(revision)[:HASH_DIGITS]}" if revision else text


def _hash(digest: Any) -> str | None:
    return None if digest is None else str(digest)[:HASH_DIGITS]


def _digits(value: Any) -> str | None:
    return None if value is None else f"{float(value):.4f}"


def _plain(value: Any) -> str | None:
    if isinstance(value, dict):
        return ", ".join(f"{key} {item}" for key, item in value.items() if item is not None)
    if isinstance(value, list):
        return " to ".join(map(str, value))
    return None if value is None else str(value)


def _path(value: Any, share: bool) -> str | None:
    return None if value is None else short_path(str(value), share)


def _configuration(run: ReportRun, share: bool) -> Configuration | None:
    path = run.folder / CONFIGURATION
    if not path.is_file():
        return None
    return Configuration(run.label, shorten_in_yaml(path.read_text(encoding="utf-8", errors="replace"), share))


def _commands(material: Material) -> list[str]:
    folders = {run.label: short_path(str(run.folder), material.share) for run in material.runs}
    lines = []
    for run in material.runs:
        drawn = ["", *(f"controls/{name}/" for name in run.controls)]
        places = [place for place in drawn if (run.folder / place / CONFIGURATION).is_file()]
        lines += [
            f"fmri-lightning predict --config {_quoted(f'{folders[run.label]}/{p}{CONFIGURATION}')}" for p in places
        ]
    for protocol in sorted({name for run in material.runs for name in run.evaluations}):
        scored = [run for run in material.runs if protocol in run.evaluations]
        line = f"fmri-lightning evaluate --run {' '.join(_quoted(folders[run.label]) for run in scored)}"
        line += f" --protocol {protocol}"
        if any(run.evaluations[protocol].summary.get("brain_correlation") for run in scored):
            line += " --brain_correlation true"
        lines.append(line + _seeds(scored[0], protocol))
    out = " --out DIR" if material.several else ""
    return [*lines, f"fmri-lightning report --run {' '.join(map(_quoted, folders.values()))}{out}"]


def _seeds(run: ReportRun, protocol: str) -> str:
    config = (read_optional(run.folder / "evaluation" / protocol / "manifest.json") or {}).get("config") or {}
    return "".join(f" --{name} {config[name]}" for name in ("resamples", "seed") if config.get(name) is not None)


def _quoted(path: str) -> str:
    return path if "…" in path else shlex.quote(path)

"""Which voxels and regions a run's decoding rests on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fmri_lightning.errors import BadInputError
from fmri_lightning.evaluation.voxels.words import QUANTITIES
from fmri_lightning.report.figures import COLOURS, Dot, Scale, dots
from fmri_lightning.report.runs import Interval, ReportRun, read_interval, read_optional
from fmri_lightning.report.sections.section import Material, Section
from fmri_lightning.report.slices import draw_flat, draw_slices, read_native
from fmri_lightning.report.wording import NOTHING, Number, interval_of, number, value_of

FOLDER = "brain"
METRIC = "centred_cosine"
SHOWN = ("pattern", "encoding_r", "encoding_of_ceiling")
ON_SLICES = ("pattern", "encoding_r")
RANDOM = COLOURS["shuffled"]


@dataclass(frozen=True)
class Figure:
    """A figure with what stands below it."""

    svg: str
    caption: str


@dataclass(frozen=True)
class RegionRow:
    """One region: voxels, and mean, interval, and median with quartiles of every quantity."""

    region: str
    n_voxels: int
    values: list[tuple[Number, Number, Number]]


@dataclass(frozen=True)
class SetRow:
    """One region kept alone or left out: score, change, what random sets of its size give, and p."""

    region: str
    n_voxels: int
    kind: str
    value: tuple[Number, Number]
    change: tuple[Number, Number]
    controls: Number
    p: Number


@dataclass(frozen=True)
class VoxelsOfRun:
    """Maps of a run.

    Attributes:
        run: Its label.
        sentences: What was computed, and what is not there.
        bars: Figures by region.
        slices: Native maps.
        columns: Names of the quantities in the table.
        regions: Table of regions.
        sets: Table of the ablation.
    """

    run: str
    sentences: list[str]
    bars: list[Figure]
    slices: list[Figure]
    columns: list[str]
    regions: list[RegionRow]
    sets: list[SetRow]


@dataclass(frozen=True)
class BrainSection(Section):
    """Maps of every run that has them."""

    anchor = "brain"
    title = "Which voxels did it"
    template = "sections/brain.html.j2"
    runs: list[VoxelsOfRun]


def build(material: Material) -> BrainSection | None:
    """Show maps and regions; None where the brain command was not run."""
    found = [(run, read_optional(run.folder / FOLDER / "summary.json")) for run in material.runs]
    runs = [_of_run(run, one, material) for run, one in found if one is not None]
    return BrainSection(runs) if runs else None


def _of_run(run: ReportRun, summary: dict[str, Any], material: Material) -> VoxelsOfRun:
    try:
        quantities = {name: summary["regions"][name] for name in SHOWN if name in summary["regions"]}
        ablation = summary["ablation"]
        return VoxelsOfRun(
            run=run.label,
            sentences=[material.plain(line) for line in _sentences(summary)],
            bars=[
                *(_by_region(run.label, name, regions) for name, regions in quantities.items()),
                *([] if ablation is None or not ablation["regions"] else _of_ablation(run.label, ablation)),
            ],
            slices=[*_slices(run, summary), *_flat(run, summary)],
            columns=[QUANTITIES[name].label for name in quantities],
            regions=_region_rows(quantities),
            sets=[] if ablation is None else _set_rows(ablation),
        )
    except (KeyError, TypeError) as error:
        raise BadInputError(
            f"{run.folder / FOLDER}/summary.json is not of this version ({error!r} is missing); "
            "run fmri-lightning brain again"
        ) from error


def _sentences(summary: Mapping[str, Any]) -> list[str]:
    said = [
        f"The encoder reads {summary['n_read']} of the {summary['n_voxels']} voxels of {summary['subject']}"
        + (", a simulated brain." if summary["simulated"] else ".")
    ]
    patterns, encoding, ablation = (summary[part] for part in ("patterns", "encoding", "ablation"))
    if patterns is not None:
        said.append(
            f"Patterns: {patterns['n_trials']} training trials, {patterns['n_components']} components that hold "
            f"{100 * patterns['share_of_decoded_variance']:.0f} % of the decoded variance."
            + (
                ""
                if patterns["linear"]
                else " The encoder is a network; its patterns are its best linear forward model."
            )
        )
    if encoding is not None:
        said.append(
            f"Encoding: fitted on {encoding['n_train']} training stimuli, {encoding['n_test']} test stimuli of "
            f"{encoding['mean_repeats']:.1f} repeats; {encoding['n_significant']} of {encoding['n_tested']} voxels are "
            f"predicted (false discovery rate .05, {encoding['n_permutations']} permutations)."
        )
        if not encoding["has_ceiling"]:
            said.append("No training stimulus was repeated, so there is no noise ceiling.")
    if ablation is not None:
        drawn = "all voxels" if ablation["controls_from"] == "all" else "voxels outside the region"
        said.append(
            f"Leaving out: a ridge regression fitted anew on {ablation['n_train']} training stimuli for every set of "
            f"voxels, whatever the run's own encoder; {METRIC.replace('_', ' ')} of all voxels "
            f"{value_of(METRIC, read_interval(ablation['full'][METRIC]))}. {ablation['n_controls']} random sets a "
            f"region, from {drawn}: p cannot be below {1 / (ablation['n_controls'] + 1):.3f}, and is not corrected for "
            "the number of regions."
        )
        said += [
            f"{region}: {entry[key]}."
            for region, entry in ablation["regions"].items()
            for key in ("not_dropped", "no_controls")
            if key in entry
        ]
    said += [f"Left out: {region}, {why}." for region, why in summary["skipped"].items()]
    if summary["no_maps"]:
        said.append(f"No slices: {summary['no_maps']}.")
    if summary["no_flat"]:
        said.append(f"No flat map: {summary['no_flat']}.")
    return said


def _by_region(run: str, name: str, regions: Mapping[str, Mapping[str, Any]]) -> Figure:
    quantity = QUANTITIES[name]
    shown = {region: score for region, entry in regions.items() if (score := read_interval(entry)) is not None}
    rows = [f"{region} ({regions[region]['n_voxels']})" for region in shown]
    said = "; ".join(f"{region} {value_of(name, score)}" for region, score in shown.items())
    svg = dots(
        rows,
        [Dot(row, score, COLOURS["predicted"]) for row, score in enumerate(shown.values())],
        Scale(f"{quantity.label}, mean over voxels", chance=0.0 if name != "encoding_of_ceiling" else None),
        f"{quantity.label} of {run} by region. {said}",
    )
    return Figure(svg, quantity.description)


def _of_ablation(run: str, ablation: Mapping[str, Any]) -> list[Figure]:
    figures = []
    for kind, label, caption in (
        (
            "drop",
            "change of the centred cosine without the region",
            "Left of 0: decoding loses. A region matters more than its size where its dot lies left of those of "
            "random sets. A small loss does not say that a region knows nothing: others may know the same.",
        ),
        (
            "keep",
            "centred cosine of the region alone",
            "What a decoder reaches that sees nothing but the region. Random sets draw from everywhere and so "
            "hold a little of every region.",
        ),
    ):
        entries = {region: entry[kind][METRIC] for region, entry in ablation["regions"].items() if kind in entry}
        shown: list[Dot] = []
        said = []
        for row, (region, entry) in enumerate(entries.items()):
            score = read_interval(entry["difference"] if kind == "drop" else entry)
            if score is not None:
                shown.append(Dot(row, score, COLOURS["predicted"], "the region", -0.12))
                said.append(f"{region} {value_of(METRIC, score)}")
            if entry["controls"]:
                shown.append(Dot(row, _range(entry["controls"]), RANDOM, "random sets, lowest to highest", 0.12))
        if shown:
            rows = [f"{region} ({ablation['regions'][region]['n_voxels']})" for region in entries]
            title = f"{label}, {run}. {'; '.join(said)}"
            line = (0.0, "all voxels") if kind == "drop" else None
            figures.append(Figure(dots(rows, shown, Scale(label), title, line=line, row_in=0.33), caption))
    return figures


def _range(values: list[float]) -> Interval:
    return Interval(sum(values) / len(values), min(values), max(values))


def _slices(run: ReportRun, summary: Mapping[str, Any]) -> list[Figure]:
    folder = run.folder / FOLDER / "maps"
    names = [name for name in ON_SLICES if name in summary["maps"]]
    if not names:
        return []
    underlay = read_native(folder / "underlay.nii.gz")
    figures = []
    for name in names:
        quantity = QUANTITIES[name]
        svg = draw_slices(
            read_native(folder / f"{name}.nii.gz"),
            underlay,
            quantity.label,
            f"{quantity.label} of {run.label} on axial slices in the native space of {summary['subject']}",
        )
        if svg:
            figures.append(
                Figure(
                    svg,
                    f"{quantity.label[:1].upper()}{quantity.label[1:]}: axial slices from below, {summary['space']}, "
                    "not a standard brain. L is the subject's left. Light grey is the brain mask, dark grey a voxel "
                    "without a value.",
                )
            )
    return figures


def _flat(run: ReportRun, summary: Mapping[str, Any]) -> list[Figure]:
    if not summary["flat"]:
        return []
    figures = []
    for name in (name for name in ON_SLICES if name in summary["maps"]):
        label = QUANTITIES[name].label
        title = f"{label} of {run.label} on flattened cortex of {summary['subject']}"
        svg = draw_flat(run.folder / FOLDER / "flat" / "flat.npz", name, label, title)
        if svg:
            figures.append(
                Figure(
                    svg,
                    f"{label[:1].upper()}{label[1:]} on flattened cortex, by NSD's transforms from the volume to "
                    f"{summary['subject']}'s surface; laid out: {'; '.join(summary['flat'])}. Grey is cortex "
                    "without a voxel of the beta store.",
                )
            )
    return figures


def _region_rows(quantities: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> list[RegionRow]:
    regions = dict.fromkeys(region for one in quantities.values() for region in one)
    rows = []
    for region in regions:
        entries = [one.get(region, {}) for one in quantities.values()]
        values = []
        for name, entry in zip(quantities, entries, strict=True):
            score = read_interval(entry)
            spread = NOTHING
            if score is not None:
                low, middle, high = (float(entry[key]) for key in ("q25", "median", "q75"))
                text = f"{middle:.3f} ({low:.3f} to {high:.3f})"
                spread = Number(text, f"{middle!r} ({low!r} to {high!r})")
            values.append((value_of(name, score), interval_of(name, score), spread))
        rows.append(RegionRow(region, max(int(entry.get("n_voxels") or 0) for entry in entries), values))
    return rows


def _set_rows(ablation: Mapping[str, Any]) -> list[SetRow]:
    rows = []
    for region, entry in ablation["regions"].items():
        for kind, words in (("drop", "without it"), ("keep", "alone")):
            if kind not in entry:
                continue
            one = entry[kind][METRIC]
            score, change = read_interval(one), read_interval(one.get("difference") or {})
            controls = _range(one["controls"]).value if one["controls"] else None
            rows.append(
                SetRow(
                    region,
                    int(entry["n_voxels"]),
                    words,
                    (value_of(METRIC, score), interval_of(METRIC, score)),
                    (value_of(METRIC, change), interval_of(METRIC, change)),
                    number(METRIC, controls),
                    number("p", one["p"]),
                )
            )
    return rows

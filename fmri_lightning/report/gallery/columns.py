"""What stands beside what in the gallery: the stimulus, and what every run and control drew for it."""

from __future__ import annotations

from dataclasses import dataclass

from fmri_lightning.report.runs import ReportRun

SHOWN = "shown"
GENERATED = "generated"
NEIGHBOUR = "neighbour"
SAMPLE = "sample"
CONDITIONS = {
    "true_target": "from the real embedding",
    "true_source": "from the real source embedding",
    "shuffled": "shuffled control",
    "mean": "from the mean embedding",
    "unconditional": "from no embedding",
}
_ALTS = {
    "true_target": "What the decoder of {run} draws from the real embedding of stimulus {id}",
    "true_source": "What {run} draws from the real source embedding of stimulus {id} through its adapter",
    "shuffled": "Control of {run} for stimulus {id}, drawn from the embedding predicted for another one",
    "mean": "Control of {run} for stimulus {id}, drawn from the mean training embedding",
    "unconditional": "Control of {run} for stimulus {id}, drawn from no embedding",
}


@dataclass(frozen=True)
class Column:
    """One place in every card of the gallery.

    Attributes:
        name: Unique, for instance "mlp/generated".
        run: Label of the run; "" for the stimulus, which is no run's.
        kind: "shown", "generated", "neighbour", "sample" or a control's condition.
        heading: What a reader calls it.
        alt: What those who cannot see it are told; "{id}" is the stimulus, "{source}" the other one it is about.
    """

    name: str
    run: str
    kind: str
    heading: str
    alt: str

    @property
    def shows_stimuli(self) -> bool:
        """Whether its pictures are stimuli, which the terms of a data set may not let anybody pass on."""
        return self.kind in (SHOWN, NEIGHBOUR)


def columns_of(runs: list[ReportRun], share: bool, n_samples: int) -> list[Column]:
    """List the columns of a page.

    Args:
        runs: Runs side by side.
        share: Leave out what shows stimuli.
        n_samples: Samples shown of runs that drew several for each stimulus.

    Returns:
        The stimulus, then for each run its picture, its nearest neighbour, its controls and its samples.
    """
    columns = [Column(SHOWN, "", SHOWN, "shown", "Stimulus {id} as it was shown")]
    for run in runs:
        columns += _columns_of_run(run, n_samples)
    if not share:
        return columns
    retrieved = {run.label for run in runs if draws_stimuli(run)}
    return [column for column in columns if not column.shows_stimuli and column.run not in retrieved]


def draws_stimuli(run: ReportRun) -> bool:
    """Tell whether a run's pictures are training stimuli that were looked up instead of drawn."""
    decoder = run.summary.get("provenance", {}).get("decoder") or {}
    return decoder.get("family") == "nearest_neighbour"


def _columns_of_run(run: ReportRun, n_samples: int) -> list[Column]:
    label = run.label
    what = "Picture of a null decoder, not drawn from the brain, for" if run.null_decoder else "Reconstruction of"
    drawn = f"{what} stimulus {{id}} by {label}"
    near = f"Training stimulus {{source}}, nearest to the embedding that {label} predicted for {{id}}"
    source = "drawn from a text, not from the brain" if run.null_decoder else "drawn from the brain"
    columns = [
        Column(f"{label}/{GENERATED}", label, GENERATED, source, drawn),
        Column(f"{label}/{NEIGHBOUR}", label, NEIGHBOUR, "nearest training picture", near),
    ]
    known = list(CONDITIONS)
    for condition in sorted(run.controls, key=lambda name: known.index(name) if name in known else len(known)):
        alt = _ALTS.get(condition, f"Control {condition} of {{run}} for stimulus {{id}}").replace("{run}", label)
        columns.append(Column(f"{label}/{condition}", label, condition, CONDITIONS.get(condition, condition), alt))
    n_drawn = int(run.summary.get("n_samples") or 1)
    for number in range(min(n_drawn, n_samples) if n_drawn > 1 else 0):
        alt = f"Sample {number} of {label} for stimulus {{id}}"
        columns.append(Column(f"{label}/{SAMPLE}{number}", label, SAMPLE, f"sample {number}", alt))
    return columns

"""What stands above a table of scores: protocol, test set, where pictures and brain come from, what is circular."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from fmri_lightning.evaluation.metric_table import METRICS
from fmri_lightning.evaluation.protocols import Protocol
from fmri_lightning.evaluation.results import Evaluation
from fmri_lightning.evaluation.runs import Run

RETRIEVAL_NOTE = (
    "picture_from_brain looks a picture up by a brain, brain_from_picture a brain by a picture; the published code of "
    "MindEye prints the second as image retrieval and the first as brain retrieval"
)


def describe_run(evaluation: Evaluation, protocol: Protocol, run: Run) -> None:
    """Fill in header, circular metrics and manifest settings of a run's evaluation.

    Args:
        evaluation: With all scores.
        protocol: Its protocol.
        run: The run.
    """
    summary = run.summary
    simulated = bool(summary.get("simulated", False))
    n_test_set = summary.get("n_test_set")
    spaces: dict[str, Any] = summary.get("provenance", {}).get("spaces", {})
    names = {key: (space or {}).get("name") for key, space in spaces.items()}
    # Predicted embeddings are scored in the very space that conditions the pictures (through the adapter).
    evaluation.circular = {
        name
        for name in evaluation.run.values
        if METRICS[name].network == "source" or (METRICS[name].space or "none") in names.values()
    }
    n_stimuli = len(np.unique(run.ids))
    less = protocol.qualifications(
        n_stimuli,
        len(run.ids),
        n_test_set,
        simulated,
        _missing(evaluation, protocol),
        summary.get("trial_mode"),
        validation=summary.get("test_set") == "val",
        null_decoder=bool(summary.get("null_decoder")),
        prediction_only=(summary.get("prediction_only") or {}).get("experiment"),
    )
    evaluation.header = _about_protocol(evaluation, protocol, less) | {
        "n": len(run.ids),
        "test_set": summary.get("test_set"),
        "n_test_set": n_test_set,
        "identification_gallery": n_stimuli,
        "simulated": simulated,
        "subject": summary.get("subject"),
        "encoder": summary.get("encoder"),
        "decoder": summary.get("diffusion_model"),
        "condition": summary.get("condition"),
        "trial_mode": summary.get("trial_mode"),
        "n_samples": summary.get("n_samples"),
        "spaces": names,
        "failures": summary.get("failures", []),
        "caveats": _caveats(run),
        "retrieval_note": RETRIEVAL_NOTE,
    }
    evaluation.config |= {"protocol": protocol.settings(), "simulated": simulated}


def describe_folder(evaluation: Evaluation, protocol: Protocol, name: str, caveats: list[dict[str, Any]]) -> None:
    """Fill in the header of a foreign folder's evaluation.

    Args:
        evaluation: With all scores.
        protocol: Its protocol.
        name: The folder of reconstructions.
        caveats: What a reader must know of the pictures, as plain types.
    """
    ids = evaluation.run.ids
    less = protocol.qualifications(len(ids), len(ids), None, None, _missing(evaluation, protocol))
    if not less and any(caveat["kind"] in ("missing", "unreadable") for caveat in caveats):
        less = ["pictures missing", "not comparable"]
    evaluation.header = _about_protocol(evaluation, protocol, less) | {
        "n": len(ids),
        "test_set": None,
        "n_test_set": None,
        "identification_gallery": len(ids),
        "simulated": None,
        "generated": name,
        "caveats": caveats,
    }
    evaluation.config |= {"protocol": protocol.settings()}


def _caveats(run: Run) -> list[dict[str, Any]]:
    """What a reader must know of a run's pictures: that they show no brain, or which of them there are not."""
    found = []
    null = run.summary.get("null_decoder")
    if null:
        sentence = f"the decoder is a null ({null}): no score of its pictures says anything of a brain"
        found.append({"kind": "null decoder", "sentence": sentence, "names": []})
    only = run.summary.get("prediction_only")
    if only:
        sentence = f"{only['in_words']}; a test set of its own, comparable with none of NSD's"
        found.append({"kind": "prediction only", "sentence": sentence, "names": []})
    own = run.summary.get("provenance", {}).get("own_test_set")
    if own and not only:
        sentence = f"the test pictures are those of the index, not NSD's by that name: {own}"
        found.append({"kind": "own test set", "sentence": sentence, "names": []})
    drawn = set(run.trial_ids.tolist())
    lacking: dict[int, str] = {}
    reasons: Counter[str] = Counter()
    for one in run.summary.get("failures") or []:
        if int(one["trial_id"]) not in drawn:
            lacking[int(one["trial_id"])] = f"nsd{one['nsdId']}"
            reasons[str(one["reason"])] += 1
    if lacking:
        why = ", ".join(f"{reason}: {count}" for reason, count in sorted(reasons.items()))
        sentence = (
            f"{len(lacking)} of {len(lacking) + len(drawn)} pictures were not drawn and are not scored ({why}): "
            f"{', '.join(list(lacking.values())[:5])}{', …' if len(lacking) > 5 else ''}"
        )
        found.append({"kind": "missing", "sentence": sentence, "names": list(lacking.values())})
    return found


def _missing(evaluation: Evaluation, protocol: Protocol) -> list[str]:
    return [metric for metric in protocol.picture_metrics if metric not in evaluation.run.values]


def _about_protocol(evaluation: Evaluation, protocol: Protocol, less: list[str]) -> dict[str, Any]:
    known = protocol.headline in evaluation.run.values
    return {
        "protocol": protocol.title(less),
        "protocol_name": protocol.name,
        "comparable": protocol.test_set is not None and not less,
        "not_comparable_because": less,
        "protocol_settings": protocol.settings(),
        "headline": protocol.headline if known else protocol.fallback_headline,
    }

"""Run the commands of a low-data study, take finished ones as they are, and predict the common test items.

What is fitted comes from an index that holds the first sessions and nothing else. The test items come from the index
of all sessions: each test trial is standardised by the train trials of its own session (T0), which for later sessions
are unlabelled data that no encoder sees; then the means over a picture's trials pass through the preprocessing of the
point.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from fmri_lightning.betas.preprocess import Preprocess
from fmri_lightning.betas.rows import average_repeats
from fmri_lightning.betas.store import BetaStore
from fmri_lightning.ceiling.fits import EncoderConfig
from fmri_lightning.cli import main
from fmri_lightning.embeddings.cache import EmbeddingCache, read_cache_manifest, write_cache
from fmri_lightning.encoder.data import space_of_training
from fmri_lightning.encoder.load import LoadedEncoder, load_encoder
from fmri_lightning.encoder.padded import padded_forward
from fmri_lightning.errors import BadInputError, InterruptedRunError, StageError
from fmri_lightning.index.table import read_index
from fmri_lightning.manifest import content_hash, file_sha256, read_json, read_manifest, write_json
from fmri_lightning.records import TrialTable
from fmri_lightning.studies.low_data_plan import Amount, Study, with_total
from fmri_lightning.studies.low_data_scores import Curves, TestItems, score_point

LONGEST_PATH = 256


def run_study(study: Study, amounts: list[Amount], total: Amount) -> Curves:
    """Fit every encoder at every amount of data, and score all on the same test items.

    Args:
        study: What to run.
        amounts: What encoders are fitted on, from few sessions to many.
        total: All sessions.

    Returns:
        Scores per stimulus.

    Raises:
        StageError: If a command failed; its own message stands above.
        BadInputError: If what is there was made from other inputs.
    """
    for amount in with_total(amounts, total):
        print(f"\n{amount}", flush=True)
        run_step(study.index_words(amount), f"the index of {amount}")
        run_step(study.betas_words(amount), f"reading betas of {amount}")
    items = read_test_items(study, total)
    curves = Curves(items, describe(study, items, total))
    for amount in amounts:
        store = open_store(study, amount)
        curves.amounts.append(count(study, amount))
        scored = {}
        for encoder in study.in_fitting_order():
            predictions = [
                _fit_and_predict(study, amount, encoder, seed, items, store) for seed in study.seeds_of(encoder)
            ]
            scored[encoder.name] = score_point(amount.n_sessions, encoder.name, predictions, items)
        curves.points += [scored[encoder.name] for encoder in study.encoders]
    return curves


def run_step(words: list[str], what: str) -> None:
    """Run one command as a user would.

    Args:
        words: After ``fmri-lightning``.
        what: The step in words.

    Raises:
        StageError: If it failed, with its exit code.
    """
    print(f"$ {shlex.join(['fmri-lightning', *words])}", flush=True)
    code = main(words)
    if code == InterruptedRunError.exit_code:
        raise InterruptedRunError("low-data interrupted; the same command goes on with the step that was running")
    if code != 0:
        failure = StageError(f"low-data stopped: {what} failed, see above")
        failure.exit_code = code
        raise failure


def open_store(study: Study, amount: Amount) -> BetaStore:
    """Open the betas of an amount."""
    return BetaStore.open(amount.folder / "betas" / study.subject)


def read_test_items(study: Study, total: Amount) -> TestItems:
    """Take the test pictures of all sessions: means of T0 betas over their trials, as predict takes them.

    Args:
        study: The study.
        total: All sessions.

    Returns:
        The items, by ascending picture.

    Raises:
        BadInputError: If there are fewer than two test pictures, or the cache lacks a picture.
    """
    table, store = read_index(total.folder / "nsd_index", study.subject), open_store(study, total)
    rows = np.flatnonzero(table.split == "test")
    ids, betas = average_repeats(np.asarray(store.betas[rows], dtype=np.float32), table.nsd_id[rows])
    if len(ids) < 2:
        raise BadInputError(f"{study.subject} has {len(ids)} test pictures in all sessions; scores need two or more")
    cache = EmbeddingCache.open(study.clip_cache)
    centre = np.asarray(space_of_training(cache, table.of_split("train")).mean, dtype=np.float64)
    return TestItems(
        ids=ids,
        betas=betas,
        n_repeats=np.unique(table.nsd_id[rows], return_counts=True)[1],
        truth=cache.rows(ids),
        centre=centre,
    )


def describe(study: Study, items: TestItems, total: Amount) -> dict[str, Any]:
    """Say what all points of a study share, in plain types."""
    store = open_store(study, total)
    cache, space = read_cache_manifest(study.clip_cache)
    return {
        "subject": study.subject,
        "source": study.source,
        "simulated": bool(store.manifest.config["simulated"]),
        "n_sessions_present": total.n_sessions,
        "n_test_stimuli": len(items.ids),
        "n_test_trials": int(items.n_repeats.sum()),
        "test_betas": f"T0 {store.manifest.config['t0']}; of all {total.n_sessions} sessions, each by its own",
        "test_sessions_without_train_trials": store.manifest.config["transductive_sessions"],
        "centre": f"mean embedding of the train pictures of all {total.n_sessions} sessions, one for all points",
        "space": space.name,
        "tier": study.tier,
        "mask": study.mask,
        "encoders": [encoder.name for encoder in study.encoders],
        "seeds": {encoder.name: study.seeds_of(encoder) for encoder in study.encoders},
        "options": {step: list(words) for step, words in study.options.items()},
        "inputs": {"betas": store.manifest.content_hash, "clip_cache": cache.content_hash},
    }


def count(study: Study, amount: Amount) -> dict[str, Any]:
    """Count what an amount has to learn from, in plain types."""
    table = read_index(amount.folder / "nsd_index", study.subject)
    preproc = read_manifest(amount.folder / "preproc" / study.subject, "preproc")
    return {
        "n_sessions": amount.n_sessions,
        **{f"n_{split}_stimuli": _stimuli(table, split) for split in ("train", "val")},
        **{f"n_{split}_trials": int((table.split == split).sum()) for split in ("train", "val")},
        "n_features": int(preproc.config["n_features"]),
        "preproc": preproc.content_hash,
    }


def _stimuli(table: TrialTable, split: str) -> int:
    return len(np.unique(table.nsd_id[table.split == split]))


def _fit_and_predict(
    study: Study, amount: Amount, encoder: EncoderConfig, seed: int, items: TestItems, store: BetaStore
) -> NDArray[np.float32]:
    """Fit unless fitted before; predict the test items, (n, dim), and write them as an embedding cache."""
    print(f"\n{amount}, {encoder.name}, training seed {seed}", flush=True)
    fitted = run_fit(study, amount, encoder, seed, store)
    transform = Preprocess.load(amount.folder / "preproc" / study.subject)
    predicted = padded_forward(fitted, padded_forward(transform, items.betas))
    config = {
        "predicted": True,
        "subject": study.subject,
        "encoder": encoder.name,
        "encoder_hash": fitted.content_hash,
        "n_sessions": amount.n_sessions,
        "seed": seed,
    }
    path = amount.folder / "predictions" / f"{encoder.name}_seed{seed}.parquet"
    write_cache(path, items.ids, predicted, fitted.space, config)
    return predicted


def run_fit(study: Study, amount: Amount, encoder: EncoderConfig, seed: int, store: BetaStore) -> LoadedEncoder:
    """Fit, unless this fit was finished before on these inputs, and load the encoder.

    Args:
        study: The study.
        amount: Sessions to fit on.
        encoder: Configuration.
        seed: Training seed.
        store: Betas of the amount.

    Returns:
        The encoder.

    Raises:
        StageError: If the command failed; its own message stands above.
        BadInputError: If the checkpoint was fitted on anything but the inputs of its amount, or borrows from later
            sessions of the subject.
    """
    folder, words, ridge = amount.fit_folder(encoder, seed), study.fit_words(amount, encoder, seed), None
    if (found := study.ridge_of(encoder)) is not None:
        ridge = load_encoder(study.initial(amount, found)).content_hash
    inputs = _input_hashes(study, amount, store)
    record = {
        "config": content_hash(encoder.text, json.dumps(study.options.get(encoder.name, ())), str(seed)),
        "files": _files_named(encoder, study.options.get(encoder.name, ())),
        "initial": ridge,
        "inputs": inputs,
        "betas": store.manifest.content_hash,
    }
    record_file = folder / "fitted.json"
    if record_file.is_file() and read_json(record_file) == record:
        print("fitted before, taken as it is", flush=True)
        return load_encoder(_checkpoint(folder, study.subject))
    record_file.unlink(missing_ok=True)
    run_step(words, f"the fit of {encoder.name} on {amount}")
    fitted = load_encoder(_checkpoint(folder, study.subject))
    if any(fitted.inputs.get(name) != value for name, value in inputs.items()):
        raise BadInputError(
            f"{folder} was fitted on other inputs than those of {amount}; remove it, and what "
            f"leads there from --options or {encoder.config}"
        )
    _require_foreign(study, encoder, fitted)
    write_json(record_file, record)
    return fitted


def _input_hashes(study: Study, amount: Amount, store: BetaStore) -> dict[str, str]:
    """Content hashes that an encoder fitted on this amount carries."""
    preproc = read_manifest(amount.folder / "preproc" / study.subject, "preproc")
    cache, _ = read_cache_manifest(study.clip_cache)
    return {"preproc": preproc.content_hash, "split": store.manifest.inputs["split"], "clip_cache": cache.content_hash}


def _files_named(encoder: EncoderConfig, words: tuple[str, ...]) -> dict[str, str]:
    """Hash the files that a configuration and its options name, a trunk for instance: a changed one is fitted again."""
    named = [*_texts(yaml.safe_load(encoder.text)), *(word.rpartition("=")[2] for word in words)]
    paths = {Path(text) for text in named if "/" in text and len(text) < LONGEST_PATH}
    return {path.as_posix(): file_sha256(path) for path in sorted(paths) if path.is_file()}


def _texts(node: Any) -> Iterator[str]:
    """All texts of a configuration."""
    if isinstance(node, str):
        yield node
    elif isinstance(node, dict | list):
        for part in node.values() if isinstance(node, dict) else node:
            yield from _texts(part)


def _require_foreign(study: Study, encoder: EncoderConfig, fitted: LoadedEncoder) -> None:
    """Refuse a trunk that was trained on the subject: it has seen the sessions that a point does without."""
    trunk = fitted.fitted.get("trunk") or {}
    if study.subject in trunk.get("subjects", ()):
        raise BadInputError(
            f"{encoder.name} stands on a trunk that was trained on {study.subject} itself, later sessions too; give "
            "--options one that was trained without it"
        )


def _checkpoint(folder: Path, subject: str) -> Path:
    """Find the checkpoint {folder}/{name}/{subject}/{name}.ckpt."""
    found = [path for path in folder.glob(f"*/{subject}/*.ckpt") if path.stem == path.parts[-3]]
    if len(found) != 1:
        raise StageError(
            f"{folder} holds {len(found)} encoder checkpoints, expected one; remove the folder and run the same "
            "command again"
        )
    return found[0]

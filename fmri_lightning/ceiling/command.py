"""The ``ceiling`` command."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fmri_lightning.errors import UsageError

if TYPE_CHECKING:
    from fmri_lightning.ceiling.fits import Fit, Mode
    from fmri_lightning.ceiling.posterior import PosteriorResult, SamplerSettings
    from fmri_lightning.ceiling.scores import ModeScores
    from fmri_lightning.ceiling.subject import KnownSubject, SubjectPlan

SHIPPED = ("configs/encoder/ridge.yaml", "configs/encoder/mlp.yaml", "configs/encoder/residual.yaml")
RESULT = "ceiling.json"


def ceiling(
    out: Path = Path("outputs/ceiling"),
    stimuli: int = 9000,
    test: int = 1000,
    repeats: int = 3,
    voxels: int = 2000,
    seeds: int = 3,
    seed: int = 0,
    configs: list[str] | None = None,
    chains: int = 4,
    warmup: int = 150,
    draws: int = 300,
    dry_run: bool = False,
) -> None:
    """Compare encoders with the best that can be done, on a simulated brain of which everything is known.

    There are no pictures: embeddings and voxels are drawn from one generative model, so that the best linear
    decoder and the best decoder of all (the posterior mean) can be computed. Encoders are fitted by the same
    command and configurations as on real betas. A fit that was finished before is taken as it is.

    Args:
        out: Folder of everything that is written; ceiling.json holds the result.
        stimuli: Pictures to fit on, a hashed tenth of them for validation.
        test: Test pictures.
        repeats: Trials of every picture.
        voxels: Voxels of the simulated brain.
        seeds: Training seeds of every network; a ridge is fitted once.
        seed: Seed of the simulated brain, its pictures and its noise.
        configs: Encoder configurations to compare; by default the shipped ridge and networks.
        chains: Markov chains of each test row behind the posterior mean.
        warmup: Their iterations of warm-up.
        draws: Their iterations kept, an even number.
        dry_run: Print the commands and stop.

    Raises:
        UsageError: A size or a configuration makes no sense.
        BadInputError: The folder holds another simulated brain.
        StageError: A fit failed; its own message says what to do.
    """
    if seeds < 1:
        raise UsageError(f"--seeds {seeds}: networks need at least one training seed")
    from fmri_lightning.ceiling.brain import draw_brain
    from fmri_lightning.ceiling.fits import plan_fits, read_encoders
    from fmri_lightning.ceiling.posterior import SamplerSettings
    from fmri_lightning.ceiling.subject import KnownSubject, SubjectPlan, write_subject
    from fmri_lightning.locks import run_lock

    plan = SubjectPlan(stimuli, test, repeats, voxels, seed)
    settings = SamplerSettings(chains=chains, warmup=warmup, draws=draws)
    fits = plan_fits(read_encoders(list(configs or SHIPPED)), seeds, out / "fits")
    if dry_run:
        print(f"# simulated subject of {stimuli} + {test} stimuli, {repeats} repeats, {voxels} voxels in {out}")
        for fit in fits:
            print(shlex.join(["fmri-lightning", *fit.words(KnownSubject(out, draw_brain(2, seed)))]))
        return
    with run_lock(out):
        print(f"simulating a brain of {voxels} voxels and {(stimuli + test) * repeats} trials", flush=True)
        subject = write_subject(out, plan)
        _report(out, plan, _score_all(subject, fits, settings))


def _score_all(subject: KnownSubject, fits: list[Fit], settings: SamplerSettings) -> list[ModeScores]:
    """Fit, predict and score; both uses of repeats."""
    from fmri_lightning.ceiling.fits import MODES, predict, rows_to_predict, run_fit

    rows = {mode: rows_to_predict(subject, mode) for mode in MODES}
    predictions: dict[tuple[str, str], list[Any]] = {}
    for number, fit in enumerate(fits, start=1):
        print(f"\n[{number}/{len(fits)}] {fit.encoder.name}, {fit.mode}, training seed {fit.seed}", flush=True)
        encoder = run_fit(fit, subject)
        predictions.setdefault((fit.mode, fit.encoder.name), []).append(predict(encoder, subject, rows[fit.mode]))
    solved = {fit.encoder.name for fit in fits if fit.encoder.solved}
    return [_score_mode(subject, mode, rows[mode], predictions, solved, settings) for mode in MODES]


def _score_mode(
    subject: KnownSubject,
    mode: Mode,
    rows: Any,
    predictions: dict[tuple[str, str], list[Any]],
    solved: set[str],
    settings: SamplerSettings,
) -> ModeScores:
    """Score encoders and ceilings in one use of repeats."""
    import numpy as np

    from fmri_lightning.ceiling.linear import linear_optimum
    from fmri_lightning.ceiling.scores import LINEAR, POSTERIOR, ModeScores
    from fmri_lightning.embeddings.cache import EmbeddingCache
    from fmri_lightning.encoder.data import space_of_training

    cache = EmbeddingCache.open(subject.inputs["clip_cache"])
    mean = np.asarray(space_of_training(cache, subject.table().of_split("train")).mean, dtype=np.float64)
    scores = ModeScores(mode, rows.n_repeats, rows.ids, cache.rows(rows.ids), mean)
    scores.add_mean_vector()
    for (of_mode, name), predicted in predictions.items():
        if of_mode == mode:
            scores.add(name, "ridge" if name in solved else "network", predicted)
    brain = subject.brain
    voxels = rows.betas.astype(np.float64) * brain.voxel_sd
    if rows.n_repeats > 1:
        # What a fit on single trials tends to when it is used on means: its weights shrink as if for one trial.
        scores.add("linear optimum of single trials", "ceiling", [linear_optimum(brain, 1).predict(voxels)])
    scores.add(LINEAR, "ceiling", [linear_optimum(brain, rows.n_repeats).predict(voxels)])
    print(f"\nsampling the posterior of {len(voxels)} test rows, {mode}", flush=True)
    posterior = _posterior(subject, voxels, rows.n_repeats, settings)
    scores.add(POSTERIOR, "ceiling", [posterior.embeddings])
    scores.add("posterior direction", "ceiling", [posterior.directions], direction_only=True)
    scores.sampler = posterior.summary()
    return scores


def _posterior(subject: KnownSubject, voxels: Any, n_repeats: int, settings: SamplerSettings) -> PosteriorResult:
    """Sample, or take what an earlier run of the same settings sampled."""
    import dataclasses

    import numpy as np

    from fmri_lightning.betas.store import write_npz
    from fmri_lightning.ceiling.posterior import PosteriorResult, posterior_mean
    from fmri_lightning.manifest import content_hash

    key = content_hash(voxels, f"{settings} {n_repeats} {subject.brain.recipe} {subject.brain.seed}")
    path = subject.folder / f"posterior_{key[:16]}.npz"
    if path.is_file():
        print("sampled before, taken as it is", flush=True)
        with np.load(path, allow_pickle=False) as arrays:
            values: dict[str, Any] = {
                name: arrays[name] if arrays[name].ndim else float(arrays[name]) for name in arrays.files
            }
        return PosteriorResult(**values)
    result = posterior_mean(subject.brain, voxels, n_repeats, settings)
    fields = (field.name for field in dataclasses.fields(result))
    write_npz(path, **{name: np.asarray(getattr(result, name)) for name in fields})
    return result


def _report(out: Path, plan: SubjectPlan, modes: list[ModeScores]) -> None:
    """Print the tables and write ceiling.json."""
    from fmri_lightning.ceiling.subject import SPACE
    from fmri_lightning.manifest import versions, write_json

    result = {
        "simulated": True,
        "space": SPACE,
        "plan": plan.to_json(),
        "modes": {scores.mode: scores.to_json() for scores in modes},
        "versions": versions(),
    }
    write_json(out / RESULT, result)
    for scores in modes:
        print("\n" + "\n".join(scores.lines()))
    print(f"\n{out / RESULT}")

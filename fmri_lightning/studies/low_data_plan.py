"""What a low-data study runs: amounts of data, the command line of every step, and the user's further words."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fmri_lightning.betas.fit import Mask, PreprocessConfig, require_fittable
from fmri_lightning.ceiling.fits import EncoderConfig
from fmri_lightning.cli import function_parser, spell_out
from fmri_lightning.errors import BadInputError, UsageError
from fmri_lightning.index.command import index
from fmri_lightning.index.sources import SOURCES, IndexRequest
from fmri_lightning.records import TrialTable
from fmri_lightning.usage import closest

STEPS = ("index", "betas")
"""Steps of every amount but the fits, which are named after their configurations."""


def in_words(n_sessions: int) -> str:
    """Name an amount: "1 session", "10 sessions"."""
    return f"{n_sessions} session{'' if n_sessions == 1 else 's'}"


@dataclass(frozen=True)
class Amount:
    """The first sessions of a subject, and where what is made from them lies.

    Attributes:
        n_sessions: How many.
        folder: Holds nsd_index, betas, preproc, checkpoints and predictions.
    """

    n_sessions: int
    folder: Path

    def __str__(self) -> str:
        return in_words(self.n_sessions)

    def fit_folder(self, encoder: EncoderConfig, seed: int) -> Path:
        """Name the root of one fit's checkpoints."""
        return self.folder / "checkpoints" / encoder.name / f"seed{seed}"


@dataclass(frozen=True)
class Study:
    """One subject, the encoders to compare and how.

    Attributes:
        root: Folder of the data.
        source: "nsd", "mindeye2" or "arrays".
        subject: For instance "subj05".
        clip_cache: Embeddings of the pictures.
        folder: Folder of the subject in the study.
        encoders: Configurations, each with a name of its own.
        tier: "T1" or "T2".
        mask: Judge of the voxels.
        seeds: Training seeds of a network.
        seed: The first of them.
        options: Step to further words.
    """

    root: Path
    source: str
    subject: str
    clip_cache: Path
    folder: Path
    encoders: tuple[EncoderConfig, ...]
    tier: str = "T1"
    mask: Mask = "roi"
    seeds: int = 1
    seed: int = 42
    options: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def amount(self, n_sessions: int) -> Amount:
        """Describe the first sessions."""
        return Amount(n_sessions, self.folder / f"sessions{n_sessions:02d}")

    def seeds_of(self, encoder: EncoderConfig) -> list[int]:
        """Training seeds of an encoder."""
        return [self.seed + number for number in encoder.seeds(self.seeds)]

    def ridge_of(self, encoder: EncoderConfig) -> EncoderConfig | None:
        """Name the ridge that a network starts from, None where it starts from chance."""
        return next((other for other in self.encoders if other.solved), None) if encoder.linear_path else None

    def in_fitting_order(self) -> list[EncoderConfig]:
        """Encoders, ridges first: a network may start from one."""
        return sorted(self.encoders, key=lambda encoder: not encoder.solved)

    def require_possible(self) -> None:
        """Refuse what can be seen to fail before anything is read.

        Raises:
            UsageError: If the source is unknown, a network lacks its ridge, or an option sets what the study sets.
        """
        if self.source not in SOURCES:
            raise UsageError(f"source {self.source!r} is not supported, choose {', '.join(SOURCES)}")
        for encoder in self.encoders:
            if encoder.name in STEPS:
                raise UsageError(f"--configs: {encoder.config} is named as the step {encoder.name}; rename the file")
            if encoder.linear_path and self.ridge_of(encoder) is None:
                raise UsageError(f"--configs: {encoder.name} starts from ridge; name configs/encoder/ridge.yaml too")
        for words in self.all_words([self.amount(1)], self.amount(1)):
            # Lightning knows a flag of a class by two names.
            flags = [w.partition("=")[0].replace(".init_args.", ".") for w in words if w.startswith("--")]
            twice = sorted({flag for flag in flags if flags.count(flag) > 1})
            if twice:
                raise UsageError(
                    f"--options: {', '.join(twice)} of {words[0]} is set by the study itself; leave it out"
                )

    def index_words(self, amount: Amount) -> list[str]:
        """Return the command line after ``fmri-lightning`` that lists the trials of an amount."""
        return [
            "index", "--root", str(self.root), "--source", self.source, "--subject", self.subject,
            "--sessions", str(amount.n_sessions), "--out", str(amount.folder / "nsd_index"),
            *self.options.get("index", ()),
        ]  # fmt: skip

    def betas_words(self, amount: Amount) -> list[str]:
        """Return the command line that reads betas and fits the preprocessing of an amount."""
        return [
            "betas", "--root", str(self.root), "--index", str(amount.folder / "nsd_index"), "--subject", self.subject,
            "--out", str(amount.folder / "betas"), "--preproc_out", str(amount.folder / "preproc"),
            "--tier", self.tier, "--mask", self.mask, *self.options.get("betas", ()),
        ]  # fmt: skip

    def fit_words(self, amount: Amount, encoder: EncoderConfig, seed: int) -> list[str]:
        """Return the command line of one fit; its index holds the sessions of the amount and no others."""
        folder, ridge = amount.fit_folder(encoder, seed), self.ridge_of(encoder)
        start = () if ridge is None else ("--model.initial", str(self.initial(amount, ridge)))
        return [
            "fit", "--config", encoder.config, "--data.index_root", str(amount.folder / "nsd_index"),
            "--data.betas", str(amount.folder / "betas"), "--data.preproc", str(amount.folder / "preproc"),
            "--data.clip_cache", str(self.clip_cache), "--data.subject", self.subject,
            "--data.trial_mode", "average", "--seed_everything", str(seed), "--model.root", str(folder),
            "--trainer.default_root_dir", str(folder / "logs"), *start, *self.options.get(encoder.name, ()),
        ]  # fmt: skip

    def initial(self, amount: Amount, ridge: EncoderConfig) -> Path:
        """Name the ridge checkpoint of an amount, from which its networks may start."""
        return amount.fit_folder(ridge, self.seed) / "ridge" / self.subject / "ridge.ckpt"

    def all_words(self, amounts: list[Amount], total: Amount) -> Iterator[list[str]]:
        """List the command lines of the whole study in their order.

        Args:
            amounts: What encoders are fitted on.
            total: All sessions, whose test trials everything is scored on.

        Yields:
            Words after ``fmri-lightning``.
        """
        for amount in with_total(amounts, total):
            yield self.index_words(amount)
            yield self.betas_words(amount)
        for amount in amounts:
            for encoder in self.in_fitting_order():
                for seed in self.seeds_of(encoder):
                    yield self.fit_words(amount, encoder, seed)


def with_total(amounts: list[Amount], total: Amount) -> list[Amount]:
    """Add the whole, which the test items come from, where it is no point itself."""
    return amounts if total in amounts else [*amounts, total]


def parse_options(options: list[str], names: list[str]) -> dict[str, tuple[str, ...]]:
    """Read further words of single steps.

    Args:
        options: "STEP:WORDS" each.
        names: Names of the configurations, which are steps beside index and betas.

    Returns:
        Step to its words.

    Raises:
        UsageError: If a step is unknown, or its words are no flags.

    Example:
        >>> parse_options(["mlp:--trainer.max_epochs 20", "betas:--k 64"], ["ridge", "mlp"])
        {'mlp': ('--trainer.max_epochs', '20'), 'betas': ('--k', '64')}
    """
    found: dict[str, tuple[str, ...]] = {}
    known = dict.fromkeys([*STEPS, *names])
    for option in options:
        step, colon, text = option.partition(":")
        try:
            words = shlex.split(text)
        except ValueError as error:
            raise UsageError(f"--options {option!r} has a quotation mark without its partner") from error
        if not colon or not words or not words[0].startswith("--"):
            raise UsageError(f"--options {option!r} is not STEP:WORDS, for instance 'betas:--k 64'")
        if step not in known:
            hint = closest(step, known) or f"; steps are {', '.join(known)}"
            raise UsageError(f"--options {option!r}: no step {step!r} in this study{hint}")
        found[step] = (*found.get(step, ()), *words)
    return found


def read_amounts(study: Study, sessions: str) -> tuple[list[Amount], Amount]:
    """Read which first sessions are asked for, and check against the data that they can be used; writes nothing.

    Args:
        study: The study.
        sessions: Numbers and "all", with commas between them.

    Returns:
        Amounts from few to many, each once, and all sessions.

    Raises:
        UsageError: If the text is something else.
        BadInputError: If there are fewer sessions, or too few repeated pictures for the mask.
    """
    asked = [part.strip() for part in sessions.split(",")]
    wrong = [part for part in asked if part != "all" and (not part.isdigit() or int(part) < 1)]
    if wrong:
        raise UsageError(
            f"--sessions {sessions!r}: {wrong[0]!r} is no number of first sessions; write for instance 1,3,10,all"
        )
    table = _all_trials(study)
    present = int(table.session.max())
    numbers = sorted({present if part == "all" else int(part) for part in asked})
    if numbers[-1] > present:
        raise BadInputError(f"{study.subject} has {present} sessions, --sessions asks for {numbers[-1]}")
    for number in numbers:
        _require_mask(study, table, number)
    return [study.amount(number) for number in numbers], study.amount(present)


def _all_trials(study: Study) -> TrialTable:
    """List all trials as the index command will, without writing."""
    total = study.index_words(study.amount(1))[1:]
    total[total.index("--sessions") + 1] = "all"
    asked = function_parser("index", index).parse_args(spell_out(total, index))
    request = IndexRequest(study.root, study.subject, "all", asked.split_file, asked.normalised)
    return SOURCES[study.source](request).table


def _require_mask(study: Study, table: TrialTable, n_sessions: int) -> None:
    """Refuse a mask that the fewest sessions cannot give: all points share one, and none is changed silently."""
    config = PreprocessConfig(tier="T1", mask=study.mask)
    try:
        require_fittable(table.where(table.session <= n_sessions), config, has_published_ncsnr=False)
    except BadInputError as error:
        raise BadInputError(
            f"--mask {study.mask} cannot be fitted at {in_words(n_sessions)}, and all points share one mask: {error}"
        ) from error

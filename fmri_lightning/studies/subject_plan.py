"""The commands of a study over subjects: shared ones, a chain for each subject, and the paths that join them."""

from __future__ import annotations

import importlib
import itertools
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from fmri_lightning.embeddings.packaged import packaged_path
from fmri_lightning.errors import UsageError
from fmri_lightning.usage import closest

SHARED = ("clip-cache",)
CHAIN = ("index", "betas", "fit", "adapter", "calibrate", "predict", "evaluate")
CLOSING = ("table", "report")
STEPS = (*SHARED, *CHAIN, *CLOSING)
"""In the order in which they run; the first for all subjects, then each subject's own, then over all subjects."""
COMMAND_OF = {"adapter": "fit"}
"""Steps that are not named like their command."""
TARGETS: dict[str, str | None] = {
    "unclip": "vit-h-14",
    "sd15": "vit-h-14",
    "sdxl": "vit-h-14",
    "sdxl_turbo": "vit-h-14",
    "sdxl_bigg": "vit-bigg-14",
    "kandinsky": "vit-bigg-14",
    "mini": "mini-target",
    "text_null": None,
    "nearest_neighbour": None,
}
"""Embedding space that each shipped decoder reads; None where it is drawn from without an adapter."""
OWN_ADAPTERS = ("vit-l-14", "vit-h-14", "vit-bigg-14")
"""Spaces with a file in configs/adapter."""
NOTHING_MADE = ("--dry_run", "--print_config", "--help")
"""Options after which a command makes nothing."""
KEPT_FOR_THE_TABLE = ("--out", "--tables", "--generated", "--run", "--missing")
"""Options that would make evaluate and report leave their results elsewhere, or of other runs."""


@dataclass(frozen=True)
class StepCommand:
    """One command of a study.

    Attributes:
        step: A name of :data:`STEPS`.
        words: The command line after ``fmri-lightning``.
        subject: Whose, "" where it is of all.
        reads: Files that decide what it makes, where it cannot tell by itself that it was done before.
        writes: What it leaves; with ``reads`` it is skipped where it was done before.
        last: Checkpoint from which an interrupted fit goes on.
    """

    step: str
    words: tuple[str, ...]
    subject: str = ""
    reads: tuple[Path, ...] = ()
    writes: tuple[Path, ...] = ()
    last: Path | None = None

    def line(self) -> str:
        """Return the line one would type."""
        return shlex.join(("fmri-lightning", *self.words))


@dataclass(frozen=True)
class Study:
    """What is done to every subject.

    Attributes:
        root: Folder of the data.
        source: Where they come from.
        encoder: Its name, which its checkpoint bears.
        encoder_config: Its YAML.
        decoder_config: The decoder's YAML.
        target: Embedding space of the decoder; None without an adapter.
        space: Embedding space of the encoder.
        conditions: Conditions of predict.
        calibrated: Whether predictions are calibrated.
        clip_cache: Embeddings that the encoder is fitted on.
        target_cache: Embeddings that the adapter leads to.
        checkpoints: Folder of all checkpoints.
        out: Folder of all else.
        name: Names the study's folder and the runs.
        protocol: How pictures are scored.
        options: Step to further words of its command, {subject} standing for the subject.
    """

    root: Path
    source: str
    encoder: str
    encoder_config: str
    decoder_config: str
    target: str | None
    space: str
    conditions: tuple[str, ...]
    calibrated: bool
    clip_cache: Path
    target_cache: Path | None
    checkpoints: Path
    out: Path
    name: str
    protocol: str
    options: dict[str, str] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """Folder of logs, records, table and page."""
        return self.out / "subjects" / self.name

    @property
    def page(self) -> Path:
        """Folder of the page over all subjects."""
        return self.folder / "report"

    @property
    def tables(self) -> Path:
        """Folder of the table over all subjects."""
        return self.folder / "table" / self.protocol

    def run(self, subject: str) -> Path:
        """Folder of a subject's pictures."""
        return self.out / "recon" / subject / self.name

    def scores(self, subject: str) -> Path:
        """Folder of a subject's scores."""
        return self.run(subject) / "evaluation" / self.protocol

    def checkpoint(self, subject: str) -> Path:
        """A subject's encoder."""
        return self.checkpoints / self.encoder / subject / f"{self.encoder}.ckpt"

    def adapter(self, subject: str) -> Path:
        """A subject's adapter."""
        return self.checkpoints / "clip_adapter" / subject / str(self.target) / "adapter.ckpt"

    def calibration(self, subject: str) -> Path:
        """Folder of a subject's calibration; by the run's name, for it belongs to one encoder and one adapter."""
        return self.checkpoints / self.name / "calibration" / self.encoder / subject

    def shared(self) -> list[StepCommand]:
        """List what is made once, before the subjects."""
        caches = [(self.space, self.clip_cache)]
        if self.target is not None and self.target_cache is not None:
            caches.append((self.target, self.target_cache))
        return [
            self._command("clip-cache", "", (), {"--root": self.root, "--space": space, "--out": cache})
            for space, cache in caches
        ]

    def chain(self, subject: str) -> list[StepCommand]:
        """List a subject's commands, all that this study knows, in order.

        Args:
            subject: For instance "subj01".
        """
        commands = [self._index(subject), self._betas(subject), self._fit(subject)]
        if self.target is not None:
            commands.append(self._fit_adapter(subject))
        if self.calibrated:
            commands.append(self._calibrate(subject))
        commands += [self._predict(subject, condition) for condition in self.conditions]
        return [*commands, self._evaluate(subject)]

    def report(self, subjects: list[str], missing: list[str]) -> StepCommand:
        """Return the command of the page.

        Args:
            subjects: Whose runs are on it.
            missing: A line on each subject that should be on it and is not.
        """
        lacking = ("--missing", *missing) if missing else ()
        runs = ("--run", *(str(self.run(subject)) for subject in subjects), *lacking)
        return self._command("report", "", (), {"--out": self.page}, further=runs)

    def _index(self, subject: str) -> StepCommand:
        flags = {"--source": self.source, "--root": self.root, "--subject": subject, "--out": self.out / "nsd_index"}
        return self._command("index", subject, (), flags)

    def _betas(self, subject: str) -> StepCommand:
        flags = {
            "--index": self.out / "nsd_index", "--root": self.root, "--subject": subject,
            "--out": self.out / "betas", "--preproc_out": self.out / "preproc",
        }  # fmt: skip
        return self._command("betas", subject, (), flags)

    def _fit(self, subject: str) -> StepCommand:
        flags = self._of_subject("--data.", subject) | {"--data.clip_cache": self.clip_cache} | self._of_fits()
        made = self.checkpoint(subject)
        return self._command(
            "fit", subject, (self.encoder_config,), flags, (*self._artefacts(subject), self.clip_cache), (made,),
            made.with_name("last.ckpt"),
        )  # fmt: skip

    def _fit_adapter(self, subject: str) -> StepCommand:
        own = (f"configs/adapter/{self.target}.yaml",) if self.target in OWN_ADAPTERS else ()
        flags = {
            "--data.index_root": self.out / "nsd_index", "--data.clip_cache": self.clip_cache,
            "--data.target_cache": self.target_cache, "--data.subject": subject, **self._of_fits(),
        }  # fmt: skip
        # Its report compares with what is named in its options, so the encoder decides it too.
        reads = (self._artefacts(subject)[0], self.clip_cache, Path(str(self.target_cache)), self.checkpoint(subject))
        made = self.adapter(subject)
        return self._command(
            "adapter", subject, ("configs/adapter.yaml", *own), flags, reads, (made,), made.with_name("last.ckpt")
        )

    def _calibrate(self, subject: str) -> StepCommand:
        flags: dict[str, Any] = {"--encoder_ckpt": self.checkpoint(subject)}
        reads = [*self._artefacts(subject), self.clip_cache, self.checkpoint(subject)]
        if self.target is not None:
            flags |= {"--adapter_ckpt": self.adapter(subject), "--target_cache": self.target_cache}
            reads.append(self.adapter(subject))
        of_subject = self._of_subject("--", subject)
        flags |= {**of_subject, "--clip_cache": self.clip_cache, "--root": self.checkpoints / self.name}
        made = self.calibration(subject) / "manifest.json"
        return self._command("calibrate", subject, (), flags, tuple(reads), (made,))

    def _predict(self, subject: str, condition: str) -> StepCommand:
        flags = {
            "--data.root": self.root, **self._of_subject("--data.", subject), "--data.clip_cache": self.clip_cache,
            "--model.encoder_ckpt": self.checkpoint(subject),
        }  # fmt: skip
        if self.target is not None:
            flags |= {"--data.target_cache": self.target_cache, "--model.adapter_ckpt": self.adapter(subject)}
        if self.calibrated:
            flags["--model.calibration"] = self.calibration(subject)
        flags |= {"--model.condition": condition, "--output_dir": self.run(subject)}
        return self._command("predict", subject, ("configs/predict.yaml", self.decoder_config), flags)

    def _evaluate(self, subject: str) -> StepCommand:
        run = self.run(subject)
        controls = [run / "controls" / name / "manifest.json" for name in self.conditions if name != "predicted"]
        made = (self.scores(subject) / "manifest.json", self.scores(subject) / "summary.json")
        flags = {"--run": run, "--protocol": self.protocol}
        return self._command("evaluate", subject, (), flags, (run / "manifest.json", *controls), made)

    def _of_subject(self, prefix: str, subject: str) -> dict[str, Any]:
        return {
            f"{prefix}index_root": self.out / "nsd_index", f"{prefix}betas": self.out / "betas",
            f"{prefix}preproc": self.out / "preproc", f"{prefix}subject": subject,
        }  # fmt: skip

    def _of_fits(self) -> dict[str, Any]:
        return {"--model.root": self.checkpoints, "--trainer.default_root_dir": self.out / "runs"}

    def _artefacts(self, subject: str) -> tuple[Path, ...]:
        folders = (f"nsd_index/subject={subject}", f"betas/{subject}", f"preproc/{subject}")
        return tuple(self.out / folder / "manifest.json" for folder in folders)

    def _command(
        self,
        step: str,
        subject: str,
        configs: tuple[str, ...],
        flags: dict[str, Any],
        reads: tuple[Path, ...] = (),
        writes: tuple[Path, ...] = (),
        last: Path | None = None,
        further: tuple[str, ...] = (),
    ) -> StepCommand:
        """Put a command together: configurations, options of the user, and the paths last, which must hold."""
        given = _split(step, self.options.get(step, "").replace("{subject}", subject))
        kept = (*flags, *NOTHING_MADE, *(KEPT_FOR_THE_TABLE if step in ("evaluate", "report") else ()))
        for word in given:
            if (name := word.split("=")[0].replace(".init_args.", ".")) in kept:
                option = f"--{step.replace('-', '_')}_options"
                raise UsageError(
                    f"{option} holds {name}, which subjects sets itself; see fmri-lightning subjects --help"
                )
        named = [word for config in configs for word in ("--config", config)]
        own = [word for flag, value in flags.items() for word in (flag, str(value))]
        words = (COMMAND_OF.get(step, step), *named, *given, *own, *further)
        read = tuple(_file(b) for a, b in itertools.pairwise(words) if a == "--config")
        return StepCommand(step, words, subject, (*reads, *read) if writes else (), writes, last)


def _split(step: str, text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise UsageError(f"--{step.replace('-', '_')}_options {text!r} cannot be split into words: {error}") from error


def choose_steps(text: str, study: Study) -> list[str]:
    """Read the list of steps.

    Args:
        text: Names of :data:`STEPS` with commas between, or "all".
        study: Decides which of them there are.

    Returns:
        Their names in the order of the flow.

    Raises:
        UsageError: A name is unknown, or the study has no such step.
    """
    absent = {"adapter": study.target is None, "calibrate": not study.calibrated}
    if text == "all":
        return [step for step in STEPS if not absent.get(step, False)]
    names = [part.strip() for part in text.split(",") if part.strip()]
    for name in names:
        if name not in STEPS:
            raise UsageError(f"--steps: unknown step {name!r}{closest(name, STEPS)}; choose {', '.join(STEPS)}")
    if "calibrate" in names and not study.calibrated:
        raise UsageError("--steps names calibrate: add --calibrate, so that predict uses it too")
    if "adapter" in names and study.target is None:
        raise UsageError("--steps names adapter, but the decoder is drawn from without one; see --target_space")
    if not names:
        raise UsageError(f"--steps names none; choose {', '.join(STEPS)}")
    return [step for step in STEPS if step in names]


def config_of(kind: str, name: str) -> str:
    """Name the YAML of an encoder or decoder.

    Args:
        kind: "encoder" or "decoder".
        name: A file of configs/{kind} without its ending, or the path of a YAML.

    Raises:
        UsageError: There is no such file.
    """
    path = name if name.endswith((".yaml", ".yml")) else f"configs/{kind}/{name}.yaml"
    if not _file(path).is_file():
        known = sorted(one.stem for one in packaged_path(f"configs/{kind}").glob("*.yaml"))
        raise UsageError(f"--{kind} {name}: no file {path}; choose {', '.join(known)}, or name a YAML")
    return path


def _file(path: str) -> Path:
    """Find a YAML as fit and predict do: in the working directory, else in the package."""
    if not path.startswith("configs/") or Path(path).exists():
        return Path(path)
    return packaged_path("configs") / Path(path).relative_to("configs")


def encoder_name(config: str) -> str:
    """Read which name the checkpoint of an encoder's configuration bears.

    Args:
        config: Its YAML.

    Raises:
        UsageError: It does not say.
    """
    try:
        model = yaml.safe_load(_file(config).read_text(encoding="utf-8"))["model"]
        given = (model.get("init_args") or {}).get("name")
        if given is not None:
            return str(given)
        module, _, class_name = str(model["class_path"]).rpartition(".")
        return str(getattr(importlib.import_module(module), class_name).name)
    except (OSError, yaml.YAMLError, KeyError, TypeError, AttributeError, ValueError, ImportError) as error:
        raise UsageError(
            f"--encoder: {config} does not say which name its checkpoint bears; write model.class_path in full, or "
            "model.init_args.name"
        ) from error

"""Every option of ours has a line of help: what it is, its unit, its default, and what happens without it."""

import importlib
import inspect
import pkgutil
import re
from dataclasses import dataclass
from pathlib import Path

import pytest
from lightning.pytorch import Callback, LightningDataModule, LightningModule
from lightning.pytorch.loggers import Logger

from fmri_lightning import cli
from fmri_lightning.cli import COMMANDS, function_parser
from fmri_lightning.lightning_cli import STAGES, StageParser

# What a number is counted in, where its help says so.
UNIT_WORDS = (
    r"\b(pixels|px|seconds|mm|GiB|MiB|GB|voxels|trials|sessions|steps|epochs|0 to 1|percent|degrees|0\.\.999)\b"
)
UNIT_SUFFIXES = ("_px", "_s", "_ms", "_mm", "_gb", "_mib", "_hz", "_steps", "_sessions", "_voxels")
# Numbers without a unit, looked at one by one; a new option is added here or says its unit.
DIMENSIONLESS = {
    "counts": """limit shared unique repeats jobs k resamples n_trials n_checks stimuli test seeds chains warmup
        draws batch_size n_samples nsd_ids gallery_limit cpu_threads n_scenes n_heldout_scenes voxels samples
        wandb_max_rows trials every_n_epochs passes max_rank""",
    "sizes of networks": """dim hidden hidden_size n_layers n_heads n_blocks channels latent_channels norm_groups
        layers_per_block head_dim latent_side rank""",
    "seeds": "seed",
    "shares and thresholds": """threshold min_checks dropout input_dropout mixco_share out_of_fold_share heldout_share
        trunk_rate guidance_interval decay_from condition_dropout""",
    "weights and rates of a loss or optimiser": """lr weight_decay cosine_weight mse_weight contrast_weight temperature
        soft_temperature alpha quadrant_weight kl_weight gradient_weight perceptual_weight alphas ema_decay
        guidance_scale scale""",
    "noise levels of 1000": "max_noise_level predicted_noise_level",
    "either a word or a count": "cv",
}
KNOWN = {name for names in DIMENSIONLESS.values() for name in names.split()}
CONFIGS = Path(__file__).resolve().parents[1] / "configs"
SAYS_WHAT_NONE_DOES = re.compile(r"\b([Bb]y default|null|[Nn]one)\b")


@dataclass(frozen=True)
class Option:
    """One option as --help shows it."""

    owner: str
    name: str
    help: str
    kind: str
    default: object
    required: bool
    shown: str

    def __str__(self):
        return f"{self.owner} --{self.name}"


def options_of(owner, parser):
    text = parser.format_help().split("\n\n", 1)[1]  # behind the usage
    for action in parser._actions:
        name = action.option_strings[-1].removeprefix("--").removesuffix("+") if action.option_strings else ""
        if not name or name in ("h", "help", "config", "print_config") or name.endswith(".help"):
            continue
        if action.default == "==SUPPRESS==":  # a group of options that stand below
            continue
        start = re.search(rf"^ +--{re.escape(name)}(?![\w.]).*?(?=^ +--|^\S|\Z)", text, re.DOTALL | re.MULTILINE)
        shown, kind = (
            " ".join(start[0].split()) if start else "",
            str(getattr(action, "_typehint", None) or action.type),
        )
        yield Option(owner, name, action.help or "", kind, action.default, "(required, " in shown, shown)


def of_commands():
    for name, command in COMMANDS.items():
        if command.function is not None:
            module, _, function = command.function.partition(":")
            parser = function_parser(name, getattr(importlib.import_module(module), function))
            yield from options_of(name, parser)


def of_classes():
    for stage in (*STAGES, "tracking"):
        package = importlib.import_module(f"fmri_lightning.{stage}")
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    written = "\n".join(path.read_text() for path in CONFIGS.rglob("*.yaml"))
    watching = [c for c in (*subclasses(Callback), *subclasses(Logger)) if f"{c.__module__}.{c.__name__}" in written]
    for cls in [*subclasses(LightningModule), *subclasses(LightningDataModule), *watching]:
        if cls.__module__.startswith("fmri_lightning.") and not inspect.isabstract(cls):
            parser = StageParser(exit_on_error=False)
            parser.add_class_arguments(cls, None, fail_untyped=False)
            yield from options_of(f"{cls.__module__.removeprefix('fmri_lightning.')}.{cls.__name__}", parser)


def subclasses(base):
    found = {}
    for child in base.__subclasses__():
        found |= {child: None} | dict.fromkeys(subclasses(child))
    return list(found)


@pytest.fixture(scope="module")
def options():
    return [*of_commands(), *of_classes()]


def is_number(option):
    return bool(re.search(r"\b(int|float)\b", option.kind)) and not option.kind.startswith("typing.Callable")


def has_unit(option):
    name = option.name.rsplit(".", 1)[-1]
    return name.endswith(UNIT_SUFFIXES) or name in KNOWN or bool(re.search(UNIT_WORDS, option.help))


def test_all_commands_and_stages_are_looked_at(options):
    owners = {option.owner.split(".")[0] for option in options}
    assert owners == {name for name, command in COMMANDS.items() if command.function} | {*STAGES, "tracking"}
    assert "generation.training.autoencoder.AutoencoderModule" in {option.owner for option in options}
    assert len(options) > 250


def test_every_option_has_a_line_of_help(options):
    assert [str(option) for option in options if len(option.help.split()) < 2] == []


def test_every_number_says_its_unit_or_has_none(options):
    assert [f"{o}: {o.help}" for o in options if is_number(o) and not has_unit(o)] == []


def test_the_table_of_numbers_without_unit_lists_no_option_that_is_gone(options):
    numbers = {option.name.rsplit(".", 1)[-1] for option in options if is_number(option)}
    assert KNOWN - numbers == set()


def test_every_default_is_shown(options):
    assert [str(o) for o in options if not o.required and not re.search(r"\(type: .*default: ", o.shown)] == []


def test_every_option_without_a_default_says_what_happens_without_it(options):
    silent = [o for o in options if o.default is None and not o.required and not SAYS_WHAT_NONE_DOES.search(o.help)]
    assert [f"{o}: {o.help}" for o in silent] == []


def test_predicts_own_options_say_the_same(capsys):
    assert cli.main(["predict", "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert re.search(r"--output_dir OUTPUT_DIR Folder of the reconstructions; by default outputs/recon/", shown)
    assert re.search(r"--dry_run \[?\S+\]? Print pictures, time and memory of the run, and stop", shown)


def test_the_rules_bite():
    def bare(steps: int, size: float = 2.0, place: str | None = None):
        """Do something.

        Args:
            steps: How many.
            size: How large.
            place: Where.
        """

    found = {option.name: option for option in options_of("bare", function_parser("bare", bare))}
    assert found["steps"].required
    assert not found["size"].required
    assert "default: 2.0" in found["size"].shown
    assert is_number(found["size"])
    assert not has_unit(found["size"])
    assert not is_number(found["place"])
    assert not SAYS_WHAT_NONE_DOES.search(found["place"].help)

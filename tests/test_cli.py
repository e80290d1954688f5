"""The entry point: commands, one-line errors, exit codes, and LightningCLI's traps closed."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from lightning.pytorch import LightningDataModule, LightningModule
from torch.utils.data import DataLoader, TensorDataset

from fmri_lightning import __version__, cli
from fmri_lightning.errors import BadInputError, InterruptedRunError, ResourceError
from fmri_lightning.precision import FrozenHalfPrecision

SEEN = {}


class ToyModule(LightningModule):
    """A line through random points."""

    def __init__(self, subject: str = "nobody", hidden: int = 3, output_dir: Path | None = None):
        super().__init__()
        self.save_hyperparameters()
        self.output_dir = output_dir
        self.line = torch.nn.Linear(2, hidden)

    def frozen_half_modules(self):
        return []

    def training_step(self, batch):
        return self.line(batch[0]).square().sum()

    def validation_step(self, batch):
        SEEN["hidden"] = self.line(batch[0]).shape[1]

    def predict_step(self, batch):
        if SEEN.get("raise"):
            raise SEEN.pop("raise")
        return self.line(batch[0])

    def on_predict_end(self):
        SEEN.update(
            predictions=self.trainer.predict_loop.predictions,
            subject=self.hparams.get("subject"),
            output_dir=self.output_dir,
            plugin=self.trainer.precision_plugin,
            loggers=self.trainer.loggers,
        )

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)


class OtherModule(ToyModule):
    """Knows neither subject nor output folder."""

    def __init__(self, hidden: int = 3):
        super().__init__(hidden=hidden)


class ToyData(LightningDataModule):
    """Four points."""

    def __init__(self, subject: str = "subj01", n: int = 4):
        super().__init__()
        self.n = n

    def predict_dataloader(self):
        return DataLoader(TensorDataset(torch.ones(self.n, 2)), batch_size=2)

    train_dataloader = val_dataloader = predict_dataloader


TOYS = ["--model", "ToyModule", "--data", "ToyData", "--trainer.accelerator", "cpu"]
FIT = ["fit", *TOYS, "--trainer.max_epochs", "1"]


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run a command in an empty folder; returns exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    SEEN.clear()

    def call(*words):
        code = cli.main([str(word) for word in words])
        out, err = capsys.readouterr()
        return code, out, err

    return call


def refused(result, code=2):
    """Check for one line and the exit code, and return the line."""
    assert result[0] == code, result
    assert result[2].count("\n") == 1, f"one line expected, got {result[2]!r}"
    assert result[1] == ""
    return result[2]


def test_help_and_light_commands_import_nothing_heavy():
    script = (
        "import sys, time; from fmri_lightning.cli import main\n"
        "main(['--help']); print('seconds', time.process_time())\n"
        "light = ('index', 'simulate', 'betas', 'clip-cache', 'calibrate', 'evaluate', 'ratings', 'report')\n"
        "for word in (*light, 'ceiling', 'doctor', 'demo'):\n"
        "    assert main([word, '--help']) == 0, word\n"
        "    assert not {'torch', 'lightning', 'transformers', 'diffusers'} & set(sys.modules), word\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    words = [line.split()[0] for line in done.stdout.splitlines() if line.startswith("  ")]
    assert words[: len(cli.COMMANDS)] == list(cli.COMMANDS)
    seconds = float(done.stdout.split("seconds ")[1].split()[0])
    assert seconds < 1, "fmri-lightning --help must take under a second of CPU"


def test_version(run):
    assert run("--version") == (0, f"fmri-lightning {__version__}\n", "")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["idnex"], "unknown command 'idnex'; did you mean index?"),
        (["frobnicate"], "see fmri-lightning --help"),
        (["test"], "there is no 'test'"),
        (["--config", "a.yaml", "fit"], "write fmri-lightning COMMAND --config"),
        (["index", "--subjct", "subj01"], "unknown option --subjct; did you mean --subject?"),
        (["index", "--subj", "subj01"], "did you mean --subject?"),
        (["index", "subj01"], "unexpected argument 'subj01'"),
        (["index", "--root"], "--root needs a value"),
        (["index", "--config", "absent.yaml"], "absent.yaml"),
        (["fit", "--modle", "ToyModule"], "unknown option --modle; did you mean --model?"),
        ([*FIT, "--max_epochs", "3"], "unknown option --max_epochs; did you mean --trainer.max_epochs?"),
        ([*FIT, "--trainer.max_epoch", "3"], "did you mean --trainer.max_epochs?"),
        ([*FIT, "--model.hiden", "3"], "ToyModule: unknown configuration key 'hiden'; did you mean hidden?"),
        ([*FIT, "--model.hidden", "many"], "--hidden expects int, got 'many'"),
        ([*FIT, "--data.subjct", "3"], "ToyData: unknown configuration key 'subjct'; did you mean subject?"),
        ([*FIT, "--trainer.max_epochs", "three"], "--trainer.max_epochs expects null or int, got 'three'"),
        (["fit", "--model", "ToyModul", "--data", "ToyData"], "unknown class 'ToyModul'; did you mean ToyModule?"),
        (["fit", "--model", "ToyModule"], "missing --data"),
        (["fit"], "missing --"),
        (["predict", *TOYS, "--ckpt_path", "x.ckpt"], "predict takes no --ckpt_path"),
    ],
)
def test_a_mistake_is_one_line_and_code_2(run, tmp_path, words, says):
    assert says in refused(run(*words))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("trainr:\n  max_epochs: 3\n", "unknown configuration key 'trainr.max_epochs'; did you mean trainer.max_"),
        ("model:\n  class_path: ToyModule\n  init_args:\n    hiden: 3\n", "did you mean hidden?"),
        ("model: [\n", "config"),
        ("ckpt_path: encoder.ckpt\n", "predict takes no --ckpt_path"),
    ],
)
def test_a_mistake_in_a_configuration_is_one_line_and_code_2(run, tmp_path, text, says):
    (tmp_path / "wrong.yaml").write_text(text)
    assert says in refused(run("predict", *TOYS, "--config", "wrong.yaml"))


def test_plain_functions_take_flags_lists_and_files(tmp_path, capsys):
    seen = {}

    def command(run: list[Path], out: Path = Path("x"), limit: int | None = None, dry_run: bool = False) -> None:
        """Do something.

        Args:
            run: Folders.
        """
        seen.update(run=run, out=out, limit=limit, dry_run=dry_run)

    config = tmp_path / "a.yaml"
    config.write_text("out: y\nlimit: 7\n")
    cli.run_function("x", command, ["--run", "a", "b", "--dry_run", "--config", str(config), "--limit", "3"])
    assert seen == {"run": [Path("a"), Path("b")], "out": Path("y"), "limit": 3, "dry_run": True}
    cli.run_function("x", command, ["--run", "a", "--dry_run", "false"])
    assert seen["run"] == [Path("a")]
    assert seen["dry_run"] is False


def test_fit_logs_to_csv_and_saves_its_configuration_twice_over(run, tmp_path):
    words = [*FIT, "--trainer.log_every_n_steps", "1"]
    checkpoint = {"class_path": "lightning.pytorch.callbacks.ModelCheckpoint", "init_args": {"dirpath": "part"}}
    (tmp_path / "fit.yaml").write_text(yaml.safe_dump({"trainer": {"callbacks": [checkpoint]}}))
    for _ in range(2):
        assert run(*words, "--config", "fit.yaml")[0] == 0
    saved = yaml.safe_load((tmp_path / "part/fit.yaml").read_text())
    assert saved["model"]["class_path"] == "tests.test_cli.ToyModule"
    assert saved["seed_everything"] == 42
    assert sorted(p.name for p in (tmp_path / "outputs/runs/logs").iterdir()) == ["version_0", "version_1"]
    assert not list(tmp_path.rglob("*tfevents*"))


def test_command_line_wins_over_checkpoint(run, tmp_path):
    part = ["--trainer.callbacks+", "ModelCheckpoint", "--trainer.callbacks.dirpath", "part"]
    assert run(*FIT, *part, "--trainer.callbacks.filename", "toy")[0] == 0
    assert run("validate", *TOYS, "--ckpt_path", "part/toy.ckpt")[0] == 0
    assert SEEN["hidden"] == 3
    # Were the checkpoint's hyperparameters merged in, hidden would silently be 3 again.
    line = refused(run("validate", *TOYS, "--ckpt_path", "part/toy.ckpt", "--model.hidden", "5"))
    assert "the checkpoint is of another model than the configured one" in line
    assert "size mismatch" in line


def test_predict_keeps_nothing_in_memory_and_passes_its_folder(run, tmp_path):
    words = ["--output_dir", "recon", "--return_predictions", "true", "--data.subject", "subj05"]
    assert run("predict", *TOYS, *words)[0] == 0
    assert SEEN["predictions"] == []
    assert SEEN["subject"] == "subj05"
    assert SEEN["output_dir"] == Path("recon")
    assert SEEN["loggers"] == []
    assert yaml.safe_load((tmp_path / "recon/predict.yaml").read_text())["return_predictions"] is True
    assert sorted(p.name for p in tmp_path.iterdir()) == ["recon"]


def test_links_skip_a_model_without_these_arguments(run):
    words = ["predict", "--model", "OtherModule", "--data", "ToyData", "--trainer.accelerator", "cpu"]
    assert run(*words)[0] == 0
    assert SEEN["output_dir"] is None
    assert "OtherModule takes no --output_dir" in refused(run(*words, "--output_dir", "recon"))


def test_16_true_selects_the_frozen_half_plugin(run):
    assert run("predict", *TOYS, "--trainer.precision", "16-true")[0] == 0
    assert isinstance(SEEN["plugin"], FrozenHalfPrecision)
    assert run("predict", *TOYS)[0] == 0
    assert SEEN["plugin"].precision == "32-true"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (BadInputError("betas.npy: 3 NaN"), 3),
        (ResourceError("no memory"), 4),
        (MemoryError(), 4),
        (InterruptedRunError("stopped"), 75),
        (KeyboardInterrupt(), 75),
        (RuntimeError("two\nlines"), 1),
    ],
)
def test_exit_codes_and_no_traceback(run, error, code):
    SEEN["raise"] = error
    handler = signal.getsignal(signal.SIGINT)
    line = refused(run("predict", *TOYS), code)
    assert line.startswith("fmri-lightning: ")
    assert "Traceback" not in line
    assert signal.getsignal(signal.SIGINT) is handler


def test_traceback_on_request(run, monkeypatch):
    monkeypatch.setenv(cli.TRACEBACK_VARIABLE, "1")
    SEEN["raise"] = RuntimeError("inner")
    code, _, err = run("predict", *TOYS)
    assert code == 1
    assert "Traceback" in err


def test_nothing_leaks_into_the_process(run):
    environment, threads = dict(os.environ), torch.get_num_threads()
    assert run(*FIT, "--trainer.deterministic", "true")[0] == 0
    assert dict(os.environ) == environment
    assert torch.get_num_threads() == threads
    assert not torch.are_deterministic_algorithms_enabled()


def test_shipped_configurations_are_found_from_anywhere(run):
    code, out, err = run("fit", "--config", "configs/base.yaml", *TOYS, "--print_config")
    assert code == 0, err
    assert yaml.safe_load(out)["trainer"]["precision"] == "auto"

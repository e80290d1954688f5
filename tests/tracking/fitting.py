"""The command lines of small fits."""

from pathlib import Path

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


def config(*names):
    return [word for name in names for word in ("--config", str(CONFIGS / name))]


def fit_words(small, part, *more):
    """A fit of ridge or mlp in the working folder, two epochs."""
    data = [word for key, value in small.encoder_inputs().items() for word in (f"--data.{key}", value)]
    network = ["--model.hidden", "16", "--data.batch_size", "16"] if part == "mlp" else []
    quick = ["--trainer.accelerator", "cpu", "--trainer.max_epochs", "2" if part == "mlp" else "1"]
    return ["fit", *config(f"encoder/{part}.yaml"), *data, *network, *quick, *more]

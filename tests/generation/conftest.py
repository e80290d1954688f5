import json
import os
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="session")
def brain(tmp_path_factory):
    from tests.generation.tiny import write_brain

    return write_brain(tmp_path_factory.mktemp("brain"))


@pytest.fixture(scope="session")
def generator(tmp_path_factory):
    from tests.generation.tiny import write_generator

    return write_generator(tmp_path_factory.mktemp("generator"))


class Predict:
    """Runs predict in this process, by the classes that the command line instantiates."""

    def __init__(self, brain, generator):
        self.brain, self.generator = brain, generator

    def __call__(self, out: Path, plugins=None, trainer=None, **options) -> Path:
        from fmri_lightning.generation.data import ReconstructionDataModule
        from fmri_lightning.generation.decoder import DecoderConfig
        from fmri_lightning.generation.module import ReconstructionModule
        from fmri_lightning.lightning_cli import StageTrainer

        data = {**self.brain.data, **{k[5:]: v for k, v in options.items() if k.startswith("data_")}}
        model = {
            **self.brain.model,
            "decoder": DecoderConfig("mini", str(self.generator)),
            "num_inference_steps": 2,
            "guidance_scale": 3.0,
            "batch_size": 3,
            "seed": 42,
            "output_dir": out,
            **{k: v for k, v in options.items() if not k.startswith("data_")},
        }
        module = ReconstructionModule(**model)
        self.module = module
        StageTrainer(
            accelerator="cpu",
            devices=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            **{"precision": "32-true", **(trainer or {})},
        ).predict(module, datamodule=ReconstructionDataModule(**data), return_predictions=False)
        return module.run_folder


@pytest.fixture
def predict(brain, generator):
    return Predict(brain, generator)


def pictures(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for kind in ("images", "samples")
        for path in sorted((folder / kind).glob("*.png"))
    }


def summary(folder: Path) -> dict:
    return json.loads((folder / "decode_summary.json").read_text())


def arguments(brain, generator, out, *more) -> list[str]:
    """The command line of a small run."""
    data = [word for key, value in brain.data.items() for word in (f"--data.{key}", str(value))]
    model = [word for key, value in brain.model.items() for word in (f"--model.{key}", str(value))]
    return [
        "predict", "--config", "configs/predict.yaml", "--config", "configs/decoder/mini.yaml", *data, *model,
        "--model.decoder.model_id", str(generator), "--model.num_inference_steps", "2",
        "--model.guidance_scale", "3.0", "--model.batch_size", "3", "--trainer.accelerator", "cpu",
        "--model.noise_level", "0", "--model.noise_mode", "add", "--model.scheduler", "dpm++2m",
        "--output_dir", str(out), *more,
    ]  # fmt: skip

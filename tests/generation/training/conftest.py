import pytest


@pytest.fixture(scope="session")
def kit(brain, generator, tmp_path_factory):
    from tests.generation.training.tuning_kit import make_kit

    return make_kit(brain, generator, tmp_path_factory.mktemp("tuning"))


@pytest.fixture(scope="session")
def trained(kit, tmp_path_factory):
    """A LoRA trained for 30 steps: its module, the folder it wrote, and where its checkpoints are."""
    from tests.generation.training.tuning_kit import trainer

    folder = tmp_path_factory.mktemp("trained")
    module = kit.lora(folder)
    trainer(folder).fit(module, datamodule=kit.data())
    return module, folder / "lora" / "subj01" / "tiny-target", folder

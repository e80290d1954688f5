"""doctor --fetch: the real hub client against a hub on this machine; exactly the files that the loaders read."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub.constants
import pytest
import yaml

from fmri_lightning.cli import main
from fmri_lightning.doctor.wanted import of_words, shipped
from fmri_lightning.embeddings.hub_files import HubFiles
from fmri_lightning.embeddings.image_encoder import ImageEncoder
from fmri_lightning.embeddings.spaces import SPACES
from fmri_lightning.errors import BadInputError
from fmri_lightning.generation.decoder import DecoderConfig, load_decoder
from tests.doctor.fake_hub import fake_hub, files
from tests.generation.tiny import N_SOURCE, write_generator, write_tower

GENERATOR, COMMIT = "tiny/generator", "0123456789" * 4
CHOOSER = SPACES["vit-b-32"]
# Of other libraries, of other formats, or of parts that nothing here reads.
NEVER_READ = (
    "tiny.ckpt", "unet/diffusion_pytorch_model.fp16.safetensors", "unet/diffusion_pytorch_model.bin",
    "image_encoder/model.safetensors", "pytorch_model.bin", "open_clip_model.safetensors",
)  # fmt: skip


def write_config(path, **decoder):
    model = {
        "class_path": "fmri_lightning.generation.module.ReconstructionModule",
        "init_args": {"decoder": {"family": "unclip", "model_id": GENERATOR, **decoder}, "n_samples": 2},
    }
    path.write_text(yaml.safe_dump({"model": model}))
    return str(path)


def run(code, home, **environment):
    """Run in a new process: the hub client reads its environment when it is imported."""
    kept = {k: v for k, v in os.environ.items() if k not in ("HF_HUB_OFFLINE", "HF_ENDPOINT", "HF_HUB_CACHE")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=kept | {"HF_HOME": str(home), "PYTHONPATH": str(Path(__file__).parents[2])} | environment,
        capture_output=True, text=True, check=False, timeout=240,
    )  # fmt: skip
    return SimpleNamespace(out=done.stdout, err=done.stderr, lines=done.stdout.splitlines())


FETCH = """
import sys
from fmri_lightning.cli import main
for words in {calls!r}:
    print("code", main(["doctor", "--fetch", *words]), flush=True)
    print("--", flush=True)
"""


@pytest.fixture(scope="module")
def fetched(tmp_path_factory):
    """Two repositories, served, fetched twice, and asked for a revision that is not there."""
    folder = tmp_path_factory.mktemp("hub")
    generator, tower = write_generator(folder / "generator"), write_tower(folder / "tower")
    for repository in (generator, tower):
        for name in NEVER_READ:
            (Path(repository) / name).parent.mkdir(exist_ok=True)
            (Path(repository) / name).write_bytes(b"never")
    good = write_config(folder / "good.yaml", revision=COMMIT)
    gone = write_config(folder / "gone.yaml", revision="f" * 40)
    served = {(GENERATOR, COMMIT): Path(generator), (CHOOSER.model_id, CHOOSER.revision): Path(tower)}
    calls = [[good, "--dry_run"], [good], [good], [gone]]
    with fake_hub(served) as hub:
        done = run(FETCH.format(calls=calls), folder / "home", HF_ENDPOINT=hub.endpoint, HF_HUB_DISABLE_XET="1")
    told = done.out.split("--\n")
    assert len(told) == 5, done.err
    return SimpleNamespace(folder=folder, good=good, told=told, err=done.err, requests=hub.requests, served=served)


def snapshot(fetched, model_id, commit):
    return fetched.folder / "home" / "hub" / f"models--{model_id.replace('/', '--')}" / "snapshots" / commit


def test_the_files_arrive_as_they_are_on_the_hub_and_no_others(fetched):
    assert "code 0" in fetched.told[1]
    for (model_id, commit), source in fetched.served.items():
        arrived = snapshot(fetched, model_id, commit)
        names = [path.relative_to(arrived).as_posix() for path in files(arrived)]
        assert "config.json" in names or "model_index.json" in names
        assert not set(names) & set(NEVER_READ)
        assert all((arrived / name).read_bytes() == (source / name).read_bytes() for name in names)
        assert any(name.endswith(".safetensors") for name in names)
    asked_for = " ".join(path for _, path in fetched.requests)
    assert not [name for name in NEVER_READ if name in asked_for]


def test_a_second_call_downloads_nothing(fetched):
    got = [path for method, path in fetched.requests if method == "GET" and "/resolve/" in path]
    assert len(got) == len(set(got)) > 5
    assert "fetched" in fetched.told[1]
    assert fetched.told[2].count("was in the cache already") == 2
    assert "fetched" not in fetched.told[2]


def test_a_dry_run_prints_pinned_commands_with_sizes(fetched):
    lines = fetched.told[0].splitlines()
    assert lines[0].startswith(f"hf download {GENERATOR} --revision {COMMIT} --include model_index.json ")
    assert lines[1].startswith(f"hf download {CHOOSER.model_id} --revision {CHOOSER.revision} --include config.json ")
    assert all("files, " in line and "iB" in line for line in lines[:2])


def test_a_revision_that_does_not_exist_is_refused(fetched):
    assert "code 3" in fetched.told[3]
    assert f"{GENERATOR} has no revision {'f' * 40}" in fetched.err


def test_what_was_fetched_loads_without_a_network(fetched, monkeypatch, capsys):
    assert huggingface_hub.constants.HF_HUB_OFFLINE
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(fetched.folder / "home" / "hub"))
    assert load_decoder(DecoderConfig("unclip", GENERATOR, COMMIT)).commit == COMMIT
    assert ImageEncoder.from_space(CHOOSER.model_id, CHOOSER.revision).dim == N_SOURCE
    assert main(["doctor", "--fetch", fetched.good]) == 0
    assert capsys.readouterr().out.count("was in the cache already") == 2
    with pytest.raises(BadInputError, match=f"hf download {GENERATOR} --revision {'f' * 40} --include"):
        load_decoder(DecoderConfig("unclip", GENERATOR, "f" * 40))


def test_a_commit_that_is_there_completely_asks_no_network(tmp_path, monkeypatch):
    files_of = HubFiles("some/tower", COMMIT, ("config.json", "model.safetensors"), needed=("config.json", "model*"))
    folder = tmp_path / "models--some--tower" / "snapshots" / COMMIT  # as older hub clients left it
    folder.mkdir(parents=True)
    for name in files_of.allow:
        (folder / name).write_text("{}")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.delenv("HF_HUB_OFFLINE")
    with fake_hub({}) as hub:
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", hub.endpoint)
        assert files_of.download() == folder
        assert hub.requests == []
        (folder / "model.safetensors").unlink()
        assert files_of.cached() is None
        files_of.download()  # what the cache has, where the hub has nothing
        assert hub.requests


def test_without_a_network_the_commands_are_printed(capsys, tmp_path):
    config = write_config(tmp_path / "predict.yaml", revision=COMMIT)
    assert main(["doctor", "--fetch", config, "vit-l-14"]) == 4
    told = capsys.readouterr()
    for model_id in (GENERATOR, SPACES["vit-l-14"].model_id):
        assert f"  hf download {model_id} --revision" in told.out
    assert "HF_HUB_OFFLINE is set" in told.err


def test_a_model_without_a_revision_is_told(capsys):
    assert main(["doctor", "--fetch", "configs/predict.yaml", "--dry_run"]) == 0
    assert "no revision is pinned" in capsys.readouterr().out


def test_both_repositories_of_a_decoder_are_listed(capsys):
    assert main(["doctor", "--fetch", "configs/decoder/sdxl.yaml", "--dry_run"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("hf download")]
    assert len(lines) == 2
    assert lines[0].startswith("hf download stabilityai/stable-diffusion-xl-base-1.0 --revision 4621659840")
    assert " text_encoder_2/" in lines[0].replace("'", "")
    assert lines[1].startswith("hf download h94/IP-Adapter --revision 018e402774")
    assert " sdxl_models/ip-adapter_sdxl_vit-h.safetensors " in lines[1]
    assert main(["doctor", "--fetch", "configs/decoder/kandinsky.yaml", "--dry_run"]) == 0
    assert "hf download kandinsky-community/kandinsky-2-2-prior --revision 9fc51ad573" in capsys.readouterr().out


def test_later_files_lie_on_top(tmp_path, capsys):
    assert main(["doctor", "--fetch", "configs/predict.yaml", "configs/decoder/mini.yaml"]) == 0
    assert "nothing to fetch" in capsys.readouterr().out
    (tmp_path / "own.yaml").write_text(
        "model: {class_path: ReconstructionModule, init_args: {decoder: {revision: abc, model_id: a/b}}}"
    )
    files_of = of_words(["configs/predict.yaml", str(tmp_path / "own.yaml")])[0].files
    assert (files_of.model_id, files_of.revision) == ("a/b", "abc")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "does not exist"),
        ("model: [", "cannot be read as YAML"),
        ("[1, 2]", "holds no configuration"),
        ("model: {class_path: fmri_lightning.encoder.module.RidgeModule}", "no model of predict"),
        (
            "model: {class_path: ReconstructionModule, init_args: {decoder: {famly: unclip}}}",
            "has a key that no decoder has",
        ),
    ],
)
def test_a_file_that_configures_no_prediction_is_refused(tmp_path, text, message):
    path = tmp_path / "some.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(BadInputError, match=message):
        of_words([str(path)])


def test_the_shipped_configurations_and_every_named_space_of_the_hub_are_listed():
    wanted = [one.files for one in shipped()]
    ids = {files.model_id for files in wanted}
    decoders = {
        "sd2-community/stable-diffusion-2-1-unclip", "stable-diffusion-v1-5/stable-diffusion-v1-5",
        "stabilityai/stable-diffusion-xl-base-1.0", "stabilityai/sdxl-turbo", "h94/IP-Adapter",
        "kandinsky-community/kandinsky-2-2-decoder", "kandinsky-community/kandinsky-2-2-prior",
        "sd2-community/stable-diffusion-2-1",
    }  # fmt: skip
    assert ids == decoders | {spec.model_id for spec in SPACES.values() if not spec.packaged}
    assert len(wanted) == len(set(wanted))

"""The doctor's screen: one screenful that tells the truth, whatever is broken on the machine."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub.constants
import pytest
from packaging.requirements import Requirement

from fmri_lightning import __version__
from fmri_lightning.cli import main
from fmri_lightning.doctor import caches, disks, libraries, machine, screen, tracking
from fmri_lightning.doctor.wanted import Wanted
from fmri_lightning.embeddings.hub_files import HubFiles

HEADINGS = ["libraries", "devices", "caches", "W&B", "disk", "extras", "mini"]


def told(capsys, *words):
    code = main(["doctor", *words])
    return code, capsys.readouterr().out.splitlines()


def headings(lines):
    return [line.split()[0] for line in lines[1:] if not line.startswith(" ")]


def test_all_of_it_fits_on_one_screen(capsys, tmp_path):
    code, lines = told(capsys, "--data", str(tmp_path), "--network", "false")
    assert code == 0
    assert lines[0].startswith(f"fmri-lightning {__version__}, Python 3.")
    assert headings(lines) == HEADINGS
    # Paths of any length are not cut, so that they can be copied.
    assert sum(1 + len(line) // 101 for line in lines) <= 40
    assert not [line for line in lines if len(line) > 100 and "/" not in line]
    assert any(f"{tmp_path} (--data)" in line for line in lines)
    assert not any("\x1b" in line for line in lines)


def test_a_folder_that_is_not_there_is_an_error(capsys, tmp_path):
    assert told(capsys, "--data", str(tmp_path / "absent"))[0] == 3


@pytest.mark.parametrize(("option", "code"), [("--verify", 2), ("--dry_run", 2)])
def test_an_option_without_the_one_it_belongs_to_is_refused(capsys, option, code):
    assert told(capsys, option)[0] == code


def test_a_broken_part_tells_so_and_stops_no_other(capsys, monkeypatch):
    def broken():
        yield "first line"
        raise RuntimeError("the directory is a teapot\nsecond line")

    monkeypatch.setattr(tracking, "wandb_lines", broken)
    code, lines = told(capsys, "--network", "false")
    assert code == 0
    assert headings(lines) == HEADINGS
    assert any(line.strip() == "! RuntimeError: the directory is a teapot" for line in lines)


def test_a_torch_that_does_not_import_is_an_error_at_the_end(tmp_path):
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise ImportError('libcudart.so.12: cannot open')")
    done = subprocess.run(
        [sys.executable, "-m", "fmri_lightning", "doctor", "--network", "false"],
        env=os.environ | {"PYTHONPATH": f"{tmp_path}:{Path(__file__).parents[2]}"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 3
    assert headings(done.stdout.splitlines()) == HEADINGS
    assert "! ImportError: libcudart.so.12" in done.stdout
    assert "not installed: torch (libcudart.so.12: cannot open)" in done.stderr


def test_a_missing_library_is_an_error_and_a_version_outside_the_range_is_marked(capsys, monkeypatch):
    required = [Requirement("no-such-distribution>=1"), Requirement("numpy<1"), Requirement("pyyaml>=6")]
    monkeypatch.setattr(screen, "required_libraries", lambda: required)
    code, lines = told(capsys, "--network", "false")
    assert code == 3
    shown = " ".join(" ".join(lines).split())
    assert "no-such-distribution MISSING" in shown
    assert re.search(r"numpy [\d.]+ \(! needs <1\)", shown)
    assert re.search(r"pyyaml [\d.]+ devices", shown)


def test_the_required_libraries_are_those_of_the_metadata_without_extras():
    names = {one.name for one in libraries.required_libraries()}
    if not names:
        pytest.skip("this checkout was never installed")
    assert {"torch", "lightning", "huggingface_hub"} <= {name.replace("-", "_") for name in names}
    assert not {"torchvision", "peft", "pytest"} & names


def test_extras_are_named_with_the_line_that_installs_them(capsys, monkeypatch):
    extras = [libraries.Extra(one.name, "no_such_module", one.purpose, one.pip) for one in libraries.EXTRAS]
    monkeypatch.setattr(screen, "EXTRAS", extras)
    shown = "\n".join(told(capsys, "--network", "false")[1])
    assert "pip install 'fmri-lightning[eval-nets]'" in shown
    assert "pip install --no-deps stlpips-pytorch" in shown


def test_cores_are_those_of_this_process():
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert machine.cores() == 1
        assert machine.cpu_line().startswith("1 of ")
    finally:
        os.sched_setaffinity(0, before)


@pytest.mark.parametrize(
    ("files", "cores", "limit"),
    [
        ({"cpu.max": "150000 100000", "memory.max": "1073741824"}, 1.5, 2**30),
        ({"cpu.max": "max 100000", "memory.max": "max"}, None, None),
        ({"cpu.cfs_quota_us": "200000", "cpu.cfs_period_us": "100000", "memory.limit_in_bytes": "4096"}, 2.0, 4096),
        ({"cpu.cfs_quota_us": "-1", "cpu.cfs_period_us": "100000", "memory.limit_in_bytes": str(2**63)}, None, None),
        ({}, None, None),
    ],
)
def test_limits_of_a_cgroup_are_read_in_both_versions(tmp_path, files, cores, limit):
    for name, text in files.items():
        (tmp_path / name).write_text(text + "\n")
    assert machine.quota_cores(tmp_path) == cores
    assert machine.memory_bytes(tmp_path)[1] == limit


def test_the_key_is_never_shown(monkeypatch, tmp_path):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path))
    assert "no key of api.wandb.ai" in tracking.key_text()
    (tmp_path / "netrc").write_text("machine api.wandb.ai login user password verysecret\n")
    (tmp_path / "netrc").chmod(0o600)
    assert tracking.key_text().startswith("key of api.wandb.ai in ")
    monkeypatch.setenv("WANDB_API_KEY", "verysecret")
    lines = list(tracking.wandb_lines())
    assert "key in WANDB_API_KEY" in lines[0]
    assert "verysecret" not in " ".join(lines)
    monkeypatch.delenv("WANDB_API_KEY")
    assert "verysecret" not in " ".join(tracking.wandb_lines())


def test_wandbs_directories_are_those_of_our_runs_or_the_variables(monkeypatch, tmp_path):
    from wandb import env

    for name in ("WANDB_DIR", "WANDB_DATA_DIR", "WANDB_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    found = {name: folder for name, folder, _ in tracking.directories()}
    assert found == {"WANDB_DIR": None, "WANDB_DATA_DIR": None, "WANDB_CACHE_DIR": env.get_cache_dir()}
    assert "WANDB_DIR is not set: a run is kept in wandb/ beside its results" in list(tracking.wandb_lines())
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path / "file" / "inside"))
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "new" / "data"))
    monkeypatch.setenv("HOME", str(tmp_path))
    lines = list(tracking.wandb_lines())
    assert re.search(r"^WANDB_DIR ~/file/inside: NOT WRITABLE, on \$HOME$", lines[1])
    assert re.search(r"^WANDB_DATA_DIR ~/new/data: writable, on \$HOME$", lines[2])
    assert "(default)" in lines[3]


def test_wandb_is_not_imported():
    code = "import sys; from fmri_lightning.doctor.tracking import wandb_lines as w; list(w()); print(*sys.modules)"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert "wandb" not in done.stdout.split()
    assert "torch" not in done.stdout.split()


def test_a_mode_of_wandbs_settings_file_is_told(monkeypatch, tmp_path):
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    assert tracking.mode() == "offline (no key and no WANDB_MODE)"
    (tmp_path / "settings").write_text("[default]\nmode = offline\n")
    assert tracking.mode().startswith("offline (")
    (tmp_path / "settings").write_text("no section\n")
    monkeypatch.setenv("WANDB_API_KEY", "verysecret")
    assert tracking.mode() == "online (a key is there)"


TOWER = HubFiles("some/tower", "a" * 40, ("config.json", "model*.safetensors"), needed=("config.json", "model*"))


def test_the_cache_tells_whole_models_from_parts(monkeypatch, tmp_path):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    lines = lambda: list(caches.model_lines([Wanted("space tower", TOWER)]))  # noqa: E731
    assert lines() == ["absent: some/tower (space tower)"]
    folder = tmp_path / "models--some--tower" / "snapshots" / TOWER.revision
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    assert lines() == ["there in part, or of another revision: some/tower (space tower)"]
    (folder / "model.safetensors").symlink_to(tmp_path / "a blob that was removed")
    assert lines()[0].startswith("there in part")
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").write_text("weights")
    assert lines() == ["complete: some/tower (space tower)"]
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "model-00002-of-00002.safetensors"}}')
    assert lines()[0].startswith("there in part")


def test_the_hub_is_asked_once_and_never_for_long(monkeypatch):
    monkeypatch.setattr(caches, "TIMEOUT_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert not caches.ask_hub()().answered
    assert "does not answer" in caches.ask_hub()().text
    monkeypatch.delenv("HF_HUB_OFFLINE")
    assert caches.reach(network=False)() == "hub not asked (--network false)"
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert caches.reach(network=True)().startswith("HF_HUB_OFFLINE is set")


def test_room_is_told_once_a_file_system(tmp_path):
    lines = disks.free_lines({"working directory": tmp_path, "hub cache": tmp_path / "not" / "there"})
    assert len(lines) == 1
    assert f"{tmp_path} (working directory), {tmp_path}/not/there (hub cache)" in lines[0]


def test_equal_cuda_devices_share_a_line(monkeypatch):
    import torch

    about = SimpleNamespace(name="NVIDIA H100", total_memory=80 * 2**30, major=9, minor=0)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda number: about)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda number: (40 * 2**30 * (1 + (number < 2)), 80 * 2**30))
    assert list(machine.cuda_lines())[1:] == [
        "cuda:0,1 NVIDIA H100, 80 GiB (100% free), sm_90, bf16",
        "cuda:2 NVIDIA H100, 80 GiB (50% free), sm_90, bf16",
    ]

    def busy(number):
        raise RuntimeError("CUDA error: all devices are busy\nmore")

    monkeypatch.setattr(torch.cuda, "mem_get_info", busy)
    assert list(machine.cuda_lines())[1:] == ["cuda:0,1,2 UNUSABLE: CUDA error: all devices are busy"]


@pytest.mark.gpu
def test_cuda_devices_are_described():
    lines = list(machine.cuda_lines())
    assert re.search(r"driver \d+\.", lines[0])
    assert re.search(r"^cuda:0.* GiB \(\d+% free\), sm_\d+, (no )?bf16$", lines[1])

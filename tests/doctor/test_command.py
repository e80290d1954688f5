"""The doctor tells the truth about what is installed."""

import importlib.metadata

import pytest

from fmri_lightning import __version__
from fmri_lightning.doctor import command as doctor
from fmri_lightning.errors import BadInputError


def test_tells_versions_devices_and_models(capsys, tmp_path):
    doctor.doctor(data=tmp_path)
    out = capsys.readouterr().out
    assert out.startswith(f"fmri-lightning {__version__}, Python 3.")
    assert "devices: CPU" in out
    assert [line.split(":")[0] for line in out.splitlines() if line.startswith("mini ")] == [
        f"mini {name}" for name in doctor.MINI_MODELS
    ]
    assert f"free space at {tmp_path}" in out


def test_an_absent_extra_is_named_with_its_remedy(capsys, monkeypatch):
    monkeypatch.setitem(doctor.EXTRAS, "brain", ("no_such_module_here", "brain maps"))
    doctor.doctor()
    assert "extra brain: absent, pip install no_such_module_here (brain maps)" in capsys.readouterr().out


def test_a_missing_library_is_an_error(capsys, monkeypatch):
    monkeypatch.setattr(doctor, "required_libraries", lambda: ["numpy", "no-such-distribution"])
    with pytest.raises(BadInputError, match="not installed: no-such-distribution"):
        doctor.doctor()
    assert f"numpy {importlib.metadata.version('numpy')}" in capsys.readouterr().out


def test_a_missing_folder_is_an_error(tmp_path):
    with pytest.raises(BadInputError, match="does not exist"):
        doctor.doctor(data=tmp_path / "absent")

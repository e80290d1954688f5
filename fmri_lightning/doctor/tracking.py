"""Where W&B would write and whether it is logged in, read from the environment: wandb is not imported."""

from __future__ import annotations

import configparser
import netrc
import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from fmri_lightning.doctor.disks import is_on_home, is_writable, shown

HOST = "https://api.wandb.ai"
UNSET = {
    "WANDB_DIR": "a run is kept in wandb/ beside its results",
    "WANDB_DATA_DIR": "pictures of tables wait in wandb/data beside them",
}


def wandb_lines() -> Iterator[str]:
    """Describe the mode, the key and the three directories.

    Yields:
        Lines; a key is never among them.
    """
    yield f"mode {mode()}; {key_text()}"
    for name, folder, is_default in directories():
        if folder is None:
            yield f"{name} is not set: {UNSET[name]}"
            continue
        notes = ["writable" if is_writable(folder) else "NOT WRITABLE"]
        notes += ["on $HOME"] if is_on_home(folder) else []
        yield f"{name} {'(default) ' if is_default else ''}{shown(folder)}: {', '.join(notes)}"


def mode() -> str:
    """Say which mode a run would get, and what decides it; without a key and a mode it is kept here, unasked."""
    given = os.environ.get("WANDB_MODE")
    if given:
        return f"{given} (WANDB_MODE)"
    for path in _settings_files():
        settings = _settings(path)
        if settings.get("mode"):
            return f"{settings['mode']} ({path})"
        if settings.get("disabled", "").lower() == "true":
            return f"disabled ({path})"
    return "online (a key is there)" if has_key() else "offline (no key and no WANDB_MODE)"


def directories() -> list[tuple[str, Path | None, bool]]:
    """List the directories that runs of this package write to.

    Returns:
        Variable, folder or None where it depends on the run, and whether the folder is a default.
    """
    from platformdirs import user_cache_dir

    runs = os.environ.get("WANDB_DIR")
    defaults = {
        "WANDB_DIR": None,
        "WANDB_DATA_DIR": f"{runs}/wandb/data" if runs else None,
        "WANDB_CACHE_DIR": user_cache_dir("wandb"),
    }
    found: list[tuple[str, Path | None, bool]] = []
    for name, default in defaults.items():
        place = os.environ.get(name) or default
        found.append((name, None if place is None else Path(place).expanduser().absolute(), not os.environ.get(name)))
    return found


def has_key() -> bool:
    """Whether a key is configured."""
    return not key_text().startswith("no key")


def key_text() -> str:
    """Say whether a key is configured, and where; the key itself is not kept."""
    host = urlsplit(os.environ.get("WANDB_BASE_URL") or HOST).netloc
    if os.environ.get("WANDB_API_KEY"):
        return "key in WANDB_API_KEY"
    path = Path(os.environ.get("NETRC") or "~/.netrc").expanduser()
    try:
        if netrc.netrc(path).authenticators(host):
            return f"key of {host} in {path}"
    except FileNotFoundError:
        pass
    except (netrc.NetrcParseError, OSError) as error:
        return f"no key: {path} cannot be read ({type(error).__name__})"
    if any("api_key" in _settings(settings) for settings in _settings_files()):
        return "key in W&B's settings file"
    return f"no key of {host} (wandb login)"


def _settings_files() -> list[Path]:
    """W&B's settings of the working directory, then the user's."""
    folder = Path(os.environ.get("WANDB_DIR") or ".") / "wandb"
    user = os.environ.get("WANDB_CONFIG_DIR") or Path("~/.config/wandb").expanduser()
    return [folder / "settings", Path(user) / "settings"]


def _settings(path: Path) -> dict[str, str]:
    parser = configparser.ConfigParser()
    try:
        parser.read(path, encoding="utf-8")
        return dict(parser["default"]) if "default" in parser else {}
    except (configparser.Error, OSError, UnicodeDecodeError):
        return {}

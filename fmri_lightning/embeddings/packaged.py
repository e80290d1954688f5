"""Find the data files that ship with the package: configs and the mini models."""

from __future__ import annotations

from pathlib import Path

from fmri_lightning.errors import BadInputError

_PACKAGE = Path(__file__).resolve().parents[1]


def packaged_path(relative: str) -> Path:
    """Locate a shipped file or folder in a checkout or in an installed wheel.

    Args:
        relative: path inside the repository that starts with ``checkpoints/`` or ``configs/``.

    Raises:
        BadInputError: the file is in neither place.
    """
    checkout = _PACKAGE.parent
    # site-packages may hold a stray folder of the same name; only a checkout has pyproject.toml.
    places = [_PACKAGE / "_data" / relative]
    if (checkout / "pyproject.toml").is_file():
        places.insert(0, checkout / relative)
    for place in places:
        if place.exists():
            return place
    remedy = (
        "train it with the recipes of configs/mini/"
        if relative.startswith("checkpoints/")
        else "install the package again"
    )
    raise BadInputError(f"{relative} is not in this installation: {remedy}")

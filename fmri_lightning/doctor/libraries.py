"""Which libraries are installed, and whether their versions are those that our metadata asks for."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from packaging.requirements import Requirement

PACKAGE = "fmri-lightning"
MODULES = {"scikit-learn": "sklearn", "pillow": "PIL", "pyyaml": "yaml"}
"""Import names that are not the distribution's."""


@dataclass(frozen=True)
class Extra:
    """An optional part of the package.

    Attributes:
        name: As in ``pip install 'fmri-lightning[NAME]'``.
        module: Import name that it brings.
        purpose: What it is for.
        pip: What pip is given.
    """

    name: str
    module: str
    purpose: str
    pip: str = ""

    def line(self) -> str:
        """Say how it is installed."""
        wanted = self.pip or f"'{PACKAGE}[{self.name}]'"
        return f"pip install {wanted}"

    def present(self) -> bool:
        """Say whether its module can be imported."""
        return importlib.util.find_spec(self.module) is not None


EXTRAS = (
    Extra("tensorboard", "tensorboard", "TensorBoard logs"),
    Extra("lora", "peft", "LoRA training of generators"),
    Extra("eval-nets", "torchvision", "published protocols"),
    Extra("brain", "nilearn", "brain maps"),
    # Its metadata asks for torchvision, its weights do not.
    Extra("demo", "stlpips_pytorch", "the demo's judge", "--no-deps stlpips-pytorch"),
)


@dataclass(frozen=True)
class Library:
    """A required library.

    Attributes:
        name: Distribution name.
        version: Installed version, or "" where it is missing.
        required: Versions that our metadata asks for, for instance "<3,>=2.6.6"; "" for any.
        fits: Whether the installed version is one of them.
        module: Import name.
    """

    name: str
    version: str
    required: str
    fits: bool
    module: str = ""

    def usable(self) -> bool:
        """Say whether its module is there; a version that does not fit is told and tried."""
        return bool(self.version) and importlib.util.find_spec(self.module) is not None

    def text(self) -> str:
        """Name, version, and a mark where it is not what is asked for."""
        if not self.usable():
            return f"{self.name} MISSING"
        return f"{self.name} {self.version}" + ("" if self.fits else f" (! needs {self.required})")


def required_libraries() -> list[Requirement]:
    """Read what this package requires, without extras and without what does not apply to this machine.

    Returns:
        Parsed requirements; none when the package runs from a checkout that was never installed.
    """
    from packaging.requirements import Requirement

    try:
        lines = importlib.metadata.requires(PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        return []
    parsed = [Requirement(line) for line in lines]
    return [one for one in parsed if one.marker is None or one.marker.evaluate({"extra": ""})]


def libraries(required: Iterable[Requirement]) -> list[Library]:
    """Look up the installed versions.

    Args:
        required: From :func:`required_libraries`.

    Returns:
        One entry per requirement, in order.
    """
    found = []
    for one in required:
        wanted = str(one.specifier)
        try:
            version = importlib.metadata.version(one.name)
        except importlib.metadata.PackageNotFoundError:
            found.append(Library(one.name, "", wanted, False))
            continue
        fits = one.specifier.contains(version, prereleases=True)
        found.append(Library(one.name, version, wanted, fits, MODULES.get(one.name, one.name.replace("-", "_"))))
    return found

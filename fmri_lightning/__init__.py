"""Reconstruct seen images from fMRI, from the trial index to the report page."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fmri_lightning.report.notebook import Report

__version__ = "0.1.0"
__all__ = ["Report", "__version__"]


def __getattr__(name: str) -> Any:
    """Import what notebooks use on first use: every command imports this package, and most need none of it."""
    if name == "Report":
        return importlib.import_module("fmri_lightning.report.notebook").Report
    raise AttributeError(f"module 'fmri_lightning' has no attribute {name!r}")

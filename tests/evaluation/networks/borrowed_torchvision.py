"""torchvision for the tests of the published networks, also where no build of it fits this torch.

Its models are plain Python. Where only a build for another torch can be had, unpack it with
``pip install --no-deps --target DIR torchvision`` and set FMRI_LIGHTNING_TORCHVISION=DIR in a process of its own: the
compiled operators that it declares at import, which no classifier uses, are declared empty here.
"""

import os
import re
import sys
from pathlib import Path

import pytest

VARIABLE = "FMRI_LIGHTNING_TORCHVISION"
_DECLARED = re.compile(r'"torchvision::(\w+)"|register_meta\("(\w+)"\)')
_KEPT = []


def need_torchvision() -> None:
    """Make ``import torchvision.models`` work, or skip the module that asks."""
    folder = os.environ.get(VARIABLE)
    if folder and "torchvision" not in sys.modules:
        import torch

        library = torch.library.Library("torchvision", "FRAGMENT")
        source = (Path(folder) / "torchvision/_meta_registrations.py").read_text()
        for operator in sorted({a or b for a, b in _DECLARED.findall(source)}):
            library.define(f"{operator}(Tensor x) -> Tensor")
        _KEPT.append(library)
        sys.path.append(folder)
    try:
        import torchvision.models  # noqa: F401
    except (ImportError, RuntimeError) as error:
        if folder:
            raise  # it was promised: a skip would pass for a run
        pytest.skip(f"torchvision is not here ({error}); see {VARIABLE}", allow_module_level=True)

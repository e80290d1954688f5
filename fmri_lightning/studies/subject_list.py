"""Which subjects are meant, and which there are under a data root."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from fmri_lightning.errors import BadInputError, UsageError

ALL = "all"
_RANGE = re.compile(r"(\d+)(?:-(\d+))?")


def _of_nsd(root: Path) -> set[str]:
    tables, volumes = ({path.name for path in (root / part / "ppdata").glob("subj*")} for part in _NSD_PARTS)
    return tables & volumes


_NSD_PARTS = ("nsddata", "nsddata_betas")


def _of_mindeye2(root: Path) -> set[str]:
    return {path.name.split("_")[2] for path in root.glob("betas_all_subj*_fp32_renorm.hdf5")}


def _of_arrays(root: Path) -> set[str]:
    return {path.parent.name for path in root.glob("*/trials.tsv")}


def _of_mindeye1(root: Path) -> set[str]:
    from fmri_lightning.index.mindeye1 import subjects_of

    return set(subjects_of(root))


def _of_brain_diffuser(root: Path) -> set[str]:
    from fmri_lightning.index.brain_diffuser import subjects_of

    return set(subjects_of(root))


def _of_algonauts(root: Path) -> set[str]:
    return {path.parent.name for path in root.glob("subj*/training_split")}


FINDERS: dict[str, Callable[[Path], set[str]]] = {
    "nsd": _of_nsd,
    "mindeye2": _of_mindeye2,
    "arrays": _of_arrays,
    "mindeye1": _of_mindeye1,
    "brain_diffuser": _of_brain_diffuser,
    "algonauts": _of_algonauts,
}
"""How the subjects of a source are found under its root; a source without an entry has its subjects named."""


def find_subjects(source: str, root: Path) -> list[str]:
    """List the subjects whose data lie under a root.

    Args:
        source: A key of :data:`FINDERS`.
        root: Folder of the data.

    Returns:
        Their names in order, for instance ["subj01", "subj02"].

    Raises:
        UsageError: The source does not tell its subjects.
        BadInputError: There is none.
    """
    if source not in FINDERS:
        raise UsageError(f"the subjects of source {source} are not looked for; name them: --subjects subj01,subj02")
    found = sorted(FINDERS[source](root))
    if not found:
        raise BadInputError(f"no subject of source {source} under {root}; give --root the folder of the data")
    return found


def parse_subjects(text: str) -> list[str]:
    """Read a list of subjects.

    Args:
        text: Names or numbers with commas between, ranges as a SLURM array has them; not "all".

    Returns:
        Names in the order of the list.

    Raises:
        UsageError: It names nobody, or somebody twice.

    Example:
        >>> parse_subjects("subj01,3-5"), parse_subjects("CSI1,CSI2")
        (['subj01', 'subj03', 'subj04', 'subj05'], ['CSI1', 'CSI2'])
    """
    names: list[str] = []
    for word in filter(None, (part.strip() for part in text.split(","))):
        found = _RANGE.fullmatch(word)
        if found is None:
            names.append(word)
            continue
        first, last = int(found[1]), int(found[2] or found[1])
        names += [f"subj{number:02d}" for number in range(first, last + 1)]
    twice = sorted({name for name in names if names.count(name) > 1})
    if not names or twice:
        raise UsageError(f"--subjects names {'nobody' if not names else f'{twice[0]} twice'}: {text!r}")
    return names


def choose_subjects(text: str, source: str, root: Path) -> list[str]:
    """Read a list of subjects and look whether their data are there.

    Args:
        text: As for :func:`parse_subjects`, or "all".
        source: Where the data come from.
        root: Folder of the data.

    Returns:
        Names.

    Raises:
        UsageError: The list names nobody, somebody twice, or somebody without data.
        BadInputError: All are meant and there is none.
    """
    if text == ALL:
        return find_subjects(source, root)
    names = parse_subjects(text)
    if source in FINDERS:
        present = find_subjects(source, root)
        absent = [name for name in names if name not in present]
        if absent:
            raise UsageError(f"--subjects: no data of {', '.join(absent)} under {root}; present: {', '.join(present)}")
    return names

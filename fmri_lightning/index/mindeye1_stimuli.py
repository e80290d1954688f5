"""NSD's pictures as MindEye1 published them: a JPEG in each sample (Scotti et al. 2023)."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fmri_lightning.errors import BadInputError
from fmri_lightning.index.mindeye1 import FOLDER, PICTURES, Member, read_samples, subjects_of
from fmri_lightning.index.stimulus_source import require_known
from fmri_lightning.manifest import content_hash


class MindEye1Stimuli:
    """Pictures of all subjects that lie there; a picture of several is read from the first of them.

    Args:
        root: Folder that holds ``webdataset_avg_split``.

    Raises:
        BadInputError: If there are no samples, a tar is torn, or a sample has no picture.
    """

    def __init__(self, root: Path) -> None:
        self.folder = root / FOLDER
        self._members: dict[int, Member] = {}
        subjects = subjects_of(root)
        if not subjects:
            raise BadInputError(f"{self.folder} holds no samples of any subject in test; bring the tars there")
        for subject in subjects:
            for sample in read_samples(root, subject):
                form = next((form for form in PICTURES if form in sample.members), None)
                if form is None or "coco73k.npy" not in sample.members:
                    raise BadInputError(f"{sample.name} has no picture or no coco73k.npy; download it again")
                self._members.setdefault(sample.number("coco73k.npy"), sample.members[form])

    @property
    def ids(self) -> NDArray[np.int32]:
        """0-based ids of all pictures, ascending, (n,)."""
        return np.array(sorted(self._members), dtype=np.int32)

    def read(self, ids: ArrayLike) -> NDArray[np.uint8]:
        """Read pictures by id.

        Args:
            ids: 0-based nsd_ids in any order, repeats allowed, (n,).

        Returns:
            uint8 (n, height, width, 3), RGB, in the order of ``ids``.

        Raises:
            BadInputError: If an id is in no sample, a picture is damaged, or sizes differ within the request.
        """
        wanted = np.asarray(ids, dtype=np.int64).ravel()
        require_known(wanted, self.ids, self.folder)
        pictures: list[NDArray[np.uint8]] = []
        for i in wanted.tolist():
            pictures.append(self._picture(i))
            if pictures[-1].shape != pictures[0].shape:
                raise BadInputError(
                    f"{self._members[i].path}: picture {i} is {pictures[-1].shape[:2]} pixels, others are "
                    f"{pictures[0].shape[:2]}; download it again"
                )
        return np.stack(pictures) if pictures else np.zeros((0, *self._picture(min(self._members)).shape), np.uint8)

    def identity(self) -> str:
        """Tell this set from another, by ids and bytes of each picture: a short text."""
        ids = self.ids
        return "mindeye1:" + content_hash(ids, np.array([self._members[i].size for i in ids.tolist()], dtype=np.int64))

    def _picture(self, nsd_id: int) -> NDArray[np.uint8]:
        from PIL import Image

        member = self._members[nsd_id]
        try:
            with Image.open(io.BytesIO(member.read())) as image:
                return np.asarray(image.convert("RGB"), dtype=np.uint8)
        except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
            raise BadInputError(
                f"{member.path}: picture {nsd_id} cannot be read ({error}); download it again"
            ) from error

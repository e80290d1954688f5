"""Pictures of the Algonauts 2023 challenge: a PNG file each, in folders by subject and split."""

from __future__ import annotations

from pathlib import Path

from fmri_lightning.index.algonauts import TEST, TRAINING, images_folder, picture_files
from fmri_lightning.index.folder_stimuli import FolderStimuli
from fmri_lightning.manifest import content_hash

ALGONAUTS_IMAGES = images_folder("subj*", TRAINING)
"""Where training pictures lie below a root, for any subject."""


class AlgonautsStimuli(FolderStimuli):
    """The pictures of all subjects below a root, by nsd_id; where several saw a picture, the first one's file is read.

    Args:
        root: Folder that holds the subjects' folders.

    Raises:
        BadInputError: If a folder holds files of other names, or pictures are missing.
    """

    def __init__(self, root: Path) -> None:
        self.folder = root
        self._files: dict[int, Path] = {}
        for folder, split in _folders(root):
            for nsd_id, path in picture_files(folder, split).items():
                self._files.setdefault(nsd_id, path)

    def identity(self) -> str:
        """Tell this set of pictures from another, by the names and sizes of all files."""
        files = [path for folder, split in _folders(self.folder) for path in picture_files(folder, split).values()]
        names = (f"{path.relative_to(self.folder).as_posix()} {path.stat().st_size}" for path in files)
        return f"algonauts:{content_hash(chr(10).join(names))}"


def _folders(root: Path) -> list[tuple[Path, str]]:
    subjects = sorted(path.parents[1].name for path in root.glob(ALGONAUTS_IMAGES))
    places = [(root / images_folder(subject, split), split) for subject in subjects for split in (TRAINING, TEST)]
    return [(folder, split) for folder, split in places if folder.is_dir()]

"""Load a pipeline of diffusers from a folder: safetensors only, no code from a repository, no encoders of pictures."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fmri_lightning.errors import BadInputError

PICTURE_PARTS = ("image_encoder", "feature_extractor", "safety_checker")
"""Parts that look at pictures: embeddings come from the brain."""
TEXT_PARTS = ("text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2")


@contextlib.contextmanager
def quiet_libraries() -> Iterator[None]:
    """Silence what the libraries tell of image processors that are not used here."""
    from diffusers.utils import logging
    from transformers.utils import logging as transformers_logging

    logging.disable_progress_bar()
    before, of_transformers = logging.get_verbosity(), transformers_logging.get_verbosity()
    logging.set_verbosity_error()
    transformers_logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        transformers_logging.set_verbosity(of_transformers)


def load_pipeline(name: str, folder: Path, **replaced: Any) -> Any:
    """Load a pipeline without its image encoder; text encoders are left out where the folder has none.

    Args:
        name: Class of diffusers.
        folder: Folder in diffusers format.
        **replaced: Components or settings given in place of those of the folder.

    Returns:
        The pipeline in float32 on the CPU.

    Raises:
        BadInputError: Not safetensors, damaged, or of another class.
    """
    with quiet_libraries():
        import diffusers

        pipeline = getattr(diffusers, name)
        known = pipeline._get_signature_types()
        absent = [part for part in TEXT_PARTS if part in known and not (folder / part).is_dir()]
        dropped = dict.fromkeys([*(part for part in PICTURE_PARTS if part in known), *absent])
        try:
            return pipeline.from_pretrained(
                folder, use_safetensors=True, local_files_only=True, **{**dropped, **_settings(known), **replaced}
            )
        except (OSError, ValueError, TypeError, AttributeError) as error:
            line = " ".join(str(error).split())[:300]
            raise BadInputError(f"decoder in {folder} cannot be loaded: {line}; fetch it again") from error


def _settings(known: Any) -> dict[str, Any]:
    """Switch off what would change pictures behind our back, where a pipeline has it."""
    return {"requires_safety_checker": False} if "safety_checker" in known else {}

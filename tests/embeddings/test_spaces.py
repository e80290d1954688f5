import re

import pytest

from fmri_lightning.embeddings.packaged import packaged_path
from fmri_lightning.embeddings.spaces import SPACES, resolve_space
from fmri_lightning.errors import BadInputError, UsageError


def test_hub_models_are_pinned_to_a_commit():
    for spec in SPACES.values():
        assert spec.packaged == (spec.revision is None)
        if not spec.packaged:
            assert re.fullmatch("[0-9a-f]{40}", spec.revision)


def test_widths_are_those_of_the_published_models():
    assert {name: spec.dim for name, spec in SPACES.items()} == {
        "vit-b-32": 512,
        "vit-l-14": 768,
        "vit-h-14": 1024,
        "vit-bigg-14": 1280,
        "mini-source": 512,
        "mini-target": 1024,
        "sd-vae": 4 * 32 * 32,
        "mini-vae": 16 * 8 * 8,
    }


def test_misspelt_space_gets_the_closest_name():
    with pytest.raises(UsageError, match="did you mean vit-b-32"):
        resolve_space("vit-b32")


def test_hub_id_without_revision_is_refused():
    with pytest.raises(UsageError, match="--revision"):
        resolve_space(model_id="someone/clip")


def test_both_and_neither_are_refused():
    for given in ((None, None), ("vit-b-32", "someone/clip")):
        with pytest.raises(UsageError, match="either"):
            resolve_space(*given)


def test_revision_overrides_the_pin():
    assert resolve_space("vit-l-14", revision="a" * 40).revision == "a" * 40


def test_folder_without_config_is_refused(tmp_path):
    with pytest.raises(BadInputError, match="config"):
        resolve_space(str(tmp_path))


def test_download_command_names_the_commit():
    spec = SPACES["vit-b-32"]
    assert spec.download_command().startswith(f"hf download {spec.model_id} --revision {spec.revision}")


def test_packaged_path_finds_shipped_files_and_names_missing_ones():
    assert packaged_path("configs").is_dir()
    with pytest.raises(BadInputError, match="configs/mini"):
        packaged_path("checkpoints/mini/never_made")

"""The shipped mini models: whole, small, made for each other, and as good as their cards say."""

from __future__ import annotations

import hashlib
import os
import re
from argparse import Namespace
from pathlib import Path

import pytest

from fmri_lightning.embeddings.image_encoder import ImageEncoder
from fmri_lightning.generation.decoder import DecoderConfig, decoder_space
from fmri_lightning.records import require_same_space
from tests.benchmarks.mini_models import Looker, Subject, draw, heldout, scores, shipped_options

MINI = Path(__file__).resolve().parents[1] / "checkpoints" / "mini"
CARDS = sorted(MINI.glob("*/README.md"))


def test_all_of_it_is_small_enough_to_clone() -> None:
    sizes = {path: path.stat().st_size for path in MINI.rglob("*") if path.is_file()}
    assert sum(sizes.values()) <= 40e6
    assert max(sizes.values()) <= 15 * 2**20


@pytest.mark.parametrize("card", CARDS, ids=lambda path: path.parent.name)
def test_every_hash_on_a_card_is_that_of_its_file(card: Path) -> None:
    named = dict(re.findall(r"^- `(\S+\.safetensors)` sha256 ([0-9a-f]{64})$", card.read_text(), flags=re.MULTILINE))
    found = {
        path.relative_to(card.parent).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in card.parent.rglob("*.safetensors")
    }
    assert named == found


def test_the_generator_was_trained_on_embeddings_of_the_shipped_encoder() -> None:
    generator = decoder_space(DecoderConfig(family="mini"))
    assert generator is not None
    encoder = ImageEncoder.from_space("mini-target").space
    require_same_space(encoder, generator, "the encoder", "the generator")
    assert encoder.weights_hash == generator.weights_hash


def drawn_scores(subject: Subject) -> dict[str, float]:
    from fmri_lightning.generation.families.unclip import load_unclip

    looker = Looker()
    drawn = draw(load_unclip(DecoderConfig(family="mini")).eval(), subject.embeddings, shipped_options())
    return scores(looker.features(drawn), looker.features(subject.pictures))


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Subject]:
    found = heldout(Namespace(encoder="mini-target", cache=tmp_path_factory.mktemp("scenes"), n=200))
    return {subject.name: subject for subject in found}


@pytest.mark.slow
def test_held_out_scenes_are_recognised_from_their_true_embedding(kinds: dict[str, Subject]) -> None:
    found = drawn_scores(kinds["scenes"])
    assert found["two-way judge2"] >= 0.90
    assert found["top-1 judge2"] >= 0.20
    assert found["PixCorr"] >= 0.25


@pytest.mark.slow
@pytest.mark.photographs
@pytest.mark.skipif("FMRI_LIGHTNING_PHOTOGRAPHS" not in os.environ, reason="needs FMRI_LIGHTNING_PHOTOGRAPHS")
def test_held_out_photographs_are_recognised_from_their_true_embedding(kinds: dict[str, Subject]) -> None:
    assert drawn_scores(kinds["photographs"])["two-way judge2"] >= 0.75

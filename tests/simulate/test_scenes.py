"""Scenes: deterministic, described, kept apart by namespace, the same at every size."""

from __future__ import annotations

import numpy as np
import pytest

from fmri_lightning.errors import UsageError
from fmri_lightning.simulate.scenes import (
    CATEGORIES,
    N_SEMANTIC,
    THINGS,
    draw_scene,
    draw_scenes,
    render_scene,
    sample_scene,
)


def test_same_seed_gives_the_same_bytes_in_any_order() -> None:
    forwards, _ = draw_scenes("stimuli", range(6), seed=3)
    backwards, _ = draw_scenes("stimuli", range(5, -1, -1), seed=3)
    np.testing.assert_array_equal(forwards, backwards[::-1])


def test_namespaces_and_seeds_do_not_share_scenes() -> None:
    pictures = [
        draw_scene(namespace, index, seed)[0].tobytes()
        for namespace in ("stimuli", "mini_train", "mini_heldout", "probe")
        for seed in (0, 1)
        for index in range(4)
    ]
    assert len(set(pictures)) == len(pictures)


def test_unknown_namespace_is_refused() -> None:
    with pytest.raises(UsageError, match="mini_train"):
        draw_scene("training", 0)


@pytest.mark.parametrize("size_px", [32, 64])
def test_pictures_have_the_asked_size_and_content(size_px: int) -> None:
    pictures, scenes = draw_scenes("stimuli", range(12), size_px=size_px)
    assert pictures.shape == (12, size_px, size_px, 3)
    assert pictures.dtype == np.uint8
    assert pictures.reshape(12, -1).std(axis=1).min() > 5
    assert all(1 <= len(scene.objects) <= 3 for scene in scenes)


def test_description_does_not_depend_on_the_size() -> None:
    assert draw_scenes("stimuli", range(5), size_px=32)[1] == draw_scenes("stimuli", range(5))[1]


def test_small_and_large_pictures_show_the_same_scene() -> None:
    large = draw_scenes("stimuli", range(10), size_px=64)[0].astype(float)
    small = draw_scenes("stimuli", range(10), size_px=32)[0].astype(float)
    reduced = large.reshape(10, 32, 2, 32, 2, 3).mean(axis=(2, 4))
    for own, other in zip(reduced, small, strict=True):
        assert np.corrcoef(own.ravel(), other.ravel())[0, 1] > 0.9


def test_semantic_vector_tells_scenes_apart_and_names_the_main_object() -> None:
    _, scenes = draw_scenes("stimuli", range(200))
    vectors = np.stack([scene.semantic_vector() for scene in scenes])
    assert vectors.shape == (200, N_SEMANTIC)
    assert np.isfinite(vectors).all()
    for vector, scene in zip(vectors, scenes, strict=True):
        shares = vector[: len(CATEGORIES)]
        assert shares.sum() == pytest.approx(1.0, abs=1e-5)
        assert shares[CATEGORIES.index(scene.objects[0].category)] > 0
    assert len(np.unique(vectors.round(4), axis=0)) == 200


def test_every_category_appears_and_leaves_a_mark() -> None:
    seen = {thing.category for index in range(600) for thing in sample_scene(np.random.default_rng([9, index])).objects}
    assert seen == set(THINGS)


def test_an_object_changes_the_pixels_where_it_stands() -> None:
    scene = sample_scene(np.random.default_rng(5))
    empty = type(scene)(scene.place, scene.light, scene.weather, scene.horizon, ())
    with_object = render_scene(scene, np.random.default_rng(1)).astype(int)
    without = render_scene(empty, np.random.default_rng(1)).astype(int)
    assert (np.abs(with_object - without).max(axis=2) > 20).mean() > 0.01

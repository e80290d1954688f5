import math

import numpy as np
import pytest
import torch

from fmri_lightning.encoder.losses import (
    contrastive_loss,
    cosine_loss,
    mixed_picture,
    same_picture,
    similar_picture,
)
from fmri_lightning.encoder.objective import Objective, half_cosine
from fmri_lightning.errors import UsageError


def batch(n=12, dim=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(n, dim, generator=generator) for _ in range(2))


def info_nce(predicted, true, temperature=0.07, ids=None):
    match = same_picture(torch.arange(len(true)) if ids is None else ids)
    return contrastive_loss(predicted, true, match, match.T, temperature)


def test_cosine_loss_in_closed_form():
    a = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    assert float(cosine_loss(a, 5 * a)) == pytest.approx(0, abs=1e-6)
    assert float(cosine_loss(a, -a)) == pytest.approx(2)
    assert float(cosine_loss(a, torch.tensor([[1.0, 1.0], [1.0, 0.0]]))) == pytest.approx(1 - math.sqrt(0.5) / 2)


def test_info_nce_in_closed_form():
    n = 6
    assert float(info_nce(torch.ones(n, n), torch.eye(n))) == pytest.approx(math.log(n), rel=1e-5)
    # Orthogonal pairs: the match has logit 1/t, all others 0.
    expected = -math.log(math.exp(2) / (math.exp(2) + n - 1))
    assert float(info_nce(torch.eye(n), 3 * torch.eye(n), temperature=0.5)) == pytest.approx(expected, rel=1e-5)
    with pytest.raises(ValueError, match="temperature"):
        info_nce(torch.eye(2), torch.eye(2), temperature=0.0)
    with pytest.raises(ValueError, match="temperature"):
        similar_picture(torch.eye(2), 0.0)


def test_info_nce_does_not_push_repeats_of_a_picture_apart():
    predicted = torch.eye(3)[[0, 0, 1, 2]].requires_grad_()
    ids = torch.tensor([7, 7, 8, 9])
    info_nce(predicted, torch.eye(3)[[0, 0, 1, 2]], 0.5, ids).backward()
    # Two equal rows are pulled alike; taken for distractors they could not be told apart and lose ln 2.
    assert torch.allclose(predicted.grad[0], predicted.grad[1])
    shared = info_nce(torch.eye(3)[[0, 0, 1, 2]], torch.eye(3)[[0, 0, 1, 2]], 0.02, ids)
    assert float(shared) == pytest.approx(math.log(2) / 2, rel=1e-4)


def test_softclip_is_the_published_formula():
    # MindEye (Scotti et al., 2023): both directions against the softmax of the targets' own similarities.
    predicted, true = batch()
    p, t = (x.double().numpy() / np.linalg.norm(x.double().numpy(), axis=1, keepdims=True) for x in (predicted, true))

    def log_softmax(x):
        return x - np.log(np.exp(x).sum(axis=1, keepdims=True))

    own, across = t @ t.T / 0.125, p @ t.T / 0.125
    weights = np.exp(log_softmax(own))
    expected = -np.mean([(log_softmax(m) * weights).sum(axis=1).mean() for m in (across, across.T)])
    match = similar_picture(true, 0.125)
    assert float(contrastive_loss(predicted, true, match, match, 0.125)) == pytest.approx(expected, rel=1e-5)


def test_bimixco_is_the_published_formula():
    predicted, true = batch()
    n = len(true)
    partner = torch.roll(torch.arange(n), 3)
    share = torch.linspace(0.1, 1.0, n)
    p, t = (x.double().numpy() / np.linalg.norm(x.double().numpy(), axis=1, keepdims=True) for x in (predicted, true))
    across = p @ t.T / 0.1
    weights = np.diag(share.numpy().astype(np.float64))
    weights[np.arange(n), partner.numpy()] = 1 - share.numpy()

    def term(logits, targets):
        return -((logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))) * targets).sum(axis=1).mean()

    expected = (term(across, weights) + term(across.T, weights.T)) / 2
    match = mixed_picture(torch.arange(n), partner, share)
    assert float(contrastive_loss(predicted, true, match, match.T, 0.1)) == pytest.approx(expected, rel=1e-5)


def test_a_row_mixed_with_itself_keeps_its_whole_match():
    # The published code writes the partner's share over the row's own.
    match = mixed_picture(torch.arange(3), torch.tensor([0, 2, 1]), torch.tensor([0.3, 0.6, 1.0]))
    torch.testing.assert_close(match, torch.tensor([[1.0, 0, 0], [0, 0.6, 0.4], [0, 0, 1.0]]))


def test_mixing_mixes_voxels_targets_and_match_alike():
    objective = Objective(contrast_weight=1.0, contrast="bimixco_softclip", mixco_share=0.5)
    ids = torch.arange(200)
    features, targets = torch.eye(200), 2 * torch.eye(200)
    torch.manual_seed(0)
    mixed = objective.mix(features, targets, ids, progress=0.2)
    torch.testing.assert_close(mixed.targets, 2 * mixed.features)
    torch.testing.assert_close(mixed.match, mixed.features)
    touched = (mixed.match.diagonal() < 1).float().mean()
    assert 0.35 < float(touched) < 0.65
    unmixed = objective.mix(features, targets, ids, progress=0.5)
    assert unmixed.features is features
    torch.testing.assert_close(unmixed.match, torch.eye(200))


def test_terms_are_weighted():
    predicted, true = batch()
    objective = Objective(0.5, 2.0, 0.1, "softclip", soft_temperature=(0.1, 0.4))
    terms = objective(predicted, objective.mix(predicted, true, torch.arange(12), 1.0), true, progress=1.0)
    match = similar_picture(true, 0.4)
    torch.testing.assert_close(terms["contrast"], contrastive_loss(predicted, true, match, match, 0.4))
    torch.testing.assert_close(terms["mse"], ((predicted - true) ** 2).mean())
    torch.testing.assert_close(terms["loss"], 0.5 * terms["cosine"] + 2 * terms["mse"] + 0.1 * terms["contrast"])
    assert set(Objective()(predicted, Objective().mix(predicted, true, torch.arange(12), 0.0), true, 0.0)) == {
        "loss",
        "cosine",
        "mse",
    }


def test_the_contrast_turns_soft_after_its_share_of_the_fit():
    predicted, true = batch()
    objective = Objective(0, 0, 1.0, "bimixco_softclip", mixco_share=0.25, soft_temperature=(0.1, 0.3))
    for progress, temperature in ((0.25, 0.1), (0.625, 0.2), (1.0, 0.3)):
        whole = objective.mix(predicted, true, torch.arange(12), progress)
        match = similar_picture(true, temperature)
        expected = contrastive_loss(predicted, true, match, match, temperature)
        torch.testing.assert_close(objective(predicted, whole, true, progress)["loss"], expected)
    assert half_cosine(0.1, 0.3, 0.5) == pytest.approx(0.2)


@pytest.mark.parametrize(
    "wrong",
    [
        {"cosine_weight": -1.0},
        {"cosine_weight": 0.0, "mse_weight": 0.0},
        {"mixco_share": 1.5},
        {"temperature": 0.0},
        {"soft_temperature": (0.1, 0.0)},
    ],
)
def test_refuses_losses_that_make_no_sense(wrong):
    with pytest.raises(UsageError):
        Objective(**wrong)

"""Predictive uncertainty against closed forms and scikit-learn, and an item's numbers whatever the others are."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import BayesianRidge

from fmri_lightning.encoder.network import LinearMap, NetworkMap
from fmri_lightning.encoder.uncertainty.leverage import fit_leverage
from fmri_lightning.encoder.uncertainty.passes import dropout_passes, drops
from fmri_lightning.encoder.uncertainty.repeats import RepeatNoise, fit_repeat_noise, within_variance
from fmri_lightning.encoder.uncertainty.signals import ItemFeatures, Uncertainty
from fmri_lightning.errors import BadInputError

ALPHA = 7.0


def rows(n, p, seed=0, decay=0.9):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, p)) * decay ** np.arange(p) + rng.normal(size=p)


def dense(train, test, alpha):
    """The textbook formula."""
    x, t = train - train.mean(axis=0), test - train.mean(axis=0)
    inverse = np.linalg.inv(x.T @ x + alpha * np.eye(x.shape[1]))
    return np.einsum("ij,jk,ik->i", t, inverse, t) + 1 / len(train)


def leverage_of(train, test, alphas=(ALPHA,), **more):
    found = fit_leverage(train, list(alphas), np.ones((len(train), 2)), **more)
    features = torch.from_numpy(test.astype(np.float32))
    return found(features)[:, 0].numpy(), found.bound(features)[:, 0].numpy(), found


@pytest.mark.parametrize(("n", "p"), [(60, 12), (12, 60), (30, 30)])
def test_leverage_is_the_closed_form(n, p):
    train, test = rows(n, p), 3 * rows(15, p, seed=1)
    found, bound, _ = leverage_of(train, test)
    np.testing.assert_allclose(found, dense(train, test, ALPHA), rtol=2e-5)
    assert bound.max() == 0


def test_several_alphas_are_averaged():
    train, test = rows(40, 9), rows(8, 9, seed=1)
    found, _, _ = leverage_of(train, test, (1.0, 50.0))
    np.testing.assert_allclose(found, (dense(train, test, 1.0) + dense(train, test, 50.0)) / 2, rtol=2e-5)


@pytest.mark.parametrize(("n", "p"), [(80, 30), (30, 80)])
@pytest.mark.parametrize("max_rank", [1, 5, 15])
def test_a_truncated_basis_stays_within_its_bound(n, p, max_rank):
    train, test = rows(n, p), rows(20, p, seed=1)
    found, bound, leverage = leverage_of(train, test, max_rank=max_rank)
    assert leverage.basis.shape == (p, max_rank)
    off = np.abs(found - dense(train, test, ALPHA))
    assert (off <= bound * (1 + 1e-4) + 1e-6).all()
    assert bound.max() > 0


def test_variance_is_that_of_bayesian_ridge_at_its_own_precisions():
    rng = np.random.default_rng(3)
    x, test = rows(70, 6, decay=1.0), rows(11, 6, seed=2, decay=1.0)
    y = x @ rng.normal(size=6) + rng.normal(size=70)
    peer = BayesianRidge().fit(x, y)
    _, peer_std = peer.predict(test, return_std=True)
    leverage = fit_leverage(x, [peer.lambda_ / peer.alpha_], (y - peer.predict(x))[:, None])
    leverage.noise[:] = 1 / peer.alpha_
    # scikit-learn takes the intercept for known, and adds the noise of a new row.
    ours = leverage.variance(torch.from_numpy(test.astype(np.float32)))[:, 0].numpy() + (1 - 1 / 70) / peer.alpha_
    np.testing.assert_allclose(np.sqrt(ours), peer_std, rtol=1e-5)


def test_noise_is_corrected_for_what_the_fit_used():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 40))
    y = x @ rng.normal(size=(40, 300)) + 2.0 * rng.normal(size=(60, 300))
    centred, target = x - x.mean(axis=0), y - y.mean(axis=0)
    weights = np.linalg.solve(centred.T @ centred + 1e-6 * np.eye(40), centred.T @ target)
    leverage = fit_leverage(x, [1e-6], target - centred @ weights)
    assert leverage.noise.mean() == pytest.approx(4.0, rel=0.05)


def test_leverage_refuses_what_is_no_fit():
    with pytest.raises(BadInputError, match="do not fit"):
        fit_leverage(rows(5, 3), [], np.ones((5, 2)))
    with pytest.raises(BadInputError, match="NaN"):
        fit_leverage(np.full((5, 3), np.nan), [1.0], np.ones((5, 2)))


def linear_network(p=30, dim=5, drop=0.3):
    """A network that is its linear path: the rest of it starts at zero."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = NetworkMap(p, dim, hidden=8, dropout=0.0, input_dropout=drop, linear_path=True)
    return network.eval()


def test_dropout_variance_of_a_linear_network_is_the_closed_form():
    network, drop = linear_network(), 0.3
    x = torch.from_numpy(rows(1, 30)[0].astype(np.float32))
    outputs = dropout_passes(network, x, seed=1, passes=40_000)
    weights = network.linear_path.weight.detach()
    expected = (weights.square() * x.square()).sum(dim=1) * drop / (1 - drop)
    torch.testing.assert_close(outputs.var(dim=0), expected, rtol=0.03, atol=0)
    torch.testing.assert_close(outputs.mean(dim=0), network(x[None])[0].detach(), rtol=0, atol=0.02)


def test_passes_leave_no_trace():
    network, x = linear_network(), torch.ones(30)
    state, before = torch.get_rng_state(), network(x[None])
    first = dropout_passes(network, x, seed=1)
    assert torch.equal(first, dropout_passes(network, x, seed=1))
    assert not torch.equal(first, dropout_passes(network, x, seed=2))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(network(x[None]), before)
    assert drops(network)
    assert not drops(linear_network(drop=0.0))


def items_of(counts, p=30, seed=0):
    rng = np.random.default_rng(seed)
    trials = rng.normal(size=(sum(counts), p)).astype(np.float32)
    stops = np.cumsum(counts)
    means = np.stack([part.mean(axis=0) for part in np.split(trials, stops[:-1])]).astype(np.float32)
    return ItemFeatures(means, trials, np.array(counts), np.arange(len(counts), dtype=np.int64) * 1000)


def taken(items, chosen):
    groups = np.split(items.trials, np.cumsum(items.counts)[:-1])
    return ItemFeatures(
        items.means[chosen], np.concatenate([groups[i] for i in chosen]), items.counts[chosen], items.seeds[chosen]
    )


@pytest.mark.parametrize("kind", ["ridge", "network", "ensemble"])
@pytest.mark.parametrize("mode", ["average", "average_outputs"])
def test_an_item_has_its_numbers_whatever_the_others(kind, mode):
    items = items_of([1, 3, 2, 3, 1] * 30)
    leverage = fit_leverage(rows(50, 30), [ALPHA], np.ones((50, 5))) if kind == "ridge" else None
    encoder = LinearMap(30, 5) if kind == "ridge" else linear_network()
    if kind == "ridge":
        encoder.weights.normal_(generator=torch.Generator().manual_seed(0))
    member = linear_network()
    torch.nn.init.normal_(member.linear_path.weight, generator=torch.Generator().manual_seed(9))
    members = [member] if kind == "ensemble" else []
    uncertainty = Uncertainty(np.zeros(5), np.ones(5), leverage, members, RepeatNoise(1.0, 0.2, 4.0), mode)
    whole = uncertainty.signals(encoder, items)
    assert np.isfinite(whole).all()
    assert (whole > 0).all()
    chosen = np.random.default_rng(1).permutation(150)[:41]
    # To float32's last bits: on some processors the kernel of a matrix product depends on the number of rows.
    np.testing.assert_allclose(uncertainty.signals(encoder, taken(items, chosen)), whole[chosen], rtol=2e-6)


def test_the_spread_of_an_ensemble_is_added():
    items, encoder, member = items_of([2] * 6), LinearMap(30, 5), LinearMap(30, 5)
    member.intercept += 2.0
    network = linear_network(drop=0.0)
    alone = Uncertainty(np.zeros(5), np.full(5, 0.5), None, [], RepeatNoise(1.0, 0.0, 1.0), "average")
    both = Uncertainty(np.zeros(5), np.full(5, 0.5), None, [member], RepeatNoise(1.0, 0.0, 1.0), "average")
    assert alone.signals(network, items)[:, 0].max() < 1e-12
    # 0 and 2 in units of 0.5: variance 8 with ddof 1.
    np.testing.assert_allclose(both.signals(encoder, items)[:, 0], 8.0)


def test_noise_of_repeats_is_found_and_falls_with_their_number():
    rng = np.random.default_rng(0)
    counts = np.array([1, 2, 3] * 200)
    which = np.repeat(np.arange(600), counts)
    noisy = rng.normal(size=(600, 40))[which] + 1.5 * rng.normal(size=(len(which), 40))
    noise = fit_repeat_noise(noisy, counts)
    assert noise.variance == pytest.approx(2.25, rel=0.05)
    assert noise.dimensions == pytest.approx(40, rel=0.15)
    assert noise.between < 0.01
    within, _ = within_variance(noisy, counts)
    expected = noise.of_mean(within, counts)
    np.testing.assert_allclose(expected, noise.variance / counts, rtol=0.2)


def test_pictures_with_noise_of_their_own_are_told_apart():
    rng = np.random.default_rng(0)
    counts = np.full(300, 3)
    own = rng.uniform(0.5, 3.0, 300)
    noisy = np.repeat(own, 3)[:, None] * rng.normal(size=(900, 60))
    noise = fit_repeat_noise(noisy, counts)
    assert noise.between > 0.2
    expected = noise.of_mean(within_variance(noisy, counts)[0], counts)
    np.testing.assert_allclose(expected, own**2 / 3, rtol=0.9)
    assert np.corrcoef(np.log(expected), np.log(own))[0, 1] > 0.95
    assert noise.of_mean(np.zeros(1), np.array([1]))[0] == pytest.approx(noise.variance)


def test_nothing_is_known_without_repeats():
    assert fit_repeat_noise(np.ones((4, 3)), np.ones(4, dtype=np.int64)) == RepeatNoise(0.0, 0.0, 1.0)
    with pytest.raises(BadInputError, match="NaN"):
        fit_repeat_noise(np.full((4, 3), np.nan), np.full(2, 2))


def test_betas_that_are_not_finite_are_refused():
    items = items_of([1, 2])
    items.trials[1, 0] = np.nan
    with pytest.raises(BadInputError, match="hold NaN or infinity; run again: fmri-lightning betas"):
        taken(items, [0, 1])

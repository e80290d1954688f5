import numpy as np
import pytest

from fmri_lightning.ceiling.scores import LINEAR, POSTERIOR, ModeScores

SAMPLER = {
    "rhat_limit": 1.1, "n_rhat_above_limit": 3, "n_items": 9, "rhat_p99": 1.4, "n_tempered": 3,
    "acceptance_mean": 0.8, "monte_carlo_error_relative": 0.01,
}  # fmt: skip


def scored(converged):
    rng = np.random.default_rng(0)
    truth = rng.standard_normal((30, 6)).astype(np.float32)
    scores = ModeScores("single", 1, np.repeat(np.arange(10), 3).astype(np.int32), truth, np.zeros(6))
    scores.add_mean_vector()
    for name, kind, noise in (("ridge", "ridge", 2.0), ("net", "network", 1.5), (LINEAR, "ceiling", 1.0)):
        scores.add(name, kind, [truth + noise * rng.standard_normal(truth.shape)])
    scores.add(POSTERIOR, "ceiling", [truth + 0.5 * rng.standard_normal(truth.shape)])
    scores.sampler = {**SAMPLER, "converged": converged}
    return scores


def test_fractions_are_of_the_ceilings():
    rows = scored(True).to_json()["predictors"]
    for name, field in ((LINEAR, "fraction_of_linear_optimum"), (POSTERIOR, "fraction_of_posterior_mean")):
        share = rows["ridge"]["centred_cosine"] / rows[name]["centred_cosine"]
        assert rows["ridge"][field] == pytest.approx(share)


def test_chains_that_did_not_converge_are_no_ceiling():
    scores = scored(False)
    rows = scores.to_json()["predictors"]
    assert {row["fraction_of_posterior_mean"] for row in rows.values()} == {None}
    assert rows["ridge"]["fraction_of_linear_optimum"] is not None
    assert any("NOT CONVERGED, no ceiling" in line for line in scores.lines())

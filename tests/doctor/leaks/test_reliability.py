"""Reliabilities that saw errors of pictures they must not see, with honest and with lying records."""

import dataclasses

import numpy as np
import pytest
import torch

from fmri_lightning.adapter.reliability.artefact import Evidence, load_reliability, save_reliability
from fmri_lightning.adapter.reliability.error_map import fit_error_map
from fmri_lightning.cli import main
from fmri_lightning.doctor.runs import leaks
from fmri_lightning.manifest import read_manifest
from tests.doctor.leaks.small_run import copy_of, ids_of, predict, refused


@pytest.fixture(scope="module", params=["ridge", "mlp"])
def reliable(request, parts, tmp_path_factory):
    """A reliability as the command writes it, and a run that used it."""
    root = tmp_path_factory.mktemp("reliable")
    encoder = getattr(parts, request.param)
    words = ["reliability", "--encoder_ckpt", str(encoder), "--adapter_ckpt", str(parts.adapter), "--passes", "4"]
    words += [word for name, value in parts.brain.items() for word in (f"--{name}", value)]
    assert main([*words, "--root", str(root)]) == 0
    folder = root / "reliability" / request.param / "subj01"
    options = {"model_encoder_ckpt": encoder, "model_reliability": folder}
    return folder, predict(parts, root / "run", **options)


def forged(reliable, tmp_path, edit):
    """A copy of the run that names a changed copy of its reliability, whose hash fits."""
    folder, run = reliable
    manifest = read_manifest(folder, "reliability")
    found = edit(load_reliability(folder, manifest.inputs, None))
    save_reliability(tmp_path / "forged", found)
    return copy_of(run, tmp_path, model_reliability=tmp_path / "forged")


def test_what_the_command_writes_passes(parts, reliable):
    lines = [line for line in leaks(reliable[1]) if line.startswith("reliability ")]
    n_val = len(ids_of(parts, "val"))
    assert f"from {n_val} val stimuli" in lines[0]
    assert f"uncertainties, errors, expected errors, rank correlation are those of its {n_val} val" in lines[1]
    if "ridge" in str(reliable[0]):
        assert "its leverage is that of the" in lines[2]


@pytest.mark.parametrize("split", ["test", "train"])
def test_an_honest_record_of_other_pictures_is_refused(parts, reliable, tmp_path, split):
    def edit(found):
        ids = ids_of(parts, split)[: len(found.evidence.nsd_ids)].astype(np.int32)
        n = len(ids)
        evidence = Evidence(ids, found.evidence.signals[:n], found.evidence.errors[:n])
        return dataclasses.replace(found, evidence=evidence)

    words = rf"was fitted on errors of \d+ stimuli: nsd_id \d+ \({split}, global_trial"
    refused(forged(reliable, tmp_path, edit), words, "fit it again: fmri-lightning reliability")


def test_errors_of_others_under_a_lying_record_are_refused(reliable, tmp_path):
    def edit(found):
        errors = np.roll(found.evidence.errors, 1)
        error_map, ordering = fit_error_map(found.evidence.signals, errors, found.evidence.nsd_ids)
        evidence = dataclasses.replace(found.evidence, errors=errors)
        return dataclasses.replace(found, evidence=evidence, error_map=error_map, ordering=ordering)

    refused(forged(reliable, tmp_path, edit), r"errors are not those of its \d+ val stimuli; it saw others")


def test_a_map_that_was_fitted_on_others_is_refused(reliable, tmp_path):
    def edit(found):
        error_map = dataclasses.replace(found.error_map, log_error=found.error_map.log_error + 0.1)
        return dataclasses.replace(found, error_map=error_map)

    refused(forged(reliable, tmp_path, edit), "expected errors are not those of its")


def test_a_leverage_that_saw_other_rows_is_refused(reliable, tmp_path):
    if "ridge" not in str(reliable[0]):
        pytest.skip("a network has none")

    def edit(found):
        found.uncertainty.leverage.mean += 1e-3 * torch.ones_like(found.uncertainty.leverage.mean)
        # Its own numbers follow, so that only the rows give it away.
        return found

    refused(forged(reliable, tmp_path, edit), r"uncertainties are not|its leverage is of \d+ rows")

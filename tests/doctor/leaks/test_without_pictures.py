"""A run that stops at predictions can be checked like any other."""

from fmri_lightning.doctor.command import doctor
from tests.doctor.leaks.small_run import predict


def test_a_run_without_a_decoder_names_its_inputs_and_passes(parts, tmp_path, capsys):
    options = {"model_decoder.family": "none", "model_decoder.model_id": None, "data_limit": None}
    run = predict(parts, tmp_path / "run", **options)
    assert (run / "predict.yaml").is_file()
    doctor(leaks=run, expect=run)
    out = capsys.readouterr().out
    assert "residuals of its" in out
    assert "mean-vector cosine" in out


def test_a_dry_run_leaves_nothing(parts, tmp_path):
    run = predict(parts, tmp_path / "run", "--dry_run")
    assert not run.exists()

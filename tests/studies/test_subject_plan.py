"""Which subjects, which commands: lists are read, paths join, and what would be refused later is refused at once."""

import pytest
import yaml

from fmri_lightning.cli import main
from fmri_lightning.errors import BadInputError, UsageError
from fmri_lightning.simulate.command import simulate
from fmri_lightning.studies.subject_list import choose_subjects, find_subjects, parse_subjects
from fmri_lightning.studies.subject_plan import TARGETS, config_of, encoder_name
from tests.index.tiny_nsd import write_tiny_nsd
from tests.test_architecture import ROOT

DECODERS = sorted(path.stem for path in (ROOT / "configs" / "decoder").glob("*.yaml"))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_tiny_nsd(tmp_path_factory.mktemp("tiny") / "nsd").root


def dry_run(root, capsys, *words):
    assert main(["subjects", "--root", str(root), "--dry_run", *words]) == 0, capsys.readouterr().err
    return capsys.readouterr().out


def refused(root, capsys, *words):
    assert main(["subjects", "--root", str(root), *words]) == 2
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("subj01", ["subj01"]),
        ("subj02,subj01", ["subj02", "subj01"]),
        ("1-3,7", ["subj01", "subj02", "subj03", "subj07"]),
        ("10", ["subj10"]),
        ("CSI1, CSI2", ["CSI1", "CSI2"]),
    ],
)
def test_lists_of_subjects(text, names):
    assert parse_subjects(text) == names


@pytest.mark.parametrize(("text", "said"), [("", "nobody"), ("3-1", "nobody"), ("1,subj01", "subj01 twice")])
def test_lists_that_name_nobody_or_somebody_twice(text, said):
    with pytest.raises(UsageError, match=said):
        parse_subjects(text)


def test_all_are_those_whose_tables_and_betas_are_there(root, tmp_path):
    assert find_subjects("nsd", root) == ["subj01", "subj02"]
    (tmp_path / "nsddata" / "ppdata" / "subj01").mkdir(parents=True)
    with pytest.raises(BadInputError, match="no subject of source nsd"):
        find_subjects("nsd", tmp_path)
    for file in ("betas_all_subj05_fp32_renorm.hdf5", "betas_all_subj01_fp32_renorm.hdf5", "betas.hdf5"):
        (tmp_path / file).touch()
    assert find_subjects("mindeye2", tmp_path) == ["subj01", "subj05"]
    for folder in ("anna", "ben", "stimuli"):
        (tmp_path / folder).mkdir()
    for folder in ("anna", "ben"):
        (tmp_path / folder / "trials.tsv").touch()
    assert find_subjects("arrays", tmp_path) == ["anna", "ben"]
    with pytest.raises(UsageError, match="name them"):
        find_subjects("bids", tmp_path)
    assert choose_subjects("anna,carl", "bids", tmp_path) == ["anna", "carl"]
    with pytest.raises(UsageError, match="no data of carl"):
        choose_subjects("anna,carl", "arrays", tmp_path)


@pytest.mark.parametrize("layout", ["mindeye1", "brain_diffuser", "algonauts"])
def test_subjects_of_other_releases_are_found(tmp_path, layout):
    simulate(
        tmp_path / "data", layout=layout, subjects="2,5", shared=24, unique=48, sessions=9, missing_sessions=1,
        nsdgeneral_voxels=60, size_px=16,
    )  # fmt: skip
    assert find_subjects(layout, tmp_path / "data") == ["subj02", "subj05"]
    with pytest.raises(UsageError, match="no data of subj01"):
        choose_subjects("1,2", layout, tmp_path / "data")


@pytest.mark.parametrize("decoder", DECODERS)
def test_every_shipped_decoder_gets_an_adapter_into_the_space_it_reads(decoder, root, capsys):
    """What the table says is what the decoder itself declares, and all its commands are accepted."""
    from fmri_lightning.embeddings.spaces import SPACES
    from fmri_lightning.generation.decoder import DecoderConfig, IPAdapterConfig, family_files

    plain = yaml.safe_load((ROOT / "configs" / "decoder" / f"{decoder}.yaml").read_text())
    given = dict(plain["model"]["init_args"]["decoder"])
    if "ip_adapter" in given:
        given["ip_adapter"] = IPAdapterConfig(**given["ip_adapter"])
    config, target = DecoderConfig(**given), TARGETS[decoder]
    if plain["model"]["init_args"].get("adapter_ckpt", "") is None:
        assert target is None
    else:
        declared = family_files(config).declared_space(config)
        assert declared.name == target
        assert declared.dim == SPACES[target].dim
    printed = dry_run(root, capsys, "--decoder", decoder, "--subjects", "1", "--conditions", "predicted,shuffled")
    assert ("configs/adapter.yaml" in printed) == (target is not None)
    assert printed.count("fmri-lightning predict") == 2


def test_the_table_of_decoders_is_whole():
    assert sorted(TARGETS) == DECODERS


def test_paths_are_those_that_the_commands_choose_by_themselves(root, capsys):
    """Outputs of subjects and of single commands are the same files, so either goes on where the other stopped."""
    printed = dry_run(root, capsys, "--subjects", "subj02")
    for words in (
        "--out outputs/nsd_index",
        "--out outputs/betas --preproc_out outputs/preproc",
        "--model.encoder_ckpt checkpoints/ridge/subj02/ridge.ckpt",
        "--model.adapter_ckpt checkpoints/clip_adapter/subj02/vit-h-14/adapter.ckpt",
        "--output_dir outputs/recon/subj02/ridge_diffusion",
        "--out outputs/clip_cache/vit-h-14.parquet",
    ):
        assert words in printed


def test_every_subject_has_its_own_chain_and_all_share_the_rest(root, capsys, tmp_path):
    out = tmp_path / "out"
    printed = dry_run(root, capsys, "--out", str(out), "--decoder", "mini", "--calibrate")
    blocks = printed.split("# ")[1:]
    assert [block.split("\n")[0] for block in blocks[:4]] == ["all subjects share", "subj01", "subj02", "all subjects"]
    commands = [[line.split()[1] for line in block.splitlines()[1:]] for block in blocks]
    each = ["index", "betas", "fit", "fit", "calibrate", "predict", "evaluate"]
    assert commands[:4] == [["clip-cache"] * 2, each, each, ["report"]]
    assert "subj02" not in blocks[1]
    assert "subj01" not in blocks[2]
    assert blocks[1].replace("subj01", "X") == blocks[2].replace("subj02", "X")
    assert not out.exists()


def test_options_reach_their_command_with_the_subjects_name(root, capsys):
    printed = dry_run(
        root, capsys, "--encoder", "residual", "--steps", "fit,predict",
        "--fit_options=--model.initial checkpoints/ridge/{subject}/ridge.ckpt", "--predict_options=--data.limit 7",
    )  # fmt: skip
    for subject in ("subj01", "subj02"):
        assert f"--model.initial checkpoints/ridge/{subject}/ridge.ckpt" in printed
        assert f"--output_dir outputs/recon/{subject}/residual_diffusion" in printed
    assert printed.count("--data.limit 7") == 2


def test_a_configuration_among_the_options_does_not_overrule_the_paths(root, capsys, tmp_path):
    own = tmp_path / "own.yaml"
    own.write_text("data:\n  init_args: {subject: subj02, limit: 5}\n")
    printed = dry_run(root, capsys, "--subjects", "1", f"--predict_options=--config {own}", "--steps", "predict")
    line = next(line for line in printed.splitlines() if "predict" in line and line.startswith("fmri"))
    assert line.index(str(own)) < line.index("--data.subject subj01")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--report_options=--limt 3"], "report would be refused, and nothing was run: unknown option --limt"),
        (["--evaluate_options=--resamples many"], "evaluate of subj01 would be refused"),
        (["--protocol", "mindey"], "mindey"),
        (["--predict_options=--data.limit few"], "predict of subj01 would be refused"),
        (["--fit_options=--config own_{subject}.yaml"], "own_subj01.yaml"),
        (["--predict_options=--data.subject subj02"], "--predict_options holds --data.subject"),
        (["--predict_options=--data.init_args.subject=subj02"], "--predict_options holds --data.subject"),
        (["--evaluate_options=--out elsewhere"], "--evaluate_options holds --out"),
        (["--predict_options=--dry_run"], "--predict_options holds --dry_run"),
        (["--predict_options=--data.limit '7"], "cannot be split into words"),
        (["--steps", "index,preditc"], "did you mean predict?"),
        (["--steps", ","], "--steps names none"),
        (["--steps", "calibrate"], "add --calibrate"),
        (["--steps", "adapter", "--decoder", "nearest_neighbour"], "drawn from without one"),
        (["--decoder", "own.yaml"], "no file own.yaml"),
        (["--encoder", "ridgee"], "choose low_level, mlp, "),
        (["--subjects", "1,5"], "no data of subj05"),
        (["--source", "nds"], "source 'nds' is not supported"),
        (["--conditions", "shuffled"], "names predicted"),
        (["--jobs", "0"], "--jobs starts at 1"),
        (["--steps", "fit"], "clip.parquet is not there: add clip-cache to --steps"),
    ],
)
def test_what_would_be_refused_late_is_refused_before_anything_runs(words, said, root, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert said in refused(root, capsys, *words)
    assert list(tmp_path.iterdir()) == []


def test_a_decoder_of_ones_own_says_what_it_reads(root, capsys, tmp_path):
    own = tmp_path / "own.yaml"
    own.write_text((ROOT / "configs" / "decoder" / "mini.yaml").read_text())
    assert "say which embedding space it reads" in refused(root, capsys, "--decoder", str(own))
    printed = dry_run(root, capsys, "--decoder", str(own), "--target_space", "none")
    assert "adapter.yaml" not in printed


def test_the_name_of_an_encoder_is_that_of_its_checkpoint(tmp_path):
    assert [encoder_name(config_of("encoder", name)) for name in ("ridge", "mlp", "residual", "low_level")] == [
        "ridge", "mlp", "residual", "low_level",
    ]  # fmt: skip
    own = tmp_path / "own.yaml"
    own.write_text("model: {class_path: RidgeModule}")
    with pytest.raises(UsageError, match="which name its checkpoint bears"):
        encoder_name(str(own))
    own.write_text("model: {class_path: RidgeModule, init_args: {name: wide}}")
    assert encoder_name(str(own)) == "wide"

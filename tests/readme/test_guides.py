"""What every guide must be: executed or excused, and right about commands, options, files and targets."""

from __future__ import annotations

import re
import shlex

import pytest

from fmri_lightning.cli import COMMANDS, main
from tests.readme.guides import (
    GUIDES,
    PACKAGE,
    ROOT,
    RUNNABLE,
    Step,
    blocks_of,
    command_lines,
    find_guides,
    name_of,
    needed_by,
    steps_of,
    whole_run,
)

NOTHING_TO_RUN = {
    "checkpoints/README.md": "a list of folders",
    "checkpoints/mini/README.md": "trains for two hours; tests/test_mini_recipes.py runs the recipes small",
    "checkpoints/mini/generator/README.md": "the card of a model, written by its export",
    "checkpoints/mini/source_encoder/README.md": "the card of a model, written by its export",
    "checkpoints/mini/target_encoder/README.md": "the card of a model, written by its export",
    "configs/cluster/README.md": "needs SLURM; tests/test_cluster.py runs the scripts with a stand-in",
    "configs/troubleshooting/README.md": "messages of errors; tests/test_troubleshooting.py looks for them in the code",
    "fmri_lightning/tracking/README.md": "needs W&B; tests/tracking runs fit, predict, evaluate and report with it",
    "outputs/README.md": "a list of folders",
    "tests/README.md": "how to run the tests, this one among them",
    "tests/benchmarks/README.md": "figures of benchmarks, which are run by hand",
}
ELSEWHERE = {"decode_diffusion.py", "scripts/train_clip_adapter.py"}
"""Files of the seed document, which the first page compares with."""
PATHS = re.compile(r"(?<![\w/.$])((?:[\w.-]+/)*[\w.-]+\.(?:py|md|sbatch|sh)|configs/[\w/]+\.yaml)(?![\w/])")

all_guides = pytest.mark.parametrize("guide", GUIDES, ids=name_of)


def test_a_guide_is_executed_or_says_why_not():
    silent = {name_of(guide) for guide in GUIDES if not whole_run(guide)}
    assert silent == {name_of(guide) for guide in GUIDES} & set(NOTHING_TO_RUN)


@all_guides
def test_every_run_block_is_executed(guide):
    """A fence that says run in another way than the two known ones would be passed over in silence."""
    text = guide.read_text(encoding="utf-8")
    fences = re.findall(r"^\s*(?:```|~~~).*\brun\b.*$", text, flags=re.MULTILINE)
    executed = [block for block in blocks_of(text) if block.info in RUNNABLE]
    assert len(fences) == len(executed), fences
    assert {block.line for block in executed} == {int(step.place.split(":")[1]) for step in steps_of(text)}


def test_a_run_block_that_nobody_executes_is_seen():
    text = "```bash run\n# fmri-lightning demo\n```\n"
    assert [block.info for block in blocks_of(text)] == ["bash run"]
    assert steps_of(text) == []
    with pytest.raises(ValueError, match=":2: only fmri-lightning commands are executed, not 'make demo'"):
        steps_of("```bash run\nmake demo\n```\n")


def test_blocks_become_steps():
    text = "```bash run\nfmri-lightning index \\\n  --root $NSD  # all\n\n```\ntext\n```python run\nprint(1)\n```\n"
    assert steps_of(text) == [Step(words=("index", "--root", "$NSD")), Step(code="print(1)\n")]
    assert [step.place for step in steps_of(text, "guide")] == ["guide:2", "guide:8"]


def test_what_a_guide_needs_comes_before_it():
    adapter, encoder = PACKAGE / "adapter" / "README.md", PACKAGE / "encoder" / "README.md"
    first_page = steps_of((ROOT / "README.md").read_text())
    ridge = steps_of(encoder.read_text())[0]
    assert needed_by(encoder) == first_page[:4]
    assert needed_by(adapter) == [*first_page[:4], ridge]
    with pytest.raises(ValueError, match="needs itself"):
        needed_by(encoder, above=(encoder,))


def test_guides_are_found_in_every_folder(tmp_path):
    for name in ("README.md", "fmri_lightning/new/README.md", "outputs/README.md", "outputs/run/README.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    found = [path.relative_to(tmp_path).as_posix() for path in find_guides(tmp_path)]
    assert found == ["README.md", "fmri_lightning/new/README.md", "outputs/README.md"]


@all_guides
def test_options_parse(guide, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    for block in blocks_of(guide.read_text(encoding="utf-8")):
        if block.info in ("bash", "bash run"):
            for words in command_lines(block):
                code = main([*words, "--print_config"])
                said = capsys.readouterr().err
                assert code == 0, f"{name_of(guide)}:{block.line} {shlex.join(words)}: {said}"


@pytest.mark.parametrize(
    ("words", "option"),
    [
        (["index", "--root", "nsd", "--subjects", "subj01"], "subjects"),
        (["fit", "--config", "configs/encoder/ridge.yaml", "--model.alpha_max", "3"], "alpha_max"),
    ],
)
def test_an_option_that_does_not_exist_is_seen(words, option, capsys):
    assert main([*words, "--print_config"]) == 2
    assert option in capsys.readouterr().err


@all_guides
def test_every_command_named_exists(guide):
    named = set(re.findall(r"fmri-lightning ([a-z][a-z-]*)", guide.read_text(encoding="utf-8")))
    assert named <= set(COMMANDS)


@all_guides
def test_files_named_exist(guide):
    """Relative to the repository, to the guide, or to the package."""
    places = (ROOT, guide.parent, PACKAGE)
    named = set(PATHS.findall(guide.read_text(encoding="utf-8"))) - ELSEWHERE
    assert [name for name in sorted(named) if not any((place / name).exists() for place in places)] == []


@all_guides
def test_make_targets_named_exist(guide):
    text = guide.read_text(encoding="utf-8")
    named = set(re.findall(r"`make ([a-z-]+)(?: ARGS=[^`]*)?`", text))
    for block in blocks_of(text):
        named |= set(re.findall(r"^make ([a-z-]+)", block.text, flags=re.MULTILINE))
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert named <= targets

"""The house rules of the source tree, read from the syntax trees: nothing is imported here."""

import ast
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "fmri_lightning"

# In the order of the flow: a stage may use what stands left of it, never what stands right.
STAGES = [
    "simulate",
    "index",
    "betas",
    "embeddings",
    "encoder",
    "adapter",
    "generation",
    "evaluation",
    "report",
]
# Records and mechanisms of every stage; they use no stage.
GROUND = {
    "errors", "locks", "manifest", "records", "seeding", "progress", "precision", "usage", "metrics", "tracking",
    "__init__",
}  # fmt: skip
# The command line knows every stage; no stage knows it.
TOP = {
    "cli",
    "lightning_cli",
    "ceiling",
    "doctor",
    "demo",
    "studies",
    "__main__",
}

MAX_LINES = 400
TOP_LEVEL_FOLDERS = {"fmri_lightning", "configs", "tests", "checkpoints", "outputs"}
FORBIDDEN_IMPORTS = {"pandas", "pickle", "jaxtyping", "hydra", "omegaconf", "joblib"}
# Imported where something is read or written, so that code which trains or samples runs without them.
LAZY_IN_TRAINING = {"pyarrow", "nibabel", "wandb"}
HEAVY = {"torch", "lightning", "transformers", "diffusers", "torchmetrics"}
LIGHT = ("cli.py", "usage.py", "demo.py", "errors.py", "manifest.py", "records.py", "seeding.py")


def sources(folder=PACKAGE):
    return sorted(p for p in folder.rglob("*.py") if "_data" not in p.parts)


def room(path):
    """Name of the stage or root file that a source belongs to."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imports(tree, top_level_only=False):
    """Modules that a syntax tree imports, in full; without those meant for type checkers."""
    skipped = {id(n) for b in ast.walk(tree) if _is_type_checking(b) for s in b.body for n in ast.walk(s)}
    nodes = list(_outside_functions(tree)) if top_level_only else list(ast.walk(tree))
    for node in nodes:
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _is_type_checking(node):
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def _outside_functions(node):
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield child
            yield from _outside_functions(child)


def wrong_imports(own_room, tree):
    """Imports of the package that the order of the flow forbids to a file in a room."""
    for name in imports(tree):
        parts = name.split(".")
        if parts[0] != "fmri_lightning" or len(parts) == 1:
            continue
        other = parts[1]
        if other == own_room or other in GROUND or other.startswith("__") or own_room in TOP:
            continue
        if own_room in STAGES and other in STAGES and STAGES.index(other) < STAGES.index(own_room):
            continue
        yield name


@pytest.mark.parametrize("path", sources(), ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_imports_point_left(path):
    assert room(path) in {*STAGES, *GROUND, *TOP}, f"{path.name} belongs to no room of the house"
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert list(wrong_imports(room(path), tree)) == []
    assert {name.split(".")[0] for name in imports(tree)}.isdisjoint(FORBIDDEN_IMPORTS)


def test_the_import_rule_bites():
    tree = ast.parse("def f():\n    from fmri_lightning.generation.module import ReconstructionModule\n")
    assert list(wrong_imports("encoder", tree)) == ["fmri_lightning.generation.module.ReconstructionModule"]
    assert list(wrong_imports("evaluation", tree)) == []
    assert list(wrong_imports("manifest", tree)) != []
    assert list(wrong_imports("encoder", ast.parse("from fmri_lightning import cli"))) != []


def test_light_files_import_nothing_heavy_at_the_top():
    light = [PACKAGE / name for name in LIGHT] + sorted(PACKAGE.glob("*/command.py"))
    for stage in ("simulate", "index", "report", "metrics"):
        light += sources(PACKAGE / stage)
    heavy = {
        path.relative_to(PACKAGE).as_posix(): sorted(found)
        for path in light
        if (found := HEAVY & {n.split(".")[0] for n in imports(ast.parse(path.read_text()), top_level_only=True)})
    }
    assert heavy == {}


def test_training_and_sampling_import_without_file_formats():
    wrong = {
        path.relative_to(PACKAGE).as_posix(): sorted(found)
        for stage in ("embeddings", "encoder", "adapter", "generation", "tracking")
        for path in sources(PACKAGE / stage)
        if (
            found := LAZY_IN_TRAINING
            & {n.split(".")[0] for n in imports(ast.parse(path.read_text()), top_level_only=True)}
        )
    }
    assert wrong == {}


def test_files_have_one_idea():
    lengths = {
        p.relative_to(ROOT).as_posix(): len(p.read_text().splitlines()) for p in sources() + sources(ROOT / "tests")
    }
    assert {name: n for name, n in lengths.items() if n > MAX_LINES} == {}
    assert [name for name in lengths if {"utils", "common", "helpers"} & set(Path(name).with_suffix("").parts)] == []


def test_public_things_have_docstrings():
    missing = [
        f"{path.relative_to(PACKAGE).as_posix()}:{node.lineno} {node.name}"
        for path in sources()
        for node in _public(ast.parse(path.read_text()))
        if ast.get_docstring(node) is None
    ]
    assert missing == []
    assert [p.name for p in sources() if ast.get_docstring(ast.parse(p.read_text())) is None] == []


def _public(tree):
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from _public(node)


def tracked_files():
    done = subprocess.run(["git", "-C", ROOT, "ls-files", "-z"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip("not a git checkout")
    return [name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_the_top_level_holds_only_the_agreed_folders():
    visible = {name.split("/")[0] for name in tracked_files() if "/" in name and not name.startswith(".")}
    assert visible <= TOP_LEVEL_FOLDERS


def test_nothing_names_a_machine():
    suspicious = ("/" + "work/", "/" + "tmp/env", "/" + "root/", "/" + "home/")
    found = [
        name
        for name in tracked_files()
        if (ROOT / name).suffix in {".py", ".md", ".yaml", ".toml", ".txt", ".json", ".cff", ""}
        and any(word in (ROOT / name).read_text(encoding="utf-8", errors="ignore") for word in suspicious)
    ]
    assert found == []


@pytest.mark.parametrize(
    "path", sorted((ROOT / "configs").rglob("*.yaml")), ids=lambda p: p.relative_to(ROOT).as_posix()
)
def test_shipped_yaml_is_yaml(path):
    assert isinstance(yaml.safe_load(path.read_text()), dict)

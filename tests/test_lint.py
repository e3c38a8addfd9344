"""Rules of the house that a reader of one file cannot check: forbidden calls, one-way imports, size of files."""
from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "jittor_ipl"
FILES = sorted(PACKAGE.rglob("*.py"))
MAX_LINES, MAX_FUNCTION, MAX_LOOP = 400, 60, 150

# Calls that give wrong numbers, run code from a file or lose keys without a word; docs/jittor.md has the reasons.
FORBIDDEN = {
    "jt.mean": "ops.norms.mean", "nn.mse_loss": "ops.norms.mean of the squares", "nn.l1_loss": "ops.norms.mean",
    "nn.MSELoss": "ops.norms.mean", "nn.L1Loss": "ops.norms.mean",
    "nn.LayerNorm": "ops.norms.layer_norm", "nn.GroupNorm": "ops.group_norm.group_norm",
    "nn.InstanceNorm2d": "ops.norms",
    "jt.load": "weights", "jt.save": "weights", "pickle.load": "weights", "pickle.loads": "weights",
    "jt.rand": "runtime.streams", "jt.randn": "runtime.streams", "jt.random": "runtime.streams",
    "jt.randint": "runtime.streams", "jt.normal": "runtime.streams", "jt.set_global_seed": "runtime.streams",
    "nn.Adam": "train.optim", "jt.optim.Adam": "train.optim", "nn.SGD": "train.optim",
}
FORBIDDEN_METHODS = {"load_state_dict": "models.strict", "load_parameters": "models.strict"}
FORBIDDEN_MODULES = {"torch", "torchvision", "jtorch", "tensorflow"}

# The rooms from the bottom up: a room imports itself and what stands in a lower row. Longer names win.
ROWS = [
    ["errors"],
    ["disk"],
    ["jobs"],
    ["runtime"],
    ["text", "images"],
    ["ops"],
    ["config", "losses"],
    ["models"],
    ["weights.containers"],
    ["weights.families"],
    ["weights"],
    ["clip", "metrics", "train"],
    ["adaptation", "editing", "inversion", "diffusion", "world"],
    ["submission", "benchmark"],
    ["webui"],
    ["commands"],
    ["cli"],
    ["__main__"],
]
# What a room may import of one that stands beside it: these modules and nothing else.
DOORS = {"adaptation": {"jittor_ipl.diffusion.teacher"}, "world": {"jittor_ipl.diffusion.teacher"}}
ROW = {room: index for index, rooms in enumerate(ROWS) for room in rooms}
LOOSE = {"cli", "clip", "errors", "losses"}   # the files beside the rooms


def name_of(path: Path) -> str:
    """Return the dotted name of a file's module."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {name_of(path): path for path in FILES}


def room_of(module: str) -> str | None:
    """Return the room of a module, the longest name that stands in ROWS; None outside the package and for its root."""
    parts = module.split(".")[1:] if module.startswith("jittor_ipl.") else []
    return next((room for n in range(len(parts), 0, -1) if (room := ".".join(parts[:n])) in ROW), None)


def dotted(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def calls(tree: ast.AST) -> list[tuple[int, str]]:
    """Return (line, what to use instead) of every forbidden call."""
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = dotted(node.func).removeprefix("jittor.").replace("jt.nn.", "nn.")
        if name in FORBIDDEN:
            found.append((node.lineno, f"{name}: use {FORBIDDEN[name]}"))
        elif isinstance(node.func, ast.Attribute) and node.func.attr in FORBIDDEN_METHODS:
            found.append((node.lineno, f"{node.func.attr}: use {FORBIDDEN_METHODS[node.func.attr]}"))
    return found


def imports(tree: ast.AST) -> list[tuple[int, str]]:
    """Return (line, module) of every import; `from a import b` counts as a.b where that is a module of the package."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found += [(node.lineno, name if name in MODULES else node.module) for name in names]
    return list(dict.fromkeys(found))


def long_functions(tree: ast.AST) -> list[str]:
    """Return functions over MAX_FUNCTION lines; a training loop, named train_..., reads straight down and may be
    longer.
    """
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    sizes = {node.name: node.end_lineno - node.lineno + 1 for node in functions}
    return [f"{name} has {size} lines" for name, size in sizes.items()
            if size > (MAX_LOOP if name.startswith("train_") else MAX_FUNCTION)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_file(path):
    text = path.read_text()
    tree = ast.parse(text)
    problems = [f"line {line}: {what}" for line, what in calls(tree)] + long_functions(tree)
    here = room_of(name_of(path))
    for line, module in imports(tree):
        there = room_of(module)
        if module.split(".")[0] in FORBIDDEN_MODULES:
            problems.append(f"line {line}: imports {module}")
        elif None not in (here, there) and here != there and ROW[there] >= ROW[here] \
                and module not in DOORS.get(here, ()):
            problems.append(f"line {line}: {here} must not import {there}")
    if len(text.splitlines()) > MAX_LINES:
        problems.append(f"{len(text.splitlines())} lines; at most {MAX_LINES}")
    assert not problems, f"{path.relative_to(ROOT)}: " + "; ".join(problems)


def test_every_module_has_a_room():
    lost = [module for module in MODULES if module != "jittor_ipl" and room_of(module) is None]
    assert not lost, f"no row in ROWS for {lost}"
    loose = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__", "__main__"}
    assert loose <= LOOSE, f"files beside the rooms: {sorted(loose - LOOSE)}"


def test_doors_lead_sideways_one_way():
    for room, modules in DOORS.items():
        assert modules <= MODULES.keys()
        for there in map(room_of, modules):
            assert ROW[there] == ROW[room] and there not in DOORS


def test_there_is_no_import_circle():
    """Imports inside functions count too: a circle that only runs late is one all the same."""
    arrows = {name: {module
                     for _, module in imports(ast.parse(path.read_text())) if module in MODULES and module != name}
              for name, path in MODULES.items()}
    open_ = dict(arrows)
    while leaves := [name for name, targets in open_.items() if not targets & open_.keys()]:
        for name in leaves:
            del open_[name]
    circles = {name: sorted(targets & open_.keys()) for name, targets in open_.items()}
    assert not open_, f"modules in or above an import circle: {circles}"


def test_no_two_public_classes_share_a_name():
    classes = [node.name for path in FILES
               for node in ast.parse(path.read_text()).body if isinstance(node, ast.ClassDef)]
    twice = {name for name in classes if classes.count(name) > 1 and not name.startswith("_")}
    assert not twice, sorted(twice)


def test_there_is_no_utils():
    assert not [path for path in FILES if path.name in ("utils.py", "helpers.py", "misc.py", "common.py")]


def test_the_lint_finds_what_it_forbids():
    tree = ast.parse("import torch\nx = jt.nn.mse_loss(a, b)\nm.load_state_dict(s)\ny = pickle.load(f)")
    assert [line for line, _ in calls(tree)] == [2, 3, 4]
    assert imports(ast.parse("from jittor_ipl import losses\nfrom jittor_ipl.errors import UserError")) == [
        (1, "jittor_ipl.losses"), (2, "jittor_ipl.errors")]
    assert room_of("jittor_ipl.weights.containers.read") == "weights.containers" and room_of("numpy") is None
    assert long_functions(ast.parse("def f():\n" + "    x = 1\n" * MAX_FUNCTION)) == [f"f has {MAX_FUNCTION + 1} lines"]


def test_ruff_finds_nothing():
    """Run the rules that pyproject.toml selects over the whole tree."""
    if importlib.util.find_spec("ruff") is None:
        pytest.skip("ruff is not installed: pip install -r requirements-dev.txt")
    done = subprocess.run([sys.executable, "-m", "ruff", "check", "--no-cache", "."], cwd=ROOT, capture_output=True,
                          text=True)
    assert done.returncode == 0, done.stdout + done.stderr

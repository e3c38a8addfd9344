"""Rules of the house that a reader of one file cannot check: forbidden calls, one-way imports, size of files."""
from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "jittor_ipl"
FILES = sorted(PACKAGE.rglob("*.py"))
MAX_LINES = 500

# Calls that give wrong numbers, run code from a file or lose keys without a word; docs/jittor.md has the reasons.
FORBIDDEN = {
    "jt.mean": "ops.norms.mean", "nn.mse_loss": "ops.norms.mean of the squares", "nn.l1_loss": "ops.norms.mean",
    "nn.MSELoss": "ops.norms.mean", "nn.L1Loss": "ops.norms.mean",
    "nn.LayerNorm": "ops.norms.layer_norm", "nn.GroupNorm": "ops.norms.group_norm", "nn.InstanceNorm2d": "ops.norms",
    "jt.load": "weights", "jt.save": "weights", "pickle.load": "weights", "pickle.loads": "weights",
    "jt.rand": "runtime.streams", "jt.randn": "runtime.streams", "jt.random": "runtime.streams",
    "jt.randint": "runtime.streams", "jt.normal": "runtime.streams", "jt.set_global_seed": "runtime.streams",
    "nn.Adam": "train.optim", "jt.optim.Adam": "train.optim", "nn.SGD": "train.optim",
}
FORBIDDEN_METHODS = {"load_state_dict": "weights.strict", "load_parameters": "weights.strict"}
FORBIDDEN_MODULES = {"torch", "torchvision", "jtorch", "tensorflow"}

# The rooms from the bottom up: a room imports itself and what stands in a lower row. Longer names win.
ROWS = [
    ["errors"],
    ["disk", "jobs"],
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
ROW = {room: index for index, rooms in enumerate(ROWS) for room in rooms}
MOVING = {("models", "weights"), ("text", "config")}   # arrows that the moves under way remove: to be empty
LOOSE = {"cli", "clip", "errors", "losses"}   # the files beside the rooms


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


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


def imports(path: Path, tree: ast.AST) -> list[tuple[int, str]]:
    """Return (line, absolute module name) of every import; `from . import x` counts as the module x."""
    package = ("jittor_ipl", *path.relative_to(PACKAGE).parts[:-1])
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[:len(package) - node.level + 1] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            names = [f"{module}.{alias.name}" for alias in node.names] if module == "jittor_ipl" else [module]
            found += [(node.lineno, name) for name in names]
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_file(path):
    text = path.read_text()
    tree = ast.parse(text)
    problems = [f"line {line}: {what}" for line, what in calls(tree)]
    here = room_of(path)
    for line, module in imports(path, tree):
        parts = module.split(".")
        if parts[0] in FORBIDDEN_MODULES:
            problems.append(f"line {line}: imports {parts[0]}")
        if parts[0] != "jittor_ipl" or len(parts) < 2 or parts[1] not in ROW or here not in ROW or here == parts[1]:
            continue
        if ROW[parts[1]] >= ROW[here] and (here, parts[1]) not in MOVING:
            problems.append(f"line {line}: {here} must not import {parts[1]}")
    if len(text.splitlines()) > MAX_LINES:
        problems.append(f"{len(text.splitlines())} lines; at most {MAX_LINES}")
    assert not problems, f"{path.relative_to(ROOT)}: " + "; ".join(problems)


def test_every_room_is_known():
    rooms = {room_of(path) for path in FILES} - {"__init__"}
    assert rooms <= set(ROW), f"rooms without a row: {sorted(rooms - set(ROW))}"


def test_there_is_no_utils():
    assert not [path for path in FILES if path.name in ("utils.py", "helpers.py", "misc.py", "common.py")]


def test_the_lint_finds_what_it_forbids():
    tree = ast.parse("import torch\nx = jt.nn.mse_loss(a, b)\nm.load_state_dict(s)\ny = pickle.load(f)")
    assert [line for line, _ in calls(tree)] == [2, 3, 4]
    where = PACKAGE / "models" / "x.py"
    assert imports(where, ast.parse("from ..train import optim\nfrom .. import losses")) == [
        (1, "jittor_ipl.train"), (2, "jittor_ipl.losses")]

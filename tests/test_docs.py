"""The documents speak of what is there: links lead somewhere, files and functions that are named exist."""
from __future__ import annotations

import ast
import re
from pathlib import Path

import click
import pytest

from jittor_ipl import cli

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "jittor_ipl"
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
LINK = re.compile(r"\]\(([^)\s]+)\)")
FILE = re.compile(r"`((?:jittor_ipl|scripts|tests|docs|configs|B_weight)/[\w./-]+\.\w+)`")
# `function` (room/file.py), the form of architecture.md
ROOM = re.compile(r"`((?:[a-z_0-9]+/)+\w+\.py)")  # `room/file.py`, of the package, the tests or the root
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)")
NAMED = re.compile(r"`([A-Za-z_][\w.]*)` \(([\w/]+\.py)\)")


def anchor(title: str) -> str:
    """Return the anchor that Markdown viewers give a heading."""
    return re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-")


def names(path: Path) -> set[str]:
    """Return the functions, classes, Class.methods and assigned names at a module's top."""
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found.add(node.name)
            found |= {f"{node.name}.{part.name}"
                      for part in getattr(node, "body", []) if isinstance(part, ast.FunctionDef)}
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {target.id for target in targets if isinstance(target, ast.Name)}
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_files_exist(page):
    text, lost = page.read_text(), []
    for link in LINK.findall(text):
        target, _, part = link.partition("#")
        if target.startswith(("http:", "https:", "mailto:")):
            continue
        file = (page.parent / target).resolve() if target else page
        if not file.exists():
            lost.append(link)
        elif part and part not in {anchor(title) for title in re.findall(r"^#+ (.*)$", file.read_text(), re.M)}:
            lost.append(link)
    lost += [name for name in FILE.findall(text) if not (ROOT / name).exists()]
    tops = (ROOT, PACKAGE, ROOT / "tests")
    lost += [name for name in ROOM.findall(text) if not any((top / name).exists() for top in tops)]
    lost += [name for file, name in TEST.findall(text) if f"def {name}" not in (ROOT / file).read_text()]
    assert not lost, f"{page.name} names what is not there: {lost}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_named_functions_exist(page):
    lost = [f"{name} ({file})" for name, file in NAMED.findall(page.read_text())
            if not (PACKAGE / file).exists() or name not in names(PACKAGE / file)]
    assert not lost, f"{page.name} names what is not there: {lost}"


# Options that say where something is written, and the value that follows them; capitals stand for what the reader has.
WRITTEN = re.compile(
    r"--(?:output|outdir|output-dir|outfile|exp-dir|json|markdown|sheet|to|auth-file)[ =]([a-z][\w./-]*)")


def kept_out() -> set[str]:
    """Return the folders at the top that git passes over, and those whose files are meant to be committed."""
    return {line.strip("/") for line in (ROOT / ".gitignore").read_text().splitlines()} | {"B_weight", "docs"}


@pytest.mark.parametrize("page", [*PAGES, *sorted((PACKAGE / "commands").rglob("*.py"))], ids=lambda page: page.stem)
def test_no_command_that_is_shown_leaves_files_that_git_would_add(page):
    left = [place for place in WRITTEN.findall(page.read_text()) if place.split("/")[0] not in kept_out()]
    assert not left, f"{page.name} shows commands that write {left}"


def test_commands_write_where_git_looks_away_by_themselves():
    outputs = {"--output", "--outdir", "--outfile", "--runs", "--results"}
    commands = [cli.command_named(name) for name in cli.COMMANDS]
    commands += [command.get_command(None, name) for command in commands if isinstance(command, click.Group)
                 for name in command.list_commands(None)]
    places = {(command.name, option.default) for command in commands for option in command.params
              if outputs & set(option.opts) and isinstance(option.default, str)}
    assert len(places) >= 8 and {place.split("/")[0] for _, place in places} <= kept_out(), places


def test_the_guide_to_the_code_names_functions():
    assert len(NAMED.findall((ROOT / "docs" / "architecture.md").read_text())) >= 30

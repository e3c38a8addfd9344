"""The weight files and folders below tests/fixtures, of every family, loose or in a files.tar.xz."""
from __future__ import annotations

import tarfile
from pathlib import Path

from jittor_ipl.weights.folder import SUFFIXES

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
_RECORDS = ("outputs", "expected", "record", "deltas")     # what the networks compute, not networks


def names() -> list[str]:
    """Return "<family>/<file or folder>" of each fixture that is a weight file, or a folder with one."""
    found = []
    for family in sorted(path for path in FIXTURES.iterdir() if path.is_dir()):
        inside = {path.name: path.is_dir() for path in family.iterdir()}
        for archive in family.glob("*.tar.xz"):
            with tarfile.open(archive) as members:
                inside |= {member.name.split("/")[0]: "/" in member.name for member in members
                           if member.isfile() and member.name.endswith(SUFFIXES)}
        found += [f"{family.name}/{name}" for name, folder in sorted(inside.items())
                  if (folder or name.endswith(SUFFIXES)) and not name.startswith(_RECORDS)]
    return found


def unpack(folder: Path, *families: str) -> Path:
    """Unpack the files.tar.xz of these families into `folder`; return it."""
    for family in families:
        with tarfile.open(FIXTURES / family / "files.tar.xz") as archive:
            archive.extractall(folder)
    return folder


def extract(folder: Path) -> Path:
    """Fill `folder` with links to the loose fixtures and with the unpacked ones; return it."""
    for family in (path for path in FIXTURES.iterdir() if path.is_dir()):
        (folder / family.name).mkdir(parents=True)
        for path in family.iterdir():
            if path.name == "files.tar.xz":
                unpack(folder / family.name, family.name)
            else:
                (folder / family.name / path.name).symlink_to(path)
    return folder

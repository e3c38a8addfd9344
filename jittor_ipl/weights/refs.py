"""What a weight reference means: a path or `demo:<name>` (a file or folder of the demo world), and a place in the file.

`FILE#KEY` is the network at the place KEY of a checkpoint that holds several; see `containers.read.WeightFile`.
"""
from __future__ import annotations

import os
from pathlib import Path

from jittor_ipl.errors import UserError, nearest, nearest_file

ASSETS = Path(__file__).resolve().parents[1] / "world" / "assets"
PIPELINE_INDEX = "model_index.json"     # what makes a folder a diffusion pipeline


def split_place(ref: str | os.PathLike) -> tuple[str, str | None]:
    """Return the file that `ref` names, and the place in it after a "#" (None without one).

    A "#" in the name of a file that exists is part of that name.
    """
    text = os.fspath(ref)
    name, mark, place = text.rpartition("#")
    known = name.startswith("demo:") or _exists(name)
    return (name, place) if mark and known and not _exists(text) else (text, None)


def _exists(name: str) -> bool:
    return "\0" not in name and Path(name).expanduser().exists()


def locate(ref: str | os.PathLike) -> Path:
    """Return the file or folder that `ref` names; raises UserError, with the nearest name, when there is none."""
    name, _ = split_place(ref)
    if name.startswith("demo:"):
        return _demo_asset(name[len("demo:"):])
    path = Path(name).expanduser()
    return path if name and "\0" not in name and path.is_dir() else resolve(ref)


def resolve(ref: str | os.PathLike) -> Path:
    """Return the file that `ref` names; raises UserError when there is none, with the nearest name that exists."""
    text, _ = split_place(ref)
    if text.startswith("demo:"):
        path = _demo_asset(text[len("demo:"):])
        if path.is_dir():
            raise UserError(f"{text} is a folder of several networks; a single weight file is expected")
        return path
    if not text:            # it would mean the folder one is in
        raise UserError("the name of the weight file is empty; give a path or demo:<name>")
    path = Path(text).expanduser()
    if "\0" not in text and path.is_symlink() and not path.exists():
        raise UserError(f"{text!r} is a link to a file that does not exist ({str(os.readlink(path))!r}); "
                        "mend the link, or name the file itself")
    if "\0" in text or not path.exists():
        raise UserError(f"no weight file {text!r}{nearest_file(path)}; give a path or demo:<name>")
    if not path.is_file():
        raise UserError(f"{text!r} is not a file; a weight file (.safetensors, .pt, .pkl) is expected")
    return path


def _demo_asset(name: str) -> Path:
    assets = {path.stem: path for path in sorted(ASSETS.glob("*.safetensors"))}
    assets |= {path.parent.name: path.parent for path in sorted(ASSETS.glob(f"*/{PIPELINE_INDEX}"))}
    if name not in assets:
        raise UserError(f"no demo weights 'demo:{name[:100]}'{nearest(name, assets)}; available: "
                        + (", ".join(f"demo:{n}" for n in assets) or "none (run scripts/pretrain_demo.sh)"))
    return assets[name]

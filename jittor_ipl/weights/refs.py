"""What a weight reference means: a path, or `demo:<name>` for a file of the embedded demo world."""
from __future__ import annotations

import os
from pathlib import Path

from jittor_ipl.errors import UserError, nearest, nearest_file

ASSETS = Path(__file__).resolve().parents[1] / "world" / "assets"


def resolve(ref: str | os.PathLike) -> Path:
    """Return the file that `ref` names; raises UserError when there is none, with the nearest name that exists."""
    text = os.fspath(ref)
    if text.startswith("demo:"):
        return _demo_asset(text[len("demo:"):])
    path = require_name(text)
    if "\0" not in text and path.is_symlink() and not path.exists():
        raise UserError(f"{text!r} is a link to a file that does not exist ({str(os.readlink(path))!r}); mend the link, or name the file itself")
    if "\0" in text or not path.exists():
        raise UserError(f"no weight file {text!r}{nearest_file(path)}; give a path or demo:<name>")
    if not path.is_file():
        raise UserError(f"{text!r} is not a file; a weight file (.safetensors, .pt, .pkl) is expected")
    return path


def require_name(text: str) -> Path:
    """Return the path that `text` names; UserError when it is empty, which would mean the folder one is in."""
    if not text:
        raise UserError("the name of the weight file is empty; give a path or demo:<name>")
    return Path(text).expanduser()


def _demo_asset(name: str) -> Path:
    names = sorted(path.stem for path in ASSETS.glob("*.safetensors"))
    if name not in names:
        raise UserError(f"no demo weights 'demo:{name[:100]}'{nearest(name, names)}; available: "
                        + (", ".join(f"demo:{n}" for n in names) or "none (run scripts/pretrain_demo.sh)"))
    return ASSETS / f"{name}.safetensors"

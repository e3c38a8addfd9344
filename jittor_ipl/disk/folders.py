"""Output folders: known to be writable, and nothing leaves them."""
from __future__ import annotations

import tempfile
from pathlib import Path

from jittor_ipl.disk import atomic
from jittor_ipl.disk.names import safe_name
from jittor_ipl.errors import UserError


def output_folder(path: Path) -> Path:
    """Make `path`, clear what killed processes left, and prove that files can be written there; UserError where not."""
    atomic.make_folder(path)
    atomic.sweep(path)
    with atomic.as_user_error(path), tempfile.TemporaryFile(dir=path):
        pass
    return path


def inside(root: Path, *parts: str) -> Path:
    """Return `root/parts...`; raises UserError for unsafe parts and for links that lead out of `root`."""
    path = root.joinpath(*(safe_name(part, "path part") for part in parts))
    if not path.resolve().is_relative_to(root.resolve()):
        raise UserError(f"{path} is a link that leaves {root}: remove it")
    return path

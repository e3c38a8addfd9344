"""Canonical JSON, the hashes that manifests hold, and an output folder that is known to be writable."""
from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jittor_ipl import atomic
from jittor_ipl.errors import UserError, nearest

if TYPE_CHECKING:
    import numpy as np

LARGEST_JSON = 64 << 20


def output_folder(path: Path, *, need_bytes: int = 0) -> Path:
    """Make `path` and prove that files can be written there; raises UserError (unwritable, or less than `need_bytes` free)."""
    atomic.make_folder(path)
    with atomic.told_as_user_error(path):
        with tempfile.TemporaryFile(dir=path):
            pass
        free = shutil.disk_usage(path).free
    if free < need_bytes:
        raise UserError(f"cannot write {path}: {need_bytes / 2**20:.0f} MiB are needed, {free / 2**20:.0f} MiB are free")
    return path


def write_json(path: Path, content: Any) -> None:
    """Write canonical JSON (sorted keys, UTF-8, final newline): equal content gives equal bytes. Whole or not at all."""
    text = json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    atomic.write_bytes(path, (text + "\n").encode())


def read_json(path: Path, *, kind: str) -> dict[str, Any]:
    """Read a JSON object; raises UserError when it is missing, over 64 MiB or no JSON object. `kind` names it in the message."""
    try:
        if path.stat().st_size > LARGEST_JSON:
            raise UserError(f"{path} is too large to be a {kind}")
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        siblings = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        raise UserError(f"there is no {kind} at {path}{nearest(path.name, siblings)}") from None
    except OSError as error:
        raise UserError(f"cannot read the {kind} {path}: {error.strerror}") from error
    except UserError:
        raise
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not a valid {kind}: {str(error)[:100]}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} is not a valid {kind}: expected a JSON object")
    return content


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal; raises UserError when it cannot be read."""
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    return digest.hexdigest()


def pixels_sha256(image: np.ndarray) -> str:
    """Return the SHA-256 of an image's size and pixels, uint8 [H, W, 3]; it does not depend on how a PNG was compressed."""
    assert str(image.dtype) == "uint8" and image.ndim == 3 and image.shape[2] == 3, (image.dtype, image.shape)
    header = f"RGB8 {image.shape[1]}x{image.shape[0]}\n".encode()
    return hashlib.sha256(header + image.tobytes()).hexdigest()

"""What an inversion leaves: a folder that is whole or not there, and that a second call with the same input keeps.

`<name>/`: aligned.png, reconstruction.png, strip.png, styles/<NN>-<style>.png, latents.npy (W+), latents.safetensors
(the codes with the tuning that belongs to them, see `weights.tuned`) and report.json, written last. Where several
pictures share one tuning the folder is theirs together and holds one such folder of pictures for each.
"""
from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jittor_ipl.disk.atomic import as_user_error, make_folder, recover_folder, replace_folder, staged
from jittor_ipl.disk.integrity import canonical, file_sha256, read_sealed, write_sealed
from jittor_ipl.disk.layout import REPORT
from jittor_ipl.errors import UserError
from jittor_ipl.images.files import save_png
from jittor_ipl.images.sheets import captioned, contact_sheet

ALIGNED, RECONSTRUCTION, STRIP, STYLES = "aligned.png", "reconstruction.png", "strip.png", "styles"
LATENTS_NPY, LATENTS_FILE = "latents.npy", "latents.safetensors"
TOGETHER = "together"       # the folder of pictures that share a tuning
MOST_COLUMNS = 7            # of a strip
SMALLEST_TEXT = 9           # px of the names in it
_MAKING = ".making-"


@dataclass(frozen=True)
class Views:
    """The pictures of one inverted picture, uint8 [H, W, 3] each.

    stages   name of the stage -> its reconstruction, in order; the last one is the result
    styles   "<NN>-<style>" -> the result in that style
    """

    aligned: np.ndarray
    stages: Mapping[str, np.ndarray]
    styles: Mapping[str, np.ndarray]


def identity_of(facts: Mapping[str, Any], pictures: Mapping[str, np.ndarray]) -> str:
    """Return the SHA-256 of all that decides a result: settings and hashes of files, names and pixels of pictures."""
    seen = {name: hashlib.sha256(np.ascontiguousarray(pixels).data).hexdigest() for name, pixels in pictures.items()}
    return hashlib.sha256(canonical({"facts": facts, "pictures": seen})).hexdigest()


def kept(folder: Path, identity: str) -> dict[str, Any] | None:
    """Return the report of a whole folder with this identity, None when it must be made (anew)."""
    recover_folder(folder)
    try:
        report = read_sealed(folder / REPORT, "report")
        whole = all(file_sha256(folder / name) == wanted for name, wanted in report["files"].items())
    except (UserError, OSError, KeyError, AttributeError):
        return None
    return report if whole and report.get("identity") == identity else None


def clean(root: Path) -> None:
    """Remove what killed processes left half-made in `root`; only the holder of its lock may call this."""
    for left in root.glob(f".*{_MAKING}*"):
        shutil.rmtree(left, ignore_errors=True)


def write(folder: Path, views: Mapping[str, Views], latents: np.ndarray, save_latents: Callable[[Path], object],
          report: Mapping[str, Any]) -> dict[str, Any]:
    """Write the folder of pictures `views` by name, which takes the place of an older one; return the whole report.

    latents: float32 [N, n_latent, style_dim]; `save_latents` is called with the path of latents.safetensors. UserError
    where the disk refuses; then nothing has changed.
    """
    making = folder.with_name(f".{folder.name}{_MAKING}{os.getpid()}")
    shutil.rmtree(making, ignore_errors=True)
    try:
        make_folder(making)
        for name, view in views.items():
            _pictures(making / name if len(views) > 1 else making, view)
        save_png(making / STRIP, _strip(views))
        with staged(making / LATENTS_NPY) as part, open(part, "wb") as file:
            np.save(file, latents)
        save_latents(making / LATENTS_FILE)
        files = {path.relative_to(making).as_posix(): file_sha256(path)
                 for path in sorted(making.rglob("*")) if path.is_file()}
        whole = {**report, "files": files}
        write_sealed(making / REPORT, whole)
        with as_user_error(folder):
            replace_folder(making, folder)
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return whole


def _pictures(folder: Path, view: Views) -> None:
    save_png(folder / ALIGNED, view.aligned)
    save_png(folder / RECONSTRUCTION, list(view.stages.values())[-1])
    for style, pixels in view.styles.items():
        save_png(folder / STYLES / f"{style}.png", pixels)


def _strip(views: Mapping[str, Views]) -> np.ndarray:
    """Return one labelled row a picture, or, of a single one, its pictures in order, each over its name."""
    if len(views) > 1:
        return contact_sheet([(name, list(_row(view).values())) for name, view in views.items()])
    tiles = _row(next(iter(views.values())))
    side = next(iter(tiles.values())).shape[0]
    return captioned(list(tiles.items()), min(len(tiles), MOST_COLUMNS), text_size=max(side // 10, SMALLEST_TEXT))


def _row(view: Views) -> dict[str, np.ndarray]:
    return {"picture": view.aligned, **view.stages, **view.styles}

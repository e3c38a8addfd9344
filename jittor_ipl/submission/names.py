"""Names that become pictures: an image is called exactly as asked, or the name is refused; nothing leaves the output root."""
from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from pathlib import Path

from jittor_ipl.disk.names import safe_name
from jittor_ipl.errors import UserError

SUFFIX = ".png"


def image_names(names: Iterable[str]) -> list[str]:
    """Return the names when each is safe as `<name>.png` and no two are one file where case or Unicode form is ignored.

    Raises UserError for what `config.names.safe_name` refuses (`/`, `..`, NUL, over 255 bytes ...) and for collisions.
    """
    seen: dict[str, str] = {}
    for name in names:
        key = unicodedata.normalize("NFC", safe_name(name, "image name", reserve=len(SUFFIX))).casefold()
        if key in seen:
            raise UserError(f"the image names {seen[key]!r} and {name!r} are one file where case is ignored: rename one")
        seen[key] = name
    return list(seen.values())


def inside(root: Path, *parts: str) -> Path:
    """Return `root/parts...`; raises UserError for unsafe parts and for links that lead out of `root`."""
    path = root.joinpath(*(safe_name(part, "path part") for part in parts))
    if not path.resolve().is_relative_to(root.resolve()):
        raise UserError(f"{path} is a link that leaves {root}: remove it")
    return path


def seed_name(seed: int) -> str:
    """Name the image of one seed as StyleGAN's tools do: `seed0000`."""
    return f"seed{seed:04d}"

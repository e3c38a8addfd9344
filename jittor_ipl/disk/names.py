"""Names that become folders and pictures: what a style, a suite or an image may be called."""
from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from jittor_ipl.errors import UserError

MAX_NAME_BYTES = 255  # of one path component on Linux and macOS file systems
MAX_STYLES = 100      # of a suite: their folders are numbered with two digits
MAX_NUMBER = 10**6    # styles that no suite lists have six
SUFFIX = ".png"       # of pictures


def safe_name(name: str, what: str = "name", reserve: int = 0) -> str:
    """Return `name` when it can safely be one path component; `reserve` bytes are kept for what is put around it.

    Raises `UserError` for an empty name, `/`, `\\`, `..`, NUL and other control characters, a leading dot,
    blanks at either end, and more than 255 bytes of UTF-8.
    """
    shown = repr(name if len(name) <= 60 else name[:57] + "...")
    if not name.strip():
        raise UserError(f"the {what} is empty")
    if name != name.strip():
        raise UserError(f"the {what} {shown} begins or ends with a blank")
    if any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in name):
        raise UserError(f"the {what} {shown} contains a control character")
    if "/" in name or "\\" in name or ".." in name or name.startswith("."):
        raise UserError(f"the {what} {shown} would not stay in the output folder: "
                        "it may not contain '/', '\\' or '..', nor begin with '.'")
    if len(name.encode()) > MAX_NAME_BYTES - reserve:
        raise UserError(f"the {what} {shown} has {len(name.encode())} bytes; at most {MAX_NAME_BYTES - reserve} "
                        "fit a folder name")
    return name


def inside(root: Path, *parts: str) -> Path:
    """Return `root/parts...`; raises UserError for unsafe parts and for links that lead out of `root`."""
    path = root.joinpath(*(safe_name(part, "path part") for part in parts))
    if not path.resolve().is_relative_to(root.resolve()):
        raise UserError(f"{path} is a link that leaves {root}: remove it")
    return path


def folder_of(number: int, style: str) -> str:
    """Return the folder of a style in a suite: two digits and the name, `00-anime-painting`."""
    return f"{number:02d}-{style.replace(' ', '-')}"


def number_of(style: str) -> int:
    """Return the number of a style that no suite lists, 100000 to 999999: always the same, from its name alone."""
    return 100_000 + int(hashlib.sha256(folded(style).encode()).hexdigest(), 16) % 900_000


def folded(name: str) -> str:
    """Return the form in which two names are the same folder on a case-insensitive file system."""
    return unicodedata.normalize("NFC", name.replace(" ", "-")).casefold()


def check_distinct(names: Iterable[str]) -> None:
    """Raise `UserError` when two style names would be the same folder (case and Unicode form ignored)."""
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(folded(name), name)
        if other is not name:
            raise UserError(f"the style {name!r} is listed twice" if other == name else
                            f"the styles {other!r} and {name!r} would share one folder (case does not count)")


def image_names(names: Iterable[str]) -> list[str]:
    """Return the names when each is safe as `<name>.png` and no two are one file where case or Unicode form is ignored.

    Raises UserError for what `safe_name` refuses (`/`, `..`, NUL, over 255 bytes ...) and for collisions.
    """
    seen: dict[str, str] = {}
    for name in names:
        key = unicodedata.normalize("NFC", safe_name(name, "image name", reserve=len(SUFFIX))).casefold()
        if key in seen:
            raise UserError(f"the image names {seen[key]!r} and {name!r} are one file where case is ignored: "
                            "rename one")
        seen[key] = name
    return list(seen.values())


def seed_name(seed: int) -> str:
    """Name the image of one seed as StyleGAN's tools do: `seed0000`."""
    return f"seed{seed:04d}"

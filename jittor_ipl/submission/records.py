"""The two files that describe a seeded test set: `seeds.json` (what to make) and `manifest.json` (what came out)."""
from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from jittor_ipl.adaptation.render import Recipe
from jittor_ipl.diffusion.recipe import DiffusionRecipe
from jittor_ipl.disk.atomic import write_bytes
from jittor_ipl.disk.integrity import canonical, file_sha256, read_sealed, write_sealed
from jittor_ipl.disk.layout import MANIFEST, SEEDS
from jittor_ipl.disk.names import image_names, safe_name
from jittor_ipl.disk.small_files import read_json
from jittor_ipl.errors import UserError
from jittor_ipl.runtime.streams import MAX_SEED

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Number = Annotated[str, Field(pattern=r"^[0-9]{2,6}$")]
Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
AnyRecord = TypeVar("AnyRecord", bound="_Record")


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class StyleSeeds(_Record):
    """The pictures of one style: which seed makes which file, from which source generator, by which recipe."""

    style: str
    source: str                     # the generator or base model the style was made from: a path, or demo:<name>
    recipe: Recipe | DiffusionRecipe
    images: dict[str, Seed] = Field(min_length=1)  # file name without .png -> seed


class Seeds(_Record):
    """`seeds.json` of one suite."""

    format: Literal[1] = 1
    suite: str
    styles: dict[Number, StyleSeeds]


class StyleRecord(_Record):
    """What one style's weights gave: the hashes of all that went in, and of the pixels that came out."""

    source_sha256: Sha256
    weights_sha256: Sha256
    size: Annotated[list[int], Field(min_length=2, max_length=2)]  # height, width
    references: int = Field(0, ge=0)                                # pictures in reference.png, the first ones by name
    pixels: dict[str, Sha256]


class Manifest(_Record):
    """`manifest.json` of one suite. `fingerprint` says where the pixels were made, `files` holds every file's hash.

    The file carries its own SHA-256 as well (key `sha256`), so that it vouches for itself and for all the others.
    """

    format: Literal[2] = 2
    suite: str
    fingerprint: dict[str, Any]
    styles: dict[Number, StyleRecord]
    files: dict[str, Sha256]


def read_seeds(path: Path) -> Seeds:
    """Read and check a `seeds.json`; UserError for anything malformed and for unsafe or colliding image names."""
    seeds = _valid(path, Seeds, read_json(path, "seed list"), "seed list")
    safe_name(seeds.suite, "suite name")
    for style in seeds.styles.values():
        image_names(style.images)
    return seeds


def read_set_manifest(path: Path) -> Manifest:
    """Read and check a `manifest.json`.

    Raises UserError when a bit of it changed and for anything malformed, paths out of its folder included.
    """
    manifest = _valid(path, Manifest, read_sealed(path, "manifest"), "manifest")
    for name in manifest.files:
        for part in name.split("/"):
            safe_name(part, f"file in {path}")
    return manifest


def write_records(folder: Path, seeds: Seeds, manifest: Manifest) -> None:
    """Write `seeds.json`, then `manifest.json` with its SHA-256 and its own; equal bytes for equal content."""
    write_bytes(folder / SEEDS, canonical(seeds.model_dump()))
    files = {**manifest.files, SEEDS: file_sha256(folder / SEEDS)}
    write_sealed(folder / MANIFEST, {**manifest.model_dump(), "files": files})


def _valid(path: Path, model: type[AnyRecord], content: dict[str, Any], kind: str) -> AnyRecord:
    try:
        return model.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part)[:60] for part in first["loc"])
        raise UserError(f"{path} is not a valid {kind}: {where}: {first['msg'][:120]}") from None

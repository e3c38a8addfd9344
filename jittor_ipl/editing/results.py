"""What an edit leaves in its folder: pictures before and after, one sheet of all, the codes, and how it went."""
from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jittor_ipl.disk.atomic import output_folder, write_json
from jittor_ipl.disk.names import SUFFIX, image_names
from jittor_ipl.editing.codes import OWNER, Faces, stored_styles
from jittor_ipl.images.files import save_png
from jittor_ipl.images.sheets import contact_sheet
from jittor_ipl.weights.containers.safetensors import write_safetensors
from jittor_ipl.weights.generator import generator_sha256
from jittor_ipl.weights.tuned import Tuned, save_tuned

SHEET, LATENTS, RECORD = f"sheet{SUFFIX}", "latents.safetensors", "edit.json"
SMALLEST_TEXT = 12      # pixels, of a sheet's labels: a twentieth of a picture that is larger


def save_edit(folder: Path, names: Sequence[str], before: Sequence[np.ndarray] | None, after: Sequence[np.ndarray],
              facts: Mapping[str, Any]) -> Path:
    """Write `<name>-edited.png` of every face and, with `before`, a sheet of both rows; `facts` say how, in JSON.

    Pictures are uint8 [H, W, 3]. Returns the sheet, or the one picture where there is no other row. UserError where the
    folder cannot be written or two names are one file.
    """
    image_names([*names, *(f"{name}-edited" for name in names)])
    output_folder(folder)
    text = {"prompt": str(facts.get("prompt", ""))}
    for name, picture in zip(names, after):
        save_png(folder / f"{name}-edited{SUFFIX}", picture, text)
    for name, picture in zip(names, before or ()):
        save_png(folder / f"{name}{SUFFIX}", picture)
    write_json(folder / RECORD, {**facts, "faces": list(names)})
    if before is None and len(after) == 1:
        return folder / f"{names[0]}-edited{SUFFIX}"
    rows = {"before": before, "after": after} if before is not None else {"after": after}
    return save_sheet(folder, names, rows, text)


def save_sheet(folder: Path, names: Sequence[str], rows: Mapping[str, Sequence[np.ndarray]],
               text: Mapping[str, str]) -> Path:
    """Write the sheet of an edit, a column for each face under its name and a row by each label; returns its file."""
    size = max(next(iter(rows.values()))[0].shape[0] // 20, SMALLEST_TEXT)
    return save_png(folder / SHEET, contact_sheet(list(rows.items()), text_size=size, headings=names), text)


def save_codes(path: Path, faces: Faces, codes: Sequence[np.ndarray]) -> None:
    """Write new codes of faces such that `--latent` reads them: [ws [N, n_latent, style_dim]], or S [N, C] a layer.

    The codes of a tuned generator are worth little elsewhere: W+ takes what tuning changed along (`weights.tuned`), S,
    for which that file has no place, says its generator's hash, so that `faces_of_file` gives it to no other.
    """
    if codes[0].ndim == 3 and faces.source is not None:
        save_tuned(Tuned(faces.generator, codes[0], faces.names), faces.source, path)
        return
    tensors = {"latents": codes[0]} if codes[0].ndim == 3 else stored_styles(faces.generator, codes)
    owner = {} if faces.source is None else {OWNER: generator_sha256(faces.generator)}
    write_safetensors(path, tensors, {"kind": "latents", **owner})


def edit_folder(given: str | None, action: str, words: str) -> Path:
    """Return the folder of an edit's results: the one given, else one of this action and these words alone."""
    return Path("edits") / f"{action}-{slug(words)}" if given is None else Path(given)


def slug(prompt: str) -> str:
    """Return a prompt as part of a file's name, `happy-face`: its letters and digits; a hash where it has few."""
    words = re.sub(r"[^a-z0-9]+", "-", prompt.lower()).strip("-")[:60].strip("-")
    return words if len(words) >= 2 else hashlib.sha256(prompt.encode()).hexdigest()[:12]


def settings_of(settings: object) -> dict[str, Any]:
    """Return a frozen dataclass's numbers ready for JSON."""
    return json.loads(json.dumps(vars(settings), default=list))

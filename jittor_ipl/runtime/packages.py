"""The packages that decide results, their pins (those of requirements.txt), and what another version of each does."""
from __future__ import annotations

import importlib.metadata
import importlib.util
import re
from pathlib import Path

import numpy as np

from jittor_ipl.errors import UserError

ONEDNN = ("onednn-cpu-gomp", "onednn-devel-cpu-gomp")
PINS = {"numpy": "1.26.4", "jittor": "1.3.11.0", **dict.fromkeys(ONEDNN, "2021.2.0"),
        "pillow": "12.3.0", "regex": "2026.9.29", "ftfy": "6.3.1", "openai-clip": "1.0.1"}
# How many parts of a version must be the pin's, and why.
DECISIVE = {"numpy": (1, "Jittor reads its arrays wrongly"), "jittor": (3, "this project mends another one"),
            **dict.fromkeys(ONEDNN, (3, "Jittor is compiled for another one"))}
CHANGES = {"numpy": "draws may differ", "pillow": "the pixels of resized pictures may differ",
           **dict.fromkeys(("regex", "ftfy", "openai-clip"), "the tokens of prompts may differ")}


def cure(*names: str) -> str:
    """Return the command that installs the pinned versions of these packages."""
    return "pip install " + " ".join(f"{name}=={PINS[name]}" for name in names)


def found_version(name: str) -> str | None:
    """Return the version of a package of `PINS` that an import finds here, or None; imports nothing but NumPy."""
    if name == "numpy":
        return np.__version__
    if name == "jittor":
        spec = importlib.util.find_spec("jittor")
        text = Path(spec.origin).read_text(encoding="utf-8") if spec and spec.origin else ""
        found = re.search(r"^__version__ = ['\"]([^'\"]+)", text, re.MULTILINE)
        return found and found[1]
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def require() -> None:
    """Raise `UserError` in one line for a version with which results are wrong or not to be compared."""
    for name, (parts, why) in DECISIVE.items():
        found = found_version(name)
        if found is not None and found.split(".")[:parts] != PINS[name].split(".")[:parts]:
            where = f" in {Path(np.__file__).parent}" if name == "numpy" else ""
            raise UserError(f"{name} {found} is found{where}, but {why}; {PINS[name]} is needed: {cure(name)} "
                            "(and unset PYTHONPATH where it names another environment)")


def deviations() -> list[str]:
    """Return a line for every package that works but may change results in another version than its pin."""
    versions = {name: found_version(name) for name in CHANGES}
    return [f"{name} {version} in place of {PINS[name]}: {CHANGES[name]}" for name, version in versions.items()
            if version not in (None, PINS[name])]


def require_whole_arrays(jt) -> None:
    """Raise `UserError` when arrays do not come back from the imported Jittor `jt` as they went in."""
    for sent in (np.arange(12, dtype=np.float32).reshape(3, 4).T, np.arange(5.0) / 4, np.arange(7, dtype=np.uint8)):
        if not np.array_equal(jt.array(sent).numpy(), sent):
            raise UserError(f"arrays do not come back from Jittor {jt.__version__} as they went in, with NumPy "
                            f"{np.__version__}: {cure('numpy', 'jittor')}")

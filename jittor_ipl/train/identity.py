"""What a run is made of, as one hash: its settings and the bytes of every file it reads."""
from __future__ import annotations

import hashlib
from pathlib import Path

from jittor_ipl.atomic import write_bytes
from jittor_ipl.config import StyleRun
from jittor_ipl.images import list_images
from jittor_ipl.weights.refs import resolve

from .checkpoint import file_sha256, remove_tree

MADE_BY_A_RUN = ("report.json", "generator.safetensors", "mapper.safetensors", "metrics.jsonl", "checkpoints",
                 "tensorboard", "samples")
_MARK = ".identity"


def run_identity(config: StyleRun) -> str:
    """Return the SHA-256 (hex) of all that decides a run's weights: settings, weight files, style images.

    Raises `UserError` when one of the files is missing.
    """
    files = [resolve(config.source.generator), *(resolve(model.model) for model in config.clip)]
    if config.style_images is not None:
        files += list_images(config.style_images)
    parts = [config.training_hash(), *(file_sha256(path) for path in files)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def claim(run_dir: Path, identity: str) -> bool:
    """Mark a run folder as this run's; what another run (other settings or weights) made there is removed first.

    Returns whether something was removed. Only the holder of the folder's lock may call this.
    """
    mark = run_dir / _MARK
    foreign = mark.exists() and mark.read_text(encoding="ascii", errors="replace").strip() != identity
    if foreign:
        for name in MADE_BY_A_RUN:
            remove_tree(run_dir / name)
    write_bytes(mark, f"{identity}\n".encode())
    return foreign

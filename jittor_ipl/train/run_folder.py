"""A run's folder: whose it is, by the hash of all that decides the run."""
from __future__ import annotations

from pathlib import Path

from jittor_ipl.disk.atomic import remove_tree
from jittor_ipl.disk.integrity import read_sealed, write_sealed
from jittor_ipl.disk.layout import CHECKPOINTS, GENERATOR, MAPPER, METRICS, REPORT, SAMPLES, TENSORBOARD
from jittor_ipl.errors import UserError

_MARK = ".identity"


def claim(run_dir: Path, identity: str, anew: bool = False) -> bool:
    """Mark a run folder as this run's; what another run (other settings or weights) made there is removed first.

    `anew` removes what this run made, too. Returns whether something was removed. Only the holder of the folder's lock
    may call this.
    """
    try:
        known = read_sealed(run_dir / _MARK, "mark")["identity"]
    except (UserError, KeyError):      # no whole mark costs nothing: the checkpoints and the report carry it, too
        known = None
    foreign = anew or known not in (None, identity)
    if foreign:
        for name in (REPORT, GENERATOR, MAPPER, METRICS, CHECKPOINTS, TENSORBOARD, SAMPLES):
            remove_tree(run_dir / name)
    write_sealed(run_dir / _MARK, {"identity": identity})
    return foreign

"""Where a suite's `data` lies: a folder, or that of the demo world's competition, drawn when it is missing."""
from __future__ import annotations

from pathlib import Path

from jittor_ipl.errors import UserError, nearest_file

DEMO, DEMO_FOLDER = "demo", Path("data/demo")


def data_folder(name: str) -> Path:
    """Return the folder that `data` names; UserError, with the nearest name, when there is none."""
    if name == DEMO:
        if not DEMO_FOLDER.is_dir():
            from jittor_ipl.world.competition import write_set
            write_set(DEMO_FOLDER)
        return DEMO_FOLDER
    if not Path(name).is_dir():
        raise UserError(f"there is no data folder {name!r}{nearest_file(name)}: put <NN>/images/* and <NN>/prompt.json "
                        "there, or give another one with --set data=FOLDER")
    return Path(name)

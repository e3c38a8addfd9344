"""A submission archive whose bytes depend only on the files in it: fixed order, time stamps, modes and no compression."""
from __future__ import annotations

import zipfile
from collections.abc import Iterable
from pathlib import Path

from jittor_ipl.disk.atomic import staged

EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time a zip can hold


def write_archive(path: Path, root: Path, files: Iterable[Path]) -> None:
    """Pack `files` (below `root`) into the zip `path`, in the order of their names; raises UserError where the disk refuses.

    Entries are stored, not deflated: PNGs do not shrink, and the bytes must not depend on the zlib in use.
    """
    names = sorted((file.relative_to(root).as_posix(), file) for file in files)
    with staged(path) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as archive:
        for name, file in names:
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.create_system = 3  # Unix, wherever this runs
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, file.read_bytes())

"""Which file of requirements an imported package stands in: what not every command needs has files of its own."""
from __future__ import annotations

import re
from collections.abc import Iterable

# By the name that is imported; all others belong to requirements.txt. No NumPy here: it may be what is broken.
OPTIONAL = {
    "requirements-ui.txt": ("gradio", "fastapi", "uvicorn", "pandas"),
    "requirements-cluster.txt": ("ray", "fsspec", "s3fs"),
    "requirements-faces.txt": ("dlib",),
    "requirements-video.txt": ("imageio_ffmpeg",),
}


def requirements_of(module: str | None, files: Iterable[str]) -> str:
    """Return the file of requirements behind a failed import of `module`, tried by the source files of a traceback.

    The outermost package of an optional file decides, since what Gradio alone imports fails below Gradio's own files.
    """
    owners = {package: file for file, packages in OPTIONAL.items() for package in packages}
    within = [re.split(r"[/\\](?:site|dist)-packages[/\\]", file)[1:] for file in files]
    packages = [re.split(r"[/\\.]", parts[-1])[0] for parts in within if parts]
    return next((owners[name] for name in [*packages, (module or "").split(".")[0]] if name in owners),
                "requirements.txt")

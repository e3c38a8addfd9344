"""The page's own style sheet and script: files beside this one, addressed by their content so that they may be kept."""
from __future__ import annotations

from hashlib import sha256
from pathlib import Path

STATIC = Path(__file__).parent / "static"


def address(name: str) -> str:
    """Return where a file of `static/` is served; another content has another address."""
    return f"/static/{name}?v={sha256((STATIC / name).read_bytes()).hexdigest()[:12]}"


def head() -> str:
    """Return what Gradio adds to the <head> of every page, after its own style sheets."""
    return f'<link rel="stylesheet" href="{address("style.css")}">'

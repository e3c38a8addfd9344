"""The page's own style sheet and script: files beside this one, addressed by their content so that they may be kept."""
from __future__ import annotations

from hashlib import sha256
from pathlib import Path

from jittor_ipl.webui.pages.words import HTML_LANGUAGE

STATIC = Path(__file__).parent / "static"


def address(name: str) -> str:
    """Return where a file of `static/` is served; another content has another address."""
    return f"/static/{name}?v={sha256((STATIC / name).read_bytes()).hexdigest()[:12]}"


def head(language: str) -> str:
    """Return what stands in the <head> of every page.

    Gradio takes the language of its own words (upload, webcam) from the browser: it is told the page's.
    """
    tag = HTML_LANGUAGE[language]
    return (f'<script>window.pageLanguage = "{tag}"; document.documentElement.lang = "{tag}";'
            f'Object.defineProperty(navigator, "language", {{get: () => "{tag}"}});</script>'
            f'<link rel="icon" href="data:,"><link rel="stylesheet" href="{address("style.css")}">'
            f'<script src="{address("page.js")}" defer></script>')

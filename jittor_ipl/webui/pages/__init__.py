"""The pages that people see: Gradio's fields, and pictures and progress as HTML that follows the jobs by itself."""
from __future__ import annotations

from typing import TYPE_CHECKING

from jittor_ipl.webui.settings import ServerSettings

if TYPE_CHECKING:
    from fastapi import FastAPI

    from jittor_ipl.webui.desk import Desk


def mount(app: FastAPI, desk: Desk, settings: ServerSettings) -> None:
    """Put the pages under /en/ and /zh/, their files under /static; / leads to the language of the browser."""
    from jittor_ipl.webui.pages.site import mount_site
    mount_site(app, desk, settings)

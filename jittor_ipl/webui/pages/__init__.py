"""The page itself, of Gradio's blocks."""
from __future__ import annotations

from typing import TYPE_CHECKING

from jittor_ipl.webui.settings import ServerSettings

if TYPE_CHECKING:
    from fastapi import FastAPI

    from jittor_ipl.webui.desk import Desk


def mount(app: FastAPI, desk: Desk, settings: ServerSettings) -> None:
    """Put the page at the root of the application."""
    import gradio as gr
    with gr.Blocks(title="jittor_ipl", analytics_enabled=False) as blocks:
        gr.Markdown("# jittor_ipl")
    gr.mount_gradio_app(app, blocks, "/", footer_links=[], run_history=False, allowed_paths=[],
                        blocked_paths=[str(settings.runs.resolve())], show_error=False,
                        max_file_size=settings.limits.body, ssr_mode=False, enable_monitoring=False, pwa=False,
                        mcp_server=False)

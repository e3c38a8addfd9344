"""All pages of both languages, mounted on the application."""
from __future__ import annotations

import gradio as gr
from fastapi import FastAPI, Request
from fastapi.responses import RedirectResponse
from fastapi.staticfiles import StaticFiles

from jittor_ipl.webui.desk import Desk
from jittor_ipl.webui.pages import compare, edit, fragments, home, jobs, learn, photo, results, studio
from jittor_ipl.webui.pages.document import Documents
from jittor_ipl.webui.pages.frame import PAGES, Site
from jittor_ipl.webui.pages.style_sheet import STATIC, head
from jittor_ipl.webui.pages.theme import theme
from jittor_ipl.webui.pages.words import LANGUAGES, Words, preferred
from jittor_ipl.webui.quick_gradio import pages_alone
from jittor_ipl.webui.settings import ServerSettings

COOKIE = "jittor_ipl_language"
_BUILDERS = {"studio": studio.build, "photo": photo.build, "edit": edit.build, "learn": learn.build,
             "compare": compare.build, "results": results.build, "jobs": jobs.build}


def mount_site(app: FastAPI, desk: Desk, settings: ServerSettings) -> None:
    """Mount pages, fragments and static files; the root address leads to a language."""
    app.include_router(fragments.router(desk))
    app.mount("/static", StaticFiles(directory=STATIC))

    @app.get("/", include_in_schema=False)
    def root(request: Request) -> RedirectResponse:
        chosen = request.cookies.get(COOKIE, "")
        accepted = request.headers.get("accept-language", "")
        language = chosen if chosen in LANGUAGES else preferred(accepted, settings.language)
        return RedirectResponse(f"/{language}/", 303)

    closed = [settings.styles, *(settings.private / name for name in ("jobs", "uploads"))]
    for language in LANGUAGES:
        with pages_alone():
            pages = blocks(Site(desk, Words(language)))
        gr.mount_gradio_app(app, pages, f"/{language}", footer_links=[], run_history=False, allowed_paths=[],
                            blocked_paths=[str(path.resolve()) for path in closed], show_error=False, ssr_mode=False,
                            max_file_size=settings.limits.body, enable_monitoring=False, pwa=False, mcp_server=False,
                            theme=theme(), head=head())
    app.add_middleware(Documents)


def blocks(site: Site) -> gr.Blocks:
    """Return all pages of one language."""
    found = gr.Blocks(title="jittor_ipl", analytics_enabled=False, delete_cache=(600, 3600), fill_width=True)
    with found:
        gr.Navbar(visible=False)
        home.build(site)
    for page in PAGES:
        with found.route(page, f"/{page}"):
            gr.Navbar(visible=False)
            _BUILDERS[page](site)
    return found.queue(max_size=400, default_concurrency_limit=None, api_open=False)

"""All of one's jobs: their place in the queue, what came out, and buttons to cancel and to remove them."""
from __future__ import annotations

from jittor_ipl.webui.pages.frame import Site, html


def build(site: Site) -> None:
    """Fill the page; the list follows the jobs by itself."""
    site.header("jobs")
    html(f'<div data-watch="/fragments/{site.words.language}/jobs"></div>', "jobs-list")
    site.footer()

"""What all pages share: the frame around them, the panel that follows a job, and how a request is asked for."""
from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import gradio as gr

from jittor_ipl.errors import UserError
from jittor_ipl.webui.catalogue import Choices
from jittor_ipl.webui.desk import Desk
from jittor_ipl.webui.guard import owner_of
from jittor_ipl.webui.jobs import Job
from jittor_ipl.webui.page_error import phrase_of
from jittor_ipl.webui.pages.showing import render
from jittor_ipl.webui.pages.words import LANGUAGES, Words
from jittor_ipl.webui.requests import parse

PAGES = ("studio", "photo", "edit", "learn", "compare", "results", "jobs")


@dataclass(frozen=True)
class Site:
    """The pages of one language over a desk."""

    desk: Desk
    words: Words

    @property
    def choices(self) -> Choices:
        """What there is to choose now."""
        return self.desk.catalogue.choices()

    def header(self, page: str = "") -> None:
        """Put the frame's upper part on a page; the home page, "", has its heading elsewhere."""
        words = self.words
        others = [(other, LANGUAGES[other], f"/{other}/{page}") for other in words.others]
        title = words(f"{page}.title") if page else words("nav.home")
        html(render("header.html", words, pages=PAGES, here=page, others=others, title=title,
                    signed_in=self.desk.settings.auth is not None,
                    heading=words(f"{page or 'home'}.title"), lead=words(f"{page or 'home'}.lead")))

    def footer(self) -> None:
        """Put the frame's lower part on a page."""
        html(render("footer.html", self.words))

    def panel(self, page: str) -> gr.HTML:
        """Return the place where a page's jobs are followed."""
        return html(self.empty(page), f"{page}-panel", "panel-place")

    def empty(self, page: str) -> str:
        """Return what stands in a panel before there is a job."""
        return render("empty.html", self.words, text=self.words(f"{page}.empty"))

    def problem(self, error: UserError | str) -> str:
        """Return what stands in a panel when something cannot be done."""
        text = error if isinstance(error, str) else self.words.phrase(phrase_of(error))
        return render("problem.html", self.words, text=text)

    def watch(self, job: Job | str, panel: str) -> str:
        """Return a panel that follows a job by itself."""
        return render("watch.html", self.words, job=job if isinstance(job, str) else job.id, panel=panel)

    def found(self, job: Job | None, panel: str) -> Any:
        """Return the panel as a page is opened; without a job it stays as it is, for somebody may have asked already.
        """
        return gr.skip() if job is None else self.watch(job, panel)

    def submit(self, given: Mapping[str, Any], request: gr.Request) -> Job:
        """Submit a job; UserError where it cannot be taken."""
        return self.desk.submit(parse(dict(given)), owner_of(request))

    def ask(self, given: Mapping[str, Any], request: gr.Request, panel: str) -> str:
        """Submit a job and return the panel that follows it, or that says in one line why there is none."""
        try:
            return self.watch(self.submit(given, request), panel)
        except UserError as error:
            return self.problem(error)

    def drop(self, job_id: str | None, request: gr.Request) -> None:
        """Cancel and forget a job that another has taken the place of."""
        with suppress(UserError):       # it may be gone already
            if job_id:
                owner = owner_of(request)
                self.desk.cancel(job_id, owner)
                self.desk.forget(job_id, owner)

    def upload(self, data: bytes, request: gr.Request) -> dict[str, Any]:
        """Keep a picture and return its id, size and address; UserError for what is none."""
        return self.desk.uploads.add(data, owner_of(request))

    def mine(self, request: gr.Request) -> list[Job]:
        """Return the visitor's jobs, the newest first."""
        return self.desk.jobs(owner_of(request))

    def recent(self, kinds: tuple[str, ...], request: gr.Request) -> Job | None:
        """Return the job that a page shows when it is opened: the one in its address, else the newest of its kinds."""
        owner, wanted = owner_of(request), query(request).get("job")
        try:
            found = [self.desk.job(wanted, owner)] if wanted else self.desk.jobs(owner)
        except UserError:
            found = []
        return next((job for job in found if job.kind in kinds), None)


def html(value: str, elem_id: str | None = None, elem_classes: str = "frame") -> gr.HTML:
    """Return a piece of a page that looks as our style sheet says, without Gradio's typography."""
    return gr.HTML(value, elem_id=elem_id, elem_classes=elem_classes, apply_default_css=False)


def on_load(fn: Callable[..., Any], outputs: Any) -> None:
    """Have `fn(request)` called whenever the page that is being built is opened, and the body marked once it was."""
    load = gr.context.Context.root_block.load
    filled = load(fn, None, outputs, concurrency_limit=None, show_progress="hidden", api_visibility="private")
    filled.then(None, js="() => { document.body.dataset.filled = 'yes'; }", api_visibility="private")


def query(request: gr.Request) -> Mapping[str, str]:
    """Return the query of the page's address."""
    return request.query_params or {}


def listen(*triggers: Callable[..., Any], fn: Callable[..., Any], inputs: Any = None, outputs: Any = None,
           mode: str = "multiple") -> None:
    """Have `fn` called by every one of `triggers`: many people side by side, none of it in the list of Gradio's API.

    All of these functions return at once; work goes to the desk.
    """
    for trigger in triggers:
        trigger(fn, inputs, outputs, concurrency_limit=None, show_progress="hidden", trigger_mode=mode,
                api_visibility="private")

"""A new style: from its name, or from a few pictures; kept under a name and drawn with on the page of styles."""
from __future__ import annotations

from typing import Any

import gradio as gr

from jittor_ipl.errors import UserError
from jittor_ipl.webui.pages.fields import subject_field
from jittor_ipl.webui.pages.frame import Site, listen, on_load

METHODS = ("auto", "teacher", "nada", "ipl")


def build(site: Site) -> None:
    """Fill the page."""
    words = site.words
    site.header("learn")
    with gr.Row(elem_classes="page"):
        with gr.Column(scale=4, min_width=300):
            subject = subject_field(site)
            with gr.Tabs():
                with gr.Tab(words("learn.by_words"), id="words"):
                    target, name, method, new, go = _by_words(site)
                with gr.Tab(words("learn.by_pictures"), id="pictures"):
                    pictures, kept, refusal, go_pictures = _by_pictures(site)
        with gr.Column(scale=6, min_width=320):
            panel = site.panel("learn")
    site.footer()
    page = LearnPage(site)
    listen(go.click, target.submit, name.submit, fn=page.words, inputs=[subject, target, name, method, new],
           outputs=panel)
    listen(go_pictures.click, fn=page.pictures, inputs=[subject, pictures, kept], outputs=panel)
    listen(subject.input, fn=page.of_subject, inputs=subject, outputs=[refusal, go_pictures])
    on_load(page.opened, panel)


def _by_words(site: Site) -> tuple[Any, ...]:
    words = site.words
    return (gr.Textbox(label=words("learn.words"), info=words("learn.words.info"), max_lines=1, elem_id="words"),
            gr.Textbox(label=words("learn.name"), info=words("learn.name.info"), max_lines=1, elem_id="name"),
            gr.Radio([(words("learn.method.auto"), "auto"),
                      *((words("method." + method), method) for method in METHODS[1:])], value="auto",
                     label=words("learn.method"), elem_id="method"),
            gr.Checkbox(False, label=words("learn.new"), elem_id="new"),
            gr.Button(words("learn.go"), variant="primary", elem_id="go"))


def _by_pictures(site: Site) -> tuple[Any, ...]:
    words = site.words
    return (gr.File(label=words("learn.pictures"), file_count="multiple", type="binary", height=180,
                    file_types=[".png", ".jpg", ".jpeg", ".webp"], elem_id="pictures"),
            gr.Textbox(label=words("learn.name"), info=words("learn.name.info"), max_lines=1, elem_id="pictures-name"),
            gr.Markdown(words("learn.no_pictures"), visible=False, elem_classes="remark"),
            gr.Button(words("learn.go"), variant="primary", elem_id="go-pictures"))


class LearnPage:
    """What the page's fields do."""

    def __init__(self, site: Site):
        self.site = site

    def words(self, subject: str, target: str, name: str, method: str, new: bool, request: gr.Request) -> str:
        """Ask for a style by its words; without a name it is called as they are."""
        return self.site.ask({"kind": "learn", "subject": subject, "words": target.strip(),
                              "name": name.strip() or target.strip(), "method": None if method == "auto" else method,
                              "new_style": new}, request, "learn")

    def pictures(self, subject: str, files: list[bytes] | None, name: str, request: gr.Request) -> str:
        """Ask for a style from pictures."""
        try:
            uploads = [self.site.upload(data, request)["id"] for data in files or []]
        except UserError as error:
            return self.site.problem(error)
        return self.site.ask({"kind": "learn-pictures", "subject": subject, "uploads": uploads, "name": name.strip()},
                             request, "learn")

    def of_subject(self, subject: str) -> tuple[Any, Any]:
        """Return whether a subject learns from pictures."""
        fine = self.site.choices.subject(subject).pictures is not None
        return gr.update(visible=not fine), gr.update(interactive=fine)

    def opened(self, request: gr.Request) -> Any:
        """Return the panel as the page is opened."""
        job = self.site.recent(("learn", "learn-pictures"), request)
        return self.site.found(job, "learn")

"""One seed and one style by every method that has learnt it, side by side."""
from __future__ import annotations

from typing import Any

import gradio as gr

from jittor_ipl.webui.pages.fields import number, subject_field, truncation
from jittor_ipl.webui.pages.frame import Site, listen, on_load, query


def build(site: Site) -> None:
    """Fill the page."""
    words = site.words
    site.header("compare")
    page = ComparePage(site)
    with gr.Row(elem_classes="page"):
        with gr.Column(scale=3, min_width=300):
            subject = subject_field(site)
            names = page.names(subject.value)
            style = gr.Dropdown(names, value=names[0] if names else None, label=words("field.style"), elem_id="style")
            seed = gr.Number(0, precision=0, minimum=0, label=words("field.seed"), elem_id="seed")
            depth = truncation(words)
            go = gr.Button(words("compare.go"), variant="primary", elem_id="go")
        with gr.Column(scale=7, min_width=320):
            panel = site.panel("compare")
    site.footer()
    fields = [subject, style, seed, depth]
    listen(subject.input, fn=page.of_subject, inputs=subject, outputs=style)
    listen(go.click, seed.submit, depth.release, fn=page.compare, inputs=fields, outputs=panel)
    on_load(page.opened, [*fields, panel])


class ComparePage:
    """What the page's fields do."""

    def __init__(self, site: Site):
        self.site, self.words = site, site.words

    def names(self, subject: str) -> list[str]:
        """Return the names of a subject's styles, those of most methods first."""
        names = [one.name for one in self.site.choices.of(subject)]
        return sorted(dict.fromkeys(names), key=lambda name: -names.count(name))

    def of_subject(self, subject: str, style: str | None = None) -> Any:
        """Return the styles of a subject."""
        names = self.names(subject)
        return gr.update(choices=names, value=style or (names[0] if names else None))

    def compare(self, subject: str, style: str | None, seed: float | None, truncation: float,
                request: gr.Request) -> str:
        """Ask for the comparison."""
        if not style:
            return self.site.problem(self.words("compare.none"))
        return self.site.ask({"kind": "compare", "subject": subject, "style": style, "seed": int(seed or 0),
                              "truncation": truncation}, request, "compare")

    def opened(self, request: gr.Request) -> tuple[Any, ...]:
        """Return the fields and the panel as the page is opened."""
        job = self.site.recent(("compare",), request)
        given = dict(query(request)) if job is None else job.request
        subject = str(given.get("subject") or self.site.choices.subjects[0].id)
        return (subject, self.of_subject(subject, given.get("style")), int(number(given, "seed", 0)),
                number(given, "truncation", 0.7),
                self.site.found(job, "compare"))

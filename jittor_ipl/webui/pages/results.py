"""What run_all.py made, browsed set by set, with its scores."""
from __future__ import annotations

from typing import Any

import gradio as gr

from jittor_ipl.errors import UserError
from jittor_ipl.webui.pages.frame import Site, html, listen, on_load
from jittor_ipl.webui.pages.showing import render
from jittor_ipl.webui.results import suite_to_json, suites

ALL = ""                # every style of a set


def build(site: Site) -> None:
    """Fill the page."""
    words = site.words
    site.header("results")
    with gr.Row(elem_classes="page"):
        with gr.Column(scale=3, min_width=300):
            suite = gr.Dropdown([], label=words("results.set"), elem_id="suite")
            style = gr.Dropdown([(words("results.all"), ALL)], value=ALL, label=words("results.style"), elem_id="style")
            go = gr.Button(words("results.score"), variant="primary", elem_id="go")
            scores = site.panel("results")
        with gr.Column(scale=7, min_width=320):
            pictures = html(site.empty("results_pictures"), "results-pictures")
    site.footer()
    page = ResultsPage(site)
    listen(suite.input, fn=page.of_suite, inputs=suite, outputs=[style, pictures])
    listen(style.input, fn=page.shown, inputs=[suite, style], outputs=pictures)
    listen(go.click, fn=page.score, inputs=suite, outputs=scores)
    on_load(page.opened, [suite, style, pictures, scores])


class ResultsPage:
    """What the page's fields do."""

    def __init__(self, site: Site):
        self.site, self.words = site, site.words

    def of_suite(self, suite: str | None) -> tuple[Any, str]:
        """Return the styles of a set and its pictures."""
        try:
            found = suite_to_json(self.site.desk.settings, suite)["styles"] if suite else []
        except UserError:
            found = []
        choices = [(self.words("results.all"), ALL), *((one["style"], one["number"]) for one in found)]
        return gr.update(choices=choices, value=ALL), self.shown(suite, ALL)

    def shown(self, suite: str | None, style: str) -> str:
        """Return the pictures of a set, of one style or of all."""
        if not suite:
            return render("empty.html", self.words, text=self.words("results.none"))
        try:
            found = suite_to_json(self.site.desk.settings, suite)
        except UserError as error:
            return self.site.problem(error)
        styles = [one for one in found["styles"] if style in (ALL, one["number"])]
        return render("results.html", self.words, suite=suite, styles=styles, most=None if style else 12)

    def score(self, suite: str | None, request: gr.Request) -> str:
        """Ask for the figures of a set."""
        if not suite:
            return self.site.problem(self.words("results.none"))
        return self.site.ask({"kind": "score", "suite": suite}, request, "results")

    def opened(self, request: gr.Request) -> tuple[Any, ...]:
        """Return the sets that are there, the first one's pictures, and the newest figures."""
        there, job = suites(self.site.desk.settings), self.site.recent(("score",), request)
        chosen = job.request["suite"] if job is not None and job.request["suite"] in there else next(iter(there), None)
        return (gr.update(choices=there, value=chosen), *self.of_suite(chosen),
                self.site.found(job, "results"))

"""Styles: the same seeds in the source and in every style that is ticked."""
from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

import gradio as gr

from jittor_ipl.errors import UserError
from jittor_ipl.webui.pages.fields import (
    number,
    sets,
    sets_update,
    strength,
    styles_field,
    styles_update,
    subject_field,
    ticked_of,
    truncation,
)
from jittor_ipl.webui.pages.frame import Site, listen, on_load, query
from jittor_ipl.webui.png import read_settings

SURPRISES = 100_000     # a surprise is one of so many seeds
FIELDS = 6              # subject, set, styles, seeds, truncation, strength


def build(site: Site) -> None:
    """Fill the page."""
    words = site.words
    site.header("studio")
    with gr.Row(elem_classes="page"):
        with gr.Column(scale=3, min_width=300):
            subject = subject_field(site)
            made_by, styles = styles_field(site, subject.value)
            note = gr.Markdown(visible=False, elem_classes="remark")
            seeds = gr.Textbox("0", label=words("field.seeds"), info=words("field.seeds.info"), max_lines=1,
                               elem_id="seeds")
            with gr.Row():
                go = gr.Button(words("studio.go"), variant="primary", elem_id="go", min_width=120)
                surprise = gr.Button(words("field.surprise"), elem_id="surprise", min_width=120)
            depth, power = truncation(words), strength(words)
            png = gr.File(label=words("studio.from_png"), file_types=[".png"], type="binary", height=130,
                          elem_id="read-settings")
        with gr.Column(scale=7, min_width=320):
            panel = site.panel("studio")
    site.footer()
    fields = [subject, made_by, styles, seeds, depth, power]
    page = StudioPage(site)
    listen(subject.input, fn=page.of_subject, inputs=subject, outputs=[made_by, styles, note])
    listen(made_by.input, fn=page.of_set, inputs=[subject, made_by], outputs=styles)
    listen(go.click, seeds.submit, depth.release, power.release, fn=page.draw, inputs=fields, outputs=panel)
    listen(surprise.click, fn=page.surprise, inputs=fields, outputs=[seeds, panel])
    listen(png.upload, fn=page.from_png, inputs=png, outputs=[*fields, note, panel])
    on_load(page.opened, [*fields, note, panel])


class StudioPage:
    """What the page's fields do."""

    def __init__(self, site: Site):
        self.site, self.words = site, site.words

    def of_subject(self, subject: str) -> tuple[Any, Any, Any]:
        """Return the sets, the styles and the remark for a subject."""
        there = sets(self.site, subject)
        return (sets_update(self.site, subject), self.of_set(subject, there[0][1] if there else None),
                self._remark(subject))

    def of_set(self, subject: str, made_by: str | None) -> Any:
        """Return the styles of a set."""
        return styles_update(self.site, subject, made_by)

    def draw(self, subject: str, made_by: str | None, styles: list[str], seeds: str, truncation: float,
             strength: float, request: gr.Request) -> str:
        """Ask for the pictures."""
        return self.site.ask({"kind": "generate", "subject": subject, "styles": styles or [], "seeds": seeds,
                              "truncation": truncation, "strength": strength}, request, "studio")

    def surprise(self, subject: str, made_by: str | None, styles: list[str], seeds: str, truncation: float,
                 strength: float, request: gr.Request) -> tuple[str, str]:
        """Ask for the pictures of a seed that nobody chose."""
        chosen = str(secrets.randbelow(SURPRISES))
        return chosen, self.draw(subject, made_by, styles, chosen, truncation, strength, request)

    def from_png(self, data: bytes, request: gr.Request) -> tuple[Any, ...]:
        """Fill the fields with the settings inside of a picture, and draw."""
        try:
            settings = read_settings(data)
            fields = self._fields(settings)
        except UserError as error:
            return *[gr.skip()] * (FIELDS + 1), self.site.problem(error)
        style = self.words.or_else("style", str(settings.get("style", "")))
        told = self.words("studio.read", seed=settings.get("seed", "?"), style=style)
        return *self._updates(fields), gr.update(value=told, visible=True), self.draw(*fields.values(), request)

    def opened(self, request: gr.Request) -> tuple[Any, ...]:
        """Return the fields and the panel as the page is opened: as its address says, or as the newest job has it."""
        asked = dict(query(request))
        job = self.site.recent(("generate",), request) if "job" in asked or not asked else None
        try:
            fields = self._fields(asked if job is None else job.request)
        except UserError as error:
            return *[gr.skip()] * (FIELDS + 1), self.site.problem(error)
        if asked.get("surprise"):
            fields["seeds"] = str(secrets.randbelow(SURPRISES))
            panel = self.draw(*fields.values(), request)
        else:
            panel = self.site.found(job, "studio")
        return *self._updates(fields), self._remark(fields["subject"]), panel

    def _fields(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields for settings of a picture, a request or an address; UserError for a style not there."""
        choices = self.site.choices
        subject = choices.subject(str(given.get("subject") or choices.subjects[0].id)).id
        named = given.get("styles") or [name for name in (given.get("style_id"), given.get("style")) if name][:1]
        named = named.split(",") if isinstance(named, str) else named       # of an address
        chosen = [choices.style(subject, str(name)) for name in named if name != "source"]
        there = sets(self.site, subject)
        made_by = chosen[0].set if chosen else there[0][1] if there else None
        seeds = given.get("seeds", given.get("seed", 0))
        return {"subject": subject, "set": made_by,
                "styles": [one.id for one in chosen] if named else ticked_of(self.site, subject, made_by),
                "seeds": ",".join(map(str, seeds)) if isinstance(seeds, (list, tuple)) else str(seeds),
                "truncation": number(given, "truncation", 0.7), "strength": number(given, "strength", 1.0)}

    def _updates(self, fields: Mapping[str, Any]) -> tuple[Any, ...]:
        subject, made_by = fields["subject"], fields["set"]
        return (subject, sets_update(self.site, subject, made_by),
                styles_update(self.site, subject, made_by, fields["styles"]), fields["seeds"], fields["truncation"],
                fields["strength"])

    def _remark(self, subject: str) -> Any:
        return gr.update(value=self.words("studio.none"), visible=not sets(self.site, subject))

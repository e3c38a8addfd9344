"""Edits by words: a strip of one face from as it is to as far as the words lead, in the source and in a style."""
from __future__ import annotations

from typing import Any

import gradio as gr

from jittor_ipl.errors import UserError
from jittor_ipl.webui.pages.fields import any_style, number, one_style_field, subject_field, truncation
from jittor_ipl.webui.pages.frame import Site, listen, on_load, query
from jittor_ipl.webui.pages.showing import when

EXAMPLES = {"portraits": ("happy face", "angry face", "face with curly hair", "face with blond hair",
                          "face with long hair", "boy face"),
            "pets": ("happy cat", "orange cat", "striped cat", "dog")}
PARTS = (-0.5, 0.0, 0.25, 0.5, 0.75, 1.0)      # of the offset, in the strip
OF_SEED = ""            # the face is a seed's, not a photograph's


def build(site: Site) -> None:
    """Fill the page."""
    words = site.words
    site.header("edit")
    with gr.Row(elem_classes="page"):
        with gr.Column(scale=3, min_width=300):
            subject = subject_field(site)
            face = gr.Dropdown([(words("edit.face.seed"), OF_SEED)], value=OF_SEED, label=words("edit.face"),
                               elem_id="face", visible=False)
            seeds = gr.Textbox("0", label=words("field.seeds"), max_lines=1, elem_id="seeds")
            target = gr.Dropdown(list(EXAMPLES["portraits"]), value=EXAMPLES["portraits"][0], allow_custom_value=True,
                                 label=words("edit.target"), info=words("edit.target.info"), elem_id="target")
            style = one_style_field(site, subject.value)
            go = gr.Button(words("edit.go"), variant="primary", elem_id="go")
            auto = gr.Checkbox(True, label=words("edit.auto"), elem_id="auto")
            offset = gr.Slider(-10, 10, 4, step=0.25, label=words("edit.offset"), info=words("edit.offset.info"),
                               elem_id="offset", buttons=[])
            beta = gr.Slider(0, 1, 0.15, step=0.01, label=words("edit.beta"), info=words("edit.beta.info"),
                             elem_id="beta", buttons=[])
            with gr.Accordion(words("edit.more"), open=False):
                neutral = gr.Textbox("face", label=words("edit.neutral"), max_lines=1, elem_id="neutral")
                keep = gr.Textbox("", label=words("edit.keep"), info=words("edit.keep.info"), max_lines=1,
                                  elem_id="keep")
                depth = truncation(words)
        with gr.Column(scale=8, min_width=320):
            panel = site.panel("edit")
    site.footer()
    live = gr.State(None)
    fields = [subject, face, seeds, target, style, auto, offset, beta, neutral, keep, depth]
    page = EditPage(site)
    listen(subject.input, fn=page.of_subject, inputs=subject, outputs=[target, style, neutral])
    listen(face.input, fn=lambda chosen: gr.update(visible=chosen == OF_SEED), inputs=face, outputs=seeds)
    listen(go.click, target.input, seeds.submit, style.input, auto.input, fn=page.edit, inputs=fields,
           outputs=[panel, live])
    listen(offset.input, beta.input, fn=page.moved, inputs=[*fields, live], outputs=[panel, live, auto],
           mode="always_last")
    on_load(page.opened, [subject, face, seeds, target, style, depth, panel])


class EditPage:
    """What the page's fields do."""

    def __init__(self, site: Site):
        self.site, self.words = site, site.words

    def of_subject(self, subject: str) -> tuple[Any, Any, str]:
        """Return examples, styles and the neutral words of a subject."""
        examples = EXAMPLES.get(subject, ("face",))
        return (gr.update(choices=list(examples), value=examples[0]),
                gr.update(choices=any_style(self.site, subject), value=""), examples[0].split()[-1]
                if subject == "pets" else "face")

    def edit(self, subject: str, face: str, seeds: str, target: str, style: str, auto: bool, offset: float,
             beta: float, neutral: str, keep: str, truncation: float, request: gr.Request) -> tuple[str, str | None]:
        """Ask for the edit; return the panel and the job's id."""
        whose = {"seeds": seeds} if face == OF_SEED else {"face": face}
        strip = sorted({round(part * offset, 3) for part in PARTS})
        how = {} if auto else {"offsets": strip, "beta": beta}
        asked = {"kind": "edit", "subject": subject, **whose, "target": target or "", "style": style or None,
                 "neutral": neutral, "keep": [one.strip() for one in keep.split(",") if one.strip()],
                 "truncation": truncation, **how}
        try:
            job = self.site.submit(asked, request)
        except UserError as error:
            return self.site.problem(error), None
        return self.site.watch(job, "edit"), job.id

    def moved(self, subject: str, face: str, seeds: str, target: str, style: str, auto: bool, offset: float,
              beta: float, neutral: str, keep: str, truncation: float, live: str | None,
              request: gr.Request) -> tuple[str, str | None, bool]:
        """Ask for the edit with the sliders' numbers, in place of the one before."""
        self.site.drop(live, request)
        return *self.edit(subject, face, seeds, target, style, False, offset, beta, neutral, keep, truncation,
                          request), False

    def opened(self, request: gr.Request) -> tuple[Any, ...]:
        """Return the fields and the panel as the page is opened."""
        job = self.site.recent(("edit",), request)
        asked = dict(query(request))
        given = job.request if job is not None and ("job" in asked or not asked) else asked
        subject = str(given.get("subject") or self.site.choices.subjects[0].id)
        faces = [(self.words("edit.face.seed"), OF_SEED), *self._faces(request)]
        chosen = str(given.get("face") or OF_SEED)
        chosen = chosen if chosen in [value for _, value in faces] else OF_SEED
        seeds = given.get("seeds", given.get("seed", 0))
        examples = EXAMPLES.get(subject, ("face",))
        return (subject, gr.update(choices=faces, value=chosen, visible=len(faces) > 1),
                gr.update(value=",".join(map(str, seeds)) if isinstance(seeds, (list, tuple)) else str(seeds),
                          visible=chosen == OF_SEED),
                gr.update(choices=list(examples), value=given.get("target") or examples[0]),
                gr.update(choices=any_style(self.site, subject), value=self._style(subject, given.get("style"))),
                number(given, "truncation", 0.7), self.site.found(job if given is not asked else None, "edit"))

    def _faces(self, request: gr.Request) -> list[tuple[str, str]]:
        return [(self.words("edit.face.photo", when=when(job.created)), job.id)
                for job in self.site.mine(request) if job.kind == "invert" and job.state == "done"]

    def _style(self, subject: str, name: str | None) -> str:
        return next((one.id for one in self.site.choices.of(subject) if name and name in (one.id, one.name)), "")

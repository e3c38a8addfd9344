"""One's own picture: where the face is, the face in the generator, and out of it in styles."""
from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from jittor_ipl.errors import UserError
from jittor_ipl.webui.catalogue import finds_faces
from jittor_ipl.webui.pages.fields import (
    sets,
    sets_update,
    strength,
    styles_field,
    styles_update,
    subject_field,
)
from jittor_ipl.webui.pages.frame import Site, listen, on_load
from jittor_ipl.webui.pages.points import face_of, place, points_field

DETECTING = 8.0         # seconds that the detector may take before the points are guessed


def build(site: Site) -> None:
    """Fill the page."""
    words = site.words
    site.header("photo")
    subject = subject_field(site)
    refusal = gr.Markdown(words("photo.no_encoder"), visible=False, elem_classes="remark", elem_id="refusal")
    with gr.Row(elem_classes="page") as form:
        with gr.Column(min_width=280):
            picture = gr.Image(label=words("photo.upload"), sources=["upload", "webcam", "clipboard"], type="filepath",
                               image_mode=None, format="png", height=260, elem_id="picture", buttons=[],
                               alt_text=words("photo.picture_alt"))
            cut = gr.Radio([(words("photo.cut.always"), "always"), (words("photo.cut.never"), "never")],
                           value="always", label=words("photo.cut"), elem_id="cut", visible=False)
            told = gr.Markdown(visible=False, elem_classes="remark")
        with gr.Column(min_width=280):
            points = points_field(words)
            preview = site.panel("align")
        with gr.Column(min_width=280):
            made_by, styles = styles_field(site, subject.value)
            power = strength(words)
            tune = gr.Checkbox(True, label=words("photo.tune"), elem_id="tune")
            go = gr.Button(words("photo.go"), variant="primary", elem_id="go")
    panel = site.panel("photo")
    site.footer()
    page = PhotoPage(site)
    listen(subject.input, fn=page.of_subject, inputs=subject, outputs=[form, refusal, made_by, styles])
    listen(picture.input, fn=page.received, inputs=picture, outputs=[points, cut, told, preview, panel])
    listen(made_by.input, fn=lambda subject, chosen: styles_update(site, subject, chosen), inputs=[subject, made_by],
           outputs=styles)
    listen(points.input, cut.input, fn=page.cut, inputs=[points, cut], outputs=preview)
    listen(go.click, fn=page.bring, inputs=[subject, points, cut, styles, power, tune], outputs=panel)
    on_load(page.opened, panel)


class PhotoPage:
    """What the page's fields do."""

    def __init__(self, site: Site):
        self.site, self.words = site, site.words

    def of_subject(self, subject: str) -> tuple[Any, ...]:
        """Return the form where photographs of a subject can be brought in, and why not where they cannot."""
        fine, there = self.site.choices.subject(subject).encoder is not None, sets(self.site, subject)
        return (gr.update(visible=fine), gr.update(visible=not fine), sets_update(self.site, subject),
                styles_update(self.site, subject, there[0][1] if there else None))

    def received(self, path: str | None, request: gr.Request) -> tuple[Any, ...]:
        """Take a picture: its points as a detector finds them, or a first guess, and the face cut out by them.

        A small square one counts as cut out, as `invert` does it.
        """
        if not path:
            return (None, gr.update(visible=False), gr.update(visible=False), self.site.empty("align"), gr.skip())
        try:
            upload = self.site.upload(Path(path).read_bytes(), request)
        except UserError as error:
            return (None, gr.update(visible=False), gr.update(visible=False), self.site.empty("align"),
                    self.site.problem(error))
        square = upload["width"] == upload["height"]
        found = None if square else self._found(upload, request)
        value, way = place(upload, found), "never" if square else "always"
        told = [self.words.translated("remark", text) for text in upload["remarks"]]
        told += [] if square else [self.words("photo.found" if found else "photo.given")]
        return (value, gr.update(visible=True, value=way), gr.update(value="\n\n".join(told), visible=bool(told)),
                self.cut(value, way, request), self.site.empty("photo"))

    def cut(self, value: dict[str, Any] | None, way: str, request: gr.Request) -> str:
        """Show the face as it is cut out with these points."""
        if value is None or way == "never":
            return self.site.empty("align")
        return self.site.ask({"kind": "align", **face_of(value)}, request, "align")

    def bring(self, subject: str, value: dict[str, Any] | None, way: str, styles: list[str], strength: float,
              tune: bool, request: gr.Request) -> str:
        """Bring the face into the generator."""
        if value is None:
            return self.site.problem(self.words("photo.first"))
        face = face_of(value) if way == "always" else {"upload": value["upload"]}
        return self.site.ask({"kind": "invert", "subject": subject, **face, "align": way, "styles": styles or [],
                              "strength": strength, "tune": tune}, request, "photo")

    def opened(self, request: gr.Request) -> Any:
        """Return the panel as the page is opened."""
        job = self.site.recent(("invert",), request)
        return self.site.found(job, "photo")

    def _found(self, upload: dict[str, Any], request: gr.Request) -> list[Any] | None:
        """Return where the detector sees eyes and mouth, None without one and where it sees no face."""
        if not finds_faces():
            return None
        try:
            job = self.site.submit({"kind": "align", "upload": upload["id"]}, request)
        except UserError:
            return None
        if not self.site.desk.wait(job, DETECTING) or job.state != "done":
            return None
        return [*job.facts["eyes"], job.facts["mouth"]]

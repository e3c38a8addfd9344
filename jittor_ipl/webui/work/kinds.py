"""Which function does which kind of job."""
from __future__ import annotations

from collections.abc import Callable

from jittor_ipl.adaptation.render import Recipe, render
from jittor_ipl.webui.catalogue import PORTRAITS
from jittor_ipl.webui.task import JobResult, Task
from jittor_ipl.webui.work import drawing, editing, learning, photographs, scoring
from jittor_ipl.webui.work.models import Models
from jittor_ipl.webui.work.report import Reporter

WORK: dict[str, Callable[[Task, Models, Reporter], JobResult]] = {
    "generate": drawing.generate, "compare": drawing.compare, "align": photographs.align,
    "invert": photographs.invert_photograph, "edit": editing.edit, "learn": learning.learn,
    "learn-pictures": learning.learn_pictures, "score": scoring.score}


def warm(models: Models) -> None:
    """Load what the first request most likely needs, and draw with it: kernels are compiled or read at the first use.
    """
    list(render(models.source(PORTRAITS), [0], Recipe(), batch=1))

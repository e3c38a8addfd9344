"""A picture redrawn by the diffusion model itself: what the generators of the demo world learnt from."""
from __future__ import annotations

import numpy as np

from jittor_ipl.adaptation.taught import Told
from jittor_ipl.config import choose_runs, load_suite
from jittor_ipl.diffusion.teacher import load_teacher
from jittor_ipl.images.pixels import from_uint8, to_uint8
from jittor_ipl.webui.catalogue import Domain
from jittor_ipl.webui.work.models import Models
from jittor_ipl.weights.clip import load_clip


def redrawn(subject: Domain, style: str, pixels: np.ndarray, models: Models) -> np.ndarray:
    """Return pixels uint8 [H, W, 3] of the source redrawn in a style's words, with the settings of the suite's pairs.

    UserError where the subject's suite has no teacher, or its model is not there.
    """
    config, = choose_runs(load_suite(subject.suite), [style], as_written=True)
    clips = [models.once(("clip", one.model), lambda ref=one.model: load_clip(ref)) for one in config.clip]
    asked = config.teacher.model, config.teacher.base_lora
    teacher = models.once(("teacher", *asked), lambda: load_teacher(asked[0], base_lora=asked[1]))
    before, own = from_uint8(pixels)[None], config.teacher.pairs
    made = teacher.redraw(before, *Told(config, clips)(before), inversion=own.inversion, steps=own.sampling_steps,
                          guidance=own.guidance, residual=own.residual)
    return to_uint8(made)[0]

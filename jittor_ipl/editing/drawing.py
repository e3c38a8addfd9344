"""Pictures of S codes, one a pass with the stored noise: an edit moves what it edits and no other pixel's last bit."""
from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from jittor_ipl.errors import UserError
from jittor_ipl.images.pixels import to_uint8
from jittor_ipl.models.stylegan2.generator import Generator
from jittor_ipl.runtime.backend import jt
from jittor_ipl.runtime.memory import lack_as_user_error


def draw(generator: Generator, styles: Sequence[np.ndarray], noise: str = "const",
         at_once: int = 8) -> Iterator[np.ndarray]:
    """Yield one picture, uint8 [H, W, 3], per row of S codes float32 [N, C] in the order of `Generator.styles`.

    Each picture is a pass of its own, as in `generate`: the same code gives the same pixels in any company. `at_once`
    only says how many passes are handed to Jittor together. UserError for codes that draw values that are not finite.
    """
    count = len(styles[0])
    for start in range(0, count, at_once):
        with jt.no_grad(), lack_as_user_error(f"{at_once} pictures of {generator.size} px at once", "lower --batch"):
            images = [generator.synthesis_from_styles([jt.array(code[i:i + 1]) for code in styles], noise)
                      for i in range(start, min(start + at_once, count))]
            jt.sync(images)
        for i, image in enumerate(images, start):
            pixels = image.numpy()[0]
            if not np.isfinite(pixels).all():
                raise UserError(f"the codes of face {i} draw values that are not finite: lower the strength of the "
                                "edit, or check that they belong to this generator")
            yield to_uint8(pixels)

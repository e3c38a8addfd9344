"""StyleGAN2 generators in every dialect: rosinality (ours), PaddleGAN, NVIDIA's PyTorch and TensorFlow pickles."""
from __future__ import annotations

from collections.abc import Callable

import numpy as np

from jittor_ipl.weights.families.family import Family, Hints, Layout, Shapes, Tensors
from jittor_ipl.weights.families.stylegan2 import nvidia, rosinality
from jittor_ipl.weights.families.stylegan2.relatives import refuse_relatives

_CONVERTERS: dict[str, Callable[[Tensors, Layout], dict[str, np.ndarray]]] = {
    "rosinality": rosinality.convert, "paddlegan": rosinality.convert,
    "nvidia-ada": nvidia.convert_ada, "nvidia-tf": nvidia.convert_tf}


def recognise(shapes: Shapes, hints: Hints) -> Layout | None:
    """Return the layout of a StyleGAN2 generator in the first dialect that fits, None when there is none.

    Raises UserError, with what to use instead, for relatives: other generators, and discriminators.
    """
    refuse_relatives(shapes)
    for read in (rosinality.recognise, nvidia.recognise_ada, nvidia.recognise_tf):
        layout = read(shapes, hints)
        if layout is not None:
            return layout
    return None


def convert(tensors: Tensors, layout: Layout) -> dict[str, np.ndarray]:
    """Return the tensors under our (rosinality's) names, in the file's types, with `latent_avg` [style_dim] if any."""
    return _CONVERTERS[layout.dialect](tensors, layout)


FAMILY = Family("stylegan2", recognise, convert, faults=rosinality.faults,
                exports={"rosinality": lambda tensors, _: dict(tensors)},
                landmarks=rosinality.LANDMARKS + nvidia.LANDMARKS,
                next_step="name {file} as the suite's source.generator, or: "
                          "python -m jittor_ipl adapt --set source.generator={file}")

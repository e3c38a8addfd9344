"""How much the source generator's images depend on each of its weights, for elastic weight consolidation."""
from __future__ import annotations

from collections.abc import Sequence

from jittor_ipl.adaptation.draws import Draws
from jittor_ipl.models.stylegan2.generator import Generator
from jittor_ipl.runtime.backend import jt

PROJECTIONS = 32     # each of one batch of images


def information_of(generator: Generator, names: Sequence[str], draws: Draws) -> dict[str, jt.Var]:
    """Return the diagonal of the Fisher information of the tensors `names`, name -> Var of the tensor's shape.

    EWC (Kirkpatrick et al. 2017) needs a likelihood, which a generator without its discriminator lacks. Taken here:
    pixels around the generator's own, normally distributed with variance 1. The information of a weight is then the sum
    of squared derivatives of all pixels, found without bias by random signs (Hutchinson), and given for the mean pixel
    of an image.
    """
    params = generator.trainable()
    total = {name: 0.0 for name in names}
    for index in range(PROJECTIONS):
        with jt.no_grad():
            w = generator.mapping(jt.array(draws.z(0, index, "generator.information")))
        images = generator.synthesis(w, "const")                                            # [B, 3, H, W]
        signed = (images * jt.array(draws.projection(index, images.shape))).sum()
        grads = jt.grad(signed, [params[name] for name in names])
        with jt.no_grad():          # else the sum would hold every projection's graph
            for name, grad in zip(names, grads):
                total[name] = total[name] + grad * grad / float(PROJECTIONS * images.numel())
        jt.sync(list(total.values()))
    return total

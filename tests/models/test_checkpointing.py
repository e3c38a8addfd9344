"""Gradient checkpointing: the same gradients, with the blocks computed twice."""
from __future__ import annotations

import numpy as np
import pytest

from jittor_ipl.models import lora as branches
from jittor_ipl.models.checkpointing import checkpointed, trained
from jittor_ipl.models.diffusion.blocks import ResnetBlock
from jittor_ipl.models.diffusion.unet import UNet
from jittor_ipl.models.layers import freeze
from jittor_ipl.models.strict import named_tensors
from jittor_ipl.runtime.backend import jt
from tests.models.test_lora import CONFIG, filled


def draw(*shape, seed=0):
    return jt.array(np.random.RandomState(seed).randn(*shape).astype(np.float32))


def gradients(unet, wanted):
    unet_inputs = draw(2, 4, 8, 8), jt.array(np.float32([3, 700])), draw(2, 6, 8, seed=1)
    return [g.numpy() for g in jt.grad((unet(*unet_inputs) * draw(2, 4, 8, 8, seed=2)).sum(), wanted)]


@pytest.mark.parametrize("frozen", [True, False])
def test_gradients_are_the_same(frozen):
    unet = filled(UNet(CONFIG), 1)
    if frozen:
        freeze(unet)
    known = branches.places({"unet": unet})
    lora = branches.initial(known, branches.targets(known, "unet", ["to_q", "to_v", "conv1"]), 2, 2,
                            np.random.default_rng(0))
    lora = {name: value if value.ndim < 2 or value.any() else value + 0.1 for name, value in lora.items()}
    wanted = list(branches.attach({"unet": unet}, lora).values())
    wanted += [var for var in named_tensors(unet).values() if not var.is_stop_grad()]
    found = {}
    for on in (False, True):
        unet.gradient_checkpointing = on
        assert unet.gradient_checkpointing is on
        found[on] = gradients(unet, wanted)
    worst = max(np.abs(a - b).max() / max(np.abs(a).max(), 1e-6) for a, b in zip(found[False], found[True]))
    print(f"{len(wanted)} tensors, largest relative difference {worst:.1e}")
    assert worst < 2e-5 and all(g.any() for g in found[True])


def test_inputs_have_their_gradients_and_constants_none():
    block = filled(ResnetBlock(4, 8, 6, 2, 1e-5), 3)
    x, time = draw(2, 4, 5, 5), draw(2, 6, seed=1)
    for constant in (False, True):
        if constant:
            time.stop_grad()
        pairs = [jt.grad((f(x, time) ** 2).sum(), [x] if constant else [x, time])
                 for f in (block, lambda *v: checkpointed(block, *v))]
        for plain, again in zip(*pairs):
            assert np.abs(plain.numpy() - again.numpy()).max() < 2e-6 * np.abs(plain.numpy()).max()


def test_nothing_is_computed_twice_without_a_gradient():
    block, calls = filled(ResnetBlock(4, 4, None, 2, 1e-5), 3), []

    class Counted(ResnetBlock):
        def execute(self, *inputs):
            calls.append(len(inputs))
            return super().execute(*inputs)

    block.__class__ = Counted
    with jt.no_grad():
        checkpointed(block, draw(1, 4, 5, 5)).sync()
    assert calls == [1]
    x = draw(1, 4, 5, 5)
    jt.grad(checkpointed(block, x).sum(), x).sync()
    assert calls == [1, 1, 1] and len(trained(block)) == 8

"""The estimate of a step's memory: it grows as a step does, and is told only where there may be too little."""
from __future__ import annotations

from types import SimpleNamespace

import pytest

from jittor_ipl.config.lora import LoraTraining
from jittor_ipl.diffusion import memory
from jittor_ipl.models.clip.config import TextConfig
from jittor_ipl.models.diffusion.config import UNetConfig, VaeConfig
from jittor_ipl.runtime.memory import available_bytes

MODEL = SimpleNamespace(unet=SimpleNamespace(config=UNetConfig()), vae=SimpleNamespace(config=VaeConfig()),
                        text=SimpleNamespace(settings=TextConfig(77, 49408, 1024, 16, 23, 4096, "gelu")))


def test_half_of_stable_diffusions_widths_is_what_was_measured():
    """Peaks of a step above its start, MiB: 284 at 256 px, 1270 at 512 px."""
    half = UNetConfig(block_out_channels=(160, 320, 640, 640))
    for side, measured in ((32, 284), (64, 1270)):
        told = 4 * memory.PEAK * memory.activation_floats(half, side) / 2**20
        print(f"{8 * side} px: {told:.0f} MiB told, {measured} measured")
        assert told == pytest.approx(measured, rel=0.15)


def test_the_estimate_grows_with_the_work():
    def needed(side: int = 512, **settings) -> int:
        return memory.step_bytes(MODEL, LoraTraining.model_validate(settings), side)
    assert 2 * 2**30 < needed() < 4 * 2**30
    assert needed(batch=2) == pytest.approx(2 * needed()) == needed(prior={"weight": 1.0})
    assert needed(accumulation=8) == needed() < needed(768) < 2.4 * needed()
    assert needed(checkpointing=True) < 0.7 * needed() and needed(text_targets=[]) < needed()


def test_only_a_step_that_may_not_fit_is_told(monkeypatch):
    settings = LoraTraining(batch=2)
    monkeypatch.setattr(memory, "available_bytes", lambda: 100 << 30)
    assert memory.memory_warning(MODEL, settings, 512) is None
    monkeypatch.setattr(memory, "available_bytes", lambda: 4 << 30)
    told = memory.memory_warning(MODEL, settings, 512)
    assert told and "2 pictures of 512 px" in told and "4.0 GiB are free" in told and "lora.checkpointing (" in told
    assert "\n" not in told and available_bytes() > 1 << 20


def test_a_picture_that_may_not_fit_is_told(monkeypatch):
    def needed(side: int, rows: int = 2) -> int:
        return memory.picture_bytes(MODEL, side, side, rows)
    assert needed(256) < needed(512) == pytest.approx(4 * needed(256)) and needed(512, 1) <= needed(512)
    assert 2**29 < needed(512) < 2**30
    monkeypatch.setattr(memory, "available_bytes", lambda: 100 << 30)
    assert memory.picture_warning(MODEL, 512, 512, 2) is None
    monkeypatch.setattr(memory, "available_bytes", lambda: 1 << 28)
    told = memory.picture_warning(MODEL, 512, 768, 2)
    assert told.startswith("a picture of 768 x 512 px needs about 1.") and told.endswith("choose a smaller size")

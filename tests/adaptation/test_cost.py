"""What a teacher costs is told before it begins: rows counted one by one, and memory where it may not suffice."""
from __future__ import annotations

import io
from types import SimpleNamespace

import numpy as np
import pytest

from jittor_ipl.adaptation import cost
from jittor_ipl.config.teacher import Teacher

PICTURES = np.zeros((4, 3, 64, 64), np.float32)


@pytest.mark.parametrize("guidance", [1.0, 2.0])
@pytest.mark.parametrize("way", ["pairs", "dds", "sds", "ld"])
def test_the_rows_are_counted(way, guidance, monkeypatch):
    from jittor_ipl.diffusion import teacher as module
    counted, words = [], ["photo"] * 4
    taught = module.load_teacher("demo:diffusion")
    real = module.predicted
    monkeypatch.setattr(module, "predicted", lambda model, states, latents, t: (
        counted.append(len(latents)), real(model, states, latents, t))[1])
    if way == "pairs":
        taught.redraw(PICTURES, words, words, steps=3, guidance=guidance)
    else:
        noise = np.zeros(taught.latent_shape(4), np.float32)
        taught.score(way, PICTURES, words, noise, 500, guidance=guidance, before=PICTURES, source=words)
    settings = Teacher.model_validate({
        "pairs": {"count": 4, "batch": 4, "sampling_steps": 3, "guidance": guidance},
        "scores": {"steps": 1, "batch": 4, "guidance": guidance}})
    assert cost.rows_of(settings, way) == sum(counted)


def test_one_line_says_it_and_one_warns(monkeypatch):
    teacher = SimpleNamespace(size=512, rows=4, bytes=2 << 30)
    settings = Teacher.model_validate({"ways": ["pairs", "dds"], "pairs": {"count": 10, "batch": 2}})

    def told(free: int) -> list[str]:
        monkeypatch.setattr(cost, "available_bytes", lambda: free)
        stream = io.StringIO()
        cost.tell_cost(settings, teacher, "05-elf", stream)
        return stream.getvalue().splitlines()
    line, = told(16 << 30)
    assert "5,580 rows of 512 px (pairs 300, dds 5,280), 4 at once, in about 2.0 GiB" in line
    assert told(2 << 30)[1].startswith("warning: 05-elf: 2.0 GiB are free; it may fail")

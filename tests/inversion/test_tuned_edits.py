"""A tuned face is edited in the generator that was tuned to it, in its own style and in others."""
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from jittor_ipl.editing.codes import faces_of_file, styles_of
from jittor_ipl.editing.drawing import draw
from jittor_ipl.errors import UserError
from jittor_ipl.models.strict import numpy_tensors
from jittor_ipl.models.stylegan2.config import GeneratorConfig
from jittor_ipl.models.stylegan2.generator import Generator
from jittor_ipl.weights.tuned import Tuned, carried_over, save_tuned


def generator(seed: int) -> Generator:
    return Generator(GeneratorConfig(16, style_dim=16, n_mlp=1, channels={4: 6, 8: 6, 16: 4}),
                     np.random.default_rng(seed))


def changed(source: Generator, name: str, factor: float) -> Generator:
    twin = source.copy()
    twin.put({name: numpy_tensors(source)[name] * np.float32(factor)})
    return twin


def test_faces_of_a_tuned_file_bring_their_generator(tmp_path: Path) -> None:
    source = generator(1)
    tuned = changed(source, "to_rgb1.conv.weight", 1.5)      # one without demodulation, which undoes a factor
    codes = np.random.default_rng(2).standard_normal((2, source.n_latent, 16), np.float32)
    save_tuned(Tuned(tuned, codes, ("a", "b")), source, tmp_path / "faces.safetensors", half=False)
    faces = faces_of_file(source, tmp_path / "faces.safetensors")
    assert faces.source is source and np.array_equal(faces.ws, codes) and faces.names == ("a", "b")
    wanted = list(draw(tuned, styles_of(tuned, codes)))
    found = list(draw(faces.generator, faces.styles))
    assert all(np.array_equal(a, b) for a, b in zip(found, wanted))
    assert any(not np.array_equal(a, b) for a, b in zip(found, draw(source, faces.styles))), "the tuning shows"
    adapted = changed(source, "to_rgbs.0.conv.weight", -1.0)
    both = faces.take([1]).shown_in(adapted)
    again = numpy_tensors(carried_over(tuned, source, adapted))
    assert all(np.array_equal(array, again[name]) for name, array in numpy_tensors(both).items())
    assert faces.shown_in(faces.generator) is faces.generator
    with pytest.raises(UserError, match="made from another source"):
        faces_of_file(generator(5), tmp_path / "faces.safetensors")

"""Mappers of every architecture: shapes, whose codes count, dropout, levels, and files of theirs and ours."""
from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from jittor_ipl.errors import UserError
from jittor_ipl.models.mappers import ARCHITECTURES, dropout_factors, level_slices, make_mapper
from jittor_ipl.models.strict import numpy_tensors
from jittor_ipl.runtime.backend import jt
from jittor_ipl.weights.containers.safetensors import write_safetensors
from jittor_ipl.weights.mapper import load_mapper

FIXTURES = Path(__file__).parents[1] / "fixtures" / "prompt_mapper"
TRANSFORMERS = [name for name in ARCHITECTURES if name.startswith("transformer")]
LEVELLED = [*TRANSFORMERS, "levels"]


def new(architecture: str, **keywords):
    return make_mapper(architecture, 16, 4, 12, rng=np.random.default_rng(0), **keywords)


def codes(*shape: int, seed: int = 1) -> jt.Var:
    return jt.array(np.random.default_rng(seed).standard_normal((*shape, 16)).astype(np.float32))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_prompts_of_an_image_do_not_depend_on_its_batch(architecture):
    mapper, w = new(architecture), codes(5)
    together = mapper(w).numpy()
    alone = np.concatenate([mapper(w[i:i + 1]).numpy() for i in range(5)])
    assert together.shape == (5, 4, 12) and np.abs(together - alone).max() < 1e-5
    assert np.abs(together[0] - together[1]).max() > 1e-2      # and they differ from image to image


@pytest.mark.parametrize("architecture", TRANSFORMERS)
def test_the_original_mixes_the_batch(architecture):
    mapper, w = new(architecture, batch_is_sequence=True), codes(5)
    assert np.abs(mapper(w)[:1].numpy() - mapper(w[:1]).numpy()).max() > 1e-3
    assert not mapper.per_level and new(architecture).per_level


@pytest.mark.parametrize("architecture", LEVELLED)
def test_w_is_the_code_of_every_level(architecture):
    mapper, w = new(architecture), codes(3)
    assert np.abs(mapper(jt.concat([w.unsqueeze(1)] * 10, 1)).numpy() - mapper(w).numpy()).max() < 1e-5
    ws = codes(3, 10)
    assert np.abs(mapper(ws).numpy() - mapper(ws[:, 0]).numpy()).max() > 1e-3


def test_every_level_writes_its_own_vectors():
    mapper, ws = new("levels"), codes(2, 10).numpy()
    before = mapper(jt.array(ws)).numpy()
    moved = []
    for levels in level_slices(10):
        changed = ws.copy()
        changed[:, levels] += 1
        moved.append(np.abs(mapper(jt.array(changed)).numpy() - before).max((0, 2)) > 1e-3)
    assert np.array(moved).tolist() == [[True, True, False, False], [False, False, True, False],
                                        [False, False, False, True]]


@pytest.mark.parametrize("n, ends", [(18, (4, 8, 18)), (10, (4, 8, 10)), (9, (4, 8, 9)), (8, (3, 6, 8)), (4, (2, 3, 4)),
                                     (3, (1, 2, 3))])
def test_levels(n, ends):
    assert tuple(part.stop for part in level_slices(n)) == ends
    assert [i for part in level_slices(n) for i in range(n)[part]] == list(range(n))


def test_dropout_keeps_the_mean_and_its_rate_and_follows_its_generator():
    factors = dropout_factors((400, 250), 0.1, np.random.default_rng(0)).numpy()
    assert np.unique(factors).tolist() == pytest.approx([0, 1 / 0.9])
    assert abs((factors == 0).mean() - 0.1) < 5 * (0.09 / factors.size) ** 0.5
    mapper, w = new("transformer_v3"), codes(3)
    one, again, other = (mapper(w, np.random.default_rng(seed)).numpy() for seed in (1, 1, 2))
    assert np.array_equal(one, again) and np.abs(one - other).max() > 1e-3
    assert np.array_equal(mapper(w).numpy(), mapper(w).numpy()) and np.abs(one - mapper(w).numpy()).max() > 1e-3


@pytest.mark.parametrize("make, told", [
    (lambda: make_mapper("transformer_v4", 16, 4, 12), "'transformer_v4' (did you mean 'transformer_v3'?)"),
    (lambda: make_mapper("transformer_v2", 18, 4, 12), "18 numbers, which 4 attention heads"),
    (lambda: make_mapper("levels", 16, 2, 12), "at least 3 prompt vectors, not 2"),
    (lambda: new("ipl")(codes(2, 3)), "needs [B, 16]"),
    (lambda: new("transformer_v1")(codes(2, 3, 3)), "or [B, n_latent, 16]"),
    (lambda: new("transformer_v1", batch_is_sequence=True)(codes(2, 3)), "needs [B, 16]"),
    (lambda: new("levels")(jt.zeros((2, 15))), "needs [B, 16] or"),
    (lambda: new("levels")(codes(2, 2)), "2 levels"),
])
def test_mistakes_are_told(make, told):
    with pytest.raises(UserError) as caught:
        make()
    assert told in str(caught.value)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_saved_mapper_comes_back(architecture, tmp_path):
    mapper = make_mapper(architecture, 16, 6, 10, rng=np.random.default_rng(0))
    facts = {"kind": "prompt_mapper", "config": json.dumps(mapper.config())}
    write_safetensors(tmp_path / "mapper.safetensors", numpy_tensors(mapper), facts)
    again, w = load_mapper(tmp_path / "mapper.safetensors"), codes(2)
    assert type(again) is type(mapper) and again.config() == mapper.config()
    assert np.array_equal(mapper(w).numpy(), again(w).numpy())


def test_files_of_the_thesis_and_of_ipl_load():
    thesis, ipl = load_mapper(FIXTURES / "transformer.pt"), load_mapper(FIXTURES / "ipl.pt")
    assert thesis.config() == {"architecture": "transformer", "style_dim": 8, "n_ctx": 4, "ctx_dim": 8, "layers": 2,
                               "feedforward": 16, "hidden": 8, "pixel_norm": False, "heads": 2}
    w = jt.array(np.random.default_rng(0).standard_normal((3, 8)).astype(np.float32))
    assert thesis(w).shape == ipl(w).shape == [3, 4, 8]

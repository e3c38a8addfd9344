"""Transformer mappers and the loss on a list of prompts against what PyTorch computed (tests/golden/mappers.npz)."""
from __future__ import annotations

import golden
import numpy as np
import pytest
from reference import run_reference

from jittor_ipl import losses
from jittor_ipl.models.mappers import TransformerMapper, TransformerMapperConfig
from jittor_ipl.models.strict import load_into, named_tensors
from jittor_ipl.runtime.backend import jt

SIZES = {"v1": (3, 2, 0), "v2": (2, 4, 32), "v3": (2, 2, 16)}      # layers, heads, hidden
FORWARD = GRADIENT = 1e-4


def mapper(version: str, official: bool) -> TransformerMapper:
    """Return the recorded mapper, 16 wide, four vectors of 12."""
    made = TransformerMapper(TransformerMapperConfig(16, 4, 12, *SIZES[version], 24, batch_is_sequence=official))
    load_into(made, {name: golden.fill.mapper_transformer(name, tuple(var.shape), 0)
                     for name, var in named_tensors(made).items()}, source="golden record")
    return made


@pytest.fixture(scope="module")
def record() -> dict[str, np.ndarray]:
    return golden.record("mappers")


def check_gradients(version: str, prefix: str, made: TransformerMapper, loss: jt.Var, record: dict) -> None:
    params = named_tensors(made)
    wanted = {name: record[f"{version}/{prefix}/{name}"] for name in params if f"{version}/{prefix}/{name}" in record}
    assert len(wanted) >= 12
    grads = jt.grad(loss, [params[name] for name in wanted])
    # A bias of the keys moves no softmax: its gradient is rounding alone. So every tensor is measured by the largest of
    # all.
    scale = max(float(np.abs(value).max()) for value in wanted.values())
    worst = {name: float(np.abs(grad.numpy() - wanted[name]).max()) / max(float(np.abs(wanted[name]).max()),
                                                                          1e-3 * scale)
             for name, grad in zip(wanted, grads)}
    name = max(worst, key=worst.get)
    golden.report(f"{version} {prefix}, worst {name}", worst[name], GRADIENT)


@pytest.mark.parametrize("version", SIZES)
def test_a_batch_as_one_sequence_with_gradients(version, record):
    made = mapper(version, official=True)
    prompts = made(jt.array(record["w"]))
    golden.report(f"{version} prompts", golden.error(prompts, record[f"{version}/sequence"]), FORWARD)
    check_gradients(version, "grad", made, (prompts * jt.array(record["loss_weight"])).sum(), record)


@pytest.mark.parametrize("version", SIZES)
def test_every_image_its_own_sequence(version, record):
    made = mapper(version, official=False)
    golden.report(f"{version} w", golden.error(made(jt.array(record["w"])), record[f"{version}/alone"]), FORWARD)
    golden.report(f"{version} ws", golden.error(made(jt.array(record["ws"])), record[f"{version}/levels"]), FORWARD)


@pytest.mark.parametrize("version", SIZES)
def test_dropout_stands_where_pytorch_has_it(version, record):
    made = mapper(version, official=True)
    prompts = made(jt.array(record["w"]), np.random.default_rng(3))
    golden.report(f"{version} dropped", golden.error(prompts, record[f"{version}/dropped"]), FORWARD)
    check_gradients(version, "dropped_grad", made, (prompts * jt.array(record["loss_weight"])).sum(), record)


def test_the_losses_of_the_thesis(record):
    texts, listed, templates = (jt.array(record[f"loss/{name}"]) for name in ("texts", "listed", "templates"))
    mean = (templates / jt.sqrt((templates * templates).sum(1, keepdims=True))).sum(0, keepdims=True) / 9.0
    terms = {"contrastive": jt.array([0.7]), "domain": losses.domain(texts, mean), "source": jt.array([5.0]),
             "prompts": losses.prompt_list(texts, listed)}
    v2 = losses.mapper_objective(terms, 1.5, 0.0, 1.0, replace_domain=True)
    v3 = losses.mapper_objective(terms, 1.5, 0.0, 0.2)
    golden.report("second version", golden.error(v2, record["loss/v2"].reshape(1)), FORWARD)
    golden.report("third version", golden.error(v3, record["loss/v3"].reshape(1)), FORWARD)
    golden.report("gradient", golden.error(jt.grad(v3, texts), record["loss/grad"]), GRADIENT)


@pytest.mark.reference
def test_the_record_is_what_pytorch_says():
    print("largest relative difference",
          run_reference("tests/parity/record_mappers.py", "--check", golden.GOLDEN / "mappers.npz"))

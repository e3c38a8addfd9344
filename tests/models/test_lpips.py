"""LPIPS against the lpips package and torchmetrics, on shared weights."""
from __future__ import annotations

import numpy as np
import pytest
from feature_records import SEED, agree, fill, filled, normalised, record, summary

from jittor_ipl.models.features.lpips import NETS, Lpips
from jittor_ipl.models.strict import named_tensors
from jittor_ipl.runtime.backend import jt
from jittor_ipl.weights.families.features import lpips as family

RECORD = record()


def pair() -> tuple[jt.Var, jt.Var]:
    return normalised(fill.pictures(2, 64, 72, SEED + 1)), normalised(fill.pictures(2, 64, 72, SEED + 2))


@pytest.mark.parametrize("net", NETS)
def test_distances_and_gradients_are_the_packages(net: str) -> None:
    model, (a, b) = filled(Lpips(net)), pair()
    layers = model.per_layer(model.embed(a), model.embed(b))
    agree(f"{net} layers", np.stack([layer.numpy() for layer in layers], 1), RECORD[f"lpips/{net}/layers"])
    distance = model(a, b)
    agree(f"{net} distance", distance.numpy(), RECORD[f"lpips/{net}/layers"].sum(1))
    gradient = RECORD[f"lpips/{net}/gradient"].astype(np.float64)
    agree(f"{net} gradient", summary(jt.grad(distance.sum(), a)), gradient, 1e-3)


@pytest.mark.parametrize("net", NETS)
def test_torchmetrics_divides_in_its_own_way(net: str) -> None:
    a, b = pair()
    with jt.no_grad():
        agree(net, filled(Lpips(net, "torchmetrics"))(a, b).numpy(), RECORD[f"lpips/{net}/torchmetrics"])


@pytest.mark.parametrize("net", NETS)
def test_names_and_shapes_are_the_published_ones(net: str) -> None:
    names = {name: tuple(var.shape) for name, var in named_tensors(Lpips(net)).items()}
    assert names == family.backbone(net) | family.heads(net)


def test_a_picture_is_at_no_distance_from_itself_and_all_orders_agree() -> None:
    model, (a, b) = filled(Lpips("squeeze")), pair()
    with jt.no_grad():
        assert not model(a, a).numpy().any()
        np.testing.assert_allclose(model(a, b).numpy(), model(b, a).numpy(), rtol=1e-6)
        one_to_many = model.distance(model.embed(a[:1]), model.embed(b)).numpy()
        np.testing.assert_allclose(one_to_many[0], model(a, b).numpy()[0], rtol=1e-5)
        black = jt.zeros((1, 3, 64, 64))
        assert np.isfinite(model(black, black).numpy()).all()
    assert np.isfinite(jt.grad(model(black, a[:, :, :, :64][:1]).sum(), black).numpy()).all()

"""Inception v3 of FID against torch-fidelity's, on shared weights; its pictures' way in, and its names."""
from __future__ import annotations

import numpy as np
import pytest
from feature_records import SEED, agree, fill, filled, record

from jittor_ipl.models.features.inception import TAPS, Inception, preprocess
from jittor_ipl.models.strict import named_tensors
from jittor_ipl.ops.pool import max_pool
from jittor_ipl.runtime.backend import jt
from jittor_ipl.weights.families.features import inception as family

RECORD = record()


@pytest.fixture(scope="module")
def model() -> Inception:
    return filled(Inception())


def images(count: int, height: int, width: int) -> jt.Var:
    """Return the recorded pictures as a generator would give them: every value in the middle of its level."""
    return jt.array((fill.pictures(count, height, width, SEED).astype(np.float32) - 127.5) / np.float32(127.5))


@pytest.mark.parametrize("label, count, size", [("small", 2, (40, 53)), ("large", 1, (310, 299))])
def test_features_are_torch_fidelitys(model, label: str, count: int, size: tuple[int, int]) -> None:
    with jt.no_grad():
        found = model.features(images(count, *size), TAPS[1:])
    for tap in TAPS[1:]:
        agree(f"{label} {tap}", found[tap].numpy(), RECORD[f"inception/{label}/{tap}"])


def test_a_picture_does_not_depend_on_its_batch(model) -> None:
    x = images(2, 40, 53)
    with jt.no_grad():
        whole, alone = model.features(x, ("64", "768"))["768"].numpy(), model.features(x[1:], ("768",))["768"].numpy()
    agree("alone", alone[0], whole[1], 1e-5)


def test_only_what_is_asked_for(model) -> None:
    with jt.no_grad():
        found = model.features(images(1, 299, 299), ("64-map", "64"))
    assert list(found) == ["64-map", "64"] and tuple(found["64-map"].shape) == (1, 64, 147, 147)
    pooled = max_pool(found["64-map"], 3, 2).numpy().mean((2, 3), dtype=np.float64)
    # A running sum of 73^2 values errs by about 2^-24 * 73 / 3 = 1.5e-6: six times that, the worst of 64 such sums.
    print("mean pooling errs by", np.abs(found["64"].numpy() / pooled - 1).max())
    np.testing.assert_allclose(found["64"].numpy(), pooled, rtol=1e-5)
    with pytest.raises(AssertionError, match="taps"):
        model.features(images(1, 8, 8), ("128",))


def test_names_and_shapes_are_the_published_ones(model) -> None:
    assert {name: tuple(var.shape) for name, var in named_tensors(model).items()} == family.schema("fid")


def test_pictures_come_in_as_eight_bits() -> None:
    levels = np.arange(256, dtype=np.float32)
    x = jt.array(np.resize((levels - 127.5) / 127.5, (1, 3, 299, 299)).astype(np.float32))
    np.testing.assert_array_equal(preprocess(x).numpy().reshape(-1)[:256], (levels - 128) / 128)
    beyond = jt.array(np.full((1, 3, 2, 2), 9, np.float32))
    assert preprocess(beyond).numpy().max() == preprocess(beyond, quantise=False).numpy().max() == 127 / 128


def test_gradients_reach_pictures_that_are_not_rounded(model) -> None:
    x = images(1, 40, 40)
    feature = model.features(x, ("64",), quantise=False)["64"]
    assert np.abs(jt.grad(feature.sum(), x).numpy()).max() > 0

"""Mappers, the editors' losses and Ranger against numbers recorded from PyTorch (tests/parity/record_editing.py)."""
from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from jittor_ipl import losses
from jittor_ipl.editing.guidance import Guide, image_features
from jittor_ipl.models.clip.config import ClipConfig
from jittor_ipl.models.clip.model import Clip
from jittor_ipl.models.features.arcface import Backbone
from jittor_ipl.models.latent_mappers import LatentMapperConfig, make_latent_mapper
from jittor_ipl.models.strict import load_into, named_tensors
from jittor_ipl.ops.norms import unit
from jittor_ipl.ops.resize import resize
from jittor_ipl.runtime.backend import jt
from jittor_ipl.train.ranger import Ranger

sys.path.insert(0, str(Path(__file__).parents[1] / "parity"))
import editing_cases as cases  # noqa: E402
import fill  # noqa: E402

with np.load(Path(__file__).parents[1] / "golden" / "editing.npz") as _file:
    RECORD = {name: _file[name] for name in _file.files}


def agree(name: str, ours, limit: float = 1e-5, reference: np.ndarray | None = None) -> None:
    """Fail unless the largest difference is at most `limit` of the reference's largest magnitude; print it."""
    reference = RECORD[name] if reference is None else reference
    ours = np.asarray(ours.numpy() if isinstance(ours, jt.Var) else ours)
    error = float(np.abs(ours.reshape(reference.shape) - reference).max() / np.abs(reference).max())
    print(f"{name}: relative error {error:.1e} (limit {limit:.0e})")
    assert error <= limit, (name, error)


def filled(net, make, seed: int = cases.SEED):
    load_into(net, {name: np.asarray(make(name, tuple(var.shape), seed), np.float32)
                    for name, var in named_tensors(net).items()}, source="record")
    return net


@pytest.mark.parametrize("case", cases.W_MAPPERS)
def test_mappers_of_w_plus(case):
    kind, levels, codes = cases.W_MAPPERS[case]
    config = LatentMapperConfig(kind, cases.WIDTH, levels or ("course",), norm="codes" if codes else "layers")
    net = filled(make_latent_mapper(config), fill.latent_mapper)
    ws, named = jt.array(cases.ws()), named_tensors(net)
    out = net(ws)
    agree(f"{case}/out", out)
    found = jt.grad((out * jt.array(cases.cotangent("ws", out.shape))).sum(), [ws, *named.values()])
    agree(f"{case}/grad_codes", found[0], 3e-5)
    assert {f"{case}/grad/{name}" for name in named} == {name for name in RECORD if name.startswith(f"{case}/grad/")}
    for name, grad in zip(named, found[1:]):
        agree(f"{case}/grad/{name}", grad, 3e-5)


def test_mapper_of_styles():
    config = LatentMapperConfig("FullStyleSpaceMapper", widths={str(i): c for i, c in enumerate(cases.STYLES)})
    net = filled(make_latent_mapper(config), fill.latent_mapper)
    outs = net([jt.array(cases.style(i)) for i in range(len(cases.STYLES))])
    for i, out in enumerate(outs):
        agree(f"styles/out/{i}", out)
    total = sum((out * jt.array(cases.cotangent(f"s{i}", out.shape))).sum() for i, out in enumerate(outs))
    weights = {name: var for name, var in named_tensors(net).items() if "weight" in name}
    for name, grad in zip(weights, jt.grad(total, list(weights.values()))):
        agree(f"styles/grad/{name}", grad, 3e-5)


@pytest.fixture(scope="module")
def clip():
    net = filled(Clip(ClipConfig(**cases.CLIP_NUMBERS)), fill.clip)
    return net


@pytest.fixture(scope="module")
def recogniser():
    return filled(Backbone(**cases.RECOGNISER), fill.features)


@pytest.mark.parametrize("size", cases.SIZES)
def test_clip_and_identity_losses_and_their_gradient(clip, recogniser, size):
    before, now = (jt.array(cases.pictures(size, seed)) for seed in (1, 2))
    agree(f"loss/{size}/small", resize(now, 224, "box")[:, :, ::8, ::8], 1e-6)
    guide = Guide(clip, unit(clip.encode_text(cases.TOKENS)), official=True)
    seen, person = guide.distance(now), losses.identity(recogniser.embed(before), recogniser.embed(now))
    agree(f"loss/{size}/clip", seen)
    agree(f"loss/{size}/id", person, 1e-4)
    grad = jt.grad(seen + cases.ID_LAMBDA * person, now)
    agree(f"loss/{size}/grad", grad.numpy()[:, :, ::4, ::4], 1e-3)       # as the recogniser's own (test_arcface.py)


def test_without_official_pictures_are_normalised(clip):
    images = jt.array(cases.pictures(64, 1))
    plain = clip.encode_image(clip.preprocess(resize(images, 224, "box")))
    assert np.array_equal(image_features(clip, images).numpy(), plain.numpy())
    assert np.abs(image_features(clip, images, True).numpy() - plain.numpy()).max() > 1e-3


def test_distances_of_latents():
    ws = [jt.array(cases.ws()) - jt.array(cases.ws(1))]
    styles = [jt.array(cases.style(i)) - jt.array(cases.style(i, 1)) for i in range(len(cases.STYLES))]
    agree("l2/sum", losses.squared_length(ws))
    agree("l2/mean", losses.mean_square(ws))
    agree("l2/styles_sum", losses.squared_length(styles))
    agree("l2/styles_mean", losses.mean_square(styles))


def start() -> dict[str, jt.Var]:
    return {name: jt.array(fill.draw(name, shape, cases.SEED)) for name, shape in cases.TENSORS.items()}


def gradients(step: int) -> dict[str, jt.Var]:
    return {name: jt.array(cases.gradient(name, step)) for name in cases.TENSORS}


def test_ranger():
    params = start()
    ranger = Ranger(params, cases.LR)
    for step in range(1, cases.STEPS + 1):
        ranger.step(gradients(step))
        for name, var in params.items():
            agree(f"ranger/{step}/{name}", var, 2e-5)


def test_ranger_resumes_bit_for_bit():
    params, again = start(), start()
    ranger = Ranger(params, cases.LR)
    for step in range(1, 8):
        ranger.step(gradients(step))
    kept = {name: var.numpy() for name, var in params.items()}, ranger.state()
    for step in range(8, 14):
        ranger.step(gradients(step))
    for name, var in again.items():
        var.update(jt.array(kept[0][name])).start_grad()
    resumed = Ranger(again, cases.LR)
    resumed.load_state(kept[1])
    for step in range(8, 14):
        resumed.step(gradients(step))
    for name in params:
        assert np.array_equal(params[name].numpy(), again[name].numpy()), name


@pytest.mark.parametrize("source, target", [(1024, 224), (96, 224), (64, 64), (7, 3)])
def test_box_is_enlarging_and_pooling(source, target):
    from jittor_ipl.ops.resize import axis_matrix
    fine = np.repeat(np.eye(source), target, 0).reshape(target, source, source).mean(1)      # lcm at most
    np.testing.assert_allclose(axis_matrix(source, target, "box"), fine, atol=1e-7)

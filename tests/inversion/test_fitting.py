"""Projection and tuning on a tiny random generator: they get nearer, leave the source alone, and repeat themselves."""
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from jittor_ipl.errors import UserError
from jittor_ipl.inversion.invert import Tools, drawn, invert
from jittor_ipl.inversion.matching import Edges, Matching
from jittor_ipl.inversion.projection import Projection, project
from jittor_ipl.inversion.tuning import Tuning, tune, tuned_tensors
from jittor_ipl.models.features.lpips import Lpips
from jittor_ipl.models.layers import freeze
from jittor_ipl.models.strict import named_tensors, numpy_tensors
from jittor_ipl.models.stylegan2.config import GeneratorConfig
from jittor_ipl.models.stylegan2.generator import Generator
from jittor_ipl.runtime.backend import jt
from jittor_ipl.weights.tuned import carried_over

CHANNELS = {4: 8, 8: 8, 16: 6}


def tiny() -> Generator:
    return Generator(GeneratorConfig(16, style_dim=16, n_mlp=2, channels=CHANNELS), np.random.default_rng(3))


def target_of(generator: Generator, seed: int) -> np.ndarray:
    z = np.random.RandomState(seed).randn(1, 16).astype(np.float32)
    with jt.no_grad():
        return np.clip(generator.synthesis(generator.mapping(jt.array(z))).numpy(), -1, 1)


def test_lpips_leads_as_well() -> None:
    network, random = Lpips("squeeze"), np.random.default_rng(2)
    for var in named_tensors(network).values():
        var.assign(jt.array(np.abs(.2 * random.standard_normal(tuple(var.shape))).astype(np.float32)))
    freeze(network)
    target = random.uniform(-1, 1, (1, 3, 64, 64)).astype(np.float32)
    matching = Matching(jt.array(target), network, 0.0)
    assert matching.terms(jt.array(target))["perceptual"].item() == pytest.approx(0, abs=1e-9)
    drawn_ = jt.array(np.zeros_like(target)).start_grad()
    gradient = jt.grad(matching.loss(matching.terms(drawn_)), drawn_).numpy()
    assert np.isfinite(gradient).all() and np.abs(gradient).max() > 0


@pytest.mark.parametrize("space", ["w", "w+"])
def test_projection_gets_nearer_and_repeats_itself(space: str) -> None:
    generator = tiny()
    before = numpy_tensors(generator)
    matching = Matching(jt.array(target_of(generator, 1)), Edges(), 1.0)
    settings = Projection(space, steps=25, lr=.1, samples=50)
    seen: list[float] = []
    found = project(generator, matching, settings, report=lambda step, terms: seen.append(terms["pixels"]))
    assert seen[-1] < .5 * seen[0] and found.latent.shape == (generator.n_latent, 16)
    assert (np.ptp(found.latent, axis=0).max() > 1e-3) == (space == "w+")
    again = project(generator, matching, settings)
    assert np.array_equal(found.latent, again.latent)
    after = numpy_tensors(generator)
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_fitted_maps_belong_to_the_picture() -> None:
    generator = tiny()
    pictures = target_of(generator, 2)
    settings = Projection(steps=4, lr=.05, maps=True, samples=50)
    made = invert(Tools(generator, Edges()), ("a",), pictures, settings, Tuning(steps=0))
    maps = numpy_tensors(made.tuned.generator)
    assert made.tuned.generator is not generator and maps["noises.noise_1"].std() == pytest.approx(1, rel=1e-3)
    assert np.array_equal(drawn(made.tuned.generator, made.tuned.latents), made.final)
    with pytest.raises(UserError, match="noise maps belong to one picture"):
        invert(Tools(generator, Edges()), ("a", "b"), np.repeat(pictures, 2, 0), settings, Tuning(steps=0))


def test_starts_of_another_shape_are_refused() -> None:
    generator = tiny()
    matching = Matching(jt.array(target_of(generator, 1)), Edges(), 1.0)
    with pytest.raises(UserError, match="a start of shape .7."):
        project(generator, matching, Projection(steps=1, samples=10), np.zeros(7, np.float32))
    with pytest.raises(UserError, match="without an encoder"):
        invert(Tools(generator, Edges()), ("a",), target_of(generator, 1), Projection(steps=0), Tuning())


def test_tuning_moves_only_its_part_and_serves_several_pictures() -> None:
    generator = tiny()
    targets = np.concatenate([target_of(generator, seed) for seed in (1, 2)])
    matchings = [Matching(jt.array(one[None]), Edges(), 1.0) for one in targets]
    latents = np.random.default_rng(0).standard_normal((2, generator.n_latent, 16)).astype(np.float32) * .1
    settings, seen = Tuning(steps=40, lr=.02, stop=0.), []
    tuned = tune(generator, latents, matchings, settings, lambda step, terms: seen.append(terms["pixels"]))
    assert np.mean(seen[-2:]) < .7 * np.mean(seen[:2])
    before, after = numpy_tensors(generator), numpy_tensors(tuned)
    moved = {name for name in before if not np.array_equal(before[name], after[name])}
    assert moved == set(tuned_tensors(generator, "convolutions")) and all("conv.weight" in name for name in moved)
    whole = tuned_tensors(generator, "synthesis")
    assert moved < set(whole) and not any(name.startswith(("style.", "noises.")) for name in whole)
    enough = tune(generator, latents, matchings, replace(settings, stop=9.), None)
    assert all(np.array_equal(array, before[name]) for name, array in numpy_tensors(enough).items()), "good at once"


def test_locality_holds_faces_nearby() -> None:
    generator = tiny()
    matchings = [Matching(jt.array(target_of(generator, 1)), Edges(), 1.0)]
    latents = np.zeros((1, generator.n_latent, 16), np.float32)
    other = np.random.default_rng(1).standard_normal((1, generator.n_latent, 16)).astype(np.float32)

    def moved(weight: float) -> float:
        tuned = tune(generator, latents, matchings, Tuning(steps=15, lr=.02, stop=0., locality=weight, distance=4.))
        apart = drawn(tuned, other).astype(float) - drawn(generator, other)
        return float(np.abs(apart).mean())
    assert moved(3.0) < moved(0.0)


def test_a_tuning_of_nothing_adds_nothing_to_a_style() -> None:
    generator = tiny()
    adapted = generator.copy()
    adapted.put({"conv1.conv.weight": adapted.conv1.conv.weight.numpy() * np.float32(1.5)})
    latents = np.zeros((1, generator.n_latent, 16), np.float32)
    assert np.array_equal(drawn(carried_over(generator, generator, adapted), latents), drawn(adapted, latents))

"""Both training loops on tiny random networks: resuming, what moves, methods, losses and what stays finite."""
from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from jittor_ipl import losses
from jittor_ipl.adaptation import anchors, batches, directions, listeners, stage1, stage2
from jittor_ipl.adaptation.consolidation import information_of
from jittor_ipl.adaptation.draws import Draws
from jittor_ipl.models.clip.config import ClipConfig
from jittor_ipl.models.clip.model import Clip
from jittor_ipl.models.mappers import PromptMapper
from jittor_ipl.models.strict import named_tensors
from jittor_ipl.models.stylegan2.config import GeneratorConfig
from jittor_ipl.models.stylegan2.generator import Generator
from jittor_ipl.runtime.backend import jt
from jittor_ipl.text.tokenizer import class_prompts
from jittor_ipl.train.state import Loop

SIZE, WIDTH = 16, 8
CLASSES = [class_prompts(name, "a photo of a") for name in ("photo", "disney")]


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def new_generator():
    return Generator(GeneratorConfig(SIZE, style_dim=WIDTH, n_mlp=2, channels={4: 6, 8: 6, 16: 4}),
                     np.random.default_rng(1))


@pytest.fixture(scope="module")
def clip():
    return Clip(ClipConfig(embed_dim=12, image_resolution=SIZE, vision_layers=1, vision_width=64, vision_patch_size=8,
                           transformer_width=32, transformer_heads=1,
                           transformer_layers=1)).initialise(np.random.default_rng(2))


@pytest.fixture(scope="module")
def listener(clip):
    return listeners.listen(clip, 1.0, "photo", "disney")


def settings(**changes):
    base = dict(steps=4, batch=2, schedule="cosine", ema=0.5, mixing=0.5, noise="random", layers="auto",
                auto_layers_k=2,
                auto_layers_batch=2, auto_layers_iters=1, auto_layers_every=2,
                train=("convs", "rgb", "const", "noise", "maps"),
                views=1, view_scale=0.6, view_noise=0.0, direction_floor=0.5, maps_rate=5.0,
                anchors=SimpleNamespace(first=1, every=2), adam=lambda: (0.02, (0.0, 0.99)))
    return SimpleNamespace(**{**base, **changes})


def weights(**changes):
    return SimpleNamespace(**{**dict(directional=1.0, global_=0.5, manifold=0.0, texture=0.0, variations=0.0,
                                     naming=0.0, mean_direction=0.0, covariance=0.0,
                                     anchor=0.0, consolidation=0.0, patch=0.0, structure=0.5, range=1.0), **changes})


def train(listener, numbers, loss=None, **keywords):
    target = new_generator()
    average = stage2.train_generator(new_generator(), target, [listener], numbers, loss or weights(), seed=7,
                                     **keywords)
    return {name: var.numpy() for name, var in target.trainable().items()}, average


def same(one, two):
    return [name for name in one if one[name].tobytes() != two[name].tobytes()] == []


def test_stage2_resumes_to_the_same_bits(listener):
    kept = {}

    def keep(step, metrics, state):
        kept[step] = (state(), metrics)
        return False

    straight, average = train(listener, settings(), loop=Loop(on_step=keep))
    resumed, again = train(listener, settings(), loop=Loop(3, kept[3][0]))
    assert same(straight, resumed) and same(average, again)
    assert all(np.isfinite(list(metrics.values())).all() for _, metrics in kept.values())
    assert set(kept[1][1]) == {"loss", "lr", "directional", "global", "structure", "range"}


def test_large_images_are_computed_in_parts_that_give_the_same_numbers(clip, monkeypatch):
    """Losses that are means over images, in one pass and image by image: terms, gradients and chosen layers."""
    seen, listener = {}, listeners.listen(clip, 1.0, "photo", "disney", parts=True)

    def run(name):
        seen[name] = []
        train(listener, settings(batch=3, auto_layers_batch=4, steps=2, views=1), weights(
            manifold=0.3, patch=0.2, anchor=0.5, consolidation=3.0, structure=0.4), loop=Loop(
            on_step=lambda step, metrics, state: seen[name].append((metrics, state()))))
    run("whole")
    monkeypatch.setattr(batches, "PIXELS", SIZE ** 2)
    run("parts")
    for (metrics, state), (of_parts, state_of_parts) in zip(seen["whole"], seen["parts"]):
        assert metrics.keys() == of_parts.keys()
        for name, value in metrics.items():
            assert of_parts[name] == pytest.approx(value, rel=1e-4, abs=1e-5), name
        assert np.array_equal(state["chosen/layers"], state_of_parts["chosen/layers"])
    # Before Adam's division a gradient's rounding is all that differs: its first moments tell.
    first = {name: array for name, array in seen["whole"][0][1].items() if name.startswith("adam/first/")}
    scale = max(np.abs(array).max() for array in first.values())
    error = max(np.abs(seen["parts"][0][1][name] - array).max() for name, array in first.items()) / scale
    print(f"gradients of parts differ by {error:.1e} of the largest")
    assert error < 1e-5


def test_what_is_computed_at_once():
    assert batches.slices(32, 64) == batches.slices(2, 256) == batches.slices(1, 1024) == [batches.WHOLE]
    assert batches.slices(3, 256) == [slice(0, 2), slice(2, 3)] and len(batches.slices(8, 1024)) == 8


def test_losses_between_images_keep_the_batch_whole(listener, monkeypatch):
    monkeypatch.setattr(batches, "PIXELS", SIZE ** 2)
    rows = []
    real = stage2.gradients
    monkeypatch.setattr(stage2, "gradients", lambda *args: rows.append(args[2]) or real(*args))
    train(listener, settings(steps=1), weights(mean_direction=1.0))
    train(listener, settings(steps=1))
    assert rows == [[batches.WHOLE], [slice(0, 1), slice(1, 2)]]


def test_anchors_and_information_resume_to_the_same_bits(listener):
    kept, told = {}, {}

    def keep(step, metrics, state):
        kept[step], told[step] = state(), metrics

    held = weights(anchor=1.0, consolidation=10.0)
    straight, average = train(listener, settings(steps=5), held, loop=Loop(on_step=keep))
    assert "anchor" not in told[1] and "anchor/step" not in kept[1]
    assert [int(kept[step]["anchor/step"][0]) for step in (2, 3, 4, 5)] == [1, 1, 3, 3]
    # Just dropped, the anchor is the generator itself, and no direction is 1 away from any other.
    assert abs(told[2]["anchor"] - 1) < 1e-5 and abs(told[4]["anchor"] - 1) < 1e-5 and abs(told[3]["anchor"] - 1) > 1e-5
    assert told[1]["consolidation"] == 0 < told[2]["consolidation"]
    for step in (1, 3, 4):
        resumed, again = train(listener, settings(steps=5), held, loop=Loop(step, kept[step]))
        assert same(straight, resumed) and same(average, again), step


def test_what_is_left_of_a_direction(listener):
    gap = listener.target_text.numpy() - listener.source_text.numpy()
    aside = np.zeros_like(gap)
    aside[0, :2] = listener.direction.numpy()[0, 1], -listener.direction.numpy()[0, 0]        # at right angles to it

    def left(offset):
        ways, lengths = anchors.remaining(jt.array(direction), whole, jt.array(offset.astype(np.float32)))
        return ways.numpy(), lengths.numpy()
    direction, whole = listener.direction.numpy(), listener.length
    assert abs(whole - np.linalg.norm(gap)) < 1e-6 and np.allclose(direction * whole, gap, atol=1e-5)
    for done in (0, .5):
        way, length = left(done * gap)
        assert np.allclose(way, direction, atol=1e-4) and np.allclose(length, (1 - done) * whole, rtol=1e-4)
    # arrived: nothing is left
    way, length = left(3 * gap)
    assert np.abs(way).max() < 1e-5 and np.allclose(length, anchors.LEAST * whole)
    way, length = left(.5 * gap + .2 * aside)                                                  # strayed: back, and on
    assert (way * aside).sum() < 0 < (way * direction).sum() and abs(np.linalg.norm(way) - 1) < 1e-5
    # just dropped: anchor and target agree, and the gradient stays bounded
    still = jt.array(np.repeat(direction, 3, 0))
    pull = jt.grad(losses.directional(jt.array(still.numpy()), still, *map(jt.array, left(3 * gap + aside))),
                   still).numpy()
    assert 0 < np.linalg.norm(pull, axis=1).max() < 1 / (anchors.LEAST * whole)
    way, length = anchors.remaining(jt.array(np.concatenate([direction, aside / np.linalg.norm(aside)])), whole,
                                    jt.array(gap))
    assert way.shape == (2, direction.shape[1]) and length.shape == (2, 1)                      # prompts of each image


def test_information_is_the_mean_square_change_of_a_pixel():
    target, source = new_generator(), new_generator()
    draws = Draws(3, target, settings(batch=8, noise="const"))
    names = ["to_rgbs.0.bias", "to_rgbs.1.bias"]
    params = target.trainable()
    for name in names:
        params[name].start_grad()
    found = information_of(target, names, draws)
    # A step of ToRGB's bias moves every pixel of one of three channels as much: a third of the mean pixel's square.
    assert abs(found["to_rgbs.1.bias"].numpy().mean() - 1 / 3) < .1
    assert all(found[name].shape == params[name].shape for name in names)
    before = source.trainable()
    w = target.mapping(jt.array(draws.z(0)))
    first = target.synthesis(w).numpy()
    target.put({"to_rgbs.0.bias": before["to_rgbs.0.bias"].numpy() + np.float32(.1)})
    change = float(((target.synthesis(w).numpy() - first) ** 2).mean())
    loss = losses.consolidation(target.trainable(), before, found).item()
    print(f"mean squared change {change:.4f}, consolidation {loss:.4f}")
    assert .6 * change < loss < 1.5 * change


def test_stage2_stops_when_told_and_draws_from_the_seed_alone(listener):
    steps = []
    short, _ = train(listener, settings(), loop=Loop(on_step=lambda step, *_: steps.append(step) or step == 2))
    assert steps == [1, 2]
    other, _ = train(listener, settings(), loop=Loop(on_step=lambda step, *_: step == 2))
    assert same(short, other)


def test_layers_that_were_not_chosen_do_not_move(listener):
    start = {name: var.numpy() for name, var in new_generator().trainable().items()}
    chosen = []
    end, average = train(listener, settings(steps=1),
                         loop=Loop(on_step=lambda *args: chosen.extend(args[2]()["chosen/layers"])))
    allowed = stage2.layers.selected(new_generator(), stage2.layers.candidates(
        new_generator(), settings().train, "auto"), chosen)
    moved = {name for name in start if not np.array_equal(start[name], end[name])}
    print(f"chosen {chosen}: {len(moved)} of {len(start)} tensors moved")
    assert moved and moved <= set(allowed)
    assert same({n: average[n] for n in start if n not in moved}, {n: start[n] for n in start if n not in moved})


def test_training_turns_the_images_along_the_direction(listener):
    seen = []
    train(listener, settings(steps=25, layers="all", noise="const", mixing=0.0, views=0),
          weights(global_=0.0, range=0.0),
          loop=Loop(on_step=lambda step, metrics, _: seen.append(metrics["directional"])))
    print(f"directional loss {seen[0]:.3f} -> {seen[-1]:.3f}")
    assert abs(seen[0] - 1.0) < 1e-4 and seen[-1] < 0.8


def test_without_a_floor_equal_generators_train_too(listener):
    end, _ = train(listener, settings(steps=2, direction_floor=0.0, noise="const"))
    assert all(np.isfinite(value).all() for value in end.values())


def test_every_loss_and_an_ensemble(clip):
    resnet = Clip(ClipConfig(embed_dim=12, image_resolution=32, vision_layers=(1, 1, 1, 1), vision_width=8,
                             transformer_width=32,
                             transformer_heads=1, transformer_layers=1,
                             norm="group")).initialise(np.random.default_rng(3))
    both = [listeners.listen(one, share, "photo", "disney", parts=True,
                              questions=[["a {} boy", "a {} girl"]], names=["cartoon"])
                              for one, share in ((clip, 1.0), (resnet, 0.5))]
    both = [replace(one, varied=directions.varied(one.direction, .25, np.random.default_rng(5))) for one in both]
    told = {}
    loss = weights(manifold=1.0, texture=1.0, variations=1.0, naming=1.0, mean_direction=1.0, covariance=1.0,
                   anchor=1.0, consolidation=1.0,
                   patch=1.0)
    stage2.train_generator(new_generator(), new_generator(), both, settings(steps=2, view_noise=0.5), loss, seed=0,
                           loop=Loop(on_step=lambda step, metrics, _: told.update(metrics)))
    assert set(told) == {"loss", "lr", "directional", "global", "manifold", "texture", "variations", "naming",
                         "mean_direction", "covariance", "anchor",
                         "consolidation", "patch", "structure", "range"}
    parts = sum(value for name, value in told.items() if name not in ("loss", "lr"))
    assert abs(parts - told["loss"]) < 1e-4 * abs(parts)


def mapper_run(clip, listener, **keywords):
    mapper = PromptMapper(WIDTH, 4, 32, rng=np.random.default_rng(4))
    prompts = directions.Prompts(clip, *CLASSES)
    numbers = SimpleNamespace(steps=4, batch=4, lr=0.05, lambda_domain=1.0, lambda_source=0.5, lambda_prompts=0.0,
                              replace_domain=False, mixing=0.0)
    stage1.train_mapper(new_generator(), mapper, prompts, listener, numbers, seed=5, **keywords)
    return mapper, prompts


def test_stage1_resumes_to_the_same_bits_and_feeds_stage2(clip, listener):
    kept, lost = {}, []

    def keep(step, metrics, state):
        kept[step] = state()
        lost.append(metrics["loss"])

    straight, prompts = mapper_run(clip, listener, loop=Loop(on_step=keep))
    resumed, _ = mapper_run(clip, listener, loop=Loop(2, kept[2]))
    one, two = ({name: var.numpy() for name, var in named_tensors(m).items()} for m in (straight, resumed))
    assert same(one, two) and np.isfinite(lost).all()
    end, _ = train(listener, settings(steps=1), prompts=prompts, mapper=straight)
    assert all(np.isfinite(value).all() for value in end.values())


def test_prompt_directions_are_unit_and_official_adds_the_same_vector_twice(clip):
    prompts, official = (directions.Prompts(clip, *CLASSES, official=flag) for flag in (False, True))
    source, target = (jt.array(np.random.default_rng(i).standard_normal((3, 12)).astype(np.float32)) for i in (1, 2))
    for one in (prompts, official):
        assert np.allclose(np.linalg.norm(one.directions(source, target).numpy(), axis=1), 1, atol=1e-5)
    bare = directions.encode_texts(clip, ["a photo of a"]).numpy()
    want = [(v.numpy() + bare) / np.linalg.norm(v.numpy() + bare, axis=1, keepdims=True) for v in (source, target)]
    want = (want[1] - want[0]) / np.linalg.norm(want[1] - want[0], axis=1, keepdims=True)
    assert np.abs(official.directions(source, target).numpy() - want).max() < 1e-5
    assert np.abs(prompts.directions(source, target).numpy() - want).max() > 1e-3


def test_few_shot_direction_points_from_generated_to_style_images(clip):
    images = np.random.default_rng(0).uniform(-1, 1, (2, 3, SIZE, SIZE)).astype(np.float32)
    styles = [np.clip(image * 0.2 + 0.5, -1, 1) for image in images]
    offset = directions.image_offset(clip, images, styles)
    heard = listeners.listen(clip, 1.0, "photo", "disney", image_offset=offset)
    got = heard.direction.numpy()
    before, after = (directions.encode_images(clip, np.stack(x), antialias=True).numpy().mean(0)
                     for x in (images, styles))
    want = (after - before) / np.linalg.norm(after - before)
    assert np.abs(got[0] - want).max() < 1e-4 and abs(heard.length - np.linalg.norm(after - before)) < 1e-5


def test_varied_directions_are_the_corners_of_a_regular_simplex_around_one(listener):
    center = listener.direction.numpy()[0]
    for spread in (.25, 2.0):
        found = directions.varied(listener.direction, spread, np.random.default_rng(1)).numpy()
        assert found.shape == (directions.VARIED, 12) and np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
        assert np.allclose(found @ center, 1 / np.hypot(1, spread), atol=1e-5)
        mutual = (found @ found.T)[~np.eye(directions.VARIED, dtype=bool)]
        assert np.ptp(mutual) < 1e-5 and mutual[0] < 1 / (1 + spread ** 2)
    other = directions.varied(listener.direction, 2.0, np.random.default_rng(2)).numpy()
    assert np.abs(found - other).max() > .1

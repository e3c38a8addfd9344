"""The shape judge asks for what makes a style, and the figures against the truth are what they say."""
import numpy as np
import pytest

from jittor_ipl.metrics.clusters import mean_pair
from jittor_ipl.runtime.streams import rng
from jittor_ipl.weights.diffusion import load_diffusion
from jittor_ipl.weights.generator import load_generator
from jittor_ipl.world.drawing.attributes import select
from jittor_ipl.world.judging import measure, truth
from jittor_ipl.world.judging.features import JudgeFeatures
from jittor_ipl.world.judging.shapes import FEATURES, load_shapes
from jittor_ipl.world.subjects import PETS, PORTRAITS
from jittor_ipl.world.teaching import pretrain_shape
from jittor_ipl.world.teaching.pool import to_float

STYLES = PORTRAITS.styles[1:]


@pytest.fixture(scope="module")
def faces():
    return PORTRAITS.table.sample(rng(8, "test shapes"), 32)


@pytest.fixture(scope="module")
def judge():
    return load_shapes(PORTRAITS)


@pytest.mark.parametrize("style", STYLES)
def test_the_shape_judge_asks_for_every_feature(style, faces, judge):
    def share(images):
        return float(judge.shows(to_float(images), style).mean())
    whole = share(PORTRAITS.render(faces, style))
    lacking = {name: share(PORTRAITS.render(faces, style, without=frozenset({name})))
               for name in PORTRAITS.features(style)}
    photos = share(PORTRAITS.render(faces, "photo"))
    print(style, whole, lacking, photos)
    assert whole >= .9 and max(lacking.values()) <= .2 and photos <= .1


def test_softness_alone_loses_no_shape(faces, judge):
    few, vae = select(faces, slice(0, 12)), load_diffusion("demo:diffusion").vae
    yes = [judge.shows(to_float(pretrain_shape.through(vae, PORTRAITS.render(few, style))), style).mean()
           for style in STYLES]
    print(dict(zip(STYLES, yes)))
    assert np.mean(yes) >= .9


@pytest.fixture(scope="module")
def shapes():
    return pretrain_shape.render(pretrain_shape.latents(6), load_diffusion("demo:diffusion").vae, {}, 1)


def test_pets_have_no_shape_judge():
    assert load_shapes(PETS) is None


def test_a_stopped_training_goes_on_to_the_same_bits(shapes):
    from jittor_ipl.train.state import Loop
    recipe, kept = pretrain_shape.ShapeRecipe(width=8, steps=4, batch=8), {}

    def keep(step, metrics, state):
        kept[step] = state()
    pretrain_shape.train(recipe, shapes, Loop(on_step=keep))
    straight = dict(kept)
    pretrain_shape.train(recipe, shapes, Loop(2, straight[2], keep))
    assert all(np.array_equal(straight[4][name], kept[4][name]) for name in straight[4])


def test_a_picture_is_asked_for_the_features_of_its_style(shapes):
    recipe = pretrain_shape.ShapeRecipe(batch=400, veiled=0)
    images, asked, there = pretrain_shape.batch(recipe, shapes, rng(11, "batch"))
    assert images.shape == (400, 3, 64, 64) and images.dtype == np.float32 and np.abs(images).max() <= 1
    styles = [{FEATURES[i][0] for i in np.flatnonzero(row)} for row in asked]
    assert max(len(found) for found in styles) == 1 and len(set.union(*styles)) == len(STYLES)
    whole = (there | ~asked).all(axis=1) & asked.any(axis=1)
    assert .4 < whole.mean() < .6
    few = (there & asked).any(axis=1) & ~whole
    assert few.any(), "some lack one feature of several"


def test_every_style_lacks_something(shapes):
    left = pretrain_shape.kept_features(200, rng(12, "left"))
    for style in STYLES:
        mine = left[:, [of == style for of, _ in FEATURES]]
        assert not mine.all(axis=1).any() and (~mine).any(axis=0).all()
    changed = np.abs(shapes.whole.astype(float) - shapes.lacking).max(axis=(2, 3, 4))
    assert (changed > 40).all()


def test_adapted_pictures_come_from_generators_that_clip_taught(tmp_path):
    z = pretrain_shape.latents(2)
    assert pretrain_shape.adapted_by_clip(tmp_path, z) == {}
    from jittor_ipl.config import StyleRun, save_config
    from jittor_ipl.weights.generator import save_generator
    source = load_generator("demo:generator")
    for folder, style, ref in (("00-cubism", "cubism", "demo:generator"), ("01-x", "x", "demo:pets-generator")):
        run = StyleRun(suite="s", number=0, style=style, target=style, source={"class": "photo", "generator": ref})
        (tmp_path / folder).mkdir()
        save_config(run, tmp_path / folder / "config.yaml")
        save_generator(source, tmp_path / folder / "generator.safetensors")
    found = pretrain_shape.adapted_by_clip(tmp_path, z)
    assert list(found) == ["cubism"] and found["cubism"].shape == (2, 3, 64, 64) and found["cubism"].dtype == np.uint8


def test_the_figures_against_the_truth_are_what_they_say(faces):
    true, source = (to_float(PORTRAITS.render(faces, style)) for style in ("cartoon", "photo"))
    assert truth.way(source, true, source) == 0 and truth.way(true, true, source) == 1
    half = (true + source) / 2
    assert abs(truth.way(half, true, source) - .5) < 1e-6
    assert abs(truth.psnr(np.clip(true, -1, .9) + .1, np.clip(true, -1, .9)) - 10 * np.log10(4 / .01)) < 1e-3
    assert truth.sharpness(true, true) == 1 and truth.sharpness(true * .5, true) == pytest.approx(.5)
    ramp = np.broadcast_to(np.linspace(-1, 1, 64, dtype=np.float32), (1, 3, 64, 64))
    assert truth.sharpness(ramp, ramp.transpose(0, 1, 3, 2)) == pytest.approx(1), "one direction is as good as another"


def test_the_spread_is_the_mean_distance_of_all_pairs(faces):
    images, network = to_float(PORTRAITS.render(faces, "disney")), JudgeFeatures()
    embedding = network.features(images, ["embedding"])["embedding"].astype(np.float64)
    pairs = np.square(embedding[:, None] - embedding[None]).sum(axis=-1)
    found = truth.SetFeatures(network, images)
    assert found.spread == pytest.approx(mean_pair(pairs), rel=1e-5)
    assert found.fid(found) == pytest.approx(0, abs=1e-3)


def test_a_verdict_begins_with_the_truth():
    source = load_generator("demo:generator")
    panel = measure.Panel(source, range(4_000_000, 4_000_032))
    verdict = panel.verdict(source, "werewolf")
    print(verdict)
    assert list(verdict)[:5] == ["way", "psnr", "sharpness", "shape", "fid"]
    assert verdict["way"] == 0 and verdict["shape"] == 0 and verdict["kept"] == 1 and verdict["psnr"] < 12
    perfect = panel.ceiling("werewolf")
    assert perfect["way"] == 1 and perfect["psnr"] == np.inf and perfect["diversity"] == 1 and perfect["shape"] >= .9
    assert perfect["fid"] < verdict["fid"] / 4
    assert "shape" not in panel.verdict(source, "photo")

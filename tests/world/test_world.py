"""The demo world: faces, pictures, captions and shipped networks agree with each other."""
import numpy as np
import pytest

from jittor_ipl.runtime.streams import rng
from jittor_ipl.world.drawing import attributes
from jittor_ipl.world.drawing.attributes import PORTRAIT
from jittor_ipl.world.judging import judge, measure
from jittor_ipl.world.subjects import PETS, PORTRAITS
from jittor_ipl.world.teaching import captions, pool


@pytest.fixture(scope="module")
def faces():
    return PORTRAIT.sample(rng(1, "test faces"), 24)


def test_rendering_is_a_pure_function_and_styles_differ(faces):
    pictures = {style: PORTRAITS.render(faces, style) for style in PORTRAITS.styles}
    assert all(p.shape == (24, 3, 64, 64) and p.dtype == np.uint8 for p in pictures.values())
    assert np.array_equal(pictures["cubism"], PORTRAITS.render(faces, "cubism"))
    alone = PORTRAITS.render(attributes.select(faces, slice(5, 6)), "disney")
    assert np.array_equal(alone[0], pictures["disney"][5]), "a face must not depend on its batch"
    photo = pictures["photo"].astype(float)
    for style in PORTRAITS.styles[1:]:
        assert np.abs(pictures[style] - photo).mean() > 15, style


def test_labels_change_the_picture(faces):
    one = attributes.select(faces, slice(0, 1))
    before = PORTRAITS.render(one, "photo").astype(float)
    for name, values in PORTRAIT.values.items():
        if name == "beard":
            continue       # a girl has none
        other = {**one, name: (one[name] + 1) % len(values)}
        assert np.abs(PORTRAITS.render(other, "photo") - before).max() > 30, name


def test_a_feature_left_out_changes_its_place_and_nothing_else(faces):
    assert not PORTRAITS.features("photo") and not PETS.features("cartoon")
    for style in PORTRAITS.styles[1:]:
        true = PORTRAITS.render(faces, style).astype(float)
        assert PORTRAITS.features(style) and np.array_equal(true, PORTRAITS.render(faces, style, without=frozenset()))
        for feature in PORTRAITS.features(style):
            changed = np.abs(PORTRAITS.render(faces, style, without=frozenset({feature})) - true).max(axis=1) > 40
            assert (changed.sum(axis=(1, 2)) >= 6).all(), (style, feature)
    bare = PORTRAITS.render(faces, "tolkien elf", without=frozenset({"circlet"}))
    assert np.array_equal(bare[:, :, 40:], PORTRAITS.render(faces, "tolkien elf")[:, :, 40:]), "the chin wears none"
    with pytest.raises(KeyError):
        PORTRAITS.render(faces, "werewolf", without=frozenset({"circlet"}))


def test_girls_have_no_beard():
    face = PORTRAIT.sample(rng(2, "test faces"), 2000)
    assert not (face["beard"] * face["gender"]).any() and face["beard"].mean() > .15


def test_the_code_of_a_latent_names_its_face():
    z = rng(3, "z").standard_normal((500, attributes.LATENT_DIM), np.float32)
    face, code, at = PORTRAIT.from_latent(z), PORTRAIT.code(z), 0
    for name, values in PORTRAIT.values.items():
        seen = code[:, at:at + len(values)].argmax(1)
        keep = face["gender"] == 0 if name == "beard" else slice(None)
        assert np.array_equal(seen[keep], face[name][keep]), name
        at += len(values)
    larger = PORTRAIT.from_latent(3 * z)
    assert np.array_equal(PORTRAIT.labels(larger), PORTRAIT.labels(face)), "only the direction counts"


def test_a_caption_is_true_of_its_picture_and_only_of_such():
    labels = PORTRAIT.labels(PORTRAIT.sample(rng(4, "faces"), 64))
    styles = rng(4, "styles").integers(len(PORTRAITS.styles), size=64)
    texts, predicates = captions.PORTRAIT.draw(rng(4, "captions"), styles, labels)
    match = captions.matches(predicates, styles, labels)
    assert match.diagonal().all() and not match.all()
    for text, predicate, column in zip(texts, predicates, match.T):
        if predicate[0] >= 0:
            assert PORTRAITS.styles[predicate[0]] in text and (styles[column] == predicate[0]).all()


def test_perturbed_pictures_stay_pictures(faces):
    images = pool.to_float(PORTRAITS.render(faces, "photo"))
    seen = pool.perturb(images, rng(5, "perturb"))
    assert seen.shape == images.shape and seen.dtype == np.float32 and np.abs(seen).max() <= 1
    assert .02 < np.abs(seen - images).mean() < .5


@pytest.mark.parametrize("name", ["judge", "judge-structure"])
def test_the_judges_know_the_renderer(name, faces):
    seen = judge.load(name)
    for index, style in enumerate(PORTRAITS.styles):
        share = np.mean(seen.style(pool.to_float(PORTRAITS.render(faces, style))) == index)
        assert share >= .9, (style, share)


def test_the_structure_judge_sees_no_palette():
    image = rng(6, "image").uniform(-.5, .5, (2, 3, 64, 64)).astype(np.float32)
    image[1] = image[0] * 1.6 + .1
    from jittor_ipl.runtime.backend import jt
    seen = judge.local_contrast(jt.array(image)).numpy()
    assert np.abs(seen[0] - seen[1]).max() < .05


def test_the_source_generator_draws_what_its_latents_mean():
    from jittor_ipl.weights.generator import load_generator
    verdict = measure.Panel(load_generator("demo:generator"), range(3_000_000, 3_000_064)).verdict(
        load_generator("demo:generator"), "photo")
    print(verdict)
    assert verdict["judge"] >= .95 and verdict["structure"] >= .95 and verdict["kept"] == 1 and verdict["meant"] >= .88


@pytest.mark.parametrize("name", ["clip-local", "clip-robust"])
def test_the_clips_name_every_style(name, faces):
    from jittor_ipl.ops.norms import unit
    from jittor_ipl.runtime.backend import jt
    from jittor_ipl.text.tokenizer import tokenize
    from jittor_ipl.weights.clip import load_clip
    clip = load_clip(f"demo:{name}")
    phrases = [f"a photo of a {style}." for style in PORTRAITS.styles]
    texts = unit(clip.encode_text(tokenize(phrases, clip.context_length))).numpy()
    few = attributes.select(faces, slice(0, 6))
    for index, style in enumerate(PORTRAITS.styles):
        features = unit(clip.image_features(jt.array(pool.to_float(PORTRAITS.render(few, style))))).numpy()
        assert ((features @ texts.T).argmax(1) == index).sum() >= len(features) - 1, style

"""The pets of the demo world: heads, pictures, captions and networks agree with each other and with the portraits'."""
import numpy as np
import pytest

from jittor_ipl.runtime.streams import rng
from jittor_ipl.text.descriptions import descriptions_path, read_description
from jittor_ipl.world.drawing import attributes
from jittor_ipl.world.drawing.canvas import Canvas
from jittor_ipl.world.drawing.finishes import round_dots, straight_facets
from jittor_ipl.world.judging import judge, measure
from jittor_ipl.world.subjects import PETS, PORTRAITS, subject_of
from jittor_ipl.world.teaching import captions, mixture, pool, pretrain_pets

TABLE = PETS.table


@pytest.fixture(scope="module")
def pets():
    return TABLE.sample(rng(1, "test pets"), 24)


def test_rendering_is_a_pure_function_and_styles_differ(pets):
    pictures = {style: PETS.render(pets, style) for style in PETS.styles}
    assert all(p.shape == (24, 3, 64, 64) and p.dtype == np.uint8 for p in pictures.values())
    for style, picture in pictures.items():
        alone = PETS.render(attributes.select(pets, slice(5, 6)), style)
        assert np.array_equal(alone[0], picture[5]), f"{style}: a pet must not depend on its batch"
    for style in PETS.styles[1:]:
        assert np.abs(pictures[style].astype(float) - pictures["photo"]).mean() > 15, style


@pytest.mark.parametrize("style", PETS.styles)
@pytest.mark.parametrize("name", TABLE.values)
def test_labels_change_the_picture(pets, name, style):
    before = PETS.render(pets, style).astype(float)
    other = {**pets, name: (pets[name] + 1) % len(TABLE.values[name])}
    change = np.abs(PETS.render(other, style) - before).max(axis=1)
    # Clearly (by 40 of 255) and over several pixels, on every pet.
    assert ((change > 40).sum(axis=(1, 2)) >= 12).all()


def test_the_code_of_a_latent_names_its_pet():
    z = rng(3, "z").standard_normal((500, attributes.LATENT_DIM), np.float32)
    pet, code, at = TABLE.from_latent(z), TABLE.code(z), 0
    for name, values in TABLE.values.items():
        assert np.array_equal(code[:, at:at + len(values)].argmax(1), pet[name]), name
        assert np.bincount(pet[name]).min() > 500 / len(values) * .6, f"{name}: every value is met"
        at += len(values)
    named = TABLE.of_seed(7)
    assert list(named) == list(TABLE.values) and all(named[name] in values for name, values in TABLE.values.items())


def test_a_window_paints_on_its_canvas():
    whole, part = Canvas(2, 32), Canvas(2, 32)
    whole.paint(whole.cover(whole.ellipse(.2, -.1, .3, .2)), (1, .5, 0))
    view = part.window(-.25, -.5, .75, .25)
    view.paint(view.cover(view.ellipse(.2, -.1, .3, .2)), (1, .5, 0))
    assert view.rgb.shape[2:] != part.rgb.shape[2:] and np.array_equal(whole.rgb, part.rgb)


@pytest.mark.parametrize("finish", [round_dots, straight_facets])
def test_a_finish_keeps_its_phase_at_every_size(finish):
    small = rng(4, "rgb").random((2, 3, 1, 1), np.float32) * np.ones((1, 1, 64, 64), np.float32)
    large = np.kron(small, np.ones((1, 1, 2, 2), np.float32))
    shrunk = finish(large).reshape(2, 3, 64, 2, 64, 2).mean(axis=(3, 5))
    assert finish(small).shape == small.shape and np.abs(shrunk - finish(small)).mean() < .03


def test_a_caption_is_true_of_its_picture_and_only_of_such():
    labels = TABLE.labels(TABLE.sample(rng(4, "pets"), 64))
    styles = rng(4, "styles").integers(len(PETS.styles), size=64)
    texts, predicates = captions.PET.draw(rng(4, "captions"), styles, labels)
    match = captions.matches(predicates, styles, labels)
    assert match.diagonal().all() and not match.all()
    for text, predicate in zip(texts, predicates):
        assert predicate[0] < 0 or PETS.styles[predicate[0]] in text
    from jittor_ipl.text.tokenizer import tokenize
    assert np.isin(tokenize(texts), tokenize(captions.PET.vocabulary_texts())).all()


def test_one_batch_holds_both_subjects_under_one_truth():
    def part(subject, language, share):
        face = subject.table.sample(rng(5, subject.name), 16)
        images = np.zeros((16, len(subject.styles), 3, 8, 8), np.uint8)
        return mixture.MixturePart(pool.Pool(images, subject.table.labels(face)), language, share)
    mixed = mixture.Mixture([part(PORTRAITS, captions.PORTRAIT, .75), part(PETS, captions.PET, .25)])
    images, photos, styles, labels = mixed.draw(rng(5, "draw"), 64)
    assert images.shape == photos.shape == (64, 3, 8, 8) and labels.shape == (64, 18)
    assert (labels[:48, 10:] == mixture.ABSENT).all() and (labels[48:, :10] == mixture.ABSENT).all()
    texts, predicates = mixed.captions(rng(5, "say"), styles, labels)
    match = captions.matches(predicates, styles, labels)
    silent = (predicates[:, 1:] == -1).all(axis=1)
    assert match.diagonal().all()
    assert not match[:48, 48:][:, ~silent[48:]].any() and not match[48:, :48][:, ~silent[:48]].any()
    for text, predicate in zip(texts, predicates):
        assert predicate[0] < 0 or PORTRAITS.styles[predicate[0]] in text
    cartoon = PORTRAITS.styles.index("cartoon")
    both = match[styles == cartoon][:, silent & (predicates[:, 0] == cartoon)]
    assert both.all(), "a style's name alone is true of both subjects"


def test_the_generator_that_is_named_decides_the_subject():
    assert subject_of("demo:pets-generator") is PETS and subject_of("demo:generator") is PORTRAITS
    assert subject_of("runs/pets-generator.safetensors") is PORTRAITS


@pytest.mark.parametrize("name", ["pets-judge", "pets-judge-structure"])
def test_the_judges_know_the_renderer(name, pets):
    seen = judge.load(name)
    for index, style in enumerate(PETS.styles):
        share = np.mean(seen.style(pool.to_float(PETS.render(pets, style))) == index)
        assert share >= .9, (style, share)


def test_the_source_generator_draws_what_its_latents_mean():
    from jittor_ipl.weights.generator import load_generator
    source = load_generator("demo:pets-generator")
    panel = measure.Panel(source, range(3_000_000, 3_000_064), PETS)
    verdict = panel.verdict(source, "photo")
    print(verdict, panel.by_attribute(source))
    assert verdict["judge"] >= .95 and verdict["structure"] >= .95 and verdict["kept"] == 1 and verdict["meant"] >= .9


def test_what_the_teacher_is_told_is_what_it_learnt():
    """The list `pets`, which a CLIP answers, and the captions of the pets' teacher are the same words."""
    description = read_description(descriptions_path("pets"))
    assert " ".join(pretrain_pets.SAID.values()) == description.sentence
    assert {slot.name: len(slot.answers) for slot in description.slots} \
        == {name: len(values) for name, values in TABLE.values.items()}

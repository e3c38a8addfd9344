"""What the losses mean: which way they fall, and that they stay finite where the original formulas do not."""
import numpy as np
import pytest

from jittor_ipl import losses
from jittor_ipl.runtime.backend import jt

RNG = np.random.default_rng(0)


def features(*shape):
    return jt.array(RNG.standard_normal(shape).astype(np.float32))


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def test_directional_against_numpy_and_its_range():
    source, target = features(5, 8), features(5, 8)
    text = jt.array(unit(RNG.standard_normal((1, 8))).astype(np.float32))
    got = losses.directional(source, target, text).item()
    want = (1 - (unit(unit(target.numpy()) - unit(source.numpy())) * text.numpy()).sum(-1)).mean()
    print(f"directional error {abs(got - want):.1e}")
    assert abs(got - want) < 1e-5 and 0 <= got <= 2


@pytest.mark.parametrize("floor", [0.0, 0.5])
def test_directional_falls_along_the_direction(floor):
    source = unit(RNG.standard_normal((4, 16))).astype(np.float32)
    along = unit(RNG.standard_normal((1, 16))).astype(np.float32)
    wrong = unit(RNG.standard_normal((4, 16))).astype(np.float32)
    targets = (jt.array(source + 0.3 * wrong + step * along) for step in (0.0, 0.2, 0.5, 1.0))
    values = [losses.directional(jt.array(source), target, jt.array(along), floor).item() for target in targets]
    print(values)
    assert values == sorted(values, reverse=True)


@pytest.mark.parametrize("floor,largest", [(0.0, 2 / losses.SHORTEST), (0.5, 5.0)])
def test_equal_images_give_a_finite_bounded_gradient(floor, largest):
    source = features(3, 8)
    target = jt.array(source.numpy())
    loss = losses.directional(source, target, jt.array(np.eye(8, dtype=np.float32)[:1]), floor)
    size = np.abs(jt.grad(loss, target).numpy()).max()
    print(f"floor {floor}: loss {loss.item():.3f}, largest gradient {size:.2f}")
    assert abs(loss.item() - 1.0) < 1e-6 and 0 < size < largest


def test_a_floor_rewards_length():
    source, along = np.zeros((1, 4), np.float32), np.eye(4, dtype=np.float32)[1:2]
    source[0, 0] = 1
    targets = (jt.array(source + a * along) for a in (.1, .4))
    short, long = (losses.directional(jt.array(source), target, jt.array(along), 0.5).item() for target in targets)
    assert long < short < 1


def test_contrastive_prefers_matching_pairs():
    images = features(6, 16)
    shuffled = jt.array(images.numpy()[[1, 0, 3, 2, 5, 4]])
    right, wrong = losses.contrastive(images, images, 20.0).item(), losses.contrastive(images, shuffled, 20.0).item()
    print(f"matched {right:.3f}, shuffled {wrong:.3f}, chance {np.log(6):.3f}")
    assert right < np.log(6) < wrong


def test_domain_global_and_texture_vanish_at_their_best():
    a = features(4, 8)
    assert abs(losses.domain(a, a[:1]).item()) < 1.0
    assert abs(losses.domain(a[:1] * 3.0, a[:1]).item()) < 1e-6
    assert abs(losses.global_similarity(a[:1], a[:1], 100.0).item()) < 1e-5
    assert losses.texture(a, a).item() == 0.0


def test_manifold_is_zero_when_images_turn_as_far_as_texts():
    e = np.eye(3, dtype=np.float32)
    turned = (e[:1] + e[1:2]) / np.float32(np.sqrt(2))
    texts = jt.array(e[1:2]), jt.array((e[1:2] + e[2:]) / np.float32(np.sqrt(2)))
    same = losses.manifold(jt.array(e[:1]), jt.array(turned), *texts)
    still = losses.manifold(jt.array(e[:1]), jt.array(e[:1]), jt.array(e[1:2]), jt.array(e[2:]))
    assert same.item() < 1e-6 and abs(still.item() - 1.0) < 1e-6


def test_out_of_range_counts_only_the_excess():
    image = jt.array(np.float32([[[[0.5, -1.0, 1.5, -3.0]]]]))
    assert abs(losses.out_of_range(image).item() - (0.25 + 4.0) / 4) < 1e-6
    assert np.array_equal(jt.grad(losses.out_of_range(image), image).numpy()[0, 0, 0] != 0, [False, False, True, True])


def test_structure_keeps_contours_and_leaves_flat_places_free():
    random = np.random.default_rng(0)
    contours = np.kron(random.uniform(-1, 1, (2, 1, 8, 8)), np.ones((1, 3, 8, 8))).astype(np.float32)
    flat = np.zeros_like(contours)
    texture = random.uniform(-1, 1, contours.shape).astype(np.float32)

    def value(a, b):
        return losses.structure(jt.array(a), jt.array(b)).item()
    same, dim, other, inverted = (value(contours, b) for b in (contours, .6 * contours + .2, texture, -contours))
    print(f"same {same:.1e}, other light {dim:.3f}, other picture {other:.3f}, inverted {inverted:.3f}, "
          f"on flat {value(flat, texture):.1e}")
    assert abs(same) < 1e-4 and dim < .05 < .3 < other < inverted and abs(value(flat, texture)) < 1e-4
    x = jt.array(contours)
    gradient = jt.grad(losses.structure(jt.array(contours), x), x).numpy()
    assert np.isfinite(gradient).all()


def test_naming_is_the_cross_entropy_over_the_names():
    images, names = (RNG.standard_normal((n, 16)).astype(np.float32) for n in (5, 4))
    logits = 20.0 * unit(images) @ unit(names).T
    expected = np.mean(np.log(np.exp(logits).sum(-1)) - logits[:, 0])
    assert abs(losses.naming(jt.array(images), jt.array(names), 20.0).item() - expected) < 1e-4 * expected
    named = losses.naming(jt.array(np.repeat(names[:1], 5, 0)), jt.array(names), 20.0).item()
    doubled = losses.naming(jt.array(np.repeat(names[:1], 5, 0)), jt.array(names[[0, 0]]), 20.0).item()
    assert named < .1 < expected and abs(doubled - np.log(2)) < 1e-4


def test_covariance_is_that_of_numpy():
    images, texts = RNG.standard_normal((8, 6)).astype(np.float32) + 1, RNG.standard_normal((5, 6)).astype(np.float32)
    expected = ((np.cov(images.T, bias=True) - np.cov(texts.T, bias=True)) ** 2).sum()
    assert abs(losses.covariance(jt.array(images), jt.array(texts)).item() - expected) < 1e-4 * expected
    assert losses.covariance(jt.array(texts[::-1] + 3), jt.array(texts)).item() < 1e-9       # wherever the mean is


def test_mean_direction_against_numpy_and_what_it_allows():
    source, target, text = features(5, 8), features(5, 8), unit(RNG.standard_normal((1, 8))).astype(np.float32)
    change = (unit(target.numpy()) - unit(source.numpy())).mean(0)
    for floor in (0.0, 3.0):
        want = 1 - change @ text[0] / max(np.linalg.norm(change), floor)
        assert abs(losses.mean_direction(source, target, jt.array(text), floor).item() - want) < 1e-5
    one = source[:1], target[:1], jt.array(text)
    assert abs(losses.mean_direction(*one).item() - losses.directional(*one).item()) < 1e-6
    photo, apart = np.eye(3)[[0, 0]], unit(np.array([[1, 1, 1], [1, 1, -1]]))   # two go the same way, and each its own
    text = unit((apart - photo).mean(0, keepdims=True)).astype(np.float32)
    photo, apart = (jt.array(part.astype(np.float32)) for part in (photo, apart))
    assert losses.mean_direction(photo, apart, jt.array(text)).item() < 1e-6
    assert losses.directional(photo, apart, jt.array(text)).item() > 0.1
    assert losses.mean_direction(photo, photo, jt.array(text)).item() == pytest.approx(1)      # nothing moved


def test_consolidation_weighs_squared_changes():
    shapes = {"a": (3, 4), "b": (1,)}
    now, before, weight = ({name: RNG.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
                           for _ in range(3))
    expected = sum((weight[name] * (now[name] - before[name]) ** 2).sum() for name in now)
    parts = ({name: jt.array(value) for name, value in part.items()} for part in (now, before, weight))
    got = losses.consolidation(*parts)
    assert abs(got.item() - expected) < 1e-5 * abs(expected)


def test_variations_vanish_when_answers_stay_and_grow_when_they_change():
    source = unit(RNG.standard_normal((5, 16))).astype(np.float32)
    before = [unit(RNG.standard_normal((n, 16))).astype(np.float32) for n in (2, 4)]
    shift = .1 * RNG.standard_normal(16).astype(np.float32)
    same = [(jt.array(b), jt.array(b)) for b in before]
    swapped = [(jt.array(b), jt.array(np.ascontiguousarray(b[::-1]))) for b in before]
    images = jt.array(source)
    kept, changed = (losses.variations(images, images, answers, 20.0).item() for answers in (same, swapped))
    moved = losses.variations(images, jt.array(source + shift), same, 20.0).item()

    def by_hand(target, answers):
        def log_p(x, texts):
            logits = 20.0 * unit(x) @ texts.T
            return logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        return np.mean([(np.exp(log_p(source, b)) * (log_p(source, b) - log_p(target, a))).sum(-1).mean()
                        for b, a in answers])
    want = by_hand(source + shift, [(b, b) for b in before])
    print(f"kept {kept:.1e}, moved {moved:.4f} (by hand {want:.4f}), changed {changed:.3f}")
    assert abs(kept) < 1e-6 and 0 < moved < changed and abs(moved - want) < 1e-5

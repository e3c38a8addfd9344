"""Views: windows read what they name, the pair sees the same, gradients reach the image."""
import numpy as np

from jittor_ipl.adaptation import views
from jittor_ipl.runtime.backend import jt


def test_the_whole_window_is_the_image():
    assert np.allclose(views.axis_matrix(8, 8, 0.0, 8.0), np.eye(8))
    assert np.allclose(views.axis_matrix(8, 8, 1.0, 8.0)[:7], np.eye(8)[1:])


def test_patches_are_slices_of_the_image():
    images = np.random.default_rng(0).standard_normal((2, 3, 12, 10)).astype(np.float32)
    centers = np.array([[4, 5], [6, 8], [3, 3], [5, 6]])
    got = views.patches(jt.array(images), centers, 6).numpy()
    want = np.stack([images[i // 2, :, y - 3:y + 3, x - 3:x + 3] for i, (x, y) in enumerate(centers)])
    assert np.array_equal(got, want)


def test_a_view_is_a_pure_function_and_every_row_sums_to_one():
    one, two = (views.draw(np.random.default_rng(3), 5, 16, 0.6) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(one, two))
    assert np.allclose(one.rows.sum(-1), 1) and np.allclose(one.columns.sum(-1), 1)
    flat = views.look(jt.ones([5, 3, 16, 16]) * 0.5, one).numpy()
    assert np.allclose(flat, 0.5 * one.gain + one.offset, atol=1e-6)


def test_gradient_reaches_the_image():
    view = views.draw(np.random.default_rng(1), 2, 8, 0.6)
    image = jt.array(np.random.default_rng(0).standard_normal((2, 3, 8, 8)).astype(np.float32))
    cotangent = np.random.default_rng(2).standard_normal((2, 3, 8, 8)).astype(np.float32)
    got = jt.grad((views.look(image, view) * jt.array(cotangent)).sum(), image).numpy()
    want = np.einsum("bih,bciw,bwj->bchj", view.rows, cotangent * view.gain, view.columns)
    print(f"gradient error {np.abs(got - want).max():.1e}")
    assert np.abs(got - want).max() < 1e-4


def test_noise_on_views_keeps_their_scale_and_is_the_same_for_both_pictures():
    view = views.draw(np.random.default_rng(4), 6, 32, 0.9, noise=2.0)
    plain = views.draw(np.random.default_rng(4), 6, 32, 0.9)
    assert np.array_equal(view.rows, plain.rows) and plain.noise is None
    strength = view.noise.std(axis=(1, 2, 3))
    assert (strength < 2.1).all() and np.allclose(view.scale[:, 0, 0, 0], 1 / np.sqrt(1 + strength ** 2), rtol=0.05)
    image = jt.array(np.random.default_rng(5).normal(size=(6, 3, 32, 32)).astype(np.float32))
    seen, clean = views.look(image, view).numpy(), views.look(image, plain).numpy()
    assert np.allclose(seen / view.scale - clean, view.noise, atol=1e-5)

"""The reductions against the records of the reference libraries (tests/parity/record_metrics.py) and closed forms."""
from __future__ import annotations

import itertools
import json
from pathlib import Path

import metric_cases as cases
import numpy as np
import pytest

from jittor_ipl.metrics import clusters, cosines, frechet, kernel, pixels
from jittor_ipl.metrics.inception_score import inception_score

RECORD = json.loads((Path(__file__).parents[1] / "golden" / "metrics.json").read_text())
LIMIT = 1e-6        # relative


def agree(name: str, ours: float, reference: float, limit: float = LIMIT) -> None:
    error = abs(ours - reference) / abs(reference)
    print(f"{name}: relative error {error:.1e} (limit {limit:.0e})")
    assert error <= limit, (name, ours, reference)


@pytest.mark.parametrize("name", cases.FID)
def test_fid(name: str) -> None:
    ours = frechet.frechet_inception_distance(*cases.FID[name])
    for library, value in RECORD["fid"][name].items():
        agree(f"fid {name} {library}", ours, value)


@pytest.mark.parametrize("name", cases.KID)
def test_kid(name: str) -> None:
    a, b, size = cases.KID[name]
    mean, std = kernel.kernel_inception_distance(a, b, subset_size=size)
    agree(f"kid {name}", mean, RECORD["kid"][name]["kernel_inception_distance_mean"])
    assert std == pytest.approx(RECORD["kid"][name]["kernel_inception_distance_std"], rel=LIMIT, abs=1e-12)


@pytest.mark.parametrize("name", cases.IS)
def test_inception_score(name: str) -> None:
    part, splits = cases.IS[name]
    for label, value in zip(("mean", "std"), inception_score(part, splits)):
        agree(f"is {name} {label}", value, RECORD["is"][name][f"inception_score_{label}"])


def test_single_image_distance() -> None:
    normals = [frechet.of_moments(*frechet.patch_moments(cases.maps(seed)[None])) for seed in (11, 12)]
    agree("sifid", float(frechet.single_image_distances(*normals)[0, 0]), RECORD["sifid"])


@pytest.mark.parametrize("library", ["scikit-image", "torchmetrics"])
def test_pixels(library: str) -> None:
    for name, function in (("ssim", pixels.ssim), ("psnr", pixels.psnr)):
        for k, value in enumerate(function(*cases.PICTURES)):
            agree(f"{name} {library} {k}", value, RECORD["pixels"][f"{name}/{library}"][k])


def test_fid_of_moved_and_scaled_normals() -> None:
    x = cases.features(50, 6, 1)
    assert frechet.frechet_inception_distance(x, x) < 1e-12
    assert frechet.frechet_inception_distance(x, x + 2) == pytest.approx(6 * 4)
    spread = np.cov(x, rowvar=False)
    assert frechet.frechet_inception_distance(x - x.mean(0), 3 * (x - x.mean(0))) == pytest.approx(4 * np.trace(spread))


def test_fewer_pictures_than_features_need_no_help() -> None:
    """Covariances of rank 4 and 2 in 50 dimensions, on axes of their own: nothing is common."""
    a, b = np.zeros((5, 50)), np.zeros((3, 50))
    a[:, :5], b[:, 10:13] = np.eye(5), np.eye(3)
    shift = ((a.mean(0) - b.mean(0))**2).sum()
    assert frechet.frechet_inception_distance(a, b) == pytest.approx(shift + 1 + 1, rel=1e-12)


def test_moments_and_features_give_the_same_distance() -> None:
    a, b = cases.FID["plain"]
    moments = [frechet.of_moments(x.mean(0), np.cov(x, rowvar=False)) for x in (a, b)]
    assert float(frechet.distance(*moments)) == pytest.approx(frechet.frechet_inception_distance(a, b), rel=1e-10)


def test_inception_score_of_a_perfect_classifier() -> None:
    sure = np.tile(50 * np.eye(4), (10, 1))
    assert inception_score(sure, 1)[0] == pytest.approx(4)
    assert inception_score(np.zeros((20, 4)), 2) == (pytest.approx(1), pytest.approx(0))
    two = np.concatenate([sure, np.zeros((40, 3))], axis=1)          # a second head that knows nothing
    assert inception_score(two, 1, heads=(4, 3))[0] == pytest.approx(2)
    assert np.isfinite(inception_score(1e4 * sure, 2)).all()


def test_ssim_and_psnr_of_equal_pictures() -> None:
    a, _ = cases.PICTURES
    assert np.all(pixels.ssim(a, a) == 1) and np.all(np.isinf(pixels.psnr(a, a)))


def test_edges_ignore_brightness_but_not_shape() -> None:
    image = np.zeros((1, 40, 40, 3), np.uint8)
    image[:, 12:28, 12:28] = 200
    darker, moved, blank = image // 2, np.roll(image, 6, 2), np.zeros_like(image)
    scs = pixels.structural_consistency_score
    assert scs(image, image)[0] == pytest.approx(1) and scs(image, darker)[0] > 0.99
    assert scs(image, moved)[0] < 0.5 and scs(image, blank)[0] == 0 and scs(blank, blank)[0] == 1
    assert pixels.edges(image).shape == (1, 32, 32)


@pytest.mark.parametrize("k", [1, 2, 3])
def test_medoids_are_the_best_ones(k: int) -> None:
    """On clouds that a local search separates, no other choice of medoids has a smaller sum."""
    rng = np.random.RandomState(k)
    x = np.concatenate([rng.standard_normal((5, 3)) + 9 * centre for centre in np.eye(3)[:k]])
    distances = ((x[:, None] - x[None])**2).sum(-1)
    medoids, cluster = clusters.k_medoids(distances, k)
    best = min(distances[:, list(chosen)].min(1).sum() for chosen in itertools.combinations(range(len(x)), k))
    assert distances[:, medoids].min(1).sum() == pytest.approx(best)
    assert np.array_equal(cluster, distances[:, medoids].argmin(1)) and len(set(medoids)) == k


def test_diversity_by_hand() -> None:
    points = np.array([0.0, 1.0, 2.0, 10.0, 14.0])
    distances = np.abs(points[:, None] - points[None])
    medoids, cluster = clusters.k_medoids(distances, 2)
    found = clusters.to_medoids(distances, medoids, cluster)
    assert sorted(points[medoids])[0] == 1 and found.every == pytest.approx((1 + 0 + 1 + 4) / 5)
    assert found.mean == pytest.approx((2 / 3 + 2) / 2)
    pairs = clusters.within(distances, cluster)
    assert pairs.mean == pytest.approx(((1 + 1 + 2) / 3 + 4) / 2) and pairs.every == pytest.approx(8 / 4)
    assert clusters.within(distances, np.arange(5)) is None
    same = np.zeros((6, 6))
    assert clusters.to_medoids(same, *clusters.k_medoids(same, 3)).mean == 0
    assert clusters.mean_pair(distances) == pytest.approx(distances.sum() / 20)


def test_cosines() -> None:
    x = np.array([[3.0, 0], [0, 2], [0, 0]])
    assert cosines.cosines(x, np.array([[1.0, 0]])).tolist() == [1, 0, 0]
    assert cosines.clip_score(x[:2], np.array([-1.0, 0])) == 0
    assert cosines.clip_score(x[:1], np.array([2.0, 0])) == pytest.approx(100)
    before, after = np.array([[1.0, 0], [1, 0]]), np.array([[0, 1.0], [1, 0]])
    assert cosines.clip_directions(before, after, np.array([1.0, 0]), np.array([0, 1.0])) == pytest.approx([1, 0])

"""Features of the real networks and of the demo judge: what the reductions are fed with, and what the figures then
mean.
"""
from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from feature_records import SEED, agree, fill, filled, normalised, record

from jittor_ipl import cli
from jittor_ipl.errors import UserError
from jittor_ipl.images.files import save_png
from jittor_ipl.images.pixels import from_uint8
from jittor_ipl.metrics import networks
from jittor_ipl.metrics.evaluate import measure
from jittor_ipl.metrics.extract import FeatureSet, squared_distances
from jittor_ipl.metrics.image_set import from_array
from jittor_ipl.models.features.inception import Inception
from jittor_ipl.models.features.lpips import Lpips
from jittor_ipl.runtime.backend import jt
from jittor_ipl.runtime.streams import rng
from jittor_ipl.world.judging.features import SIZE, JudgeFeatures, extractor_of
from jittor_ipl.world.subjects import PORTRAITS


def rendered(style: str, count: int, seed: int = 1) -> np.ndarray:
    """Return pictures uint8 [count, 64, 64, 3] of random faces in a style."""
    faces = PORTRAITS.table.sample(rng(seed, "test.faces"), count)
    return np.ascontiguousarray(PORTRAITS.render(faces, style, SIZE).transpose(0, 2, 3, 1))


@pytest.fixture(scope="module")
def extractor():
    return extractor_of(PORTRAITS)


def test_squared_distances_of_embeddings_are_lpips() -> None:
    model = filled(Lpips("squeeze"))
    for head in model.channel_weights():
        head.assign(head.abs())
    a, b = (normalised(fill.pictures(2, 64, 72, SEED + k)) for k in (1, 2))
    with jt.no_grad():
        ours = squared_distances(networks.embedding_of(model, a), networks.embedding_of(model, b)).diagonal()
        agree("lpips by embedding", ours, model(a, b).numpy(), 1e-5)


def test_negative_heads_are_no_lpips(monkeypatch) -> None:
    model = filled(Lpips("squeeze"))
    model.channel_weights()[0].assign(-jt.ones([1, 64, 1, 1]))
    monkeypatch.setattr(networks, "load_lpips", lambda *_: model)
    monkeypatch.setattr(networks, "weights_sha256", lambda _: "")
    with pytest.raises(UserError, match="negative"):
        networks.PerceptualEmbedding("x.pth")


def test_inception_features_are_those_of_the_record(monkeypatch) -> None:
    monkeypatch.setattr(networks, "load_inception", lambda _: filled(Inception()))
    monkeypatch.setattr(networks, "weights_sha256", lambda _: "")
    network = networks.InceptionFeatures("x.pth")
    images = from_uint8(fill.pictures(2, 40, 53, SEED).transpose(0, 2, 3, 1))
    found = network.features(images, ["pooled", "logits", "patch-mean", "patch-covariance"])
    agree("pooled", found["pooled"], record()["inception/small/2048"])
    agree("logits", found["logits"], record()["inception/small/logits_unbiased"])
    assert found["patch-mean"].shape == (2, 64) and found["patch-covariance"].shape == (2, 64, 64)


def test_what_the_judge_shows_on_its_way() -> None:
    network = JudgeFeatures()
    x = jt.array(from_uint8(rendered("photo", 3)))
    with jt.no_grad():
        maps, logits = network.model.maps(x), network.model(x)
    assert [tuple(level.shape[1:]) for level in maps] == [(32, 32, 32), (32, 32, 32), (64, 16, 16), (96, 8, 8)]
    assert tuple(network.model.features(maps).shape) == (3, 128)
    assert logits.shape[1] == PORTRAITS.sections[0] + sum(network.heads)


def test_equal_sets(extractor) -> None:
    images = rendered("photo", 24)
    found = measure(images, images, images, extractor=extractor)
    figures = found["metrics"]
    note = "Features of the demo judge, not of Inception, LPIPS or ArcFace: figures compare only"
    assert found["note"].startswith(note)
    assert figures["frechet_inception_distance"] < 1e-6 and figures["learned_perceptual_image_patch_similarity"] == 0
    assert figures["structural_similarity_index_measure"] == figures["structural_consistency_score"] == 1
    assert figures["peak_signal_noise_ratio"] is None and figures["identical_pairs"] == 24
    assert figures["identity_similarity"] == pytest.approx(1)
    json.dumps(found, allow_nan=False)


def test_another_style_is_farther_than_the_same(extractor) -> None:
    photos, others, disney = rendered("photo", 40, 1), rendered("photo", 40, 2), rendered("disney", 40, 3)
    same, shifted, brighter = (measure(part, photos, extractor=extractor, metrics=["fid", "kid", "sifid"])["metrics"]
                               for part in (others, disney, np.clip(others.astype(int) + 60, 0, 255).astype(np.uint8)))
    for name in ("frechet_inception_distance", "kernel_inception_distance_mean"):
        assert shifted[name] > 2 * abs(same[name]) and brighter[name] > abs(same[name]), name
    swapped = measure(others, disney, extractor=extractor, metrics=["sifid"])["metrics"]
    name = "single_image_frechet_inception_distance"
    assert swapped[name] > 1.2 * same[name]


def test_a_collapsed_set_has_less_diversity(extractor) -> None:
    images = rendered("photo", 40)
    collapsed = np.concatenate([images[:4]] * 10)
    whole, few, one = (measure(part, extractor=extractor, metrics=["intra-lpips", "is"])["metrics"]
                       for part in (images, collapsed, np.repeat(images[:1], 40, 0)))
    for name in ("intra_cluster_lpips", "mean_pairwise_lpips", "inception_score_mean"):
        assert whole[name] > few[name] > one[name] - 1e-9, name
    assert few["intra_cluster_lpips"] == pytest.approx(0, abs=1e-5) and one["inception_score_mean"] == pytest.approx(1)
    part = measure(images, images[:3], extractor=extractor, metrics=["intra-lpips-reference"])["metrics"]
    assert 0 < part["intra_reference_lpips"] < whole["mean_pairwise_lpips"] * 1.1
    assert part["intra_reference_clusters"] <= 3


def test_other_faces_share_less_identity(extractor) -> None:
    faces, others = rendered("photo", 16, 1), rendered("photo", 16, 2)
    figures = [measure(faces, source=part, extractor=extractor, metrics=["id", "scs"])["metrics"]
               for part in (faces, others)]
    for name in ("identity_similarity", "structural_consistency_score"):
        assert figures[1][name] < figures[0][name] - 0.1


def test_batches_do_not_matter(extractor) -> None:
    images = from_array(rendered("photo", 7))
    few, many = (FeatureSet(images, batch).get(extractor.inception, "pooled")[0] for batch in (2, 7))
    np.testing.assert_allclose(few, many, rtol=1e-4, atol=1e-4)


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("sets")
    for name, style in (("a", "disney"), ("b", "photo")):
        for index, image in enumerate(rendered(style, 4)):
            save_png(root / name / f"{index}.png", image)
    return root


def test_the_command(folders: Path, capsys, tmp_path: Path) -> None:
    code = cli.main(["evaluate", "--images", str(folders / "a"), "--source", str(folders / "b"), "--metrics",
                     "clip,clip-direction,psnr",
                     "--prompt", "a disney", "--source-prompt", "a photo", "--json", str(tmp_path / "o.json"),
                     "--markdown", str(tmp_path / "o.md")])
    printed = capsys.readouterr().out
    assert code == 0 and printed == (tmp_path / "o.md").read_text()
    result = json.loads((tmp_path / "o.json").read_text())
    assert result["protocol"]["pairs"] == 4 and result["protocol"]["networks"]["clip"]["weights_sha256"]
    assert result["metrics"]["clip_direction_similarity"] > 0.1 and "clip_score" in printed


@pytest.mark.parametrize("arguments, text", [
    (["--metrics", "fdi"], "no metric 'fdi' (did you mean 'fid'?)"),
    (["--metrics", ""], "no metric ''"),
    (["--metrics", "fid"], "fid needs pictures of the target domain"),
    (["--metrics", "clip", "--prompt", "a zeppelin"], "'zeppelin'"),
    (["--metrics", "is"], "is needs at least 20 pictures, images holds 4"),
    (["--metrics", "is", "--seed", "-1"], "seed -1 is out of range"),
    (["--metrics", "lpips", "--source", "nowhere"], "'nowhere' is not a folder"),
    (["--inception", "nowhere.pth"], "no weight file 'nowhere.pth'"),
    (["--inception", "demo:judge"], "a 'inception-v3' network is expected"),
])
def test_mistakes_are_one_line(folders: Path, capsys, arguments: list[str], text: str) -> None:
    assert cli.main(["evaluate", "--images", str(folders / "a"), *arguments]) == 2
    told = capsys.readouterr().err
    assert text in told and told.count("\n") == 1

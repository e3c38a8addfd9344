"""Sets of pictures from folders and arrays, features kept between runs, and every refusal; no network is needed."""
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from jittor_ipl.errors import UserError
from jittor_ipl.images.files import save_png
from jittor_ipl.images.pixels import from_uint8
from jittor_ipl.metrics.evaluate import choose, measure
from jittor_ipl.metrics.extract import Extractor, FeatureSet, squared_distances
from jittor_ipl.metrics.image_set import from_array, from_folder, paired
from jittor_ipl.metrics.report import markdown

RNG = np.random.default_rng(5)


class Tiny:
    """Coarse pixels as every feature."""

    name, demo = "tiny", False

    def __init__(self, sha256: str = "0" * 64, scale: float = 1) -> None:
        self.sha256, self.scale, self.seen = sha256, scale, 0

    def features(self, images: np.ndarray, wanted) -> dict[str, np.ndarray]:
        self.seen += len(images)
        flat = self.scale * images[:, :, ::4, ::4].reshape(len(images), -1).astype(np.float64)
        unit = flat / np.linalg.norm(flat, axis=1, keepdims=True)
        moments = {"patch-mean": images.mean((2, 3)),
                   "patch-covariance": np.stack([np.cov(x.reshape(3, -1)) for x in images])}
        return {name: moments[name] if name in moments else unit if name in ("clip", "identity") else flat
                for name in wanted}

    def text(self, sentence: str) -> np.ndarray:
        return np.eye(48)[len(sentence) % 48]


def pictures(count: int, size: int = 16) -> np.ndarray:
    return RNG.integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def tiny() -> Extractor:
    network = Tiny()
    return Extractor(network, network, network, network)


def folder(path: Path, images: np.ndarray, start: int = 0) -> Path:
    for index, image in enumerate(images, start):
        save_png(path / f"seed{index:04d}.png", image)
    return path


@pytest.fixture
def a(tmp_path: Path) -> Path:
    return folder(tmp_path / "a", pictures(4))


def refused(text: str, function, *arguments, **named) -> None:
    with pytest.raises(UserError, match=text) as caught:
        function(*arguments, **named)
    assert "\n" not in str(caught.value)


def test_a_folder_and_its_pictures_in_memory_are_the_same_set(tmp_path: Path) -> None:
    images = pictures(3)
    read = from_folder(folder(tmp_path / "x", images))
    assert read.sha256 == from_array(images).sha256 == from_array(from_uint8(images)).sha256
    assert read.names == ("seed0000", "seed0001", "seed0002") and read.size == (16, 16)
    assert from_array(images[::-1]).sha256 != read.sha256


def test_a_large_folder_is_read_again(tmp_path: Path, monkeypatch) -> None:
    images = pictures(5)
    monkeypatch.setattr("jittor_ipl.metrics.image_set.IN_MEMORY", 2000)
    read = from_folder(folder(tmp_path / "x", images))
    assert read._pixels is None and read.sha256 == from_array(images).sha256
    assert np.array_equal(np.concatenate(list(read.batches(2))), images)
    assert np.array_equal(read.select([3, 1]).pixels([0, 1]), images[[3, 1]])


def test_size_takes_the_centre(tmp_path: Path) -> None:
    image = np.zeros((16, 24, 3), np.uint8)
    image[:, 4:20] = 200
    read = from_folder(folder(tmp_path / "x", image[None]), size=8)
    assert read.size == (8, 8) and (read.pixels([0]) == 200).all()


def test_bad_folders(tmp_path: Path, a: Path) -> None:
    (tmp_path / "empty").mkdir()
    refused("no picture", from_folder, tmp_path / "empty")
    refused("not a folder", from_folder, tmp_path / "nowhere")
    save_png(a / "wide.png", np.zeros((16, 20, 3), np.uint8))
    refused("seed0000.png has 16 x 16 pixels, wide.png has 20 x 16", from_folder, a)
    assert len(from_folder(a, size=8)) == 5
    refused("cannot be brought to 99999", from_folder, a, size=99999)
    (a / "wide.png").unlink()
    (a / "seed0002.jpg").write_bytes((a / "seed0002.png").read_bytes())
    refused("two pictures named 'seed0002'", from_folder, a)


def test_a_damaged_picture_is_named_or_counted(a: Path) -> None:
    path = a / "seed0001.png"
    path.write_bytes(path.read_bytes()[:60])
    refused("seed0001.png.*--skip-bad", from_folder, a)
    read = from_folder(a, skip_bad=True)
    assert len(read) == 3 and read.skipped[0].startswith("seed0001.png: ")
    result = measure(read, extractor=tiny(), metrics=["clip"], prompt="x")
    assert result["protocol"]["sets"]["images"]["skipped"] == 1 and "1 damaged left out" in markdown(result)
    for other in a.iterdir():
        other.write_bytes(b"")
    refused("no picture that can be read .4 damaged", from_folder, a, skip_bad=True)


def test_pairs(tmp_path: Path, a: Path) -> None:
    b = folder(tmp_path / "b", pictures(4))
    images, source = paired(from_folder(a), from_folder(b, "source"))
    assert images.names == source.names
    (b / "seed0003.png").rename(b / "seed0033.png")
    refused("'seed0003' has no partner in source", paired, from_folder(a), from_folder(b, "source"))
    (b / "seed0033.png").rename(b / "seed0003.png")
    (b / "seed0000.png").write_bytes(b"x")
    images, source = paired(from_folder(a), from_folder(b, "source", skip_bad=True))
    assert images.names == source.names == ("seed0001", "seed0002", "seed0003")
    folder(b, pictures(2), start=3)
    refused("source: 'seed0004' has no partner", paired, from_folder(a), from_folder(b, "source", skip_bad=True))
    refused("4 images and 3 source do not form pairs", paired, from_array(pictures(4)),
            from_array(pictures(3), "source"))
    refused("16 x 16 pixels, source 8 x 8", paired, from_array(pictures(4)), from_array(pictures(4, 8), "source"))


def test_bad_arrays() -> None:
    refused("NCHW|N, 3, H, W", from_array, np.zeros((2, 8, 8, 3)))
    refused("NaN", from_array, np.full((2, 3, 8, 8), np.nan))
    refused("N, H, W, 3", from_array, np.zeros((2, 3, 8, 8), np.uint8))


@pytest.mark.parametrize("key, count, named, text", [
    ("is", 19, {}, "is needs at least 20 pictures, images holds 19"),
    ("intra-lpips", 12, {}, "intra-lpips needs at least 20 pictures, images holds 12"),
    ("fid", 1, {"reference": 4}, "fid needs at least 2 pictures, images holds 1"),
    ("kid", 4, {"reference": 1}, "kid needs at least 2 pictures, reference holds 1"),
    ("fid", 4, {}, "fid needs pictures of the target domain"),
    ("psnr", 4, {}, "psnr needs the pictures before"),
    ("clip-direction", 4, {"source": 4}, "clip-direction needs .* two texts"),
    ("kdi", 4, {}, "no metric 'kdi' .did you mean 'kid'"),
])
def test_refusals(key: str, count: int, named: dict[str, int], text: str) -> None:
    sets = {label: pictures(number) for label, number in named.items()}
    refused(text, measure, pictures(count), **sets, metrics=[key], extractor=tiny())


def test_an_empty_array_is_refused() -> None:
    refused("0", measure, pictures(0), reference=pictures(3), metrics=["fid"], extractor=tiny())
    refused("at least 1", measure, pictures(0), metrics=["clip"], prompt="x", extractor=tiny())


def test_what_is_measured_without_a_choice() -> None:
    given = dict(images=True, reference=True, source=False, prompt=False, prompts=False)
    assert choose(None, given, from_array(pictures(8))) == ["fid", "kid", "sifid"]
    result = measure(pictures(20), pictures(20), pictures(20), extractor=tiny(), prompt="ab", source_prompt="c")
    assert result["protocol"]["metrics"] == ["is", "fid", "kid", "sifid", "intra-lpips", "scs", "id", "lpips", "psnr",
                                             "ssim",
                                             "clip", "clip-direction"]
    assert result["note"] == "" and markdown(result).startswith("| metric |") and result["protocol"]["left_out"] == {}


def test_what_a_set_is_too_small_for_is_said() -> None:
    result = measure(pictures(8), pictures(8), source=pictures(8, 16), extractor=tiny())
    assert list(result["protocol"]["left_out"]) == ["is", "intra-lpips"]
    assert "- left out: is needs at least 20 pictures, images holds 8" in markdown(result)
    result = measure(pictures(8, 10), source=pictures(8, 10), extractor=tiny())
    assert {"ssim", "scs"} < set(result["protocol"]["left_out"]) and "11 x 11" in result["protocol"]["left_out"]["scs"]
    refused("nothing to measure: is needs at least 20 pictures, images holds 1; intra-lpips needs", measure,
            pictures(1), extractor=tiny())


def test_every_network_sees_every_picture_once() -> None:
    """All metrics at once; but SIFID asks for the patches of its ten references in a pass of their own."""
    inception, lpips, identity, clip = (Tiny(letter * 64) for letter in "abcd")
    measure(pictures(20), pictures(24), pictures(20), extractor=Extractor(inception, lpips, identity, clip),
            prompt="ab", source_prompt="c")
    assert [network.seen for network in (inception, lpips, identity, clip)] == [20 + 24 + 10, 20 + 20, 20 + 20, 20 + 20]
    one = Tiny()
    measure(pictures(20), pictures(12), pictures(20), extractor=Extractor(one, one, one, one),
            metrics=["lpips", "intra-lpips-reference", "intra-lpips"])
    assert one.seen == 20 + 12 + 20
    one = Tiny()
    measure(pictures(20), pictures(8), pictures(20), extractor=Extractor(one, one, one, one),
            metrics=["is", "fid", "kid", "sifid", "id"])
    assert one.seen == 20 + 8 + 8 + 20


def test_other_weights_of_the_same_network_are_another_network() -> None:
    kept = FeatureSet(from_array(pictures(20)))
    one, two = (measure(kept, pictures(5), extractor=Extractor(*[network] * 4), metrics=["intra-lpips"])["metrics"]
                for network in (Tiny("1" * 64), Tiny("2" * 64, scale=3)))
    assert two["mean_pairwise_lpips"] == pytest.approx(9 * one["mean_pairwise_lpips"])


def test_features_are_computed_once_and_kept(tmp_path: Path) -> None:
    extractor, images = tiny(), pictures(20)
    first = measure(images, images[:5], extractor=extractor, metrics=["fid", "kid"], cache=tmp_path)
    assert extractor.inception.seen == 25
    assert measure(images, images[:5], extractor=extractor, metrics=["fid", "kid"], cache=tmp_path) == first
    assert extractor.inception.seen == 25
    everything = dict(source=images[::-1].copy(), extractor=extractor,
                      metrics=["lpips", "intra-lpips", "intra-lpips-reference"], cache=tmp_path)
    whole, seen = measure(images, images[:5], **everything), extractor.inception.seen
    assert measure(images, images[:5], **everything) == whole and extractor.inception.seen == seen
    damaged = next(path for path in tmp_path.iterdir() if path.name.startswith("pooled"))
    damaged.write_bytes(damaged.read_bytes()[:50])
    assert measure(images, images[:5], extractor=extractor, metrics=["fid"],
                   cache=tmp_path)["metrics"].items() <= first["metrics"].items()
    assert extractor.inception.seen > seen


def test_a_feature_set_keeps_its_features_between_calls() -> None:
    extractor, reference = tiny(), FeatureSet(from_array(pictures(5), "reference"))
    one, two = pictures(6), pictures(6)
    found = [measure(images, reference, extractor=extractor, metrics=["fid"]) for images in (one, two)]
    assert extractor.inception.seen == 5 + 6 + 6
    plain = measure(two, reference.images, extractor=tiny(), metrics=["fid"])
    assert plain == found[1] and "fewer here than features" in plain["protocol"]["settings"]["fid"]


def test_distances_in_blocks_are_those_of_all_at_once(monkeypatch) -> None:
    network, images = Tiny(), pictures(9)
    whole = FeatureSet(from_array(images), batch=4).distances(network)
    monkeypatch.setattr("jittor_ipl.metrics.extract.MEMORY", 2 * 3 * 48 * 8)
    blocks = FeatureSet(from_array(images), batch=2).distances(network)
    np.testing.assert_allclose(blocks, whole, rtol=1e-12, atol=1e-12)
    x = network.features(from_uint8(images), ["embedding"])["embedding"]
    np.testing.assert_allclose(whole, ((x[:, None] - x[None])**2).sum(-1), rtol=1e-10, atol=1e-10)
    a, b = FeatureSet(from_array(images), 4), FeatureSet(from_array(images[::-1][:3]), 4)
    np.testing.assert_allclose(a.cross_distances(b, network), whole[:, [8, 7, 6]], atol=1e-10)
    np.testing.assert_allclose(a.pair_distances(FeatureSet(from_array(images[::-1])), network),
                               whole[range(9), range(8, -1, -1)], atol=1e-10)
    assert squared_distances(x[:1], x[:1])[0, 0] == 0


def test_batch_and_order_of_files_change_nothing() -> None:
    images, reference = pictures(21), pictures(7)
    one, seven = (measure(images, reference, extractor=tiny(), batch=batch)["metrics"] for batch in (1, 7))
    assert one == pytest.approx(seven, rel=1e-12)

"""FID against a statistics file, and the rule for transparent pictures in the protocol."""
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_sets import Tiny, folder, pictures, refused, tiny

from jittor_ipl import cli
from jittor_ipl.metrics.evaluate import choose, measure
from jittor_ipl.metrics.extract import Extractor
from jittor_ipl.metrics.image_set import from_array, from_folder
from jittor_ipl.metrics.report import markdown
from jittor_ipl.metrics.statistics import read_statistics


def written(path: Path, images: np.ndarray) -> Path:
    """Write the statistics of the tiny network's features, as pytorch-fid does."""
    features = np.concatenate([Tiny().features(batch, ["pooled"])["pooled"] for batch in [_floats(images)]])
    np.savez_compressed(path, mu=features.mean(0), sigma=np.cov(features, rowvar=False))
    return path


def _floats(images: np.ndarray) -> np.ndarray:
    return np.moveaxis(images, -1, 1).astype(np.float32) / np.float32(127.5) - 1


def test_a_statistics_file_gives_the_fid_of_its_pictures(tmp_path: Path) -> None:
    images, reference = pictures(60), pictures(70)
    statistics = read_statistics(written(tmp_path / "reference.npz", reference))
    ours = measure(images, statistics, extractor=tiny())
    theirs = measure(images, reference, extractor=tiny(), metrics=["fid"])
    name = "frechet_inception_distance"
    assert ours["metrics"][name] == pytest.approx(theirs["metrics"][name], rel=1e-9)
    assert not {"kid", "sifid"} & set(ours["protocol"]["metrics"])
    assert ours["protocol"]["sets"]["reference"] == {
        "statistics": "reference.npz", "features": 48, "sha256": statistics.sha256}
    assert "it does not say" in ours["protocol"]["settings"]["fid"] and "reference.npz" in markdown(ours)


def test_what_statistics_cannot_do_is_refused(tmp_path: Path) -> None:
    statistics = read_statistics(written(tmp_path / "reference.npz", pictures(60)))
    given = {"images": True, "reference": True, "source": False, "prompt": False, "prompts": False}
    refused("kid needs the reference's pictures", choose, ["kid"], given, statistics=True)
    network = Tiny()
    network.demo = True
    refused("give --inception", measure, pictures(4), statistics, extractor=Extractor(network, network, network))
    refused("48 features, the network gives 12", measure, pictures(4, 8), statistics, extractor=tiny(), metrics=["fid"])


@pytest.mark.parametrize("arrays, reason", [
    ({"mean": np.zeros(3)}, "holds mean; FID's statistics are the arrays mu and sigma"),
    ({"mu": np.zeros(3), "sigma": np.eye(2)}, "are no mean and covariance"),
    ({"mu": np.zeros(2), "sigma": np.full((2, 2), np.nan)}, "NaN"),
    ({"mu": np.zeros(2), "sigma": np.array([[1.0, 5], [0, 1]])}, "not symmetric"),
    ({"mu": np.array([{}], object), "sigma": np.eye(1)}, "no statistics file that can be read"),
])
def test_other_files_are_refused(tmp_path: Path, arrays: dict, reason: str) -> None:
    np.savez(tmp_path / "x.npz", **arrays)
    refused(reason, read_statistics, tmp_path / "x.npz")


def test_a_large_claim_is_refused_before_it_is_unpacked(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("jittor_ipl.metrics.statistics.MAX_BYTES", 1000)
    refused("unpack to", read_statistics, written(tmp_path / "x.npz", pictures(60)))


def test_a_damaged_file_costs_one_line_at_the_command(tmp_path: Path, capsys) -> None:
    (tmp_path / "x.npz").write_bytes(b"PK\x03\x04 no archive")
    assert cli.main(["evaluate", "--images", str(folder(tmp_path / "a", pictures(4))),
                     "--reference", str(tmp_path / "x.npz")]) == 2
    assert "no statistics file that can be read" in capsys.readouterr().err


def test_transparent_pictures_are_counted_in_the_protocol(tmp_path: Path) -> None:
    images = pictures(4)
    folder(tmp_path / "a", images[:2])
    clear = np.concatenate([images[2], np.full((16, 16, 1), 255, np.uint8)], axis=2)
    Image.fromarray(clear, "RGBA").save(tmp_path / "a" / "opaque.png")
    clear[:4, :4, 3] = 0
    Image.fromarray(clear, "RGBA").save(tmp_path / "a" / "transparent.png")
    read = from_folder(tmp_path / "a")
    assert read.flattened == 1 and (read.pixels([3])[0, :4, :4] == 255).all()
    report = measure(read, from_array(pictures(4)), extractor=tiny(), metrics=["fid"])
    assert report["protocol"]["sets"]["images"]["transparency"] == "1 pictures with transparent parts, laid over white"
    assert "laid over white" in markdown(report)
    assert "transparency" not in report["protocol"]["sets"]["reference"]

"""The competition's score: every part against the libraries the checker calls, the formula on published rows, the
command.
"""
from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import metric_cases as cases
import numpy as np
import pytest

from jittor_ipl import cli
from jittor_ipl.errors import UserError
from jittor_ipl.images.files import save_png
from jittor_ipl.metrics import competition, histograms, scorers
from jittor_ipl.metrics.competition import Style
from jittor_ipl.models.clip.config import MEAN, STD, ClipConfig
from jittor_ipl.models.clip.model import Clip
from jittor_ipl.models.features.dinov2 import Dinov2
from jittor_ipl.models.strict import load_into, named_tensors
from jittor_ipl.weights.containers.safetensors import write_safetensors
from jittor_ipl.weights.families.features import dinov2 as family
from jittor_ipl.weights.features import load_dinov2

GOLDEN = Path(__file__).parents[1] / "golden"
RECORD = json.loads((GOLDEN / "metrics.json").read_text())
_spec = importlib.util.spec_from_file_location("golden_fill", GOLDEN / "fill.py")
fill = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(fill)

# DINO, Hist, FID, LPIPS, CLIP-IQA, CLIP-R, total: the server's results that czpcf/jittor-5-b prints (n = 2, 8, 14, 28),
# then those of Xlucidator/JDiffArtFlow's report and notes.
PUBLISHED = [(.2125, .747, 2.813, .3939, .7451, .62, .4251), (.1916, .73, 3.8127, .4113, .7579, .7629, .4419),
             (.1762, .6811, 3.1457, .4223, .7471, .8457, .4497), (.1737, .7144, 3.272, .4154, .7463, .8586, .4648),
             (.120226, .779055, 1.674596, .428658, .757711, .930667, .512078),
             (.164997, .829148, 2.119416, .409496, .758036, .810667, .503971),
             (.1318, .7977, 1.5406, .4342, .7273, .9067, .5119), (.1130, .4388, 1.7101, .5391, .7567, .8293, .3274)]


@pytest.mark.parametrize("row", PUBLISHED, ids=lambda row: str(row[-1]))
def test_the_formula_gives_the_published_totals(row: tuple[float, ...]) -> None:
    parts = dict(zip(("dino", "hist", "fid", "lpips", "clip_iqa", "clip_r"), row))
    # Published with four digits: half of the last one is 5e-5, of the total and, weighted, of its parts.
    assert competition.total(parts) == pytest.approx(row[-1], abs=1e-4)
    assert competition.total({**parts, "fid": 20}) == competition.total({**parts, "fid": 300})


def test_histograms_are_opencvs() -> None:
    images = [cases.colours(seed) for seed in range(6)]
    for name, function in (("rgb", histograms.rgb_histogram), ("hsv", histograms.hsv_histogram)):
        reference = (function(images[0]) + function(images[1])) / 2
        ours = [histograms.correlation(reference, function(image)) for image in images[2:]]
        assert ours == pytest.approx(RECORD["histograms"][name], rel=1e-9), name
    score = histograms.histogram_score(images[2:], images[:2])
    assert score == pytest.approx(np.mean([np.mean(RECORD["histograms"][name]) for name in ("rgb", "hsv")]), rel=1e-6)


def test_the_checkers_habits() -> None:
    """Blue does not count among the RGB bins, violet is red, and the last bin stays empty (see the module)."""
    blue, green, violet, bright = (np.full((4, 4, 3), colour, np.uint8) for colour in
                                   ((0, 0, 255), (0, 255, 0), (130, 0, 255), (255, 0, 200)))
    black = np.zeros_like(blue)
    assert np.array_equal(histograms.rgb_histogram(blue), histograms.rgb_histogram(black))
    assert histograms.rgb_histogram(green).argmax() == 240
    assert histograms.hsv(violet)[0, 0].tolist() == [135, 255, 255]
    assert histograms.hsv_histogram(violet).argmax() // 9 == 0
    assert histograms.hsv_histogram(bright).sum() == 16
    assert histograms.correlation(np.ones(5), np.arange(5)) == 1


@pytest.fixture(scope="module")
def dino_file(tmp_path_factory) -> Path:
    model = Dinov2(**cases.DINO)
    tensors = {name: cases.dino_weight(name, tuple(var.shape)) for name, var in named_tensors(model).items()}
    folder = tmp_path_factory.mktemp("dino")
    (folder / "config.json").write_text(json.dumps({"model_type": "dinov2",
                                                    "num_attention_heads": cases.DINO["heads"]}))
    write_safetensors(folder / "model.safetensors", tensors, {"format": "pt"})
    return folder


def test_dino_is_transformers(dino_file: Path) -> None:
    found = scorers.dino_feature(dino_file)(cases.pictures(1, 300, 281, 3)[0])
    error = np.abs(found - RECORD["dino"]).max() / np.abs(RECORD["dino"]).max()
    print(f"dino: relative error {error:.1e} (limit 1e-04)")
    assert error < 1e-4


def test_dinov2s_names_and_sizes(dino_file: Path, tmp_path: Path) -> None:
    model = load_dinov2(dino_file)
    shapes = {name: tuple(var.shape) for name, var in named_tensors(model).items()}
    assert family.recognise(shapes, type("Hints", (), {"config": {"num_attention_heads": 3}})()).config == cases.DINO
    tensors = {name: var.numpy() for name, var in named_tensors(model).items() if not name.endswith("norm1.bias")}
    write_safetensors(tmp_path / "torn.safetensors", tensors, {})
    with pytest.raises(UserError, match="norm1.bias' is missing"):
        load_dinov2(tmp_path / "torn.safetensors")
    with pytest.raises(UserError, match="'dinov2' network is expected"):
        load_dinov2("demo:generator")


def test_pictures_are_prepared_as_by_clips_processor() -> None:
    found = scorers.prepared(cases.pictures(1, 300, 281, 4)[0], 224, 224, MEAN, STD)
    np.testing.assert_allclose(found.reshape(-1)[::9973], RECORD["clip-pixels"], atol=2e-6)


def test_clip_iqa_is_piqs(monkeypatch) -> None:
    model = Clip(ClipConfig(**cases.CLIP_IQA))
    load_into(model, {name: np.asarray(fill.clip(name, tuple(var.shape), 5), np.float32).reshape(tuple(var.shape))
                      for name, var in named_tensors(model).items()}, source="record")
    monkeypatch.setattr(scorers, "load_clip", lambda _: model)
    feature, anchors = scorers.clip_iqa_features("RN50.pt")
    found = feature(cases.pictures(1, 96, 64, 5)[0])
    error = np.abs(found - RECORD["clip-iqa"]).max() / np.abs(RECORD["clip-iqa"]).max()
    print(f"clip-iqa: relative error {error:.1e} (limit 1e-04)")
    assert error < 1e-4 and anchors.shape == (2, 16)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rng = np.random.RandomState(3)
    for style in ("00", "01"):
        for word in ("Cat", "dog.v2", "a red house"):
            save_png(tmp_path / "results" / style / f"{word}.png", rng.randint(0, 256, (16, 16, 3)).astype(np.uint8))
        for index in range(2):
            save_png(tmp_path / "gt" / style / "images" / f"{index}.png",
                     rng.randint(0, 256, (16, 16, 3)).astype(np.uint8))
    return tmp_path


def styles_of(data: Path) -> list[Style]:
    return competition.find_styles(data / "results", data / "gt")


def flat(image: np.ndarray) -> np.ndarray:
    return image.reshape(-1).astype(np.float64) / 255


def test_parts_are_means_of_means(data: Path) -> None:
    styles = styles_of(data)
    assert [(style.name, len(style.images), len(style.references)) for style in styles] == [("00", 3, 2), ("01", 3, 2)]
    from jittor_ipl.images.files import load_image
    every = [[(flat(load_image(image)), flat(load_image(other))) for image in style.images
              for other in style.references] for style in styles]
    assert competition.lpips(styles, flat) == pytest.approx(np.mean([[((a - b)**2).sum() for a, b in pairs]
                                                                     for pairs in every]))
    assert competition.dino(styles, flat) == pytest.approx(
        np.mean([[a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in pairs] for pairs in every]))
    assert competition.fid(styles, lambda image: flat(image)[:4]) > 0
    anchors = np.stack([np.eye(768)[0], np.eye(768)[1]])
    assert competition.clip_iqa(styles, lambda _: (np.eye(768)[0] + np.eye(768)[1]) / 2, anchors) == pytest.approx(0.5)


def test_the_own_word_must_be_among_the_five_likeliest(data: Path, tmp_path: Path) -> None:
    assert [competition.word_of(path) for path in styles_of(data)[0].images] == ["cat", "a red house", "dog"]
    words = ["one", "two", "three", "four", "five", "Cat "]
    (tmp_path / "words.txt").write_text("\n".join(words))
    listed = competition.read_words(tmp_path / "words.txt")
    likeness = {"one": 9, "two": 8, "three": 7, "four": 6, "five": 1, "cat": 5, "a red house": 0.5, "dog": 6.5}
    hits = competition.clip_r(styles_of(data), listed, lambda _: np.ones(1), lambda word: np.array([likeness[word]]))
    assert hits == pytest.approx(2 / 3)             # cat is fifth, dog fourth, the house last
    (tmp_path / "few.txt").write_text("a\nb\nb\n")
    with pytest.raises(UserError, match="holds 2 words"):
        competition.read_words(tmp_path / "few.txt")


def test_one_part_alone_and_what_is_missing(data: Path, capsys, tmp_path: Path) -> None:
    arguments = ["score", "--results", str(data / "results"), "--references", str(data / "gt")]
    assert cli.main([*arguments, "--json", str(tmp_path / "s.json")]) == 0
    told = capsys.readouterr().out
    result = json.loads((tmp_path / "s.json").read_text())
    assert list(result["parts"]) == ["hist"] and result["total"] is None
    assert set(result["missing"]) == set(competition.PARTS) - {"hist"}
    assert "total     withheld" in told and "--dino is not given" in told and "--words is not given" in told
    assert cli.main([*arguments, "--parts", "hist"]) == 0
    assert "not asked for" in capsys.readouterr().out


def test_dino_by_command(data: Path, dino_file: Path, capsys) -> None:
    assert cli.main(["score", "--results", str(data / "results"), "--references", str(data / "gt"), "--parts",
                     "dino,hist",
                     "--dino", str(dino_file)]) == 0
    assert "dino      0." in capsys.readouterr().out


@pytest.mark.parametrize("change, text", [
    (["--parts", "hits"], "no part 'hits' (did you mean 'hist'?)"),
    (["--references", "nowhere"], "'nowhere' is not a folder of styles"),
    (["--dino", "nowhere.safetensors"], "no weight file 'nowhere.safetensors'"),
    (["--dino", "demo:clip-robust"], "a 'dinov2' network is expected"),
])
def test_mistakes(data: Path, capsys, change: list[str], text: str) -> None:
    assert cli.main(["score", "--results", str(data / "results"), "--references", str(data / "gt"), *change]) == 2
    told = capsys.readouterr().err
    assert text in told and told.count("\n") == 1


def test_styles_must_correspond(data: Path) -> None:
    (data / "gt" / "02").mkdir()
    with pytest.raises(UserError, match="'02' of .* was not generated"):
        styles_of(data)
    (data / "gt" / "02").rmdir()
    (data / "results" / "03").mkdir()
    with pytest.raises(UserError, match="'03' of .* has no references"):
        styles_of(data)

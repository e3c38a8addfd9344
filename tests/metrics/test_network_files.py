"""`evaluate` and `score` with a file for every option: random weights under the published names, through the
commands.
"""
from __future__ import annotations

import json
from pathlib import Path

import metric_cases as cases
import numpy as np
import pytest
from feature_records import SEED, filled, weights
from network_names import FIXTURES
from PIL import Image

from jittor_ipl import cli
from jittor_ipl.images.files import load_image, save_png
from jittor_ipl.images.pixels import from_uint8
from jittor_ipl.metrics import competition, networks
from jittor_ipl.metrics.competition import OFFICIAL_WORDS
from jittor_ipl.metrics.frechet import frechet_inception_distance
from jittor_ipl.models.clip.config import ClipConfig
from jittor_ipl.models.clip.model import Clip
from jittor_ipl.models.features.dinov2 import Dinov2
from jittor_ipl.models.features.inception import Inception
from jittor_ipl.models.features.lpips import Lpips
from jittor_ipl.models.strict import named_tensors
from jittor_ipl.runtime.backend import jt
from jittor_ipl.weights.containers.safetensors import write_safetensors

VIT = dict(embed_dim=16, image_resolution=32, vision_layers=1, vision_width=64, vision_patch_size=8, context_length=77,
           vocab_size=49408,
           transformer_width=64, transformer_heads=1, transformer_layers=1)
RESNET = {**VIT, "vision_layers": (1, 1, 1, 1), "vision_width": 8, "vision_patch_size": None}
ARCFACE = FIXTURES / "arcface" / "ir_se50.pth"


def random(model) -> dict[str, np.ndarray]:
    """Return random tensors that keep values in range, variances and gains near one."""
    rng, found = np.random.default_rng(SEED), {}
    for name, var in named_tensors(model).items():
        gain = name.endswith(("running_var", "logit_scale")) or (len(var.shape) == 1 and name.endswith("weight"))
        fan = max(1, int(np.prod(var.shape[1:]))) if len(var.shape) > 1 else 100
        found[name] = (gain + rng.standard_normal(tuple(var.shape)) / np.sqrt(fan)).astype(np.float32)
        if name.endswith("running_var"):
            found[name] = np.abs(found[name])
    return found


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("networks")
    squeeze = {name: np.abs(value) if name.startswith("lin") else value
               for name, value in weights(Lpips("squeeze")).items()}
    dino = Dinov2(**cases.DINO)
    (folder / "dino").mkdir()
    (folder / "dino" / "config.json").write_text(json.dumps({"model_type": "dinov2",
                                                             "num_attention_heads": cases.DINO["heads"]}))
    every = {"inception": weights(Inception()), "lpips": squeeze, "vit": random(Clip(ClipConfig(**VIT))),
             "resnet": random(Clip(ClipConfig(**RESNET))),
             "dino/model": {name: cases.dino_weight(name, tuple(var.shape))
                            for name, var in named_tensors(dino).items()}}
    for name, tensors in every.items():
        write_safetensors(folder / f"{name}.safetensors", tensors, {})
    (folder / "words.txt").write_text("\n".join(f"word number {index}" for index in range(OFFICIAL_WORDS)))
    (folder / "few.txt").write_text("cat\ndog\nbird\nhorse\nfish\nhouse\n")
    return {"dino": folder / "dino", **{path.stem: path for path in folder.iterdir() if path.is_file()}}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("pictures")
    for index, style in enumerate(("00", "01")):
        for word, image in zip(("cat", "a red house"), cases.pictures(2, 260, 270, 20 + index)):
            save_png(root / "results" / style / f"{word}.png", image)
        for number, image in enumerate(cases.pictures(2, 256, 300, 30 + index)):
            save_png(root / "gt" / style / "images" / f"{number}.png", image)
    return root


def score(data: Path, files: dict[str, Path], *more: str, words: str = "words") -> int:
    given = {"dino": "dino", "inception": "inception", "lpips": "lpips", "clip-r": "vit", "clip-iqa": "resnet",
             "words": words}
    return cli.main(["score", "--results", str(data / "results"), "--references", str(data / "gt"),
                     *(text for option, name in given.items() for text in (f"--{option}", str(files[name]))), *more])


def test_all_six_parts_make_the_total(data: Path, files: dict[str, Path], tmp_path: Path, capsys) -> None:
    assert score(data, files, "--json", str(tmp_path / "s.json"), "--markdown", str(tmp_path / "s.md")) == 0
    told, result = capsys.readouterr().out, json.loads((tmp_path / "s.json").read_text())
    parts = result["parts"]
    assert list(parts) == list(competition.PARTS) and not result["missing"] and result["withheld"] is None
    assert result["total"] == pytest.approx(competition.total(parts)) and f"total     {result['total']:.6f}" in told
    assert set(result["protocol"]["weights_sha256"]) == {"dino", "inception", "lpips", "clip_r", "clip_iqa", "words"}
    assert "215 words" in told and f"| total | {result['total']:.6f} |" in (tmp_path / "s.md").read_text()

    # The parts once more, by the networks themselves on whole batches.
    styles = competition.find_styles(data / "results", data / "gt")
    images, references = ([path for style in styles for path in getattr(style, field)]
                          for field in ("images", "references"))
    inception = filled(Inception())

    def pooled(paths: list[Path]) -> np.ndarray:
        with jt.no_grad():
            return np.concatenate([inception.features(jt.array(from_uint8(load_image(path)[None])),
                                                      ["64"])["64"].numpy() for path in paths])
    assert parts["fid"] == pytest.approx(frechet_inception_distance(pooled(images), pooled(references)), rel=1e-5)
    squeeze = networks.load_lpips([files["lpips"]], "squeeze", "torchmetrics")

    def resized(path: Path) -> jt.Var:
        return jt.array(np.asarray(Image.open(path).resize((256, 256),
                                                           Image.Resampling.BILINEAR)).transpose(2, 0, 1)[None]
                                                           / np.float32(127.5) - 1)
    with jt.no_grad():
        expected = [np.mean([squeeze(resized(a), resized(b)).item() for a in style.images for b in style.references])
                    for style in styles]
    assert parts["lpips"] == pytest.approx(np.mean(expected), rel=1e-4)


def test_another_list_of_words_gives_a_part_but_no_total(data: Path, files: dict[str, Path], capsys) -> None:
    assert score(data, files, "--parts", "clip-r,hist", words="few") == 0
    told = capsys.readouterr().out
    assert "clip_r    " in told and "the list holds 6 words, the official one 215" in told
    assert "6 words" in told.splitlines()[-1]


def test_a_damaged_picture_stops_the_score_before_its_first_part(data: Path, files: dict[str, Path], capsys) -> None:
    path = data / "results" / "00" / "broken.png"
    path.write_bytes(b"no picture")
    try:
        assert score(data, files) == 2
        told = capsys.readouterr()
        assert "broken.png" in told.err and "--skip-bad" in told.err and told.err.count("\n") == 1 and not told.out
        assert score(data, files, "--parts", "hist", "--skip-bad") == 0
        told = capsys.readouterr()
        assert "left out: " in told.err and "damaged pictures left out: 1" in told.out and "4 pictures" in told.out
    finally:
        path.unlink()


def test_lpips_at_a_size_of_its_own(files: dict[str, Path]) -> None:
    network = networks.PerceptualEmbedding(files["lpips"], size=64)
    small, large, plain = (part.features(from_uint8(cases.pictures(1, side, side, 4)), ["embedding"])["embedding"]
                           for part, side in ((network, 48), (network, 96),
                                              (networks.PerceptualEmbedding(files["lpips"]), 96)))
    assert small.shape == large.shape != plain.shape and "resize to 64" in network.name


def test_evaluate_with_every_network(files: dict[str, Path], tmp_path: Path, capsys) -> None:
    for name, seed in (("after", 1), ("target", 2), ("before", 3)):
        for index, image in enumerate(cases.pictures(20, 40, 40, seed)):
            save_png(tmp_path / name / f"{index}.png", image)
    arguments = ["evaluate", "--images", str(tmp_path / "after"), "--reference", str(tmp_path / "target"), "--source",
                 str(tmp_path / "before"),
                 "--inception", str(files["inception"]), "--lpips", str(files["lpips"]), "--arcface", str(ARCFACE),
                 "--clip", str(files["vit"]),
                 "--prompt", "a cat", "--source-prompt", "a dog", "--json", str(tmp_path / "e.json")]
    assert cli.main(arguments) == 0
    assert capsys.readouterr().out.startswith("| metric |")         # no line on a judge that stands in
    result = json.loads((tmp_path / "e.json").read_text())
    served = result["protocol"]["networks"]
    assert set(served) == {"inception", "lpips", "identity", "clip"}
    assert not any(network["demo"] for network in served.values())
    assert "2048 features" in result["protocol"]["settings"]["fid"] and "IR-SE50" in served["identity"]["name"]
    assert all(np.isfinite(value) for value in result["metrics"].values()) and len(result["protocol"]["metrics"]) == 12

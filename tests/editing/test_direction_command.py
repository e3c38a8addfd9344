"""`edit prepare` and `edit direction` from end to end on tiny networks, and the demo world out of the box."""
from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from jittor_ipl import cli
from jittor_ipl.images.files import load_image
from jittor_ipl.weights.generator import load_generator, save_generator
from tests.tiny_networks import write_networks


@pytest.fixture(scope="module")
def networks(tmp_path_factory) -> Path:
    return write_networks(tmp_path_factory.mktemp("networks"))


@pytest.fixture
def edit(networks, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr("jittor_ipl.editing.statistics.COUNT", 100)
    monkeypatch.chdir(tmp_path)
    of_tiny = ("--weights", str(networks / "generator.safetensors"), "--clip", str(networks / "clip.safetensors"))

    def run(action: str, *more: str, tiny: bool = True) -> int:
        return cli.main(["edit", action, *(of_tiny if tiny else ()), *more])
    return run


def test_an_edit_from_nothing(edit, tmp_path, capsys):
    """The first edit prepares a dictionary and keeps it, the second finds it; strips, a side-by-side and a record."""
    assert edit("prepare", "--faces", "6", "--output", "d") == 0
    prepared = "--direction-path", "d/directions.safetensors"
    assert edit("direction", "--seeds", "1,2", "--target", "happy face", "--direction-offset", "-1,0,2",
                "--beta-threshold", "0.1", "--outdir", "strip", *prepared) == 0
    zero, plain, two = (load_image(tmp_path / "strip" / f"seed0001{name}.png") for name in ("_+0", "", "_+2"))
    assert np.array_equal(zero, plain) and not np.array_equal(two, plain)
    record = json.loads((tmp_path / "strip" / "edit.json").read_text())
    assert [edit["alpha"] for edit in record["edits"]] == [-1, 0, 2]
    assert record["dictionary"]["way"] == "sampled"
    sheet = load_image(tmp_path / "strip" / "sheet.png")
    assert sheet.shape[0] > 2 * (two.shape[0] + 2) + 2 and (sheet[:10].min((0, 2)) < 200).any(), "strengths above"
    assert edit("direction", "--seeds", "1", "--target", "happy face", "--direction-offset", "2",
                "--beta-threshold", "0.1", "--outdir", "one", *prepared) == 0
    assert np.array_equal(load_image(tmp_path / "one" / "seed0001_+2.png"), two)
    assert edit("direction", "--latent", "one/codes.safetensors", "--target", "happy face", "--direction-offset", "-2",
                "--beta-threshold", "0.1", "--outdir", "back", *prepared) == 0
    back = load_image(tmp_path / "back" / "codes_-2.png").astype(int)
    assert np.abs(back - plain).max() <= 1
    capsys.readouterr()


def test_a_dictionary_of_few_targets_answers_for_them_alone(edit, capsys):
    assert edit("prepare", "--way", "first-order", "--faces", "2", "--target", "boy face", "--target", "angry face",
                "--output", "few") == 0
    prepared = "--direction-path", "few/directions.safetensors", "--direction-offset", "1", "--seeds", "1"
    assert edit("direction", "--target", "angry face", *prepared) == 0
    assert edit("direction", "--target", "happy face", *prepared) == 2
    assert "was measured for 'boy face', 'angry face' alone" in capsys.readouterr().err
    assert edit("prepare", "--target", "boy face", "--output", "other") == 2
    assert edit("prepare", "--way", "first-order", "--faces", "2", "--target", "boy face", "--target", "angry face",
                "--output", "few") == 0 and "there already" in capsys.readouterr().err


def test_the_same_edit_in_an_adapted_generator(edit, networks, tmp_path, capsys):
    adapted = load_generator(networks / "generator.safetensors")
    adapted.put({"to_rgbs.0.bias": np.full((1, 3, 1, 1), .3, np.float32)})
    save_generator(adapted, tmp_path / "adapted.safetensors")
    assert edit("prepare", "--faces", "4", "--output", "d") == 0
    assert edit("direction", "--target", "boy face", "--also", "adapted.safetensors", "--direction-path",
                "d/directions.safetensors") == 2
    assert "was made for another generator" in capsys.readouterr().err and not (tmp_path / "edits").exists()


@pytest.mark.parametrize(("arguments", "why"), [
    (["--target", "the"], "no word with a meaning"), (["--target", "face"], "neutral and target both are"),
    (["--target", "boy face", "--seeds", "1", "--latent", "x.npy"], "give one of them"),
    (["--target", "boy face", "--direction-offset", "much"], "neither auto nor a list of numbers"),
    (["--target", "boy face", "--beta-threshold", "-1"], "a threshold is not negative"),
    (["--target", "boy face", "--size", "64"], "has 32"),
    (["--target", "boy face", "--latent", "nowhere.npy"], "no weight file")])
def test_mistakes_cost_one_line_and_leave_nothing(edit, tmp_path, arguments, why, capsys):
    assert edit("direction", *arguments) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ") and why in error and not (tmp_path / "edits").exists()


def test_the_demo_world_works_out_of_the_box(edit, tmp_path, capsys):
    assert edit("direction", "--seeds", "3", "--target", "happy face", "--direction-offset", "2", tiny=False) == 0
    assert sorted(path.name for path in (tmp_path / "edits/direction-happy-face").iterdir()) == [
        "codes.safetensors", "edit.json", "seed0003.png", "seed0003_+2.png", "sheet.png"]
    assert edit("direction", "--seeds", "3", "--target", "happy face", "--outdir", "auto", tiny=False) == 0
    assert 1 <= json.loads((tmp_path / "auto" / "edit.json").read_text())["edits"][0]["alpha"] <= 6
    assert edit("direction", "--seeds", "3", "--target", "zebra face", tiny=False) == 2
    assert "has never seen 'zebra'" in capsys.readouterr().err


def test_words_that_the_demos_clip_knows_by_others(edit, tmp_path, capsys):
    """PaddleGAN's page says "gold" and "curl": the demo's CLIP reads "blond" and "curly", and says so in a line."""
    pictures = []
    for hair in ("gold", "blond"):
        assert edit("direction", "--seeds", "3", "--target", f"face with {hair} hair", "--direction-offset", "2",
                    "--outdir", hair, tiny=False) == 0
        assert ("note: the CLIP knows 'gold' as 'blond'\n" in capsys.readouterr().err) == (hair == "gold")
        pictures.append(load_image(tmp_path / hair / "seed0003_+2.png"))
    assert np.array_equal(*pictures)
    assert edit("direction", "--neutral", "blond hair", "--target", "gold hair", "--seeds", "3", tiny=False) == 2
    assert "sees no difference between 'blond hair' and 'gold hair'" in capsys.readouterr().err

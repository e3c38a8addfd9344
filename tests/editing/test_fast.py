"""Fast directions: what may move, pruning by signs, files that belong to their generator, and the command."""
from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from jittor_ipl import cli
from jittor_ipl.editing.codes import faces_of_seeds
from jittor_ipl.editing.fast import FastSettings, find_step, load_step, moving_layers, pruned, save_step
from jittor_ipl.editing.guidance import open_guide
from jittor_ipl.errors import UserError
from jittor_ipl.images.files import load_image
from jittor_ipl.models.stylegan2.config import GeneratorConfig
from jittor_ipl.models.stylegan2.generator import Generator, Undrawn
from jittor_ipl.weights.containers.safetensors import read_safetensors, write_safetensors
from jittor_ipl.weights.generator import load_generator


def test_the_published_channels_move():
    """Of a 1024 px config-f generator S indices 2, 3, 5, 6, 8, 9, 11, 12: 4,096 channels."""
    generator = Generator(GeneratorConfig(128, style_dim=8, n_mlp=1), Undrawn())
    names = ["conv1", "to_rgb1", *(f"convs.{i}" for i in range(10)), *(f"to_rgbs.{i}" for i in range(5))]
    moving = moving_layers(generator)
    assert [names[i] for i in moving] == [f"convs.{i}" for i in range(8)]
    assert sum(generator.convs[i].conv.weight.shape[2] for i in range(8)) == 4096


def test_channels_whose_gradient_keeps_turning_are_put_back():
    gradients = [np.float32([[1, 1, -1]]) * sign for sign in (
        np.float32([[1, 1, 1]]), np.float32([[-1, 1, 1]]), np.float32([[1, 1, -1]]), np.float32([[-1, 1, 1]]),
        np.float32([[1, 1, 1]]))]
    change = np.float32([[3, 4, 5]])        # sign changes behind the first pair: 3, 0, 2
    assert pruned(change, gradients, 2).tolist() == [[0, 4, 5]]
    assert pruned(change, gradients, 1).tolist() == [[0, 4, 0]]
    assert pruned(change, gradients[:2], 0).tolist() == [[3, 4, 5]]


def test_a_direction_lowers_the_loss_on_other_faces(networks, generator):
    from jittor_ipl.runtime.backend import jt
    guide = open_guide(networks / "clip.safetensors", "a happy face")
    found_on, others = faces_of_seeds(generator, range(8)), faces_of_seeds(generator, range(20, 24))
    deltas = find_step(generator, found_on.styles, [guide], FastSettings(id_lambda=0, flips=1))
    moved = [i for i, delta in enumerate(deltas) if delta.any()]
    assert moved == [2, 3] and max(np.abs(delta).max() for delta in deltas) == pytest.approx(1)

    def loss(alpha: float) -> float:
        styles = [jt.array(code + alpha * delta) for code, delta in zip(others.styles, deltas)]
        return guide.distance(generator.synthesis_from_styles(styles)).item()
    assert loss(1) < loss(0) < loss(-1)
    units = [np.full((1, code.shape[1]), 2, np.float32) for code in others.styles]
    wide = find_step(generator, found_on.styles, [guide], FastSettings(id_lambda=0, flips=1), units)
    assert max(np.abs(delta).max() for delta in wide) == pytest.approx(2)


def test_a_file_belongs_to_its_generator(networks, generator, tmp_path):
    deltas = tuple(np.arange(code.shape[1], dtype=np.float32) for code in faces_of_seeds(generator, [0]).styles)
    save_step(tmp_path / "d.safetensors", generator, deltas, {"prompt": "x"})
    again, facts = load_step(tmp_path / "d.safetensors", [generator])
    assert all(np.array_equal(a, b) for a, b in zip(again, deltas)) and facts["prompt"] == "x"
    with pytest.raises(UserError, match="made for another generator"):
        load_step(tmp_path / "d.safetensors", [load_generator("demo:generator")])
    tensors, metadata = read_safetensors(tmp_path / "d.safetensors")
    write_safetensors(tmp_path / "e.safetensors", {**tensors, "S.1": tensors["S.1"] * np.nan}, metadata)
    with pytest.raises(UserError, match="not finite"):
        load_step(tmp_path / "e.safetensors", [generator])
    write_safetensors(tmp_path / "f.safetensors", {"S.0": tensors["S.0"], "T": tensors["S.1"]}, metadata)
    with pytest.raises(UserError, match="holds no direction"):
        load_step(tmp_path / "f.safetensors", [generator])
    with pytest.raises(UserError):
        load_step(networks / "clip.safetensors", [generator])


def call(networks: Path, *more: str) -> int:
    return cli.main(["edit", "fast", "--weights", str(networks / "generator.safetensors"), "--clip",
                     str(networks / "clip.safetensors"), "--find-on", "1-4", *more])


def test_from_a_prompt_to_a_file_and_pictures(networks, generator, tmp_path, capsys):
    out = tmp_path / "out"
    done = call(networks, "--prompt", "a happy face", "--seeds", "0-1", "--strengths=-1,2", "--outdir", str(out))
    assert done == 0, capsys.readouterr().err
    assert sorted(path.name for path in out.iterdir()) == [
        "a-happy-face.safetensors", "edit.json", "seed0000_+2.png", "seed0000_-1.png", "seed0001_+2.png",
        "seed0001_-1.png", "sheet.png"]
    sheet, size, shown = load_image(out / "sheet.png"), generator.size, load_image(out / "seed0001_+2.png")
    assert np.array_equal(sheet[-2 - size:-2, -2 - size:-2], shown)
    assert sheet.shape[0] > 3 * (size + 2) + 2 and sheet.shape[1] > 2 * (size + 2) + 2, "names above, strengths beside"
    deltas, facts = load_step(out / "a-happy-face.safetensors", [generator])
    record = json.loads((out / "edit.json").read_text())
    assert facts["prompt"] == "a happy face" and record["channels"] == sum(int((d != 0).sum()) for d in deltas)
    assert cli.main(["inspect", str(out / "a-happy-face.safetensors")]) == 0
    file, edited = ["--direction-path", str(out / "a-happy-face.safetensors")], tmp_path / "edited"
    apply = ["edit", "direction", "--weights", str(networks / "generator.safetensors"), "--seeds", "0", *file]
    assert cli.main([*apply, "--alpha=-1,2", "--outdir", str(edited)]) == 0, capsys.readouterr().err
    assert np.array_equal(*(load_image(folder / "seed0000_+2.png") for folder in (out, edited)))
    for words, told in ((["--keep", "boy"], "choose in a dictionary"), (["--target", "x"], "found for 'a happy face'"),
                        (["--weights", "demo:generator"], "made for another generator")):
        assert cli.main([*apply, *words, "--outdir", str(tmp_path / "no")]) == 2
        assert told in capsys.readouterr().err and not (tmp_path / "no").exists()
    assert cli.main(["edit", "direction", "--seeds", "0"]) == 2 and "--target" in capsys.readouterr().err


@pytest.mark.parametrize("words, told", [
    (["--prompt", ""], "the prompt is empty"), (["--prompt", "a face", "--strengths", "much"], "nor a list of numbers"),
    (["--prompt", "a face", "--step", "0"], "must be positive"),
    (["--prompt", "a face", "--find-on", "x"], "seeds 'x'"),
    (["--prompt", "a face", "--identity-power", "low"], "--identity model_ir_se50.pth"),
])
def test_mistakes_are_told_before_anything_is_written(networks, tmp_path, capsys, words, told):
    assert call(networks, "--outdir", str(tmp_path / "out"), *words) == 2
    assert told in capsys.readouterr().err and not (tmp_path / "out").exists()

"""Latent optimisation: the schedule, which codes move, what the loss reaches, and the command from seeds to files."""
from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from jittor_ipl import cli
from jittor_ipl.editing.codes import as_styles, faces_of_file, faces_of_seeds
from jittor_ipl.editing.deviations import principal
from jittor_ipl.editing.drawing import draw
from jittor_ipl.editing.guidance import open_guide, open_recogniser
from jittor_ipl.editing.optimize import Descent, mean_face, optimise, start_of
from jittor_ipl.errors import UserError
from jittor_ipl.images.files import load_image
from jittor_ipl.models.strict import numpy_tensors
from jittor_ipl.train.projector import projector_rate


@pytest.fixture(scope="module")
def guide(networks):
    return open_guide(networks / "clip.safetensors", "a happy face")


@pytest.mark.parametrize("t, part", [(0, 0), (0.025, 0.5), (0.05, 1), (0.5, 1), (0.75, 1),
                                     (0.875, 0.5 - 0.5 * math.cos(math.pi / 2)), (1, 0)])
def test_the_published_schedule(t, part):
    assert projector_rate(0.1, t) == pytest.approx(0.1 * part)


@pytest.mark.parametrize("space", ["W+", "S"])
def test_the_loss_falls_and_only_what_may_move_does(generator, guide, space):
    faces, losses = faces_of_seeds(generator, [3]), []
    settings = Descent(space, steps=12, lr=0.05, l2_lambda=0.001, id_lambda=0.1)
    start = start_of(faces, 0, space)
    end = optimise(generator, start, [guide], settings, lambda images: guide.features(images) / 4,
                   lambda step, loss, codes: losses.append((step, loss)))
    assert [step for step, _ in losses] == list(range(1, 13)) and losses[-1][1] < losses[0][1]
    still = [i for i, (a, b) in enumerate(zip(start, end)) if np.array_equal(a, b)]
    assert still == ([] if space == "W+" else [1, 4])           # the two ToRGB of an 8 px generator
    assert all(np.isfinite(code).all() for code in as_styles(generator, end))


@pytest.mark.parametrize("space", ["W+", "S"])
def test_principal_directions_are_the_covariance_of_faces(generator, space):
    z = np.random.RandomState(5).randn(50, generator.style_dim).astype(np.float32)
    from jittor_ipl.runtime.backend import jt
    w = generator.mapping(jt.array(z))
    codes = np.concatenate([code.numpy() for code in ([w] if space == "W+" else generator.styles(w))], 1)
    rows = np.concatenate(principal(generator, space, 50), 1)
    covariance = np.cov(codes.T.astype(np.float64), bias=True)
    left_out = np.linalg.norm(covariance - rows.T @ rows, 2) / np.linalg.norm(covariance, 2)
    assert left_out < .05 ** 2 and 1 < len(rows) <= min(codes.shape)
    assert np.all(np.diff(np.linalg.norm(rows, axis=1)) <= 1e-6)


@pytest.mark.parametrize("space", ["W+", "S"])
def test_codes_move_along_principal_directions_alone(generator, guide, space):
    faces, directions = faces_of_seeds(generator, [3, 8]), [rows[:3] for rows in principal(generator, space, 50)]
    settings = Descent(space, steps=8, lr=0.1, l2_lambda=1e-3, noise=.2)
    start = [faces.ws] if space == "W+" else list(faces.styles)

    def moved(**other: float) -> list[np.ndarray]:
        end = optimise(generator, start, [guide], replace(settings, **other), directions=directions)
        return [b - a for a, b in zip(start, end)]
    for change, rows in zip(found := moved(), directions):
        assert np.abs(change).max() > 1e-2
        inside = change @ np.linalg.pinv(rows) @ rows
        np.testing.assert_allclose(change, inside, atol=1e-5)
    alone = optimise(generator, [code[1:] for code in start], [guide], settings, directions=directions)
    np.testing.assert_allclose(alone[0][0], (start[0] + found[0])[1], atol=1e-4)      # alone or not
    assert np.abs(moved(noise=0)[0] - found[0]).max() > 1e-4
    held = moved(pixel_lambda=1e4)
    changes = [np.abs(np.stack(list(draw(generator, as_styles(generator, [a + b for a, b in zip(start, steps)]))))
                      - np.stack(list(draw(generator, faces.styles))).astype(float)).mean() for steps in (held, found)]
    assert changes[0] < changes[1] / 3


def test_free_generation_forgets_the_start(generator, guide):
    mean = mean_face(generator, 8, 2)
    near, free, alone = (optimise(generator, start_of(mean, 0, "W+"), [guide], Descent(
        steps=4, l2_lambda=l2_lambda, free=free))[0] for l2_lambda, free in ((1e6, False), (1e6, True), (0.0, False)))
    start = mean.ws
    assert np.ptp(start, axis=1).max() == 0
    assert np.abs(near - start).max() < np.abs(free - start).max() / 4
    np.testing.assert_allclose(free, alone, atol=1e-6)          # the prompt alone


def test_what_stands_in_for_a_recogniser(networks):
    recogniser = open_recogniser(networks / "clip.safetensors")
    from jittor_ipl.runtime.backend import jt
    vectors = recogniser(jt.array(np.random.default_rng(0).uniform(-1, 1, (2, 3, 8, 8)).astype(np.float32))).numpy()
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)


def call(networks: Path, *more: str) -> int:
    return cli.main(["edit", "optimize", "--weights", str(networks / "generator.safetensors"),
                     "--clip", str(networks / "clip.safetensors"), "--steps", "3", *more])


def test_from_seeds_to_files_and_back(networks, generator, tmp_path, capsys):
    out = tmp_path / "out"
    assert call(networks, "--seeds", "0-1", "--description", "a happy face", "--results_dir", str(out),
                "--save_intermediate_image_every", "2") == 0, capsys.readouterr().err
    assert sorted(path.name for path in out.iterdir()) == sorted([
        "edit.json", "latents.safetensors", "sheet.png", *(f"seed000{i}{part}.png" for i in (0, 1)
                                                           for part in ("", "-edited", "-00002", "-00003"))])
    sheet, size, shown = load_image(out / "sheet.png"), generator.size, load_image(out / "seed0001-edited.png")
    assert np.array_equal(sheet[-2 - size:-2, -2 - size:-2], shown)
    assert sheet.shape[0] > 2 * (size + 2) + 2 and sheet.shape[1] > 2 * (size + 2) + 2, "labels above and beside"
    record = json.loads((out / "edit.json").read_text())
    assert record["steps"] == 3 and record["l2_lambda"] == 0.008 and record["faces"] == ["seed0000", "seed0001"]
    again = faces_of_file(generator, out / "latents.safetensors")
    assert again.ws.shape == (2, generator.n_latent, generator.style_dim)
    first = {path.name: path.read_bytes() for path in out.glob("*.png")}
    assert call(networks, "--seeds", "1", "--prompt", "a happy face", "--outdir", str(tmp_path / "one")) == 0
    assert (tmp_path / "one" / "seed0001-edited.png").read_bytes() == first["seed0001-edited.png"]   # alone or not
    assert call(networks, "--latent-path", str(out / "latents.safetensors"), "--prompt", "a boy", "--outdir",
                str(tmp_path / "two"), "--work_in_stylespace") == 0
    assert call(networks, "--latent", str(tmp_path / "two" / "latents.safetensors"), "--prompt", "x", "--outdir",
                str(tmp_path / "three")) == 2
    assert "add --work-in-stylespace" in capsys.readouterr().err and not (tmp_path / "three").exists()


@pytest.mark.parametrize("words, told", [
    (["--prompt", "  "], "the prompt is empty"),
    (["--prompt", "a face", "--steps", "0"], "whole number from 1 on"),
    (["--prompt", "a face", "--lr", "0"], "the learning rate are positive"),
    (["--prompt", "a face", "--noise", "-1"], "noise -1.0"),
    (["--prompt", "a face", "--noise", ".3"], "add --in-deviations"),
    (["--prompt", "a face", "--id-lambda", "0.1"], "--identity model_ir_se50.pth"),
    (["--prompt", "a face", "--stylegan-size", "1024"], "has 8; leave the option out"),
    (["--prompt", "face", "--neutral", "face"], "are one"),
    (["--prompt", "a face", "--mode", "free_generation", "--seeds", "1"], "leave --seeds out"),
    (["--prompt", "a face", "--identity", "nowhere.pth", "--id-lambda", "1"], "nowhere.pth"),
])
def test_mistakes_are_told_before_anything_is_written(networks, tmp_path, capsys, words, told):
    assert call(networks, "--outdir", str(tmp_path / "out"), *words) == 2
    assert told in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_a_prompt_that_the_demo_clip_does_not_know():
    with pytest.raises(UserError, match="knows no word"):
        open_guide("demo:clip-robust", "a zxqv of the qqq")
    with pytest.raises(UserError, match="knows no word"):
        open_guide("demo:clip-robust", "a photo of a")
    open_guide("demo:clip-robust", "face with zxqv hair")


def test_the_demos_clips_know_the_page_s_words_by_others(capsys):
    """In prompts of all editors "gold" is "blond" and "curl" "curly", which is told once, as unknown words are."""
    from jittor_ipl.commands.edit.faces import open_generator
    from jittor_ipl.commands.edit.guides import open_guides
    opened = open_generator("demo:generator")
    pairs = [open_guides(opened, f"face with {hair} hair", (), neutral="face") for hair in ("gold", "blond")]
    for ours, plain in zip(*pairs):
        np.testing.assert_array_equal(ours.direction.numpy(), plain.direction.numpy())
    assert capsys.readouterr().err.splitlines() == ["note: the CLIP knows 'gold' as 'blond'"]
    open_guides(opened, "face with zxqv curl hair", ())
    assert capsys.readouterr().err.splitlines() == [
        "note: the CLIP knows 'curl' as 'curly'", "note: the CLIP has never seen 'zxqv': it says nothing to it"]
    with pytest.raises(UserError, match="are one"):
        open_guide("demo:clip-robust", "gold hair", neutral="blond hair")


def test_codes_of_a_tuned_face_stay_with_its_generator(networks, generator, tuned_face, tmp_path, capsys):
    for space in ([], ["--work-in-stylespace"]):
        out = tmp_path / f"out{len(space)}"
        assert call(networks, "--latent", str(tmp_path / "me.safetensors"), "--prompt", "a happy face", *space,
                    "--outdir", str(out)) == 0, capsys.readouterr().err
    kept = faces_of_file(generator, tmp_path / "out0" / "latents.safetensors")
    assert kept.names == ("me",) and not np.array_equal(kept.ws, tuned_face.ws)
    tensors = numpy_tensors(tuned_face.generator)
    assert all(np.array_equal(array, tensors[name]) for name, array in numpy_tensors(kept.generator).items())
    assert np.array_equal(next(draw(kept.generator, kept.styles)), load_image(tmp_path / "out0" / "me-edited.png"))
    of_styles = tmp_path / "out1" / "latents.safetensors"
    with pytest.raises(UserError, match="made for another generator .* tuned to its pictures"):
        faces_of_file(generator, of_styles)
    found = faces_of_file(tuned_face.generator, of_styles)
    assert np.array_equal(next(draw(found.generator, found.styles)), load_image(tmp_path / "out1" / "me-edited.png"))

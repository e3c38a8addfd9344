"""Latent mappers: what they move, training that resumes bit for bit, released files, and both commands."""
from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from jittor_ipl import cli
from jittor_ipl.config.sections import Run
from jittor_ipl.editing.codes import faces_of_file, faces_of_seeds, in_file_order
from jittor_ipl.editing.deviations import deviations
from jittor_ipl.editing.drawing import draw
from jittor_ipl.editing.guidance import open_guide
from jittor_ipl.editing.latent_mapper import (
    MapperSettings,
    config_for,
    drawn_faces,
    edit_faces,
    listed_faces,
    train_latent_mapper,
)
from jittor_ipl.editing.train_mapper import MapperRun, train_mapper_in
from jittor_ipl.errors import UserError
from jittor_ipl.images.files import load_image
from jittor_ipl.jobs.signals import Interrupted, StopOnSignal
from jittor_ipl.models.latent_mappers import TYPES, make_latent_mapper, published_tensors
from jittor_ipl.models.strict import numpy_tensors
from jittor_ipl.runtime.backend import jt
from jittor_ipl.weights.containers.safetensors import read_safetensors
from jittor_ipl.weights.convert import convert
from jittor_ipl.weights.generator import load_generator
from jittor_ipl.weights.latent_mapper import load_latent_mapper, require_its_generator, save_latent_mapper

RELEASED = Path(__file__).parents[1] / "fixtures" / "styleclip" / "mapper.pt"
LOGGING = Run(sample_every=2, samples=2, checkpoint_every=2, log_every=1, tensorboard=False)


@pytest.fixture(scope="module")
def guide(networks):
    return open_guide(networks / "clip.safetensors", "a happy face", neutral="a face")


@pytest.mark.parametrize("kind", TYPES)
def test_strength_0_changes_nothing_and_1_what_the_mapper_is_for(generator, kind, tmp_path):
    config, faces = config_for(generator, kind, ["medium"]), faces_of_seeds(generator, [0, 1])
    mapper = make_latent_mapper(config, np.random.default_rng(0))
    still, styles = edit_faces(faces, mapper, 0)
    assert all(np.array_equal(a, b) for a, b in zip(styles, faces.styles))
    codes, _ = edit_faces(faces, mapper, 2)
    half, _ = edit_faces(faces, mapper, 1)
    for a, b, c in zip(still, half, codes):
        np.testing.assert_allclose(c - a, 2 * (b - a), atol=1e-5)
    moved = [i for i, (a, b) in enumerate(zip(still, codes)) if np.abs(a - b).max() > 1e-4]
    assert moved == {"FullStyleSpaceMapper": [0, 1, 2, 3, 4], "WithoutToRGBStyleSpaceMapper": [0, 2, 3]}.get(kind, [0])
    if kind == "LevelsMapper":      # four layers of W+: two coarse, one medium, one fine
        assert (np.abs(codes[0] - still[0]).max((0, 2)) > 1e-4).tolist() == [True, True, False, True]
    save_latent_mapper(tmp_path / "m.safetensors", numpy_tensors(mapper), config.to_json(), generator, "a face")
    again = load_latent_mapper(tmp_path / "m.safetensors")
    assert again.mapper.settings == config and again.description == "a face"
    assert all(np.array_equal(a, b) for a, b in zip(edit_faces(faces, again.mapper, 2)[0], codes))


def test_units_become_part_of_the_published_tensors(generator, tmp_path):
    faces = faces_of_seeds(generator, [0, 1])
    for kind, space in (("SingleMapper", "W+"), ("FullStyleSpaceMapper", "S")):
        units = deviations(generator, space, 50)
        config = config_for(generator, kind)
        mapper = make_latent_mapper(config, None, in_file_order(generator, units) if space == "S" else units)
        save_latent_mapper(tmp_path / "m.safetensors", published_tensors(mapper), config.to_json(), generator, "x")
        plain = load_latent_mapper(tmp_path / "m.safetensors").mapper
        without = edit_faces(faces, make_latent_mapper(config))[0]
        for a, b, c in zip(edit_faces(faces, mapper)[0], edit_faces(faces, plain)[0], without):
            np.testing.assert_allclose(a, b, atol=1e-5 * np.abs(a).max())
            assert np.abs(a - c).max() > 1e-3       # they do something


def test_a_face_does_not_depend_on_its_company(generator):
    mapper = make_latent_mapper(config_for(generator, "LevelsMapper"))
    both, one = (edit_faces(faces_of_seeds(generator, seeds), mapper)[0][0] for seeds in ([0, 1], [1]))
    assert np.array_equal(both[1:], one)


def run_of(generator, guide, steps: int = 4, **settings) -> MapperRun:
    numbers = MapperSettings(steps, 2, 0.1, id_lambda=0.1, **settings)
    return MapperRun("a happy face", "a face", 0.7, config_for(generator, "LevelsMapper"), numbers,
                     faces_of_seeds(generator, [0, 1]), drawn_faces(generator, numbers, 0.7, None), [guide],
                     lambda images: guide.features(images) / 4, ("clip",))


class StopAfterTwoSteps(StopOnSignal):
    """Behaves as if Ctrl-C came during the second step."""

    looks = 0

    @property
    def received(self):
        StopAfterTwoSteps.looks += 1
        return 2 if StopAfterTwoSteps.looks >= 2 else None

    @received.setter
    def received(self, value):
        pass


@pytest.mark.parametrize("optimiser", ["ranger", "adam"])
def test_two_and_two_steps_are_four(generator, guide, tmp_path, monkeypatch, optimiser):
    run = run_of(generator, guide, optimiser=optimiser)
    whole = train_mapper_in(run, tmp_path / "whole", LOGGING, stream=io.StringIO())
    StopAfterTwoSteps.looks = 0
    with monkeypatch.context() as patch:
        patch.setattr("jittor_ipl.editing.train_mapper.StopOnSignal", StopAfterTwoSteps)
        with pytest.raises(Interrupted):
            train_mapper_in(run, tmp_path / "parts", LOGGING, stream=io.StringIO())
    assert not (tmp_path / "parts" / "mapper.safetensors").exists()
    parts = train_mapper_in(run, tmp_path / "parts", LOGGING, stream=io.StringIO())
    assert parts.mapper_sha256 == whole.mapper_sha256 and not parts.skipped
    assert train_mapper_in(run, tmp_path / "parts", LOGGING, stream=io.StringIO()).skipped
    assert sorted(path.name for path in (tmp_path / "whole" / "samples").iterdir()) == ["000002.png", "000004.png"]
    records = [json.loads(line) for line in (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records] == [1, 2, 3, 4] and {"clip", "l2", "id", "loss"} <= records[0].keys()


def test_training_lowers_the_loss(networks, generator):
    guide = open_guide(networks / "clip.safetensors", "a happy face")
    numbers = MapperSettings(25, 2, 0.1, "adam", id_lambda=0, l2_lambda=0.01)
    mapper, seen = make_latent_mapper(config_for(generator, "WithoutToRGBStyleSpaceMapper")), []
    from jittor_ipl.train.state import Loop
    faces = listed_faces(faces_of_seeds(generator, [0, 1]), numbers)
    train_latent_mapper(generator, mapper, faces, [guide], numbers,
                        loop=Loop(on_step=lambda step, metrics, state: seen.append(metrics["loss"])))
    assert len(seen) == 25 and seen[-1] < seen[0] - 5e-4, seen


def test_a_weight_of_pixels_costs_what_the_picture_changes(networks, generator):
    from jittor_ipl.train.state import Loop
    guide, losses = open_guide(networks / "clip.safetensors", "a happy face"), []
    faces, config = faces_of_seeds(generator, [0, 1]), config_for(generator, "WithoutToRGBStyleSpaceMapper")
    edited = edit_faces(faces, make_latent_mapper(config))[1]
    before, after = (generator.synthesis_from_styles([jt.array(code) for code in codes]).numpy()
                     for codes in (faces.styles, edited))
    for weight in (0.0, 3.0):
        numbers = MapperSettings(1, 2, 0.1, "adam", id_lambda=0, pixel_lambda=weight)
        train_latent_mapper(generator, make_latent_mapper(config), listed_faces(faces, numbers), [guide], numbers,
                            loop=Loop(on_step=lambda step, metrics, state: losses.append(metrics["loss"])))
    assert np.square(after - before).mean() > 1e-4
    assert losses[1] - losses[0] == pytest.approx(3 * np.square(after - before).mean(), rel=1e-2)


def test_a_listed_face_comes_as_often_as_any_other(generator):
    faces = listed_faces(faces_of_seeds(generator, [0, 1, 2]), MapperSettings(batch=2))
    names = [name for step in range(6) for name in faces(step).names]
    assert {name: names.count(name) for name in names} == {f"seed000{i}": 4 for i in range(3)}
    assert sorted(names[:3]) == sorted(names[3:6])


def test_a_released_mapper_runs_with_the_generator_beside_it(tmp_path, capsys):
    out = tmp_path / "out"
    assert cli.main(["edit", "mapper", "--checkpoint_path", str(RELEASED), "--seeds", "0-1", "--outdir", str(out),
                     "--couple_outputs"]) == 0
    record = json.loads((out / "edit.json").read_text())
    assert record["prompt"] == "a face with a beard" and (out / "seed0001-edited.png").is_file()
    stored = load_latent_mapper(RELEASED)
    assert stored.mapper.settings.norm == "layers" and stored.mapper.settings.levels == ("course", "fine")
    converted = {done.layout.kind: done.path for done in convert(RELEASED, tmp_path / "converted")}
    again = load_latent_mapper(converted["styleclip-mapper"])       # still the published norm
    faces = faces_of_seeds(load_generator(RELEASED), [0, 1])
    ours, theirs = (edit_faces(faces, one.mapper)[0][0] for one in (again, stored))
    assert np.array_equal(ours, theirs)
    kept = faces_of_file(faces.generator, out / "latents.safetensors")
    np.testing.assert_allclose(kept.ws, edit_faces(faces_of_seeds(
        faces.generator, [0, 1], 0.7, faces.generator.center(4096, 2)), stored.mapper)[0][0], atol=1e-6)
    assert len(list(draw(faces.generator, kept.styles))) == 2


def test_a_mapper_of_another_generator_is_refused(generator, tmp_path):
    with pytest.raises(UserError, match="made for another generator"):
        require_its_generator(load_latent_mapper(RELEASED), [generator])
    config = config_for(generator, "LevelsMapper")
    save_latent_mapper(tmp_path / "m.safetensors", numpy_tensors(make_latent_mapper(config)), config.to_json(),
                       load_generator(RELEASED), "x")
    with pytest.raises(UserError, match="made for another generator"):
        require_its_generator(load_latent_mapper(tmp_path / "m.safetensors"), [generator])
    with pytest.raises(UserError, match="needs W\\+ codes"):
        make_latent_mapper(config)(jt.zeros((1, 4, generator.style_dim + 1)))
    styles = make_latent_mapper(config_for(generator, "FullStyleSpaceMapper"))
    with pytest.raises(UserError, match="style layer 1 has 5 channels"):
        styles([jt.zeros((1, 12)), jt.zeros((1, 5))])


def train(networks: Path, *more: str) -> int:
    return cli.main(["edit", "train-mapper", "--weights", str(networks / "generator.safetensors"), "--clip",
                     str(networks / "clip.safetensors"), "--description", "a happy face", *more])


def test_from_a_prompt_to_edited_faces(networks, tmp_path, capsys):
    run, small = str(tmp_path / "run"), ["--max-steps", "2", "--id_lambda", "0"]
    assert train(networks, "--exp_dir", run, "--no-coarse-mapper", "--optim-name", "adam", *small) == 0, \
        capsys.readouterr().err
    tensors, facts = read_safetensors(tmp_path / "run" / "mapper.safetensors")
    assert facts["description"] == "a happy face" and json.loads(facts["config"])["levels"] == ["medium", "fine"]
    assert {name.split(".")[1] for name in tensors} == {"medium_mapping", "fine_mapping"}
    assert train(networks, "--exp_dir", run, "--no-coarse-mapper", "--optim-name", "adam", *small) == 0
    assert "finished before" in capsys.readouterr().out
    assert cli.main(["edit", "mapper", "--mapper", run, "--weights", str(networks / "generator.safetensors"),
                     "--seeds", "2", "--strength", "0", "--outdir", str(tmp_path / "out")]) == 0
    assert np.array_equal(*(load_image(tmp_path / "out" / f"seed0002{part}.png") for part in ("", "-edited")))
    assert cli.main(["edit", "mapper", "--mapper", run, "--outdir", str(tmp_path / "no")]) == 2
    assert "made for another generator" in capsys.readouterr().err and not (tmp_path / "no").exists()
    assert cli.main(["inspect", str(tmp_path / "run" / "mapper.safetensors")]) == 0
    latents = str(tmp_path / "out" / "latents.safetensors")
    assert train(networks, "--exp_dir", str(tmp_path / "s"), "--latents-train-path", latents, "--work_in_stylespace",
                 *small) == 0


@pytest.mark.usefixtures("tuned_face")
def test_a_mapper_trained_on_tuned_faces_edits_them(networks, generator, tmp_path, capsys):
    latent, run = str(tmp_path / "me.safetensors"), str(tmp_path / "run")
    assert train(networks, "--exp-dir", run, "--latents-train-path", latent, "--max-steps", "1", "--id-lambda",
                 "0") == 0
    use = ["edit", "mapper", "--mapper", run, "--weights", str(networks / "generator.safetensors"), "--outdir"]
    assert cli.main([*use, str(tmp_path / "no")]) == 2 and not (tmp_path / "no").exists()
    assert "made for another generator" in capsys.readouterr().err
    assert cli.main([*use, str(tmp_path / "out"), "--latent", latent]) == 0, capsys.readouterr().err
    kept = faces_of_file(generator, tmp_path / "out" / "latents.safetensors")
    assert kept.names == ("me",) and kept.source is generator
    assert np.array_equal(next(draw(kept.generator, kept.styles)), load_image(tmp_path / "out" / "me-edited.png"))


@pytest.mark.parametrize("words, told", [
    (["--mapper-type", "LevelMapper"], "did you mean 'LevelsMapper'?"),
    (["--mapper-type", "SingleMapper", "--no-fine-mapper"], "leave --no-fine-mapper out"),
    (["--mapper-type", "SingleMapper", "--work-in-stylespace"], "SingleMapper reads W+"),
    (["--no-coarse-mapper", "--no-medium-mapper", "--no-fine-mapper"], "moves nothing"),
    (["--learning-rate", "-1"], "must be positive"),
    (["--clip-lambda", "0"], "nothing asks for a change"),
    (["--max-steps", "2"], "--identity model_ir_se50.pth"),
    (["--neutral", "a happy face", "--id-lambda", "0"], "are one"),
    (["--seed", "-1", "--id-lambda", "0"], "out of range"),
])
def test_mistakes_are_told_before_anything_is_written(networks, tmp_path, capsys, words, told):
    assert train(networks, "--exp-dir", str(tmp_path / "run"), *words) == 2
    assert told in capsys.readouterr().err and not (tmp_path / "run").exists()


def test_no_mapper_in_the_file(networks, tmp_path, capsys):
    shutil.copy(networks / "clip.safetensors", tmp_path / "clip.safetensors")
    assert cli.main(["edit", "mapper", "--mapper", str(tmp_path / "clip.safetensors")]) == 2
    assert "clip" in capsys.readouterr().err

"""A style without a name, on tiny random networks: pictures teach the teacher, which teaches the generator."""
from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from fixture_files import unpack

from jittor_ipl import cli
from jittor_ipl.adaptation import adapt
from jittor_ipl.adaptation.adapt import adapt_style
from jittor_ipl.adaptation.few_shot import MOST, said_of, style_pictures
from jittor_ipl.adaptation.inputs import pairs_identity, run_identity
from jittor_ipl.config import StyleRun, choose_runs, load_suite, with_images
from jittor_ipl.diffusion.teacher import DiffusionTeacher, load_teacher
from jittor_ipl.errors import UserError
from jittor_ipl.images.files import save_png
from jittor_ipl.jobs.signals import Interrupted
from jittor_ipl.models.lora import places
from jittor_ipl.weights.clip import load_clip
from jittor_ipl.weights.containers.safetensors import read_safetensors
from jittor_ipl.weights.lora import BASE_KEY, LoraModule, read_lora_for, write_lora
from tests.tiny_networks import write_networks, write_suite

SUITE = """
suite: tiny
source: {{class: photo, generator: {folder}/generator.safetensors, mean_latent_samples: 64}}
clip: [{{model: {folder}/clip.safetensors, weight: 1.0}}]
method: teacher
teacher:
  model: {folder}/pipeline
  pairs: {{count: 4, steps: 2, batch: 2, sampling_steps: 2, at_once: 2}}
  few_shot: {{steps: 4, batch: 2, rank: 2, unet_targets: [to_q, to_v, conv1]}}
generator: {{ema: 0.5, layers: all, noise: const}}
run: {{sample_every: 2, samples: 0, checkpoint_every: 1, keep: 2, log_every: 1, tensorboard: false}}
styles: [disney]
"""
LORA = Path("few-shot") / "pytorch_lora_weights.safetensors"


@pytest.fixture(scope="module")
def networks(tmp_path_factory) -> Path:
    """A folder with tiny networks, a diffusion model, a suite and three pictures of two shapes."""
    folder = write_networks(tmp_path_factory.mktemp("networks"))
    unpack(folder, "diffusion")
    write_suite(folder, SUITE)
    draw_pictures(folder / "pictures", 3)
    return folder


def draw_pictures(folder: Path, count: int) -> Path:
    random = np.random.RandomState(0)
    for index in range(count):
        save_png(folder / f"{index}.png", random.randint(0, 256, (20, 20 + 8 * (index % 2), 3), dtype=np.uint8))
    return folder


def run_of(networks: Path, *overrides: str):
    suite = load_suite(networks / "suite.yaml", overrides)
    return with_images(choose_runs(suite, ["my style"]), str(networks / "pictures"))[0]


def weights_of(folder: Path) -> dict[str, np.ndarray]:
    return read_safetensors(folder / "generator.safetensors")[0]


@pytest.fixture(scope="module")
def straight(networks, tmp_path_factory) -> Path:
    """The run folder of an uninterrupted run."""
    folder = tmp_path_factory.mktemp("straight")
    adapt_style(run_of(networks), folder, stream=io.StringIO())
    return folder


def test_the_pictures_make_a_lora_that_takes_part(networks, straight, tmp_path):
    lora = read_safetensors(straight / LORA)[0]
    assert any(np.abs(tensor).max() > 0 for name, tensor in lora.items() if "lora_B" in name or "up" in name)
    adapt_style(run_of(networks, "teacher.few_shot.lr_unet=0.05", "teacher.few_shot.lr_text=0.05"), tmp_path,
                stream=io.StringIO())
    ours, theirs = weights_of(straight), weights_of(tmp_path)
    assert any(not np.array_equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("after", [2, 5])
def test_an_interrupted_run_goes_on_to_the_same_bits(networks, straight, tmp_path, monkeypatch, after):
    class StopAt(adapt.StopOnSignal):
        looks = 0

        @property
        def received(self):
            StopAt.looks += 1
            return 2 if StopAt.looks > after else None

        @received.setter
        def received(self, _):
            pass
    with monkeypatch.context() as patch:
        patch.setattr(adapt, "StopOnSignal", StopAt)
        with pytest.raises(Interrupted):
            adapt_style(run_of(networks), tmp_path, stream=io.StringIO())
    told = io.StringIO()
    adapt_style(run_of(networks), tmp_path, stream=told)
    assert f"lora {after}/4" not in told.getvalue()
    ours, theirs = weights_of(straight), weights_of(tmp_path)
    assert [name for name in ours if ours[name].tobytes() != theirs[name].tobytes()] == []


def test_other_pictures_or_another_lora_ask_for_other_pairs(networks, tmp_path):
    first, again = (pairs_identity(run_of(networks)) for _ in range(2))
    assert first == again == pairs_identity(run_of(networks, "teacher.pairs.lr=0.1"))
    others = with_images([run_of(networks)], str(draw_pictures(tmp_path / "others", 2)))[0]
    unshown = load_suite(networks / "suite.yaml").runs()[0]
    changed = run_of(networks, "teacher.few_shot.steps=5")
    assert len({first, *map(pairs_identity, (others, unshown, changed))}) == 4


def test_a_base_lora_is_part_of_what_decides_pairs_and_weights(networks, straight, tmp_path):
    """The same file as a style's LoRA and as the model's are two things."""
    file = straight / LORA
    plain, styled, known = (load_suite(networks / "suite.yaml", changes).runs()[0] for changes in (
        [], [f"teacher.lora={file}"], [f"teacher.base_lora={file}"]))
    for identity in (pairs_identity, run_identity, StyleRun.training_hash):
        assert len(set(map(identity, (plain, styled, known)))) == 3, identity
    with pytest.raises(UserError, match="no weight file 'none.safetensors'"):
        pairs_identity(load_suite(networks / "suite.yaml", ["teacher.base_lora=none.safetensors"]).runs()[0])


def test_a_lora_of_the_autoencoder_is_none_of_a_style():
    with pytest.raises(UserError, match="changes the autoencoder too.*teacher.base_lora"):
        load_teacher("demo:diffusion-all", "demo:pets-teacher")


def test_a_base_lora_is_part_of_the_model(networks, straight, tmp_path):
    """Source and target are heard with it, a LoRA of a style still comes and goes on top, and the hash is its own."""
    plain = load_teacher(str(networks / "pipeline"))
    known = places({"unet": plain.model.unet, "vae": plain.model.vae})
    random, modules = np.random.default_rng(0), [name for name in known if name.endswith(("conv1", "to_q"))]
    lora = {}
    for name in modules:
        rows, *others = known[name].shape
        shapes = (2, *others), (rows, 2, *[1] * len(others[1:]))
        down, up = (np.float32(random.normal(size=shape)) for shape in shapes)
        lora[name] = LoraModule(down, up, 2.0)
    write_lora(tmp_path / "base.safetensors", lora, {BASE_KEY: plain.model.sha256})
    teacher = load_teacher(str(networks / "pipeline"), base_lora=str(tmp_path / "base.safetensors"))
    assert {name.split(".")[0] for name in modules} == {"unet", "vae"} and teacher.model.sha256 != plain.model.sha256
    picture = np.float32(random.uniform(-1, 1, (1, 3, 16, 16)))
    assert np.abs(teacher.latents(picture) - plain.latents(picture)).max() > 1e-3
    now, name = places({"unet": teacher.model.unet, "vae": teacher.model.vae}), modules[-1]
    change = now[name].owner.weight.numpy() - known[name].owner.weight.numpy()
    assert np.allclose(change, lora[name].delta(), atol=1e-5)
    once = teacher.redraw(picture, ["photo"], ["photo"], steps=2)
    styled = DiffusionTeacher(teacher.model, read_lora_for(plain.model, straight / LORA))
    styled.redraw(picture, ["photo"], ["photo"], steps=2)
    assert np.array_equal(teacher.redraw(picture, ["photo"], ["photo"], steps=2), once)
    with pytest.raises(UserError, match="trained on another base model"):
        teacher.with_lora(straight / LORA)


def test_the_source_is_seen_without_the_lora(networks, straight):
    plain = load_teacher(str(networks / "pipeline"))
    teacher = plain.with_lora(straight / LORA)
    picture, noise = np.zeros((1, 3, 16, 16), np.float32), np.ones(plain.latent_shape(1), np.float32)
    one, other = (each.score("dds", picture, ["photo"], noise, 500, guidance=2.0, before=picture, source=["photo"])[1]
                  for each in (plain, teacher))
    assert np.abs(one).max() == 0 and np.abs(other).max() > 0


def test_pictures_are_told_as_the_adapted_ones_will_be(networks):
    run = run_of(networks, "teacher.target=\"{target} {description}\"", "teacher.describe=portraits")
    pictures = style_pictures(run.style_images, 16)
    assert pictures.shape == (3, 3, 16, 16) and np.abs(pictures).max() <= 1
    said = said_of(run, [load_clip(run.clip[0].model)], pictures)
    assert len(said) == 3 and all(text.startswith("style_00 ") and " hair " in text for text in said)
    assert said_of(run_of(networks), [], pictures) == ["style_00"] * 3


def test_settings_of_the_lora_count_only_with_pictures(networks):
    changed = "teacher.few_shot.rank=3"
    assert run_of(networks).training_hash() != run_of(networks, changed).training_hash()
    plain, other = (load_suite(networks / "suite.yaml", more).runs()[0] for more in ([], [changed]))
    assert plain.training_hash() == other.training_hash()


def test_the_command_teaches_and_refuses_in_a_line(networks, tmp_path, capsys):
    config = ["adapt", "--config", str(networks / "suite.yaml"), "--output", str(tmp_path / "runs")]
    images = ["--style-images", str(networks / "pictures")]
    assert cli.main([*config, "--style", "my style", *images]) == 0
    assert list((tmp_path / "runs").glob("*-my-style/generator.safetensors"))
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "0.png").write_bytes(b"no picture")
    many = draw_pictures(tmp_path / "many", MOST + 1)
    for options, message in [
        ([*images, "--style", "one", "--style", "two"], "there are 2"),
        ([*images, "--style", "mine", "--set", "teacher.lora=x.safetensors"], "leave one out"),
        ([*images, "--style", "mine", "--set", "teacher.few_shot.prior.weight=1"], "neither feature nor prior"),
        ([*images, "--style", "mine", "--set", "teacher=null"], "method teacher needs a section teacher"),
        (["--style", "mine", "--style-images", str(tmp_path / "none")], "is not a folder of pictures"),
        (["--style", "mine", "--style-images", str(tmp_path)], "it holds the folders"),
        (["--style", "mine", "--style-images", str(tmp_path / "damaged")], "0.png"),
        (["--style", "mine", "--style-images", str(many)], f"at most {MOST}"),
    ]:
        capsys.readouterr()
        assert cli.main([*config, *options]) == 2, options
        told = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("note: ")]
        assert len(told) == 1 and message in told[0], told
    with pytest.raises(UserError, match="at most"):
        style_pictures(many, 16)

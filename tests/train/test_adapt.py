"""One style's run end to end on tiny random networks: what it writes, that it resumes to the same bits, what it
refuses.
"""
from __future__ import annotations

import io
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from jittor_ipl.adaptation import adapt
from jittor_ipl.adaptation.adapt import adapt_style
from jittor_ipl.adaptation.report import read_report
from jittor_ipl.config import StyleRun, load_suite
from jittor_ipl.errors import UserError
from jittor_ipl.images.files import load_image, save_png
from jittor_ipl.jobs.signals import Interrupted
from jittor_ipl.models.strict import numpy_tensors
from jittor_ipl.train import checkpoint
from jittor_ipl.weights.containers.safetensors import read_safetensors, write_safetensors
from jittor_ipl.weights.generator import load_generator
from tests.tiny_networks import write_networks, write_suite

ROOT = Path(__file__).resolve().parents[2]
SUITE = """
suite: tiny
seed: 2
source: {{class: photo, generator: {folder}/generator.safetensors, mean_latent_samples: 64}}
clip: [{{model: {folder}/clip.safetensors, weight: 1.0}}]
mapper: {{steps: 4, batch: 3, lr: 0.05, lambda_domain: 1.0, lambda_source: 0.5}}
generator: {{steps: 4, batch: 2, lr: 0.02, ema: 0.5, views: 1, layers: auto, auto_layers_k: 3, auto_layers_batch: 2,
             auto_layers_every: 2, mixing: 0.5, schedule: cosine, noise: random, train: [convs, rgb]}}
losses: {{directional: 1.0, global: 0.5, range: 1.0}}
run: {{sample_every: 2, samples: 2, checkpoint_every: 2, keep: 2, log_every: 1, tensorboard: false}}
styles: [disney]
"""


@pytest.fixture(scope="module")
def networks(tmp_path_factory) -> Path:
    """A folder with a tiny random generator and a tiny random CLIP that knows only a few words."""
    return write_networks(tmp_path_factory.mktemp("networks"))


def config(networks: Path, *overrides: str) -> StyleRun:
    return load_suite(write_suite(networks, SUITE), overrides).runs()[0]


def run(settings: StyleRun, folder: Path):
    return adapt_style(settings, folder, stream=io.StringIO())


@pytest.fixture(scope="module")
def straight(networks, tmp_path_factory) -> Path:
    """The run folder of an uninterrupted run."""
    folder = tmp_path_factory.mktemp("straight")
    run(config(networks), folder)
    return folder


def assert_same_weights(one: Path, other: Path) -> None:
    for name in ("mapper.safetensors", "generator.safetensors"):
        ours, theirs = (read_safetensors(folder / name)[0] for folder in (one, other))
        assert ours.keys() == theirs.keys()
        assert [key for key in ours if ours[key].tobytes() != theirs[key].tobytes()] == []


def test_a_run_writes_everything_a_person_needs(networks, straight):
    assert sorted(path.name for path in straight.iterdir() if not path.name.startswith(".")) == [
        "checkpoints", "config.yaml", "generator.safetensors", "mapper.safetensors", "metrics.jsonl", "report.json",
        "samples"]
    assert sorted(path.name for path in (straight / "samples").iterdir()) == ["000000.png", "000002.png", "000004.png"]
    assert load_image(straight / "samples" / "000004.png").shape == (2 * 34 + 2, 2 * 34 + 2, 3)
    records = [json.loads(line) for line in (straight / "metrics.jsonl").read_text().splitlines()]
    assert [(r["stage"], r["step"]) for r in records] == [(stage, n) for stage in ("mapper", "generator")
                                                          for n in (1, 2, 3, 4)]
    report = read_report(straight)
    assert report.style == "disney" and report.seconds > 0 and -1 <= report.direction_similarity <= 1
    assert report.config_hash == config(networks).training_hash()


def test_at_step_0_the_rows_are_equal_and_later_they_are_not(straight):
    first, last = (load_image(straight / "samples" / name) for name in ("000000.png", "000004.png"))
    assert (first[2:34] == first[36:68]).all() and (last[2:34] == first[2:34]).all()
    assert (last[36:68] != first[36:68]).any()


def test_only_what_trained_differs_from_the_source(networks, straight):
    source, target = (numpy_tensors(load_generator(folder / "generator.safetensors"))
                      for folder in (networks, straight))
    moved = {name for name in source if source[name].tobytes() != target[name].tobytes()}
    assert moved
    assert not any(name.startswith(("style.", "input.", "noises.")) or name.endswith("noise.weight") for name in moved)


def test_a_finished_run_is_left_alone(networks, straight):
    before = {path: path.stat().st_mtime_ns for path in straight.rglob("*.safetensors")}
    report = run(config(networks, "run.log_every=3", "generate.seeds='7'"), straight)
    assert report.skipped and before == {path: path.stat().st_mtime_ns for path in straight.rglob("*.safetensors")}


class StopAt(adapt.StopOnSignal):
    """Behaves as if Ctrl-C came during the nth look at the flag."""

    looks = 0

    @property
    def received(self):
        type(self).looks -= 1
        return signal.SIGINT if type(self).looks < 0 else None

    @received.setter
    def received(self, value):
        pass


@pytest.mark.parametrize("step", [1, 3, 4, 5, 7, 8])
def test_stopped_at_any_step_it_resumes_to_the_same_bits(networks, straight, tmp_path, monkeypatch, step):
    """Steps 1-4 are stage 1, 5-8 stage 2; a stop at the last step of a stage ends the run before the next stage."""
    with monkeypatch.context() as patch:
        patch.setattr(adapt, "StopOnSignal", StopAt)
        StopAt.looks = step - 1 + (1 if step > 4 else 0)  # one more look between the stages
        with pytest.raises(Interrupted) as stopped:
            run(config(networks), tmp_path)
        assert stopped.value.code == 130 and read_report(tmp_path) is None
    run(config(networks), tmp_path)
    assert_same_weights(tmp_path, straight)
    assert (tmp_path / "samples" / "000004.png").read_bytes() == (straight / "samples" / "000004.png").read_bytes()
    told, expected = ([[record["stage"], record["step"], record["loss"]] for record in
                       map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())]
                       for folder in (tmp_path, straight))
    assert told == expected


@pytest.mark.parametrize("look", [5, 6, 7])
def test_a_run_with_anchors_resumes_to_the_same_bits(networks, tmp_path, monkeypatch, look):
    """With prompts of each image, layers chosen anew, views and fresh noise; the anchor of step 1 or 3 is in the
    checkpoint.
    """
    settings = config(networks, "mapper.steps=2", "generator.steps=6",
                      "losses={directional: 1.0, anchor: 1.0, covariance: 0.5, consolidation: 2.0}",
                      "generator.anchors={first: 1, every: 2}", "run.samples=0")
    run(settings, tmp_path / "straight")
    last = [json.loads(line) for line in (tmp_path / "straight" / "metrics.jsonl").read_text().splitlines()][-1]
    assert last["step"] == 6 and {"directional", "anchor", "covariance", "consolidation"} <= set(last)
    with monkeypatch.context() as patch:
        patch.setattr(adapt, "StopOnSignal", StopAt)
        StopAt.looks = look
        with pytest.raises(Interrupted):
            run(settings, tmp_path / "stopped")
    run(settings, tmp_path / "stopped")
    assert_same_weights(tmp_path / "stopped", tmp_path / "straight")


def test_a_checkpoint_of_the_older_layout_resumes_to_the_same_bits(networks, tmp_path):
    """Two arrays had names without a part before them."""
    settings = config(networks, "method=nada", "generator.steps=4", "losses={directional: 1.0, anchor: 1.0}",
                      "generator.anchors={first: 1, every: 9}",
                      "run={samples: 0, checkpoint_every: 3, tensorboard: false}")
    run(settings, tmp_path / "straight")
    stopped = Path(shutil.copytree(tmp_path / "straight", tmp_path / "stopped"))
    for name in ("report.json", "generator.safetensors"):
        (stopped / name).unlink()
    store = checkpoint.Checkpoints(stopped / "checkpoints" / "generator")
    shutil.rmtree(store.latest().path)
    third = store.latest()
    older = {"chosen/layers": "chosen_layers", "anchor/step": "anchor_step"}
    tensors = {older.get(name, name): array for name, array in third.tensors("state").items()}
    assert third.step == 3 and set(older.values()) <= set(tensors)
    store.save(3, {"state": tensors}, third.state())
    run(settings, stopped)
    ours, theirs = (read_safetensors(tmp_path / name / "generator.safetensors")[0] for name in ("straight", "stopped"))
    assert [key for key in ours if ours[key].tobytes() != theirs[key].tobytes()] == []


def test_every_group_of_parameters_resumes_to_the_same_bits(networks, tmp_path, monkeypatch):
    settings = config(networks, "method=nada", "generator.steps=2", "generator.layers=all", "generator.noise=const",
                      "generator.train=[convs, rgb, const, noise]", "run.samples=0")
    run(settings, tmp_path / "straight")
    with monkeypatch.context() as patch:
        patch.setattr(adapt, "StopOnSignal", StopAt)
        StopAt.looks = 0
        with pytest.raises(Interrupted):
            run(settings, tmp_path / "stopped")
    run(settings, tmp_path / "stopped")
    ours, theirs = (read_safetensors(tmp_path / name / "generator.safetensors")[0] for name in ("straight", "stopped"))
    assert [key for key in ours if ours[key].tobytes() != theirs[key].tobytes()] == []
    source = read_safetensors(networks / "generator.safetensors")[0]
    assert {key for key in ours if (ours[key] == source[key]).all()} == {
        key for key in ours if key.startswith(("noises.", "style.")) or key.endswith(".kernel")}


def test_a_damaged_checkpoint_costs_steps_but_no_bits(networks, straight, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(adapt, "StopOnSignal", StopAt)
        StopAt.looks = 7
        with pytest.raises(Interrupted):
            run(config(networks), tmp_path)
    newest = sorted((tmp_path / "checkpoints" / "generator").iterdir())[-1] / "state.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1])
    run(config(networks), tmp_path)
    assert_same_weights(tmp_path, straight)


def test_other_settings_start_the_folder_anew(networks, straight, tmp_path):
    run(config(networks, "generator.steps=1", "mapper.steps=1", "losses.range=0"), tmp_path)
    told = io.StringIO()
    assert not adapt_style(config(networks), tmp_path, stream=told).skipped
    assert told.getvalue().count("begins anew, its settings or the files it reads have changed") == 1
    assert_same_weights(tmp_path, straight)
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 8


def test_nada_needs_no_mapper(networks, tmp_path):
    report = run(config(networks, "method=nada", "generator.steps=2", "generator.layers=all", "generator.noise=const"),
                 tmp_path)
    assert report.method == "nada" and report.seconds_mapper == 0 and not (tmp_path / "mapper.safetensors").exists()


def test_a_folder_of_pictures_gives_the_direction(networks, tmp_path):
    random = np.random.RandomState(0)
    for index in range(3):
        save_png(tmp_path / "styles" / f"{index}.png", random.randint(0, 256, (40, 48, 3), dtype=np.uint8))
    settings = config(networks, "method=nada", "generator.steps=1", "run.samples=0",
                      f"styles=[{{name: mine, style_images: {tmp_path / 'styles'}}}]")
    assert run(settings, tmp_path / "run").style == "mine" and not (tmp_path / "run" / "samples").exists()


@pytest.mark.parametrize("override, message", [
    ("source.generator={folder}/clip.safetensors", "clip"),
    ("source.generator={folder}/generater.safetensors", "did you mean .*generator.safetensors'"),
    ("source.generator=demo:nothing", "demo:nothing"),
    ("clip.0.model={folder}/generator.safetensors", "stylegan2"),
    ("losses.texture=1", "losses.texture needs a CLIP with a ResNet image tower"),
    ("styles=[{{name: mine, style_images: {folder}/none}}]", "is not a folder of pictures"),
])
def test_what_cannot_run_is_told_in_one_line(networks, tmp_path, override, message):
    with pytest.raises(UserError, match=message) as caught:
        run(config(networks, override.format(folder=networks)), tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run" / "generator.safetensors").exists() and read_report(tmp_path / "run") is None


def test_a_word_that_a_compact_clip_never_saw_is_told(networks, tmp_path):
    from jittor_ipl.text.tokenizer import fill_templates, tokenize
    tensors, metadata = read_safetensors(networks / "clip.safetensors")
    rows = np.unique(tokenize([t for name in ("photo", "disney") for t in fill_templates(name)]))
    compact = {**tensors, "token_embedding.weight": tensors["token_embedding.weight"][rows],
               "token_embedding.rows": rows.astype(np.int32)}
    write_safetensors(tmp_path / "clip.safetensors", compact, metadata)
    overrides = (f"clip.0.model={tmp_path}/clip.safetensors", "method=nada", "generator.steps=0", "run.samples=0")
    for style, warning in (("disney", ""),
                           ("disnee", "warning: 00-disnee: {}/clip.safetensors never saw 'disnee', so")):
        told = io.StringIO()
        adapt_style(config(networks, *overrides, f"styles=[{style}]"), tmp_path / style, stream=told)
        assert warning.format(tmp_path) in told.getvalue() and ("never saw" in told.getvalue()) == bool(warning)


def test_a_loss_that_is_not_finite_stops_the_run(networks, tmp_path, monkeypatch):
    monkeypatch.setattr(adapt, "train_generator",
                        lambda *_, loop, **__: loop.after_step(7, {"loss": float("nan")}, dict))
    with pytest.raises(UserError, match="loss of the generator is not finite at step 7: lower generator.lr .now 0.02"):
        run(config(networks, "method=nada", "run.samples=0"), tmp_path)
    assert read_report(tmp_path) is None and not (tmp_path / "generator.safetensors").exists()


def test_a_full_disk_keeps_the_last_good_state(networks, straight, tmp_path, monkeypatch):
    def full(folder, needed):
        raise UserError("no space: free some space")
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "check_space", full)
        with pytest.raises(UserError, match="free some space"):
            run(config(networks), tmp_path)
    run(config(networks), tmp_path)
    assert_same_weights(tmp_path, straight)


def test_sigterm_saves_and_the_exit_code_tells(networks, straight, tmp_path):
    code = ("import sys\nfrom jittor_ipl.config import load_suite\n"
            "from jittor_ipl.adaptation.adapt import adapt_style\n"
            "adapt_style(load_suite(sys.argv[1], ['generator.steps=100000']).runs()[0], sys.argv[2])")
    config(networks)
    process = subprocess.Popen([sys.executable, "-c", code, str(networks / "suite.yaml"), str(tmp_path)], cwd=ROOT,
                               stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    for line in process.stderr:
        if line.startswith(b"00-disney generator 5/"):
            break
    process.terminate()
    process.stderr.read()
    assert process.wait(timeout=60) == 143
    store = checkpoint.Checkpoints(tmp_path / "checkpoints" / "generator")
    latest = store.latest()
    assert latest.step >= 5 and latest.step == len(
        [line for line in (tmp_path / "metrics.jsonl").read_text().splitlines() if '"generator"' in line])
    assert not list(store.folder.glob(".tmp-*"))


def test_a_mistake_leaves_the_earlier_run_as_it_was(networks, tmp_path):
    run(config(networks, "generator.steps=1", "mapper.steps=1"), tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and path.name != ".lock"}
    for mistake in (f"source.generator={networks}/clip.safetensors", f"clip.0.model={networks}/generator.safetensors"):
        with pytest.raises(UserError):
            run(config(networks, "generator.steps=1", "mapper.steps=1", mistake), tmp_path)
        assert before == {path: path.read_bytes()
                          for path in tmp_path.rglob("*") if path.is_file() and path.name != ".lock"}


@pytest.fixture
def finished(networks, straight, tmp_path) -> Path:
    """A copy of the undisturbed run's folder."""
    return Path(shutil.copytree(straight, tmp_path / "finished"))


def test_a_finished_run_with_changed_weights_is_finished_again(networks, straight, finished):
    path = finished / "generator.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    (finished / "mapper.safetensors").write_bytes(b"")
    assert not run(config(networks), finished).skipped
    assert_same_weights(finished, straight)


def test_a_damaged_mark_costs_nothing(networks, finished):
    before = {path: path.read_bytes()
              for path in finished.rglob("*") if path.is_file() and path.name not in (".identity", "config.yaml")}
    (finished / ".identity").write_bytes(b"\0" * 80)
    assert run(config(networks), finished).skipped
    assert {path: path.read_bytes() for path in before} == before


def test_restart_begins_anew_only_when_everything_can_be_read(networks, finished):
    with pytest.raises(UserError):
        adapt_style(config(networks, "source.generator=nowhere.pt"), finished, restart=True, stream=io.StringIO())
    assert run(config(networks), finished).skipped
    told = io.StringIO()
    assert not adapt_style(config(networks), finished, restart=True, stream=told).skipped
    assert told.getvalue().count("begins anew, as asked") == 1
    records = (finished / "metrics.jsonl").read_text().splitlines()
    assert len(records) == 8 and not list(finished.rglob("*.tmp"))


def test_a_damaged_checkpoint_is_told_and_the_one_before_it_taken(networks, straight, finished):
    (finished / "report.json").unlink()
    newest = sorted((finished / "checkpoints/generator").iterdir())[-1]
    (newest / "state.json").write_text("{}")
    stream = io.StringIO()
    adapt_style(config(networks), finished, stream=stream)
    assert f"{newest} is damaged or incomplete: passed over" in stream.getvalue()
    assert_same_weights(finished, straight)

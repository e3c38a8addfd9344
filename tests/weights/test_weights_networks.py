"""Networks from files: strict names and shapes, generators, deltas, and CLIPs with a compact vocabulary."""
from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from jittor_ipl.errors import UserError
from jittor_ipl.models.clip.config import ClipConfig
from jittor_ipl.models.clip.model import Clip
from jittor_ipl.models.strict import load_into, named_tensors, numpy_tensors
from jittor_ipl.models.stylegan2.config import GeneratorConfig
from jittor_ipl.models.stylegan2.generator import Generator
from jittor_ipl.runtime.backend import jt, nn
from jittor_ipl.weights import clip as clip_files
from jittor_ipl.weights import refs
from jittor_ipl.weights.clip import load_clip
from jittor_ipl.weights.containers.safetensors import read_safetensors, write_safetensors
from jittor_ipl.weights.generator import load_generator, save_generator, save_generator_delta

CHANNELS = {4: 8, 8: 8, 16: 4}


class Net(nn.Module):
    def __init__(self) -> None:
        self.weight = jt.ones((2, 3))
        self.layers = nn.Sequential(nn.Linear(3, 2), nn.ReLU())
        self.buffer = jt.zeros((2, 2)).stop_grad()
        self.scalar = jt.ones(1)
        self._derived = jt.ones(5)


@pytest.fixture(scope="module")
def generator() -> Generator:
    return Generator(GeneratorConfig(16, style_dim=8, n_mlp=2, channels=CHANNELS))


def assert_equal(a: object, b: object) -> None:
    left, right = numpy_tensors(a), numpy_tensors(b)
    assert set(left) == set(right) and all(np.array_equal(left[name], right[name]) for name in left)


PROFILE = """
import sys
from jittor_ipl.weights.generator import load_generator
load_generator("demo:generator")    # imports what it needs
files = set()
def note(frame, event, argument):
    name = frame.f_code.co_filename
    if event == "call" and "jittor_ipl" in name and frame.f_code.co_name != "<module>":
        files.add(name)
sys.setprofile(note)
load_generator("demo:generator")
sys.setprofile(None)
strangers = [name for name in sys.modules if name.startswith("jittor_ipl.weights.families.")
             and name.split(".")[3] in ("clip", "diffusion", "lora", "features", "inversion", "prompt_mapper")]
print(len(files), *sorted(files), "others:", *strangers, sep="\\n")
"""


def test_a_generator_s_way_from_its_file_is_short() -> None:
    """One in a hurry who follows a seed's generator to its file opens at most so many of ours, no other family's."""
    done = subprocess.run([sys.executable, "-c", PROFILE], cwd=refs.ASSETS.parents[2], capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": str(refs.ASSETS.parents[2])})
    lines = done.stdout.split("\n")
    assert done.returncode == 0 and int(lines[0]) <= 20, done.stdout + done.stderr
    assert lines[lines.index("others:") + 1:] == [""], lines


def test_names_are_those_of_a_state_dict() -> None:
    assert list(named_tensors(Net())) == ["weight", "layers.0.weight", "layers.0.bias", "buffer", "scalar"]


def test_loading_converts_types_and_keeps_what_trains() -> None:
    net = Net()
    tensors = {name: value + 2 for name, value in numpy_tensors(net).items()}
    load_into(net, {**tensors, "weight": tensors["weight"].astype("f2"), "scalar": np.array(4.6, "f4")}, source="x")
    assert net.weight.dtype == "float32" and np.array_equal(net.weight.numpy(), np.full((2, 3), 3))
    assert net.scalar.numpy() == np.float32(4.6)
    assert net.weight.requires_grad and not net.buffer.requires_grad


@pytest.mark.parametrize("change, message", [
    (lambda t: t.pop("layers.0.bias"), r"x.pt: tensor 'layers.0.bias' is missing"),
    (lambda t: t.update({"layer.0.bias": t.pop("layers.0.bias")}), r"did you mean 'layer.0.bias'"),
    (lambda t: t.update(wight=t["weight"]), r"x.pt: unexpected tensor 'wight' \(did you mean 'weight'\?\)"),
    (lambda t: t.update(weight=np.ones((3, 2))), r"'weight' has shape \[3, 2\], expected is \[2, 3\]"),
    (lambda t: t.update(weight=np.full((2, 3), 1e300)), "'weight' has values beyond float32's range"),
    (lambda t: t.update(weight=np.ones((2, 3), "c8")), "'weight' is of type complex64"),
    (lambda t: t.update(weight=np.full((2, 3), np.nan)), "NaN")])
def test_a_misfit_is_named_and_changes_nothing(change, message: str) -> None:
    net = Net()
    before = numpy_tensors(net)
    tensors = {name: value + 1 for name, value in before.items()}
    change(tensors)
    with pytest.raises(UserError, match=message):
        load_into(net, tensors, source="x.pt")
    assert all(np.array_equal(value, before[name]) for name, value in numpy_tensors(net).items())


def test_generator_round_trip(tmp_path: Path, generator: Generator) -> None:
    save_generator(generator, tmp_path / "g.safetensors", {"note": "x"})
    loaded = load_generator(tmp_path / "g.safetensors")
    assert loaded.config == generator.config
    assert_equal(loaded, generator)
    assert read_safetensors(tmp_path / "g.safetensors")[1]["kind"] == "stylegan2"


def test_generator_complaints(tmp_path: Path, generator: Generator) -> None:
    path = tmp_path / "g.safetensors"
    save_generator(generator, path)
    tensors, metadata = read_safetensors(path)
    with pytest.raises(UserError, match="16 px pictures, 32 px"):
        load_generator(path, size=32)
    with pytest.raises(UserError, match="did you mean '.*g.safetensors'"):
        load_generator(tmp_path / "gg.safetensors")
    renamed = {name.replace("input.input", "input.const"): value for name, value in tensors.items()}
    cases = [(renamed, {}, "tensor 'input.input' is missing .did you mean 'input.const'"),
             ({**tensors, "conv1.conv.weight": np.ones((1, 9, 8, 3, 3), "f4")}, {}, "shape|channels"),
             (tensors, {"kind": "clip"}, "calls it 'clip', its tensors are those of 'stylegan2'"),
             (tensors, {**metadata, "config": "{"}, "not JSON"),
             (tensors, {**metadata, "config": '{"lr_mlp": "x"}'}, "lr_mlp")]
    for changed, facts, message in cases:
        write_safetensors(path, changed, facts)
        with pytest.raises(UserError, match=message):
            load_generator(path)


def test_generator_delta(tmp_path: Path, generator: Generator) -> None:
    adapted = generator.copy()
    adapted.put({name: value + np.float32(0.01) for name, value in numpy_tensors(generator).items() if value.ndim == 5})
    path = tmp_path / "d.safetensors"
    save_generator_delta(adapted, generator, path)
    assert_equal(load_generator(path, source=generator), adapted)
    assert all(value.ndim == 5 for value in read_safetensors(path)[0].values())
    with pytest.raises(UserError, match="another source"):
        load_generator(path, source=adapted)
    with pytest.raises(UserError, match="name the source"):
        load_generator(path)


def test_compact_vocabulary(tmp_path: Path) -> None:
    clip = Clip(ClipConfig(embed_dim=8, image_resolution=8, vision_layers=1, vision_width=64, vision_patch_size=4,
                           context_length=12,
                           vocab_size=40, transformer_width=64, transformer_heads=2, transformer_layers=1))
    tensors = {name: np.full(value.shape, 0.1, "f4") for name, value in numpy_tensors(clip).items()}
    rows = np.array([3, 39, 7], "i4")
    compact = {**tensors, clip_files.ROWS: rows, clip_files.EMBEDDING: np.arange(3 * 64, dtype="f4").reshape(3, 64)}
    facts = {"kind": "clip", "config": json.dumps(clip.config())}
    path = tmp_path / "clip.safetensors"
    write_safetensors(path, compact, facts)
    loaded = load_clip(path)
    embedding = numpy_tensors(loaded)[clip_files.EMBEDDING]
    assert embedding.shape == (40, 64) and np.array_equal(embedding[rows], compact[clip_files.EMBEDDING])
    assert not embedding[np.setdiff1d(np.arange(40), rows)].any()
    assert np.array_equal(loaded.known_tokens, rows) and loaded.config() == clip.config()
    for bad in (np.array([3, 40, 7], "i4"), np.array([3, 3, 7], "i4"), np.array([-1, 3, 7], "i4"),
                np.array([1, 2], "i4")):
        write_safetensors(path, {**compact, clip_files.ROWS: bad}, facts)
        with pytest.raises(UserError, match="token_embedding.rows"):
            load_clip(path)


def test_whole_vocabulary_and_foreign_network(tmp_path: Path, generator: Generator) -> None:
    save_generator(generator, tmp_path / "g.safetensors")
    with pytest.raises(UserError, match="'clip' network is expected"):
        load_clip(tmp_path / "g.safetensors")
    write_safetensors(tmp_path / "n.safetensors", {"visual.conv.weight": np.ones(1)})
    with pytest.raises(UserError, match="no clip network.*'visual.conv1.weight'"):
        load_clip(tmp_path / "n.safetensors")


def test_demo_references(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refs, "ASSETS", tmp_path)
    (tmp_path / "generator.safetensors").write_bytes(b"")
    assert refs.resolve("demo:generator") == tmp_path / "generator.safetensors"
    for bad in ("demo:generatr", "demo:../generator", "demo:", "demo:a\0b", "x\0y", ""):
        with pytest.raises(UserError):
            refs.resolve(bad)

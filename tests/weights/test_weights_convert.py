"""convert: strict, atomic, bit for bit, into our names and out of them; every mistake is one line and exit code 2."""
from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from reference import run_reference

from jittor_ipl import cli
from jittor_ipl.errors import UserError
from jittor_ipl.weights.containers.bfloat16 import narrow
from jittor_ipl.weights.containers.read import read_tensors
from jittor_ipl.weights.containers.safetensors import write_safetensors
from jittor_ipl.weights.containers.torch_writer import write_torch
from jittor_ipl.weights.convert import Options, Refused, convert
from jittor_ipl.weights.delta import fingerprint, save_delta
from jittor_ipl.weights.inspect import inspect
from jittor_ipl.weights.network import read_network
from jittor_ipl.weights.refs import resolve

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"


@pytest.fixture(scope="module")
def generator() -> dict[str, np.ndarray]:
    return {name: tensor.astype("f4") for name, tensor in read_tensors(resolve("demo:generator"))[0].items()}


@pytest.fixture
def rosinality(tmp_path, generator) -> Path:
    write_torch(tmp_path / "ffhq.pt", {"g_ema": generator, "latent_avg": np.ones(128, "f4"),
                                       "d": {"x": np.ones(1, "f4")}, "args": {"size": 64}})
    return tmp_path / "ffhq.pt"


def test_a_checkpoint_becomes_safetensors(tmp_path, rosinality, generator):
    (done,) = convert(rosinality, tmp_path / "out")
    tensors, info = read_tensors(done.path)
    tensors = dict(tensors)
    assert done.path == tmp_path / "out" / "ffhq.safetensors" and {"d", "args"} <= set(done.left_out)
    assert np.array_equal(tensors.pop("latent_avg"), np.ones(128, "f4"))
    assert fingerprint(tensors) == fingerprint(generator)
    about = info.metadata
    assert about["kind"] == "stylegan2" and json.loads(about["config"])["size"] == 64 and about[
        "source_format"] == "torch-zip"
    assert about["source_dialect"] == "rosinality" and len(about["source_sha256"]) == 64
    assert fingerprint(read_network(done.path).tensors) == about["tensors_sha256"]


def test_equal_sources_give_equal_bytes(tmp_path, rosinality):
    (one,), (two,) = convert(rosinality, tmp_path / "a"), convert(rosinality, tmp_path / "b")
    assert one.path.read_bytes() == two.path.read_bytes() and one.sha256 == two.sha256


def test_out_again_as_a_rosinality_checkpoint(tmp_path, rosinality, generator):
    (ours,) = convert(rosinality, tmp_path / "ours")
    (back,) = convert(ours.path, tmp_path / "back", Options("rosinality", "pt"))
    tensors, info = read_tensors(back.path)
    assert info.container == "g_ema" and fingerprint(dict(tensors)) == fingerprint(generator)
    assert np.array_equal(info.extras["latent_avg"], np.ones(128, "f4"))
    (plain,) = convert(ours.path, tmp_path / "back", Options("rosinality"))
    assert set(read_tensors(plain.path)[0]) == set(generator) and "latent_avg" in plain.left_out


@pytest.mark.reference
def test_pytorch_reads_what_goes_out(tmp_path, rosinality, generator):
    (done,) = convert(rosinality, tmp_path / "out", Options("rosinality", "pt", "bfloat16"))
    told = json.loads(run_reference(
        "import json, sys, torch\nstate = torch.load(sys.argv[1], weights_only=True)\n"
        "print(json.dumps([sorted(state), {k: [str(v.dtype), v.double().sum().item()] "
        "for k, v in state['g_ema'].items()}]))\n", done.path))
    assert told[0] == ["g_ema", "latent_avg"] and set(told[1]) == set(generator)
    for name, (dtype, total) in told[1].items():
        assert dtype == "torch.bfloat16" and total == pytest.approx(narrow(generator[name]).widen().astype("f8").sum(),
                                                                    rel=1e-12, abs=1e-9)


@pytest.mark.parametrize("format", ["safetensors", "pt"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_types(tmp_path, rosinality, generator, dtype, format):
    (done,) = convert(rosinality, tmp_path / "out", Options(format=format, dtype=dtype))
    tensors, _ = read_tensors(done.path)
    wanted = {k: narrow(v).widen() if dtype == "bfloat16" else v.astype(dtype) for k, v in generator.items()}
    assert all(tensors[k].dtype == v.dtype and np.array_equal(tensors[k], v) for k, v in wanted.items())
    assert (done.path.stat().st_size < 2.2e6) == (dtype != "float32")


def test_a_value_beyond_float16_is_told(tmp_path, generator):
    write_torch(tmp_path / "x.pt", {**generator, "to_rgb1.bias": np.full((1, 3, 1, 1), 1e6, "f4")})
    with pytest.raises(UserError, match="to_rgb1.bias.*float16"):
        list(convert(tmp_path / "x.pt", tmp_path / "out", Options(dtype="float16")))
    assert not list((tmp_path / "out").glob("*"))


@pytest.mark.parametrize("dtype, value", [("f8", 1 + 2.0**-40), ("f2", 0.333)])
def test_types_stay_as_they_are(tmp_path, generator, dtype, value):
    """1 + 2^-40 is a number that float32 does not have; nothing rounds before a network computes."""
    stored = {name: np.full_like(array, value, dtype) for name, array in generator.items()}
    write_torch(tmp_path / "other.pt", {"g_ema": stored, "latent_avg": np.full(128, value, dtype)})
    (done,) = convert(tmp_path / "other.pt", tmp_path / "out")
    tensors = dict(read_tensors(done.path)[0])
    assert all(array.dtype == dtype and (array == np.array(value, dtype)).all() for array in tensors.values())


def test_values_beyond_float32_are_told(tmp_path, generator):
    write_torch(tmp_path / "big.pt",
                {"g_ema": {**generator, "input.input": np.full(generator["input.input"].shape, 1e300)}})
    assert inspect(tmp_path / "big.pt").problems == [
        "tensor 'input.input' holds values beyond float32's range, in which networks compute"]
    for options in (Options(), Options(dtype="float32"), Options(dtype="bfloat16")):
        with pytest.raises(UserError, match="'input.input' holds values beyond float32"):
            list(convert(tmp_path / "big.pt", tmp_path / "out", options))


@pytest.mark.parametrize("type_", ["complex64", "bool", "uint16", "int64"])
def test_other_numbers_are_a_problem_and_not_converted(tmp_path, generator, type_):
    np.savez(tmp_path / "odd.npz", **{**generator, "input.input": generator["input.input"].astype(type_)})
    assert inspect(tmp_path / "odd.npz").problems == [
        f"tensor 'input.input' is of type {type_}, expected are floating-point numbers"]
    with pytest.raises(UserError, match=f"'input.input' is of type {type_}"):
        list(convert(tmp_path / "odd.npz", tmp_path / "out"))


def test_a_delta_becomes_the_whole_generator(tmp_path, generator):
    moved = {k: v + 1 if k == "convs.0.conv.weight" else v for k, v in generator.items()}
    save_delta(tmp_path / "style.safetensors", moved, generator, {"source": "demo:generator"})
    (done,) = convert(tmp_path / "style.safetensors", tmp_path / "out")
    assert fingerprint(dict(read_tensors(done.path)[0])) == fingerprint(moved)
    save_delta(tmp_path / "alone.safetensors", moved, generator)
    with pytest.raises(UserError, match="does not name its source"):
        list(convert(tmp_path / "alone.safetensors", tmp_path / "out"))


def test_a_damaged_converted_file_is_refused(tmp_path, rosinality):
    (done,) = convert(rosinality, tmp_path / "out")
    data = bytearray(done.path.read_bytes())
    data[-5] ^= 1
    done.path.write_bytes(data)
    with pytest.raises(UserError, match="damaged"):
        read_network(done.path)


def test_of_several_networks_the_unknown_are_told(tmp_path, generator):
    (tmp_path / "in").mkdir()
    write_safetensors(tmp_path / "in" / "a.safetensors", generator)
    write_safetensors(tmp_path / "in" / "b.safetensors", {"foo": np.zeros(1, "f4")})
    done, refused = convert(tmp_path / "in", tmp_path / "out")
    assert done.path.name == "in-a.safetensors" and isinstance(
        refused, Refused) and refused.label == "b" and "foo" in refused.reason
    assert cli.main(["convert", str(tmp_path / "in"), "--to", str(tmp_path / "out"), "--overwrite"]) == 1


MISTAKES = {
    "an unknown dialect": (["--as", "rosinalty"], "did you mean 'rosinality'"),
    "a dialect of another kind": (["--as", "kohya-lora"],
                                  "cannot be written as 'kohya-lora'; --as takes ours, rosinality"),
    "an unknown type": (["--dtype", "float8"], "float16"),
    "an unknown container": (["--container", "g_em"], "did you mean 'g_ema'"),
    "a network that is none": (["--container", "d"], "no known network"),
    "a name that leaves the folder": (["--name", "../x"], "--name"),
    "a hidden name": (["--name", ".x"], "--name"),
    "an empty name": (["--name", ""], "--name"),
}


@pytest.mark.parametrize("options, told", MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_line_and_writes_nothing(tmp_path, rosinality, options, told, capsys):
    assert cli.main(["convert", str(rosinality), "--to", str(tmp_path / "out"), *options]) == 2
    err = capsys.readouterr().err
    assert told in err and err.count("\n") == 1 and not list((tmp_path / "out").glob("*"))


def test_places_that_cannot_be_written(tmp_path, rosinality, capsys):
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    for source, to, told in ((rosinality, tmp_path / "file", "file"), (rosinality, tmp_path / "file" / "x", "file"),
                             (tmp_path / "empty", tmp_path / "out", "empty"),
                             (tmp_path / "none.pt", tmp_path / "out", "none.pt"),
                             (rosinality, Path("/proc/none"), "choose another folder")):
        assert cli.main(["convert", str(source), "--to", str(to)]) == 2
        err = capsys.readouterr().err
        assert told in err and err.count("\n") == 1, err


def test_an_existing_file_stays_without_overwrite(tmp_path, rosinality, capsys):
    target = tmp_path / "out" / "ffhq.safetensors"
    target.parent.mkdir()
    target.write_text("mine")
    assert cli.main(["convert", str(rosinality), "--to", str(tmp_path / "out")]) == 2
    assert target.read_text() == "mine" and "--overwrite" in capsys.readouterr().err
    assert cli.main(["convert", str(rosinality), "--to", str(tmp_path / "out"), "--overwrite"]) == 0
    assert read_network(target).layout.kind == "stylegan2" and len(list(target.parent.iterdir())) == 1


def test_a_full_disk_leaves_nothing(tmp_path, rosinality, monkeypatch, capsys):
    import errno

    from jittor_ipl.weights import convert as module
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(module, "write_safetensors", full)
    assert cli.main(["convert", str(rosinality), "--to", str(tmp_path / "out")]) == 2
    assert "free some space" in capsys.readouterr().err and not list((tmp_path / "out").iterdir())


def test_a_write_that_does_not_read_back_is_not_kept(tmp_path, rosinality, monkeypatch):
    from jittor_ipl.weights import convert as module
    monkeypatch.setattr(module, "write_safetensors", lambda path, tensors, metadata: write_safetensors(
        path, {name: value + 1 if name == "input.input" else value for name, value in tensors.items()}, metadata))
    with pytest.raises(UserError, match="input.input"):
        list(convert(rosinality, tmp_path / "out"))
    assert not list((tmp_path / "out").iterdir())


def test_the_help_names_every_dialect(capsys):
    from jittor_ipl.weights.convert import known_dialects
    assert cli.main(["convert", "--help"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert all(dialect in out for dialect in known_dialects())

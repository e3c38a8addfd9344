"""inspect: what a file is, what lies in it, and every problem; exit 0, 1 or 2, as text and as JSON."""
from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import hostile_pickles as hostile
import numpy as np
import pytest

from jittor_ipl import cli
from jittor_ipl.disk.integrity import file_sha256
from jittor_ipl.disk.small_files import read_json
from jittor_ipl.errors import UserError
from jittor_ipl.weights.containers.read import read_tensors
from jittor_ipl.weights.containers.safetensors import write_safetensors
from jittor_ipl.weights.containers.torch_writer import write_torch
from jittor_ipl.weights.inspect import inspect
from jittor_ipl.weights.refs import resolve

ROOT = Path(__file__).resolve().parents[2]
ASSETS = ROOT / "jittor_ipl" / "world" / "assets"


@pytest.fixture(scope="module")
def generator() -> dict[str, np.ndarray]:
    return dict(read_tensors(resolve("demo:generator"))[0])


@pytest.fixture
def told(capsys):
    """Run the command line; return exit code, what it printed and what it complained about."""
    def run(*argv: object) -> tuple[int, str, str]:
        code = cli.main(["inspect", *map(str, argv)])
        out = capsys.readouterr()
        return code, out.out, out.err
    return run


def test_a_sound_file_is_described(told):
    code, out, err = told("demo:generator")
    assert code == 0 and not err
    for part in ("stylegan2 in the names of rosinality", "size 64",
                 "91, 908,424 parameters, 1.7 MiB (55 float16, 36 float32)", "SHA-256 ",
                 "convs.#.conv.weight  x8", "problems   none", "next  "):
        assert part in out, part


def test_json_tells_the_same(told):
    code, out, _ = told("demo:generator", "--json")
    (network,) = json.loads(out)["networks"]
    assert code == 0 and network["kind"] == "stylegan2" and network["config"]["size"] == 64 and network["problems"] == [
        ]
    assert len(network["keys"]) == network["tensors"] == 91 and network["parameters"] == 908424
    assert {"name": "input.input", "shape": [1, 128, 4, 4], "dtype": "float16"} in network["keys"]


def test_all_and_keys(told):
    assert told("demo:generator", "--all")[1].count("\n") > 90
    out = told("demo:generator", "--keys", "to_rgbs.*.bias", "--all")[1]
    assert "to_rgbs.0.bias" in out and "conv1" not in out.split("problems")[0].split("keys")[1]
    code, _, err = told("demo:generator", "--keys", "to_rgb.0.bias")
    assert code == 2 and "did you mean 'to_rgbs.0.bias'" in err


def changed(state: dict, change: str) -> dict:
    state = dict(state)
    if change == "missing":
        del state["convs.3.conv.weight"]
    elif change == "extra":
        state["to_rgb1.biass"] = np.zeros(1, "f4")
    elif change == "shape":
        state["to_rgb1.bias"] = np.zeros(4, "f4")
    elif change == "nan":
        state["to_rgb1.bias"] = np.array([np.nan, np.inf, 0], "f4").reshape(1, 3, 1, 1)
    return state


@pytest.mark.parametrize("change, problem", [
    ("missing", "tensor 'convs.3.conv.weight' is missing"),
    ("extra", "unexpected tensor 'to_rgb1.biass' (did you mean 'to_rgb1.bias'?)"),
    ("shape", "'to_rgb1.bias' has shape [4], expected is [1, 3, 1, 1]"),
    ("nan", "'to_rgb1.bias' holds 1 NaN and 1 infinite of 3 values")])
def test_each_problem_is_listed(tmp_path, generator, told, change, problem):
    write_torch(tmp_path / "x.pt", {"g_ema": changed(generator, change), "g_optim": {"state": {}}, "step": 3})
    code, out, err = told(tmp_path / "x.pt")
    assert code == 1 and problem in out and not err
    assert "network under 'g_ema'" in out and "g_optim" in out


def test_wrapped_names_are_seen_through(tmp_path, generator):
    write_torch(tmp_path / "x.pt", {f"module.{name}": value for name, value in generator.items()})
    (report,) = inspect(tmp_path / "x.pt").networks
    assert report.kind == "stylegan2" and report.problems == [] and "module." in report.dialect


def test_another_kind_in_the_metadata_is_a_problem(tmp_path, generator):
    write_safetensors(tmp_path / "x.safetensors", generator, {"kind": "clip"})
    assert any("its metadata calls it 'clip'" in problem for problem in inspect(tmp_path / "x.safetensors").problems)


def test_an_unknown_network_is_a_problem(tmp_path, told):
    write_safetensors(tmp_path / "x.safetensors", {"foo.weight": np.zeros(3, "f4")})
    code, out, _ = told(tmp_path / "x.safetensors")
    assert code == 1 and "no known network has these tensors" in out and "stylegan2" in out


def test_a_hostile_pickle_is_named_and_never_run(tmp_path, told):
    hostile.CANARY.unlink(missing_ok=True)
    body = hostile.call("os", "system", hostile.text(hostile.COMMAND))
    for name, data in hostile.containers(body).items():
        (tmp_path / name).write_bytes(data)
        code, out, err = told(tmp_path / name)
        assert code == 2 and "os.system" in out and "SHA-256" in out and err.count(
            "\n") == 1 and "os.system" in err, name
        code, out, _ = told(tmp_path / name, "--json")
        assert code == 2 and not json.loads(out)["sound"]
    assert not hostile.CANARY.exists()


def test_a_bad_checksum_is_told_beside_the_rest(tmp_path, generator, told):
    write_torch(tmp_path / "a.pt", {"g_ema": generator})
    data = bytearray((tmp_path / "a.pt").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "b.pt").write_bytes(data)
    code, out, err = told(tmp_path)
    assert code == 2 and "problems   none" in out and "unreadable" in out and "checksum" in err and err.count("\n") == 1


def test_names_cannot_command_the_terminal(tmp_path, told):
    write_safetensors(tmp_path / "x.safetensors", {"a\x1b[2J\r\nb": np.zeros(1, "f4")},
                      {"note\x1b": "\x1b]0;owned\x07"})
    out = told(tmp_path / "x.safetensors", "--all")[1]
    assert "\x1b" not in out and "\r" not in out and "\\x1b" in out


@pytest.mark.parametrize("content, what", [(b"", "an empty file"), (b"\x89PNG\r\n\x1a\n" + bytes(40), "a PNG picture"),
                                           (b"<!DOCTYPE html><html>", "a web page")])
def test_other_files_are_named(tmp_path, told, content, what):
    (tmp_path / "x.pt").write_bytes(content)
    code, _, err = told(tmp_path / "x.pt")
    assert code == 2 and what in err and err.count("\n") == 1


def test_a_missing_file_names_its_neighbour(tmp_path, told):
    write_torch(tmp_path / "generator.pt", {})
    code, out, err = told(tmp_path / "genrator.pt")
    assert code == 2 and not out and "generator.pt" in err


def test_a_released_suite_is_verified(tmp_path, told):
    folder = tmp_path / "demo"
    shutil.copytree(ROOT / "B_weight" / "demo", folder)
    code, out, _ = told(folder)
    assert code == 0 and "released suite, demo" in out and "as recorded" in out
    assert told(folder / "00")[0] == 0
    with open(folder / "00" / "weights.safetensors", "r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x55")
    (folder / "01" / "config.yaml").unlink()
    code, out, _ = told(folder)
    assert code == 1 and "'00/weights.safetensors' is not the file" in out and "'01/config.yaml' is missing" in out
    assert told(folder / "00")[0] == 1 and told(folder / "02")[0] == 0


def test_a_checkpoint_is_verified(tmp_path, told):
    from jittor_ipl.train.checkpoint import Checkpoints
    path = Checkpoints(tmp_path).save(3, {"weights": {"a": np.ones(3, "f4")}, "adam": {"a.m": np.zeros(3, "f4")}},
                                      {"x": 1})
    code, out, _ = told(path)
    assert code == 0 and "checkpoint, step 3" in out and "training state" in out
    (path / "state.json").write_text("{}")
    assert told(path)[0] == 1


def test_inspecting_imports_neither_jittor_nor_the_settings(tmp_path):
    code = "import sys; from jittor_ipl.cli import main; main(['inspect', 'demo:generator'])\n" \
           "sys.exit(str({'jittor', 'pydantic', 'PIL'} & set(sys.modules) or 0))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stderr in ("", "0\n"), done.stderr


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")], ids=["pipe", "device"])
@pytest.mark.parametrize("name", ["model.safetensors", "net.pt", "manifest.json", "config.json"])
def test_what_never_ends_is_not_read(tmp_path, make, name):
    make(tmp_path / name)
    for command in ("inspect", f"convert --to {tmp_path / 'out'}"):
        program, *options = command.split()
        done = subprocess.run([sys.executable, "-m", "jittor_ipl", program, str(tmp_path), *options], cwd=ROOT,
                              timeout=60,
                              capture_output=True, text=True)
        assert done.returncode == 2 and done.stderr.startswith("error: ") and "Traceback" not in done.stderr


def test_only_files_are_hashed(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for read in (file_sha256, lambda path: read_json(path, "record")):
        with pytest.raises(UserError, match="is not a file"):
            read(tmp_path / "pipe")


def test_a_large_file_that_is_no_weight_file_is_not_hashed(tmp_path, told):
    with open(tmp_path / "big.pt", "wb") as file:
        file.truncate(1 << 40)
    code, out, err = told(tmp_path / "big.pt")
    assert code == 2 and "a file of unknown format" in err and "1024.0 GiB" in out and "SHA-256" not in out


VALUES = {
    "a centre per layer": ({"latent_avg": np.arange(1280, dtype="f4").reshape(10, 128)},
                           "latent_avg [10, 128] differs between layers"),
    "a centre of NaN": ({"latent_avg": np.full(128, np.nan, "f4")},
                        "'latent_avg' holds 128 NaN and 0 infinite of 128 values"),
    "beyond float32": ({"to_rgb1.bias": np.full((1, 3, 1, 1), 1e300)},
                       "'to_rgb1.bias' holds values beyond float32's range"),
}


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("change, problem", VALUES.values(), ids=VALUES)
def test_inspect_and_convert_agree_on_values(tmp_path, generator, told, capsys, change, problem):
    beside = {name: value for name, value in change.items() if name == "latent_avg"}
    write_torch(tmp_path / "x.pt",
                {"g_ema": {**generator, **{name: value for name, value in change.items() if name not in beside}},
                 **beside})
    code, out, _ = told(tmp_path / "x.pt")
    assert code == 1 and problem in out
    assert cli.main(["convert", str(tmp_path / "x.pt"), "--to", str(tmp_path / "out")]) == 2
    err = capsys.readouterr().err
    assert problem in err and err.startswith(f"error: {tmp_path / 'x.pt'}: ") and "damaged" not in err and err.count(
        "\n") == 1


def test_a_file_is_to_be_fetched_again_where_that_may_help(tmp_path, generator):
    damaged = {**generator, "input.input": np.full_like(generator["input.input"], np.nan)}
    for content, container, again in ((damaged, write_safetensors, True), (damaged, write_torch, False),
                                      (changed(generator, "missing"), write_safetensors, False)):
        container(tmp_path / "x", content)
        (report,) = inspect(tmp_path / "x").networks
        assert report.problems and "compare its SHA-256" in report.next_step
        assert ("fetch it again" in report.next_step) == again


def test_the_next_step_looks_at_the_problems(tmp_path, generator, told):
    write_torch(tmp_path / "a.pt", {"g_ema": changed(generator, "missing")})
    write_torch(tmp_path / "b.pt", {"g_ema": {"foo": np.zeros(3, "f4")}, "g": {"bar": np.zeros(3, "f4")}})
    write_torch(tmp_path / "c.pt", {"foo": np.zeros(3, "f4")})
    for name, step in (("a.pt", "mend these problems first"), ("b.pt", "--container KEY"), ("c.pt", "docs/formats.md")):
        code, out, _ = told(tmp_path / name)
        assert code == 1 and step in out.split("\n  next ")[1]


def test_a_generator_among_many_other_tensors(tmp_path, generator, told):
    write_torch(tmp_path / "x.pt", {"g_ema": {**generator, **{f"extra{i}": np.zeros(1, "f4") for i in range(200)}}})
    code, out, _ = told(tmp_path / "x.pt")
    assert code == 1 and "stylegan2 in the names" in out
    assert "unexpected tensor 'extra0'" in out and "... and 180 more" in out


@pytest.mark.parametrize("prefix", ["generator.", "g_ema."])
def test_the_prefix_of_a_training_program_is_seen_through(tmp_path, generator, prefix):
    write_torch(tmp_path / "x.ckpt",
                {"state_dict": {f"{prefix}{name}": value for name, value in generator.items()}, "epoch": 3})
    (report,) = inspect(tmp_path / "x.ckpt").networks
    assert report.kind == "stylegan2" and report.problems == [] and prefix in report.dialect


def test_a_link_to_nothing_and_an_empty_name(tmp_path, told, capsys):
    (tmp_path / "a.pt").symlink_to("nowhere.pt")
    (tmp_path / "b.pt").symlink_to("b.pt")
    for name in "ab":
        code, _, err = told(tmp_path / f"{name}.pt")
        assert code == 2 and "is a link to a file that does not exist" in err and "did you mean" not in err
    assert told("")[0] == 2
    for arguments in (["", "--to", str(tmp_path)], ["demo:generator", "--to", ""]):
        assert cli.main(["convert", *arguments]) == 2
        err = capsys.readouterr().err
        assert "empty" in err and err.count("\n") == 1


@pytest.mark.parametrize("name", sorted(path.name for path in ASSETS.glob("*.safetensors")))
def test_every_network_that_ships_is_sound(name, told):
    code, out, _ = told(f"demo:{name.removesuffix('.safetensors')}", "--json")
    (network,) = json.loads(out)["networks"]
    assert code == 0 and network["problems"] == [] and network["kind"] not in (None, "unknown"), network["kind"]


@pytest.mark.parametrize("dialect", ["diffusers-lora", "kohya-lora", "peft-lora"])
def test_a_lora_of_the_autoencoder_stays_ours(tmp_path, capsys, dialect):
    assert cli.main(["convert", "demo:pets-teacher", "--to", str(tmp_path / "out"), "--as", dialect]) == 2
    assert "changes the autoencoder too" in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.safetensors"))

"""A network is found whatever key or prefix it lies under; of several one is named, wherever a weight file is named."""
from __future__ import annotations

import pickle
import time

import numpy as np
import pytest

from jittor_ipl import cli, clip
from jittor_ipl.errors import UserError
from jittor_ipl.weights.containers.read import read_tensors
from jittor_ipl.weights.containers.safetensors import write_safetensors
from jittor_ipl.weights.containers.torch_writer import write_torch
from jittor_ipl.weights.inspect import inspect
from jittor_ipl.weights.network import read_network
from jittor_ipl.weights.refs import resolve, split_place

LOSS, STEP, CENTRE = np.array(0.25, "f4"), np.array(7, "i8"), np.full(128, 0.5, "f4")
ADAM = {"state": {"0": {"exp_avg": np.ones(3, "f4"), "exp_avg_sq": np.ones(3, "f4"), "step": STEP}}}
DISCRIMINATOR = {f"convs.{i}.{i}.weight": np.ones((2, 2), "f4") for i in range(6)}


@pytest.fixture(scope="module")
def generator() -> dict[str, np.ndarray]:
    tensors = dict(read_tensors(resolve("demo:generator"))[0])
    tensors.pop("latent_avg", None)
    return tensors


def below(prefix: str, tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {prefix + name: array for name, array in tensors.items()}


def layouts(generator: dict[str, np.ndarray]) -> dict[str, tuple[str, dict]]:
    """Return where the network lies -> a checkpoint with it there and other things beside it."""
    return {
        "model_state_dict": {"model_state_dict": generator, "loss": LOSS, "latent_avg": CENTRE, "epoch": 3,
                             "optimizer_state_dict": ADAM},
        "netG": {"netG": generator, "netD": DISCRIMINATOR, "latent_avg": CENTRE},
        "checkpoint.weights": {"checkpoint": {"weights": generator, "step": STEP}, "latent_avg": CENTRE},
        "state_dict.networks.face.G": {"state_dict": {
            **below("networks.face.G.", generator), **below("networks.D.", DISCRIMINATOR), "loss": LOSS,
            "latent_avg": CENTRE}},
        "whatever": {**below("whatever.", generator), "loss": LOSS, "step": STEP, "latent_avg": CENTRE},
        "m.G": {"m": {"x": LOSS, "G": generator, "latent_avg": CENTRE}},
    }


PLACES = ["model_state_dict", "netG", "checkpoint.weights", "state_dict.networks.face.G", "whatever", "m.G"]


@pytest.mark.parametrize("place", PLACES)
def test_the_only_whole_network_is_found(tmp_path, capsys, generator, place):
    path = tmp_path / "x.pt"
    write_torch(path, layouts(generator)[place])
    for ref in (path, f"{path}#{place}"):
        network = read_network(ref)
        assert network.layout.kind == "stylegan2" and network.info.container == place
        assert set(network.tensors) == {*generator, "latent_avg"}
        assert all(np.array_equal(network.tensors[name], generator[name]) for name in generator)
        assert np.array_equal(network.tensors["latent_avg"], CENTRE)
    (report,) = inspect(path).networks
    assert not report.problems and report.container == place
    assert cli.main(["convert", str(path), "--to", str(tmp_path / "out")]) == 0
    assert "not converted" in capsys.readouterr().out or place == "checkpoint.weights"


def test_what_is_left_out_is_told(tmp_path, capsys, generator):
    for place in ("netG", "state_dict.networks.face.G"):
        write_torch(tmp_path / "x.pt", layouts(generator)[place])
        assert cli.main(["convert", str(tmp_path / "x.pt"), "--to", str(tmp_path), "--overwrite"]) == 0
        out = capsys.readouterr().out
        assert ("netD" if place == "netG" else "networks.D.convs.0.0.weight") in out
        assert cli.main(["inspect", str(tmp_path / "x.pt")]) == 0
        assert ("netD" if place == "netG" else "networks.D.convs.0.0.weight") in capsys.readouterr().out


def test_a_prefix_in_a_file_of_names_alone(tmp_path, generator):
    path = tmp_path / "x.safetensors"
    write_safetensors(path, {**below("a.b.", generator), "loss": LOSS}, {"format": "pt"})
    assert read_network(path).info.container == "a.b"
    assert set(read_network(f"{path}#a.b").tensors) == set(generator)
    with pytest.raises(UserError, match="no tensors under 'a.c'"):
        read_network(f"{path}#a.c")


def test_two_are_a_question_that_every_command_lets_one_answer(tmp_path, capsys, generator):
    other = {name: array * np.float32(0.5) for name, array in generator.items()}
    path = tmp_path / "two.pt"
    write_torch(path, {"student": generator, "teacher": other, "loss": LOSS})
    question = r"'student' \(stylegan2\), 'teacher' \(stylegan2\); name one of them, as .*two.pt#"
    with pytest.raises(UserError, match=question):
        read_network(path)
    for before, after in ((["inspect"], []), (["convert"], ["--to", str(tmp_path / "out")]),
                          (["generate", "--seeds", "0", "--network"], ["--output", str(tmp_path / "pictures")])):
        assert cli.main([*before, str(path), *after]) == 2
        assert "name one of them" in capsys.readouterr().err
        assert cli.main([*before, f"{path}#teacher", *after]) == 0
    assert cli.main(["inspect", str(path), "--container", "teacher"]) == 0
    converted = read_network(tmp_path / "out" / "two.safetensors").tensors
    assert np.array_equal(converted["input.input"], other["input.input"])
    (picture,) = (tmp_path / "pictures").rglob("*.png")
    teacher = picture.read_bytes()
    assert cli.main(["generate", "--seeds", "0", "--network", f"{path}#student", "--output",
                     str(tmp_path / "pictures")]) == 0
    assert picture.read_bytes() != teacher


def test_clip_takes_a_place(tmp_path):
    whole = dict(read_tensors(resolve("demo:clip-local"))[0])
    network = read_network("demo:clip-local")
    rows = network.tensors.get("token_embedding.rows")
    assert rows is not None and set(whole) == set(network.tensors)
    write_torch(tmp_path / "x.pt", {"loss": LOSS, "net": {"first": whole, "second": whole}})
    with pytest.raises(UserError, match="name one of them"):
        clip.load(tmp_path / "x.pt")
    model, _ = clip.load(f"{tmp_path / 'x.pt'}#net.second")
    assert model.known_tokens is not None


def test_a_damaged_network_is_not_passed_over(tmp_path, generator):
    damaged = {name: array for name, array in generator.items() if name != "to_rgb1.bias"}
    write_torch(tmp_path / "x.pt", {"g_ema": damaged, "g": generator})
    with pytest.raises(UserError, match="is missing"):
        read_network(tmp_path / "x.pt")
    write_torch(tmp_path / "y.pt", {**damaged, "copy": generator})
    with pytest.raises(UserError, match="is missing"):
        read_network(tmp_path / "y.pt")


def test_what_is_wrong_with_the_only_one_is_told(tmp_path, generator):
    damaged = {name: array for name, array in generator.items() if name != "to_rgb1.bias"}
    write_torch(tmp_path / "x.pt", {"model_state_dict": damaged, "loss": LOSS})
    with pytest.raises(UserError, match="'to_rgb1.bias' is missing"):
        read_network(tmp_path / "x.pt")
    (report,) = inspect(tmp_path / "x.pt").networks
    assert report.kind == "stylegan2" and "is missing" in report.problems[0]


def test_a_place_is_what_follows_the_last_mark(tmp_path, generator):
    (tmp_path / "a#b.pt").touch()
    (tmp_path / "a").touch()
    assert split_place(tmp_path / "a#b.pt") == (str(tmp_path / "a#b.pt"), None)
    assert split_place(f"{tmp_path}/a#b.pt#c.d") == (f"{tmp_path}/a#b.pt", "c.d")
    assert split_place(f"{tmp_path}/a#c") == (f"{tmp_path}/a", "c")
    assert split_place("nothing#c") == ("nothing#c", None)
    assert split_place("demo:generator") == ("demo:generator", None)


def test_looking_everywhere_takes_no_time(tmp_path):
    names = [".".join("abcdefghijkl"[(n * k) % 12] for k in range(1, 9)) + f".{n}" for n in range(3000)]
    write_safetensors(tmp_path / "a.safetensors", dict.fromkeys(names, np.zeros(600, "f4")))
    many = {f"k{n}": {"x": {str(i): np.zeros(200, "f4") for i in range(10)}} for n in range(300)}
    (tmp_path / "b.pkl").write_bytes(pickle.dumps(many, 4))
    for path in sorted(tmp_path.iterdir()):
        began = time.process_time()
        with pytest.raises(UserError):
            read_network(path)
        assert time.process_time() - began < 20

"""Where in a checkpoint the network lies: under which key, how far in, and what must not be passed over in silence."""
from __future__ import annotations

import pickle
import time

import numpy as np
import pytest

from jittor_ipl import cli
from jittor_ipl.errors import UserError
from jittor_ipl.weights.containers.limits import UnsafeWeightsError
from jittor_ipl.weights.containers.read import read_tensors
from jittor_ipl.weights.containers.safetensors import write_safetensors
from jittor_ipl.weights.containers.torch_writer import write_torch
from jittor_ipl.weights.inspect import inspect
from jittor_ipl.weights.refs import resolve

STATE = {"a.weight": np.arange(6, dtype="f4").reshape(2, 3), "a.bias": np.zeros(2, "f4")}
OTHER = {"b.weight": np.ones(2, "f4")}


@pytest.fixture(scope="module")
def generator() -> dict[str, np.ndarray]:
    return dict(read_tensors(resolve("demo:generator"))[0])


def read(root: object, container: str | None = None):
    return read_tensors(pickle.dumps(root, 2), container)


@pytest.mark.parametrize("root, key",
                         [({"G": STATE}, "G"), ({"generator": STATE, "step": 3}, "generator"), ([STATE], "0"),
                                       ({"model": {"g_ema": STATE, "step": 3}, "epoch": 4}, "model.g_ema"),
                                       ({"a": {"b": {"c": STATE}}}, "a.b.c")])
def test_the_only_candidate_is_taken(root, key):
    for container in (None, key):
        tensors, info = read(root, container)
        assert list(tensors) == list(STATE) and info.container == key


@pytest.mark.parametrize("root, keys", [({"G": STATE, "D": OTHER}, ("G", "D")), ((STATE, OTHER), ("0", "1")),
                                        ({"model": {"G": STATE, "D": OTHER}}, ("model.G", "model.D"))])
def test_of_several_one_must_be_named(root, keys):
    with pytest.raises(UserError, match="name one of them, as FILE#KEY") as caught:
        read(root)
    assert all(repr(key) in str(caught.value) for key in keys)
    assert list(read(root, keys[1])[0]) == list(OTHER)


def test_what_lies_beside_a_nested_network_is_kept():
    tensors, info = read({"model": {"g_ema": STATE, "latent_avg": np.zeros(2, "f4")}, "config": {"size": 64},
                          "opt": {"x": {}}})
    assert list(info.extras) == ["latent_avg"] and info.values == {"size": 64} and "opt" in info.skipped and list(
        tensors) == list(STATE)


def test_a_container_in_a_file_without_any(tmp_path, capsys):
    write_safetensors(tmp_path / "x.safetensors", STATE)
    np.save(tmp_path / "x.npy", STATE["a.weight"])
    np.savez(tmp_path / "x.npz", **STATE)
    write_torch(tmp_path / "x.pt", STATE)
    (tmp_path / "list.pkl").write_bytes(pickle.dumps([STATE["a.weight"]], 2))
    for path in sorted(tmp_path.glob("*.*")):
        for command in (["inspect", path], ["convert", path, "--to", tmp_path / "out"]):
            assert cli.main([*map(str, command), "--container", "nope"]) == 2
            err = capsys.readouterr().err
            assert "'nope'" in err and "no containers" in err and err.count("\n") == 1


@pytest.mark.parametrize("key, value, told", [(5, np.zeros(2, "f4"), "'5'"), (None, np.zeros(2, "f4"), "'None'"),
                                              ("nest", {"a": np.zeros(2, "f4")}, "'nest.a'"),
                                              ("nest", [np.zeros(2, "f4")], "'nest.0'"),
                                              ("nest", {7: np.zeros(2, "f4")}, "'nest.7'")])
def test_no_tensor_disappears(tmp_path, generator, capsys, key, value, told):
    (tmp_path / "x.pkl").write_bytes(pickle.dumps({"g_ema": {**generator, key: value}}, 4))
    assert any(f"unexpected tensor {told}" in problem for problem in inspect(tmp_path / "x.pkl").problems)
    assert cli.main(["convert", str(tmp_path / "x.pkl"), "--to", str(tmp_path / "out")]) == 2
    assert f"unexpected tensor {told}" in capsys.readouterr().err


def test_two_keys_that_read_alike_are_refused():
    with pytest.raises(UnsafeWeightsError, match="two tensors of the name 5"):
        read({5: np.zeros(1, "f4"), "5": np.zeros(1, "f4")})


def test_a_dictionary_held_many_times_takes_no_time():
    deep: dict = {"x": STATE}
    for _ in range(40):
        deep = {f"k{i}": deep for i in range(9)}
    many = dict.fromkeys(range(20_000), 0)
    for root in (deep, {f"k{i}": many for i in range(20_000)}, {f"k{i}": {} for i in range(20_000)},
                 {"a": {str(i): many for i in range(20_000)}},
                 {"g_ema": {str(i): [many] for i in range(20_000)} | STATE}):
        started = time.process_time()
        try:
            read(root)
        except UserError:
            pass
        assert time.process_time() - started < 5

"""Folders of weight files: which file is the network, shards and their index, and what is refused."""
from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from jittor_ipl.errors import UserError
from jittor_ipl.weights.containers.safetensors import write_safetensors
from jittor_ipl.weights.containers.torch_writer import write_torch
from jittor_ipl.weights.folder import MAX_CONFIG_BYTES, find_file_sets, open_file_set

A, B = {"a.weight": np.arange(6, dtype="f4").reshape(2, 3)}, {"b.weight": np.ones(2, "f2"), "b.bias": np.zeros(1, "i8")}


def shards(folder: Path, write=write_safetensors, suffix: str = "safetensors", stem: str = "model") -> Path:
    names = [f"{stem}-0000{i}-of-00002.{suffix}" for i in (1, 2)]
    write(folder / names[0], A)
    write(folder / names[1], B)
    index = folder / f"{stem}.{suffix}.index.json"
    index.write_text(
        json.dumps({"metadata": {}, "weight_map": {**dict.fromkeys(A, names[0]), **dict.fromkeys(B, names[1])}}))
    return index


def change(index: Path, **names: str | None) -> None:
    content = json.loads(index.read_text())
    content["weight_map"] = {k: v for k, v in {**content["weight_map"], **names}.items() if v is not None}
    index.write_text(json.dumps(content))


@pytest.mark.parametrize("write, suffix, stem",
                         [(write_safetensors, "safetensors", "model"), (write_torch, "bin", "pytorch_model"),
                                                 (write_safetensors, "safetensors", "diffusion_pytorch_model")])
def test_shards_are_joined(tmp_path, write, suffix, stem):
    index = shards(tmp_path, write, suffix, stem)
    (tmp_path / "config.json").write_text('{"hidden_size": 3}')
    for place in (tmp_path, index):
        (source,) = find_file_sets(place)
        tensors, _ = open_file_set(source).at()
        assert list(tensors) == [*A, *B] and source.config == {"hidden_size": 3} and len(source.files) == 2
        assert all(np.array_equal(tensors[name], value) for name, value in {**A, **B}.items())


DAMAGE = {
    "a missing shard": (lambda index: (index.parent / "model-00002-of-00002.safetensors").unlink(), "is missing"),
    "a name that no shard has": (lambda index: change(index, **{"c.weight": "model-00001-of-00002.safetensors"}),
                                 "c.weight"),
    "a name in the wrong shard": (lambda index: change(index, **{"b.bias": "model-00001-of-00002.safetensors"}),
                                  "b.bias"),
    "a tensor that the index lacks": (lambda index: change(index, **{"b.bias": None}), "b.bias"),
    "a path": (lambda index: change(index, **{"b.bias": "../model.safetensors"}), "plain file name"),
    "an absolute path": (lambda index: change(index, **{"b.bias": "/etc/passwd"}), "plain file name"),
    "a hidden file": (lambda index: change(index, **{"b.bias": ".hidden"}), "plain file name"),
    "a backslash": (lambda index: change(index, **{"b.bias": "a\\b"}), "plain file name"),
    "itself": (lambda index: change(index, **{"b.bias": index.name}), "plain file name"),
    "a number for a name": (lambda index: change(index, **{"b.bias": 1}), "weight_map"),
    "no map": (lambda index: index.write_text("{}"), "weight_map"),
    "no JSON": (lambda index: index.write_text("{"), "not JSON"),
    "a list": (lambda index: index.write_text("[]"), "not a JSON object"),
    "endless nesting": (lambda index: index.write_text("[" * 100_000), "JSON"),
}


@pytest.mark.parametrize("damage, told", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_index_is_refused(tmp_path, damage, told):
    damage(shards(tmp_path))
    with pytest.raises(UserError, match=told) as caught:
        for source in find_file_sets(tmp_path):
            open_file_set(source).at()
    assert "\n" not in str(caught.value)


def test_the_safe_format_is_read_first(tmp_path):
    write_safetensors(tmp_path / "model.safetensors", A)
    write_safetensors(tmp_path / "model.fp16.safetensors", A)
    write_torch(tmp_path / "pytorch_model.bin", A)
    (source,) = find_file_sets(tmp_path)
    assert source.path.name == "model.safetensors" and source.unread == ("model.fp16.safetensors", "pytorch_model.bin")


def test_a_pipeline_is_its_folders(tmp_path):
    for part in ("unet", "vae"):
        (tmp_path / part).mkdir()
        write_safetensors(tmp_path / part / "diffusion_pytorch_model.safetensors", A)
        (tmp_path / part / "config.json").write_text(json.dumps({"_class_name": part}))
    (tmp_path / "scheduler").mkdir()
    (tmp_path / "model_index.json").write_text("{}")
    assert [(s.label, s.config["_class_name"]) for s in find_file_sets(tmp_path)] == [("unet", "unet"), ("vae", "vae")]


def test_other_folders_give_every_weight_file(tmp_path):
    for name in ("generator.safetensors", "mapper.safetensors"):
        write_safetensors(tmp_path / name, A)
    (tmp_path / "notes.txt").touch()
    assert [source.label for source in find_file_sets(tmp_path)] == ["generator", "mapper"]


def test_links_to_files_are_followed_and_broken_ones_told(tmp_path):
    (tmp_path / "blobs").mkdir()
    (tmp_path / "snapshot").mkdir()
    write_safetensors(tmp_path / "blobs" / "0123", A)
    link = tmp_path / "snapshot" / "model.safetensors"
    link.symlink_to("../blobs/0123")
    assert list(open_file_set(find_file_sets(tmp_path / "snapshot")[0]).at()[0]) == list(A)
    link.unlink()
    link.symlink_to(link.name)
    with pytest.raises(UserError):
        open_file_set(find_file_sets(tmp_path / "snapshot")[0]).at()


@pytest.mark.parametrize("content, told",
                         [(b"{" + b" " * MAX_CONFIG_BYTES + b"}", "larger"), (b"[1]", "not a JSON object"),
                                           (b"\xff{}", "not JSON"), (b'{"a": ' + b"9" * 5000 + b"}", "not JSON")])
def test_a_configuration_that_is_none(tmp_path, content, told):
    write_safetensors(tmp_path / "model.safetensors", A)
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(UserError, match=told):
        find_file_sets(tmp_path)


def test_an_empty_folder_is_told(tmp_path):
    with pytest.raises(UserError, match="it is empty"):
        find_file_sets(tmp_path)
    (tmp_path / "readme.txt").touch()
    with pytest.raises(UserError, match="readme.txt"):
        find_file_sets(tmp_path)

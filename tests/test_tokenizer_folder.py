"""Tokenizer folders: written and read back, small vocabularies, padding, and every kind of damage in one line."""
from __future__ import annotations

import json

import numpy as np
import pytest

from jittor_ipl.errors import UserError
from jittor_ipl.text.bpe_folder import read_tokenizer, small_vocabulary, write_tokenizer
from jittor_ipl.text.tokenizer import END, START, tokenizer

CAPTIONS = ["a photo of a man with black hair and glasses", "a woman, smiling, in the style of ukiyo-e", "style_03"]


def small(tmp_path, **options):
    write_tokenizer(tmp_path, small_vocabulary(CAPTIONS, **{"length": 12, **options}))
    return tmp_path


def change(path, **fields) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def test_a_small_vocabulary_gives_openais_pieces(tmp_path):
    full, codec = tokenizer(), read_tokenizer(small(tmp_path))
    assert 514 < len(codec.words) < 700 and codec.words[-2:] == [START, END]
    for text in CAPTIONS:
        assert [codec.words[i] for i in codec.encode(text)] == [full.words[i] for i in full.encode(text)]
    other = "Ωmega zebra 🎨 42"
    assert codec.decode(codec.encode(other)) == full.decode(full.encode(other))


def test_texts_are_padded_by_the_folders_token_and_cut_with_one_note(tmp_path, capfd):
    codec = read_tokenizer(small(tmp_path))
    rows = codec.padded(["", "a photo", "a " * 30])
    assert rows.dtype == np.int32 and rows.shape == (3, 12)
    assert rows[0].tolist() == [codec.start] + [codec.end] * 11         # the empty prompt is one as well
    assert rows[2, -1] == codec.end and (rows[2, 1:-1] == rows[2, 1]).all()
    codec.padded(["a " * 30])
    told = capfd.readouterr().err.splitlines()
    assert len(told) == 1 and "30 tokens; the first 10 are read" in told[0]
    pad = read_tokenizer(small(tmp_path, pad="!"))
    assert pad.padded(["a"])[0, 3:].tolist() == [0] * 9 and pad.end == len(pad.words) - 1
    assert pad.encode("a!b!") == [*pad.encode("a"), 0, *pad.encode("b"), 0]      # transformers splits there, too


def test_writing_again_gives_the_same_bytes(tmp_path):
    first, again = tmp_path / "first", tmp_path / "again"
    for folder in (first, again):
        folder.mkdir()
    write_tokenizer(again, read_tokenizer(small(first)))
    assert all(path.read_bytes() == (again / path.name).read_bytes() for path in first.iterdir())


def test_a_folder_without_the_small_files_and_with_added_tokens(tmp_path):
    small(tmp_path)
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        (tmp_path / name).unlink()
    codec = read_tokenizer(tmp_path)
    assert codec.length == 77 and codec.pad == codec.end
    (tmp_path / "added_tokens.json").write_text(json.dumps({"<cat>": len(codec.words)}))
    assert read_tokenizer(tmp_path).encode("a <cat>")[-1] == len(codec.words)


@pytest.mark.parametrize("name, change_it, told", [
    ("vocab.json", None, "cannot read the vocabulary"), ("merges.txt", None, "cannot read the list of merges"),
    ("vocab.json", lambda text: text[:900], "not JSON"), ("vocab.json", lambda text: "[1]", "not a JSON object"),
    ("vocab.json", lambda text: text.replace(":7,", ":8,"), "do not have the ids"),
    ("vocab.json", lambda text: text.replace(":7,", ':"7",'), "whole numbers"),
    ("vocab.json", lambda text: text.replace("<|endoftext|>", "</s>"), r"'<\|endoftext\|>' is missing"),
    ("merges.txt", lambda text: text.replace("\n", "\n\n", 3).replace("p h", "p", 1), "merges.txt, line .*damaged"),
    ("merges.txt", lambda text: text + "x q\n", "'x q' must be two tokens"),
    ("merges.txt", lambda text: "version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "line 1 is damaged"),
    ("special_tokens_map.json", lambda text: text.replace('"pad_token": "<', '"pad_token": "<pad'), "pad token"),
    ("special_tokens_map.json", lambda text: text.replace(START, "<s>"), "bos_token '<s>' is not supported"),
    ("tokenizer_config.json", lambda text: text.replace(": 12,", ": 2,"), "model_max_length"),
    ("tokenizer_config.json", lambda text: text.replace(": 12,", ': 12, "added_tokens_decoder": {"x": "a"},'), "added"),
])
def test_damage_is_told_in_one_line(tmp_path, name, change_it, told):
    path = small(tmp_path) / name
    text = path.read_text()
    path.unlink()
    if change_it is not None:
        assert change_it(text) != text
        path.write_text(change_it(text))
    with pytest.raises(UserError, match=told) as caught:
        read_tokenizer(tmp_path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


ODD = (None, True, -1, 10**12, 0.5, 1e400, float("nan"), "", "x", [], [[1]], {}, {"content": 1}, {"1": "a"}, {"x": "y"},
       {"7": {"content": "!"}}, {"9" * 5000: {"content": "z"}})


def test_any_settings_give_a_tokenizer_or_one_line(tmp_path):
    small(tmp_path)
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        path = tmp_path / name
        content = json.loads(path.read_text())
        for field in ("pad_token", "bos_token", "model_max_length", "added_tokens_decoder"):
            for value in ODD:
                path.write_text(json.dumps({**content, field: value}))
                try:
                    assert read_tokenizer(tmp_path).padded(["a photo! x z"]).shape[0] == 1
                except UserError as error:
                    assert "\n" not in str(error) and len(str(error)) < 400, str(error)
        path.write_text(json.dumps(content))

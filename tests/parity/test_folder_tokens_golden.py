"""Token ids of folders beside those of transformers' CLIPTokenizer (tests/golden/folder_tokens.json)."""
from __future__ import annotations

import json

import numpy as np
import pytest
from record_folder_tokens import GOLDEN, KINDS, write_folder
from reference import require_reference, run_reference

from jittor_ipl.text.bpe_folder import read_tokenizer


@pytest.mark.parametrize("kind", KINDS)
def test_ids_are_those_of_transformers(kind, tmp_path):
    record = json.loads(GOLDEN.read_text())
    codec, theirs = read_tokenizer(write_folder(kind, tmp_path)), record[kind]
    assert (codec.length, codec.pad) == (theirs["length"], theirs["pad"])
    ours = codec.padded(record["texts"])
    rows = [ids + [codec.pad] * (codec.length - len(ids)) for ids in theirs["ids"]]
    wrong = [text for text, a, b in zip(record["texts"], ours, rows) if not np.array_equal(a, b)]
    assert len(rows) > 180 and not wrong, (len(wrong), wrong[:8])


@pytest.mark.reference
def test_transformers_gives_the_recorded_ids(tmp_path):
    require_reference("transformers", "ftfy", "clip")
    run_reference("tests/parity/record_folder_tokens.py", tmp_path / "again.json")
    assert json.loads((tmp_path / "again.json").read_text()) == json.loads(GOLDEN.read_text())


@pytest.mark.reference
@pytest.mark.parametrize("kind", KINDS)
def test_what_transformers_writes_is_the_same_tokenizer(kind, tmp_path):
    """Newer releases list the added tokens in tokenizer_config.json, with flags."""
    require_reference("transformers", "ftfy")
    texts = json.loads(GOLDEN.read_text())["texts"]
    run_reference("import sys\nfrom transformers import CLIPTokenizer\n"
                  "CLIPTokenizer.from_pretrained(sys.argv[1]).save_pretrained(sys.argv[2])",
                  write_folder(kind, tmp_path), tmp_path / "again")
    again = read_tokenizer(tmp_path / "again")
    assert again.length == read_tokenizer(tmp_path).length
    assert np.array_equal(again.padded(texts), read_tokenizer(tmp_path).padded(texts))

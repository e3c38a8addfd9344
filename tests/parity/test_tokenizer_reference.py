"""Token ids beside transformers' CLIPTokenizer: OpenAI's vocabulary in both layouts of pad tokens, and a small one."""
from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from record_tokens import WRITTEN, invented
from reference import require_reference, run_reference

from jittor_ipl.text.bpe_folder import read_tokenizer, small_vocabulary, write_tokenizer
from jittor_ipl.text.tokenizer import Tokenizer, tokenizer

pytestmark = pytest.mark.reference
TEXTS = [text for text in WRITTEN + invented(120, seed=11) if not any("\ud800" <= c <= "\udfff" for c in text)]
ENCODE = """
import json, sys
sys.modules["torchvision"] = None
from transformers import CLIPTokenizer
codec = CLIPTokenizer.from_pretrained(sys.argv[1])
texts = json.load(open(sys.argv[2]))
print(json.dumps([codec(text, padding="max_length", truncation=True)["input_ids"] for text in texts]))
"""


def folder_of(kind: str, folder: Path) -> Path:
    """Write a folder as Stable Diffusion 1.5 or 2.1 has it, or the vocabulary of a few captions."""
    full = tokenizer()
    if kind == "small":
        codec = small_vocabulary(["a photo of a man with black hair and glasses, smiling", "ukiyo-e"], length=40)
    else:
        pad = "!" if kind == "2.1" else "<|endoftext|>"
        markers = {text: full.ids[text] for text in (pad, "<|startoftext|>", "<|endoftext|>")}
        codec = Tokenizer(full.words, full.merges, pad=full.ids[pad], specials=markers, entities=False)
    write_tokenizer(folder, codec)
    if kind == "2.1":       # that folder's two files contradict each other
        path = folder / "tokenizer_config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "pad_token": "<|endoftext|>"}))
    return folder


@pytest.mark.parametrize("kind", ["1.5", "2.1", "small"])
def test_ids_are_those_of_transformers(kind, tmp_path):
    require_reference("transformers", "ftfy")
    folder = folder_of(kind, tmp_path)
    (tmp_path / "texts.json").write_text(json.dumps(TEXTS))
    theirs = np.array(json.loads(run_reference(ENCODE, folder, tmp_path / "texts.json").splitlines()[-1]))
    ours = read_tokenizer(folder).padded(TEXTS)
    wrong = [text for text, a, b in zip(TEXTS, ours, theirs) if not np.array_equal(a, b)]
    assert ours.shape == theirs.shape and not wrong, (len(wrong), wrong[:8])

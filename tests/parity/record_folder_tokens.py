"""Record tests/golden/folder_tokens.json: ids of odd strings by transformers' CLIPTokenizer; run in the reference
environment.

    python tests/parity/record_folder_tokens.py [FILE]

Three folders, written by this project: OpenAI's vocabulary with the pad token of Stable Diffusion 1.5 ("1.5") and 2.1
("2.1", whose two small files contradict each other about it), and the vocabulary of a few captions ("small").
"""
from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from record_tokens import WRITTEN, invented

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
from jittor_ipl.text.bpe_folder import small_vocabulary, write_tokenizer  # noqa: E402
from jittor_ipl.text.tokenizer import END, START, Tokenizer, tokenizer  # noqa: E402

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "folder_tokens.json"
KINDS = ("1.5", "2.1", "small")
CAPTIONS = ["a photo of a man with black hair and glasses, smiling", "ukiyo-e"]


def texts() -> list[str]:
    """Return the strings that UTF-8 can hold."""
    return [text for text in WRITTEN + invented(60, seed=11) if not any("\ud800" <= c <= "\udfff" for c in text)]


def write_folder(kind: str, folder: Path) -> Path:
    """Write the folder of one kind."""
    if kind == "small":
        write_tokenizer(folder, small_vocabulary(CAPTIONS, length=40))
        return folder
    full, pad = tokenizer(), "!" if kind == "2.1" else END
    markers = {text: full.ids[text] for text in (pad, START, END)}
    write_tokenizer(folder, Tokenizer(full.words, full.merges, pad=full.ids[pad], specials=markers, entities=False))
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "pad_token": END}))
    return folder


def without_end(row: list[int], pad: int) -> list[int]:
    """Return a row without the pad tokens at its end."""
    return row[:next((place for place in range(len(row), 0, -1) if row[place - 1] != pad), 0)]


def main() -> None:
    sys.modules["torchvision"] = None       # as in tiny_diffusion
    from transformers import CLIPTokenizer
    record = {"texts": texts()}
    for kind in KINDS:
        with tempfile.TemporaryDirectory() as folder:
            codec = CLIPTokenizer.from_pretrained(write_folder(kind, Path(folder)))
            rows = codec(record["texts"], padding="max_length", truncation=True)["input_ids"]
        record[kind] = {"length": codec.model_max_length, "pad": codec.pad_token_id,
                        "ids": [without_end(row, codec.pad_token_id) for row in rows]}
    text = json.dumps(record, separators=(",", ":")).replace('],"', '],\n"')
    Path(sys.argv[1] if len(sys.argv) > 1 else GOLDEN).write_text(text + "\n")


if __name__ == "__main__":
    main()

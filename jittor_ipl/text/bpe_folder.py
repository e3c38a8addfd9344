"""A tokenizer as transformers' CLIPTokenizer keeps it: vocab.json, merges.txt and two small files beside them."""
from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from jittor_ipl.disk.atomic import write_bytes
from jittor_ipl.disk.small_files import read_json, read_lines
from jittor_ipl.errors import UserError, nearest
from jittor_ipl.text.tokenizer import END, MERGES, START, Tokenizer, all_words, byte_symbols, tokenizer

VOCABULARY, MERGE_LIST, SPECIAL_TOKENS, SETTINGS = ("vocab.json", "merges.txt", "special_tokens_map.json",
                                                    "tokenizer_config.json")
_LIMIT, _MOST_TOKENS, _MOST_LENGTH = 8 << 20, 100_000, 4096
_MARKERS = {"bos_token": START, "eos_token": END, "unk_token": END}
_NO_LIMIT = 10**20      # transformers writes 10^30 where a tokenizer states no length


def read_tokenizer(folder: str | Path, default_length: int = 77) -> Tokenizer:
    """Return the tokenizer of a folder; `default_length` where it states no model_max_length.

    The pad token is that of special_tokens_map.json ("!" in Stable Diffusion 2, the end token in 1), which counts
    before tokenizer_config.json, as in transformers. Raises UserError for a missing or damaged file, and for a
    tokenizer of another kind.
    """
    folder = Path(folder)
    words = _words(folder / VOCABULARY)
    merges = _merges(folder / MERGE_LIST, words)
    settings, markers = (read_json(folder / name, "tokenizer's configuration", _LIMIT) if (folder / name).exists()
                         else {} for name in (SETTINGS, SPECIAL_TOKENS))
    added = _added_tokens(folder, settings, words)
    stated = {**settings, **({} if "added_tokens_decoder" in settings else markers)}
    for name, marker in _MARKERS.items():
        if _content(stated.get(name, marker)) != marker:
            raise UserError(f"{folder}: {name} {_content(stated[name])[:40]!r} is not supported; CLIP's is {marker!r}")
    pad = _content(stated.get("pad_token") or END)
    specials = {START: words[START], END: words[END], **added}
    if pad not in words and pad not in added:
        raise UserError(f"{folder}: the pad token {pad[:40]!r} is not in {VOCABULARY}{nearest(pad, words)}")
    specials.setdefault(pad, words.get(pad, 0))
    return Tokenizer(list(words), merges, pad=specials[pad], length=_length(folder, settings, default_length),
                     specials=specials, entities=False)


def _words(path: Path) -> dict[str, int]:
    """Return every token with its id, in order of the ids."""
    content = read_json(path, "vocabulary", _LIMIT)
    if not all(type(number) is int for number in content.values()) or len(content) > _MOST_TOKENS:
        raise UserError(f"{path} is not a CLIP's vocabulary: it must map up to {_MOST_TOKENS} tokens to whole numbers")
    words = dict(sorted(content.items(), key=lambda pair: pair[1]))
    wrong = next((place for place, number in enumerate(words.values()) if place != number), None)
    if wrong is not None:
        raise UserError(f"{path} is damaged: its {len(words)} tokens do not have the ids 0 to {len(words) - 1}, each "
                        f"once (id {wrong})")
    for marker in (START, END):
        if marker not in words:
            raise UserError(f"{path} is not a CLIP's vocabulary: the token {marker!r} is missing")
    return words


def _merges(path: Path, words: Mapping[str, int]) -> list[tuple[str, str]]:
    """Return the pairs in their order; UserError unless every part is a byte or was made above, and every pair known.

    That is so in every list that byte-pair encoding made, and seldom after a line was lost or changed.
    """
    letters = list(byte_symbols().values())
    known = {*letters, *(letter + "</w>" for letter in letters)}
    merges = []
    for number, line in enumerate(read_lines(path, "list of merges", _LIMIT), 1):
        pair = tuple(line.split())
        if number == 1 and line.startswith("#version") or not pair:
            continue
        if len(merges) == MERGES:       # transformers reads no more
            break
        joined = "".join(pair)
        if len(pair) != 2 or not known.issuperset(pair) or joined not in words:
            raise UserError(f"{path}, line {number} is damaged or belongs to another {VOCABULARY}: {line[:40]!r} must "
                            "be two tokens that are bytes or were made above, and their pair a known token")
        known.add(joined)
        merges.append(pair)
    return merges


def _added_tokens(folder: Path, settings: Mapping[str, Any], words: Mapping[str, int]) -> dict[str, int]:
    """Return texts that stand for one id: those of `added_tokens_decoder`, or of added_tokens.json."""
    if "added_tokens_decoder" in settings:
        listed = settings["added_tokens_decoder"]
        pairs = [(_content(token), number) for number, token in listed.items()] if isinstance(listed, dict) else None
    else:
        path = folder / "added_tokens.json"
        pairs = list(read_json(path, "list of tokens", _LIMIT).items()) if path.exists() else []
    try:
        added = {text: int(number) for text, number in pairs}
    except (TypeError, ValueError):
        raise UserError(f"{folder}: the added tokens must be texts with whole numbers") from None
    for text, number in added.items():
        if not text or words.get(text, number) != number or not 0 <= number < _MOST_TOKENS:
            raise UserError(f"{folder}: the added token {text[:40]!r} cannot have the id {number}")
    return added


def _content(token: object) -> str:
    """Return the text of a token, which is a text or an object that has it as `content`."""
    text = token.get("content") if isinstance(token, dict) else token
    if not isinstance(text, str):
        raise UserError(f"a special token of the tokenizer is no text: {str(token)[:60]!r}")
    return text


def _length(folder: Path, settings: Mapping[str, Any], default: int) -> int:
    length = settings.get("model_max_length", default)
    if isinstance(length, (int, float)) and length >= _NO_LIMIT:
        length = default
    if type(length) is not int or not 3 <= length <= _MOST_LENGTH:
        raise UserError(f"{folder}: model_max_length must be a whole number from 3 to {_MOST_LENGTH}, "
                        f"{SETTINGS} says {str(length)[:40]}")
    return length


def small_vocabulary(texts: Iterable[str], length: int = 77, pad: str = END) -> Tokenizer:
    """Return a tokenizer with all bytes and only those of OpenAI's merges that the words of `texts` need.

    The words of `texts` get OpenAI's pieces (under other ids); any other text is still read, in smaller pieces.
    """
    full = tokenizer()
    words = {word for text in texts for word in full.split(text)} - {START, END}
    used = sorted({number for word in words for number in full.pieces(word)[1]})
    merges = [full.merges[number] for number in used]
    tokens = all_words(merges)
    ids = {token: number for number, token in enumerate(tokens)}
    specials = {token: ids[token] for token in (START, END, pad)}
    return Tokenizer(tokens, merges, pad=ids[pad], length=length, specials=specials, entities=False)


def write_tokenizer(folder: str | Path, codec: Tokenizer) -> None:
    """Write the four files of a tokenizer into an existing folder, as `read_tokenizer` and transformers read them."""
    pad = next(text for text, number in codec.specials.items() if number == codec.pad)
    marker = {"lstrip": False, "normalized": True, "rstrip": False, "single_word": False}
    markers = {"bos_token": {"content": START, **marker}, "eos_token": {"content": END, **marker}, "pad_token": pad,
               "unk_token": {"content": END, **marker}}
    settings = {"add_prefix_space": False, "do_lower_case": True, "errors": "replace", "model_max_length": codec.length,
                "tokenizer_class": "CLIPTokenizer", "bos_token": START, "eos_token": END, "pad_token": pad,
                "unk_token": END}
    texts = {VOCABULARY: json.dumps(codec.ids, ensure_ascii=False, separators=(",", ":")),
             MERGE_LIST: "\n".join(["#version: 0.2", *map(" ".join, codec.merges)]),
             SPECIAL_TOKENS: json.dumps(markers, indent=2), SETTINGS: json.dumps(settings, indent=2)}
    for name, text in texts.items():
        write_bytes(Path(folder) / name, f"{text}\n".encode())

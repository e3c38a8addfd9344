"""Settings inside of PNG files: what a picture was made with, written into it and read back from it."""
from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

from jittor_ipl.webui.page_error import PageError

KEY = "jittor_ipl"              # of the text chunk that holds all settings as JSON
MOST_TEXT = 64 << 10            # bytes of one text
_PLAIN = ("style", "seed", "truncation", "neutral", "target", "seeds")     # what the commands write besides
_MAGIC = b"\x89PNG\r\n\x1a\n"


def chunks_of(settings: Mapping[str, Any]) -> dict[str, str]:
    """Return the text chunks of a picture's settings: all of them as JSON, style and seed as `generate` writes them."""
    plain = {name: str(settings[name]) for name in ("style", "seed") if settings.get(name) is not None}
    return {**plain, KEY: json.dumps(settings, ensure_ascii=False, sort_keys=True)}


def read_settings(data: bytes) -> dict[str, Any]:
    """Return the settings inside of a PNG: those of this page, or the texts that the commands write.

    UserError for a file that is no PNG, is damaged, or has none.
    """
    if not data.startswith(_MAGIC):
        raise PageError("error.no_png")
    texts = {key: value for key, value in _texts(data) if key == KEY or key in _PLAIN}
    if KEY in texts:
        try:
            found = json.loads(texts[KEY])
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise PageError("error.damaged_settings")
        return found
    if not texts:
        raise PageError("error.no_settings")
    return {key: int(value) if key == "seed" and value.isascii() and value.isdigit() else value
            for key, value in texts.items()}


def _texts(data: bytes) -> Iterator[tuple[str, str]]:
    """Yield (key, text) of the uncompressed and compressed text chunks, each of at most MOST_TEXT bytes."""
    at = len(_MAGIC)
    while at + 12 <= len(data):
        length, kind = int.from_bytes(data[at:at + 4], "big"), data[at + 4:at + 8]
        body = data[at + 8:at + 8 + length]
        if len(body) < length:
            raise PageError("error.cut_png")
        if kind in (b"tEXt", b"iTXt") and length <= MOST_TEXT:
            found = _text(kind, body)
            if found is not None:
                yield found
        if kind == b"IEND":
            return
        at += 12 + length


def _text(kind: bytes, body: bytes) -> tuple[str, str] | None:
    key, _, rest = body.partition(b"\0")
    if kind == b"tEXt":
        return key.decode("latin-1"), rest.decode("latin-1")
    if len(rest) < 2:
        return None
    compressed, (_, _, text) = rest[0], (lambda parts: (parts + [b"", b"", b""])[:3])(rest[2:].split(b"\0", 2))
    if compressed:
        try:
            unpacker = zlib.decompressobj()
            text = unpacker.decompress(text, MOST_TEXT)
        except zlib.error:
            return None
    return key.decode("latin-1"), text.decode("utf-8", "replace")

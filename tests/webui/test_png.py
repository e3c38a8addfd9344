"""Settings inside of PNG files: there and back, from the commands' files, and from damaged ones."""
from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from jittor_ipl.errors import UserError
from jittor_ipl.images.files import encode_png
from jittor_ipl.webui.png import KEY, MOST_TEXT, chunks_of, read_settings

PIXELS = np.zeros((4, 4, 3), np.uint8)
SETTINGS = {"kind": "generate", "subject": "portraits", "style": "ukiyo-e 浮世绘", "seed": 7, "truncation": 0.7}


def test_settings_come_back_as_they_were_and_pillow_reads_style_and_seed():
    data = encode_png(PIXELS, chunks_of(SETTINGS))
    assert read_settings(data) == SETTINGS
    texts = Image.open(io.BytesIO(data)).text
    assert texts["seed"] == "7" and texts["style"] == SETTINGS["style"]


def test_what_the_commands_write_is_read_too():
    assert read_settings(encode_png(PIXELS, {"style": "disney", "seed": "12"})) == {"style": "disney", "seed": 12}


def saved(compressed: bool, text: str, key: str = KEY) -> bytes:
    chunks, buffer = PngImagePlugin.PngInfo(), io.BytesIO()
    chunks.add_itxt(key, text, zip=compressed)
    Image.fromarray(PIXELS).save(buffer, "PNG", pnginfo=chunks)
    return buffer.getvalue()


def test_compressed_texts_are_read_up_to_a_bound():
    assert read_settings(saved(True, '{"seed": 3}')) == {"seed": 3}
    bomb = saved(True, '{"seed": "' + "0" * (64 << 20) + '"}')
    assert len(bomb) < MOST_TEXT * 2
    with pytest.raises(UserError, match="damaged|no settings"):
        read_settings(bomb)


@pytest.mark.parametrize("data, said", [
    (b"", "no PNG"), (b"GIF89a", "no PNG"), (encode_png(PIXELS), "holds no settings"),
    (encode_png(PIXELS, {"Comment": "x"}), "holds no settings"), (saved(False, "[" * 60_000), "damaged"),
    (saved(False, "[1]"), "damaged"), (encode_png(PIXELS, chunks_of(SETTINGS))[:60], "cut short"),
    (saved(False, "{}" + " " * MOST_TEXT), "holds no settings")])
def test_other_files_are_refused_in_one_line(data, said):
    with pytest.raises(UserError, match=said):
        read_settings(data)


def test_no_cut_and_no_flipped_byte_raises_anything_else():
    data = encode_png(PIXELS, chunks_of(SETTINGS))
    for at in range(len(data)):
        for damaged in (data[:at], data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1:]):
            try:
                read_settings(damaged)
            except UserError:
                pass

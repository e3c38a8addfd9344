"""The competition's data: what a folder says, and every mistake in one line that names the style."""
from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from jittor_ipl.diffusion.competition_data import description_of, read_prompt_list, read_style
from jittor_ipl.errors import UserError
from jittor_ipl.images.files import save_png


@pytest.fixture
def data(tmp_path) -> Path:
    for number, name in enumerate(("woman_walking_a_dog", "Cherry_blossom")):
        save_png(tmp_path / "03/images" / f"{name}.png", np.full((8 + number, 12, 3), 255 * number, np.uint8))
    (tmp_path / "03/prompt.json").write_text(json.dumps({"10": "Pool", "0": "Ring", "2": "a cat, asleep"}))
    return tmp_path


def told(data: Path) -> str:
    with pytest.raises(UserError) as caught:
        read_style(data, 3, "waves")
    message = str(caught.value)
    assert message.startswith("style 03 (waves): ") and "\n" not in message and len(message) < 500
    return message


def test_pictures_descriptions_and_prompts_in_order(data):
    style = read_style(data, 3, "waves")
    assert style.descriptions == ("Cherry blossom", "woman walking a dog")
    assert style.prompts == ("Ring", "a cat, asleep", "Pool")
    pixels = style.pixels(4)
    assert pixels.shape == (2, 3, 4, 4) and pixels.dtype == np.float32
    assert (pixels[0] == 1).all() and (pixels[1] == -1).all()


@pytest.mark.parametrize("name, said", [("a_b__c.png", "a b c"), ("Ring.jpeg", "Ring"), ("St. Peter.png", "St. Peter")])
def test_a_file_name_is_a_description(name, said):
    assert description_of(Path(name)) == said


@pytest.mark.parametrize("text, expected", [
    ("", "not a valid list of prompts"), ("{", "not a valid list of prompts"), ("[]", "not a list of prompts"),
    ("{}", "not a list of prompts"), ("[" * 100_000, "not a valid list of prompts"),
    ('{"0": 3}', "'0': 3 is not a number and a prompt"), ('{"first": "Ring"}', "'first'"),
    ('{"0": ["Ring"]}', "is not a number and a prompt"), ('{"0": {"a": "b"}}', "is not a number and a prompt"),
    ('{"0": "Ring", "0": "Cat"}', "the key '0' is given twice"),
    ('{"0": "Ring", "1": "Ring"}', "holds the prompt 'Ring' twice"),
    ('{"0": "Ring", "1": "ring"}', "'Ring' and 'ring' are one file where case is ignored"),
    ('{"0": "Caf\\u00e9", "1": "Cafe\\u0301"}', "are one file where case is ignored"),
    ('{"0": ""}', "the prompt is empty"), ('{"0": " Ring"}', "begins or ends with a blank"),
    ('{"0": "a/b"}', "would not stay in the output folder"), ('{"0": "../../etc"}', "would not stay"),
    ('{"0": "a\\\\b"}', "would not stay"), ('{"0": ".hidden"}', "would not stay"),
    ('{"0": "a\\u0000b"}', "control character"), ('{"0": "a\\nb"}', "control character"),
    ('{"0": "\\ud800"}', "control character"), (json.dumps({"0": "x" * 252}), "at most 251"),
    (json.dumps({str(n): str(n) for n in range(10_001)}), "at most 10000"),
])
def test_a_wrong_list_of_prompts_is_told(data, text, expected):
    (data / "03/prompt.json").write_text(text)
    assert expected in told(data)


def test_a_list_that_is_no_text_or_too_large_is_told(data):
    (data / "03/prompt.json").write_bytes(b'{"0": "\xff"}')
    assert "not a valid list of prompts" in told(data)
    (data / "03/prompt.json").write_bytes(b" " * 300_000)
    assert "larger than 256 KiB" in told(data)


def test_a_byte_order_mark_is_read_over(data):
    (data / "03/prompt.json").write_bytes('\ufeff{"0": "Ring"}'.encode())
    assert read_prompt_list(data / "03/prompt.json") == ("Ring",)


def test_what_is_missing_is_told(data):
    (data / "03/prompt.json").rename(data / "prompts.json")
    assert "cannot read the list of prompts" in told(data)
    (data / "prompts.json").rename(data / "03/prompt.json")
    for path in (data / "03/images").iterdir():
        path.unlink()
    assert "no picture" in told(data)
    (data / "03/images").rmdir()
    assert "is not a folder of pictures" in told(data)
    with pytest.raises(UserError, match=r"style 04 \(dots\): there is no folder"):
        read_style(data, 4, "dots")


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n" + b"\0" * 40])
def test_a_picture_that_cannot_be_read_is_told(data, content):
    (data / "03/images/broken.png").write_bytes(content)
    assert "broken.png" in told(data)

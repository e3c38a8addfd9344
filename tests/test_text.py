"""Text: ids equal to OpenAI's, refusals in one line, templates and class prompts."""
import gzip
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jittor_ipl.errors import UserError
from jittor_ipl.text import templates
from jittor_ipl.text import tokenizer as text
from jittor_ipl.text.synonyms import SYNONYMS, understood
from jittor_ipl.world.teaching.captions import PORTRAIT

RECORD = json.loads((Path(__file__).parent / "golden" / "tokens.json").read_text())


def test_ids_equal_openais_on_odd_strings():
    codec = text.tokenizer()
    wrong = [entry["text"] for entry in RECORD if codec.encode(entry["text"]) != entry["ids"]]
    assert len(RECORD) > 300 and not wrong, wrong[:5]


def test_tokenize_lays_out_start_words_end_and_zeros():
    ids = text.tokenize(["a photo", "a"], context_length=6)
    assert ids.dtype == np.int32
    assert ids.tolist() == [[49406, 320, 1125, 49407, 0, 0], [49406, 320, 49407, 0, 0, 0]]
    assert np.array_equal(text.tokenize("a photo", 6), ids[:1])
    assert text.tokenize([]).shape == (0, 77)


def test_decode_gives_the_words_back():
    codec = text.tokenizer()
    assert codec.decode(codec.encode("A Photo of Ukiyo-e, 浮世绘 🎨")) == "a photo of ukiyo - e , 浮世绘 🎨 "


@pytest.mark.parametrize("prompt, words", [
    ("", "empty"), (" \t\n", "empty"), ("&nbsp;", "nothing that CLIP can read"), ("a\0b", "U+0000"),
    ("\x1b[31m red", "U+001B"),
    ("x \ud800", "U+D800"), ("x <|EndOfText|>", "marker"), ("hello " * 80, "80 tokens, this CLIP reads 75"),
    (7, "must be text"),
    ("x" * 3000, "3000 characters"),
])
def test_unusable_prompts_are_refused_in_one_line(prompt, words):
    with pytest.raises(UserError, match=words.replace("+", r"\+")) as caught:
        text.tokenize([prompt])
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 200


def test_unchecked_accepts_what_openai_accepts():
    assert text.tokenize(["", "a\0"], 4, checked=False).tolist() == [[49406, 49407, 0, 0], [49406, 320, 49407, 0]]


def test_a_prompt_that_just_fits_and_truncation():
    assert text.tokenize("hello " * 75)[0, -1] == 49407
    cut = text.tokenize("hello " * 80, truncate=True)
    assert cut[0, -1] == 49407 and (cut[0, 1:-1] == cut[0, 1]).all()


def test_hostile_words_cost_little():
    random = np.random.default_rng(0)
    word = "".join(random.choice(list("etaoinshr"), text.MAX_CHARACTERS))
    text.tokenizer()
    start = time.process_time()
    text.tokenizer().encode(word)
    assert time.process_time() - start < 2


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=60))
def test_any_text_encodes_to_known_ids_whose_bytes_are_the_text(string):
    codec = text.tokenizer()
    ids = codec.encode(string)
    assert all(0 <= i < 49406 for i in ids) or "text|>" in string.lower()
    assert codec.decode(ids).replace(" ", "") == "".join(codec.clean(string).split())


def test_vocabulary_must_be_openais_file(tmp_path):
    path = tmp_path / text.VOCABULARY
    with pytest.raises(UserError, match="openai-clip==1.0.1"):
        text.read_vocabulary([path])
    path.write_bytes(gzip.compress(b"#version\na b\n"))
    with pytest.raises(UserError, match="SHA-256"):
        text.read_vocabulary([path])


def test_text_needs_neither_jittor_nor_torch_nor_the_clip_package():
    code = ("import sys; from jittor_ipl import clip; from jittor_ipl.text import tokenizer; tokenizer.tokenize('a'); "
            "print([m for m in ('jittor', 'torch', 'clip', 'PIL') if m in sys.modules])")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                          cwd=Path(__file__).parents[1])
    assert done.stdout.strip() == "[]", done.stdout


def test_templates():
    assert len(templates.TEMPLATES) == len(set(templates.TEMPLATES)) == 79 and len(templates.PART_TEMPLATES) == 15
    assert all(template.count("{}") == 1 for template in templates.TEMPLATES + templates.PART_TEMPLATES)
    assert "a photo of a {}." in templates.TEMPLATES and "a photo of many {}." not in templates.TEMPLATES
    filled = text.fill_templates("{0} or {}")
    assert filled[0] == "a bad photo of a {0} or {}."


@pytest.mark.parametrize("init, n_ctx, prompt, vectors", [
    ("a photo of a", 9, "a photo of a anime painting", 4), ("a_photo", 4, "a photo anime painting", 2),
    ("", 4, "X X X X anime painting", 4), ("", 2, "X X anime painting", 2),
])
def test_class_prompts_as_ipl_builds_them(init, n_ctx, prompt, vectors):
    built = text.class_prompts("anime_painting", init, n_ctx)
    assert (built.text, built.n_ctx, built.sentence) == (prompt, vectors, prompt + ".")
    assert built.tokens().shape == (1, 77)


def test_class_prompts_refuse_an_empty_class():
    with pytest.raises(UserError, match="empty"):
        text.class_prompts(" _ ")


def test_synonyms_lead_from_words_that_no_caption_has_to_words_that_one_has():
    vocabulary = {word for said in PORTRAIT.vocabulary_texts() for word in text.tokenizer().split(said)}
    assert set(SYNONYMS.values()) <= vocabulary and not set(SYNONYMS) & vocabulary


def test_only_whole_words_that_the_reader_lacks_are_read_as_others():
    of_captions = {"face", "with", "hair", "blond", "curly"}.__contains__
    assert understood("face with Gold hair, golden", of_captions) == ("face with blond hair, blond",
                                                                     {"gold": "blond", "golden": "blond"})
    assert understood("a goldfish and curls", of_captions) == ("a goldfish and curls", {})
    assert understood("gold hair", lambda word: True) == ("gold hair", {})
    assert understood("gold hair", lambda word: False) == ("gold hair", {})

"""The page's words: both languages complete, fields alike, every key used and every used key there."""
from __future__ import annotations

import pickle
import re
from pathlib import Path
from string import Formatter

import pytest

from jittor_ipl.errors import UserError
from jittor_ipl.webui.desk import Busy
from jittor_ipl.webui.page_error import PageError, phrase_of
from jittor_ipl.webui.pages.words import LANGUAGES, Words, preferred, words_table
from jittor_ipl.webui.requests import parse

PAGES = Path(__file__).resolve().parents[2] / "jittor_ipl" / "webui" / "pages"
ROOM = [*PAGES.parent.rglob("*.py"), *PAGES.glob("templates/*.html")]


def fields(text):
    return {name for _, name, _, _ in Formatter().parse(text) if name}


def test_both_languages_are_complete():
    short = [key for key, texts in words_table().items() if len(texts) != len(LANGUAGES) or not all(texts)]
    assert not short
    assert not [key for key, (english, chinese) in words_table().items() if fields(english) != fields(chinese)]


def test_chinese_is_chinese():
    same = {key for key, (english, chinese) in words_table().items() if english == chinese}
    assert same == {"method.nada", "method.ipl", "fact.psnr"}
    assert not [key for key, (english, _) in words_table().items() if re.search("[\u4e00-\u9fff]", english)]


def test_every_key_that_the_pages_name_is_there():
    """Keys are written as words("a.b") in Python and t("a.b") in templates; those put together are looked at below."""
    named = set()
    for path in [*PAGES.glob("*.py"), *PAGES.glob("templates/*.html")]:
        named |= set(re.findall(r"""\b(?:words|t)\(["']([a-z_]+(?:\.[a-z_.-]+)?\.[a-z_]+)["'][,)]""", path.read_text()))
    assert len(named) > 60
    assert not named - words_table().keys()


def test_every_mistake_of_the_room_is_in_the_table():
    named = {key for path in ROOM for key in re.findall(r'"(error\.[a-z_]+)"', path.read_text())}
    assert len(named) > 40 and not named - words_table().keys()


def test_the_room_tells_its_own_mistakes_by_keys_alone():
    """Others than these are for who starts the server, or come from other rooms and are passed on."""
    alone = {"accounts.py", "serve.py", "uploads.py", "desk.py"}
    texts = [path.name for path in ROOM if "raise UserError(" in path.read_text()]
    assert set(texts) <= alone


def test_every_key_is_used():
    text = "".join(path.read_text() for path in ROOM)
    made = ("nav.", "home.", "subject.", "one.", "kind.", "state.", "stage.", "method.", "fact.", "column.", "style.",
            "picture.alt.", "picture.reconstruction", "photo.eye_", "photo.mouth", "edit.face.")
    unused = [key for key in words_table() if f'"{key}"' not in text and f"'{key}'" not in text
              and not key.startswith(made) and key.split(".")[-1] not in ("title", "lead", "empty")]
    assert not unused


def test_facts_are_told_by_their_names():
    """Unknown ones and empty ones are left out."""
    pytest.importorskip("jinja2", reason="the page's packages are not installed: pip install -r requirements-ui.txt")
    from jittor_ipl.webui.pages.showing import facts
    found = {"beta": None, "channels": 12, "seconds": {"tuning": 1.5, "encoding": 0.5}, "pid": 3}
    assert facts(found, Words("en")) == [("Channels changed", "12"), ("Seconds", "2")]


def test_how_the_clip_reads_words_is_told_in_a_line_each():
    pytest.importorskip("jinja2", reason="the page's packages are not installed: pip install -r requirements-ui.txt")
    from jittor_ipl.webui.pages.showing import notes
    found = {"remarks": ["turned upright"], "read_as": {"gold": "blond"}, "unknown_words": ["zombie"]}
    assert notes(found, Words("en")) == ["turned upright", "The CLIP knows 'gold' as 'blond'.",
                                         "The CLIP has never seen 'zombie': it says nothing to it."]
    assert notes(found, Words("zh"))[1] == "CLIP 把 'gold' 读作 'blond'。" and not notes({"pid": 3}, Words("zh"))


@pytest.mark.parametrize("style", ["seed", "offset", "step", "cubism"])
def test_a_style_may_be_called_like_a_word_of_the_page(style):
    pytest.importorskip("jinja2", reason="the page's packages are not installed: pip install -r requirements-ui.txt")
    from jittor_ipl.webui.pages.showing import style_name
    assert [style_name(name, Words("en")) for name in (style, "source", "aligned")] == [style, "source", "your picture"]


def mistake(**job):
    with pytest.raises(UserError) as caught:
        parse({"kind": "generate", **job})
    return caught.value


def test_mistakes_are_told_in_both_languages():
    many, part, deep, value = (mistake(seeds="0-64"), mistake(seed=1), mistake(seeds="five"), mistake(truncation=9))
    told = [[Words(language).phrase(phrase_of(one)) for one in (many, part, deep, value)] for language in ("en", "zh")]
    assert told[0] == [str(many), str(part), str(deep), str(value)]
    assert told[1][:2] == ["seeds：65 个种子太多：最多 64 个", "这种任务没有 'seed' 这一项（您是否想写 'seeds'？）"]
    for english, chinese in zip(told[0][2:], told[1][2:]):
        assert "原因只有英文说明：" in chinese
    assert told[1][2].endswith(told[0][2].removeprefix("seeds: ")) and "给出的值 9 不合适" in told[1][3]


def test_a_mistake_comes_whole_from_a_worker():
    for one in (PageError("error.never_seen", words="'x'"), Busy("error.queue_full", count=3)):
        again = pickle.loads(pickle.dumps(one))
        assert type(again) is type(one) and str(again) == str(one) and phrase_of(again) == phrase_of(one)


def test_unknown_names_stand_for_themselves():
    assert Words("zh").or_else("style", "ukiyo-e") == "ukiyo-e"
    with pytest.raises(KeyError):
        Words("en")("no.such.key")


@pytest.mark.parametrize("accepted, language", [
    ("zh-CN,zh;q=0.9,en;q=0.8", "zh"), ("en-GB,en;q=0.9,zh;q=0.1", "en"), ("fr,de;q=0.9,zh;q=0.2", "zh"),
    ("fr", "en"), ("", "en"), ("ZH-tw", "zh"), (",;,", "en")])
def test_language_of_a_browser(accepted, language):
    assert preferred(accepted, "en") == language

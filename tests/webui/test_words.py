"""The page's words: both languages complete, fields alike, every key used and every used key there."""
from __future__ import annotations

import importlib.util
import pickle
import re
from pathlib import Path
from string import Formatter

import numpy as np
import pytest
from PIL import Image

from jittor_ipl.errors import UserError
from jittor_ipl.images.files import PictureFile
from jittor_ipl.inversion.align import _remarks
from jittor_ipl.inversion.distances import verdict
from jittor_ipl.inversion.inputs import read_input
from jittor_ipl.webui.catalogue import PETS, PORTRAITS, Choices, Domain
from jittor_ipl.webui.desk import Busy
from jittor_ipl.webui.jobs import Job, read_jobs
from jittor_ipl.webui.page_error import PageError, phrase_of
from jittor_ipl.webui.pages.document import gradio_words
from jittor_ipl.webui.pages.words import LANGUAGES, Words, plural, preferred, words_table
from jittor_ipl.webui.requests import KINDS, parse

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
    texts = {path.name for path in ROOM if "raise UserError(" in path.read_text()}
    assert texts == {"accounts.py", "serve.py", "uploads.py"}


def test_every_key_is_used():
    text = "".join(path.read_text() for path in ROOM)
    made = ("nav.", "home.", "subject.", "one.", "kind.", "state.", "stage.", "method.", "fact.", "column.", "style.",
            "picture.alt.", "picture.reconstruction", "photo.eye_", "photo.mouth", "edit.face.", "remark.", "verdict.",
            "gradio.", "part.")
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


def test_every_remark_on_a_picture_is_in_both_languages(tmp_path):
    """The rooms below tell them in English; every one is here, so that none is forgotten when its words change."""
    Image.new("RGB", (40, 40)).save(tmp_path / "small.png")
    small = read_input(tmp_path / "small.png", 64, "never", None).remarks
    square = 20.0 * np.array([[0, 0], [0, 1], [1, 1], [1, 0]])
    found = [*PictureFile(np.zeros((1, 1, 3), np.uint8), True, True, True).remarks(), *small,
             *_remarks(square, 64, 0.5, True, "40 x 40 px at 1,2", ("8 x 8 px at 0,0",)),
             *_remarks(square, 64, 0.5, False, None, ()), Words("en")("remark.reduced", side=2048)]
    told = {Words("zh").translated("remark", text) for text in found}
    assert len(told) == sum(key.startswith("remark.") for key in words_table())
    assert all(re.search("[\u4e00-\u9fff]", text) for text in told)
    assert "由 40 像素放大到 64 像素：原图没有的细节仍然没有" in told and "20 像素的方框放大了 3.2 倍" in told
    assert [Words("en").translated("remark", text) for text in found] == found
    assert Words("zh").translated("remark", "something new") == "something new"


def test_every_verdict_is_in_both_languages():
    found = [verdict(0.99, None), verdict(0.1, None), verdict(0.1, 0.2), verdict(0.1, 0.99)]
    told = [Words("zh").translated("verdict", text) for text in found]
    assert len(set(told)) == 4 == sum(key.startswith("verdict.") for key in words_table())
    assert all(text.startswith(start) for text, start in zip(told, ("生成器认识", "超出了", "超出了", "超出了")))
    assert "99%" in told[0] and "微调之后为 20%" in told[2] and "（99%）" in told[3]
    assert [Words("en").translated("verdict", text) for text in found] == found


def test_words_that_gradio_has_in_english_alone_are_still_there():
    there = importlib.util.find_spec("gradio")
    if there is None:
        pytest.skip("the page's packages are not installed: pip install -r requirements-ui.txt")
    scripts = "".join(path.read_text() for path in Path(there.origin).parent.glob("templates/frontend/assets/*.js"))
    assert not [english for english, _ in gradio_words("zh") if english.split("{label}")[0] not in scripts]
    assert len(gradio_words("zh")) > 10 and not gradio_words("en")


def test_subjects_are_called_by_the_pages_words_in_mistakes():
    """By their ids where the table has no words for them; programs are told in English."""
    choices, said = Choices((PORTRAITS, PETS, Domain("cars", "cars.safetensors")), ()), []
    for subject in choices.subjects:
        with pytest.raises(PageError) as caught:
            choices.style(subject.id, "x")
        said.append((str(caught.value), Words("zh").phrase(phrase_of(caught.value))))
    assert [text.split(";")[0] for text, _ in said] == [
        f"there is no style 'x' of {name}" for name in ("portraits", "pets", "cars")]
    assert [text.split("；")[0] for _, text in said] == [f"{name} 没有风格 'x'" for name in ("人像", "宠物", "cars")]


def test_a_mistake_with_phrases_in_it_is_kept_with_its_job(tmp_path):
    pytest.importorskip("jinja2", reason="the page's packages are not installed: pip install -r requirements-ui.txt")
    from jittor_ipl.webui.pages.showing import view
    job = Job(id="0" * 16, owner="b", request={"kind": "generate"}, folder=tmp_path / ("0" * 16))
    job.folder.mkdir()
    job.end("failed", error=PageError("error.no_encoder", subject=plural("pets")))
    job.save()
    again = next(read_jobs(tmp_path)).to_json(None)
    assert again["error"].startswith("there is no encoder for pets")
    assert view(again, Words("zh"))["error"] == Words("zh")("error.no_encoder", subject="宠物")
    for earlier in ({"error_key": None}, {"error_key": "error.no_more"}, {"error_fields": {"what": "x"}}):
        assert view({**again, **earlier}, Words("zh"))["error"] == again["error"]


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
    many, part, deep, value = (mistake(seeds="0-64"), mistake(seed=1), mistake(seeds="five"), mistake(truncation="x"))
    told = [[Words(language).phrase(phrase_of(one)) for one in (many, part, deep, value)] for language in ("en", "zh")]
    assert told[0] == [str(many), str(part), str(deep), str(value)]
    assert told[1][:2] == ["种子：65 个种子太多：最多 64 个", "这种任务没有 'seed' 这一项（您是否想写 'seeds'？）"]
    for english, chinese in zip(told[0][2:], told[1][2:]):
        assert "原因只有英文说明：" in chinese
    assert told[1][2].endswith(told[0][2].removeprefix("seeds: ")) and "给出的值 'x' 不合适" in told[1][3]
    few = mistake(kind="learn-pictures", name="x", uploads=["a"])
    assert Words("zh").phrase(phrase_of(few)) == "上传的图片：给出的值 ['a'] 不合适。至少需要 3 个"
    assert Words("zh").phrase(phrase_of(mistake(seeds=[0, -1]))) == "种子（1）：给出的值 -1 不合适。至少应为 0"


def test_every_part_of_a_request_has_its_name_on_the_page():
    parts = {name for model in KINDS.values() for name in model.model_fields}
    assert {key: texts[0] for key, texts in words_table().items() if key.startswith("part.")} == {
        "part.inside": "{part}.{place}", **{f"part.{name}": name for name in parts}}


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

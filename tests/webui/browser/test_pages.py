"""Every function of the web page, clicked through in a browser, at a desk in English and with a phone in Chinese."""
from __future__ import annotations

import io
import re
import socket
import threading

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("fastapi", reason="the page's packages are not installed: pip install -r requirements-ui.txt")
import uvicorn  # noqa: E402
from fastapi import FastAPI, Request  # noqa: E402
from fastapi.responses import HTMLResponse  # noqa: E402

from jittor_ipl.images.files import ORIENTATION  # noqa: E402
from jittor_ipl.webui import signing_in  # noqa: E402
from jittor_ipl.webui.accounts import Accounts, add_user  # noqa: E402
from jittor_ipl.webui.guard import Guard, owner_of  # noqa: E402
from jittor_ipl.webui.png import read_settings  # noqa: E402
from jittor_ipl.webui.settings import ServerSettings  # noqa: E402

# Where eyes and mouth are in `photograph`, in its pixels: a face of the demo world, enlarged, off the centre.
EYES, MOUTH, SHAPE = ((181, 157), (239, 157)), (210, 217), (300, 380, 3)


# Names and texts of the camera's field, and names of fields beside it, in which there is no Chinese.
LATIN = """() => [...document.querySelectorAll("#picture *, #strength input, .select-all-checkbox")].flatMap(one =>
    [one.ariaLabel, one.title, ...[...one.childNodes].filter(node => node.nodeType === 3).map(node => node.nodeValue)])
    .filter(text => /[a-z]/i.test(text || "") && !/[\u4e00-\u9fff]/.test(text))"""


def figures(page, most=None):
    """Return the pictures of the panel, once they are all there."""
    found = page.locator(".panel figure[data-key]")
    if most is not None:
        found.nth(most - 1).wait_for()
        page.locator(".panel .status").wait_for(state="detached")
        assert found.count() == most
    return found


def loaded(page):
    """Whether every picture of the panel has pixels and an alternative text."""
    page.wait_for_function("[...document.querySelectorAll('.panel img')].every(one => one.complete)")
    return page.evaluate("[...document.querySelectorAll('.panel img')].every(one => one.naturalWidth > 0 && one.alt)")


def text(page, field):
    """Return the input of a Gradio text field or number."""
    return page.locator(f"#{field}").locator("input, textarea").first


def choose(page, field, name):
    """Choose by its words in a drop-down list."""
    page.locator(f"#{field} input").click()
    page.get_by_role("option", name=name, exact=True).click()


def photograph(visitor):
    """Return a photograph of a face of the demo world: a JPEG that stands on its head, as its EXIF data says."""
    page = visitor.open("studio?seeds=3&styles=disney")
    page.locator("#go").click()
    face = page.request.get(visitor.address + figures(page, 2).first.locator("img").get_attribute("src")).body()
    pixels = np.asarray(Image.open(io.BytesIO(face)).convert("RGB").resize((256, 256), Image.Resampling.BICUBIC))
    wall = np.full(SHAPE, (120, 130, 110), np.uint8)
    wall[30:286, 82:338] = pixels
    out, exif = io.BytesIO(), Image.Exif()
    exif[ORIENTATION] = 3
    Image.fromarray(wall).rotate(180).save(out, "JPEG", quality=95, exif=exif)
    return out.getvalue()


def test_home_has_two_cards_and_a_surprise(visitor):
    page = visitor.open()
    assert page.locator(".card h2").all_inner_texts() == [visitor.words("subject.portraits"),
                                                          visitor.words("subject.pets")]
    assert not visitor.faults()
    visitor.look("home")
    page.locator(".card").first.get_by_role("link", name=visitor.words("home.surprise")).click()
    assert re.fullmatch(r"\d+", text(page, "seeds").input_value())
    figures(page, 4)
    assert loaded(page)


def test_styles_of_several_seeds_with_the_right_seed_under_each(visitor):
    page = visitor.open("studio?seeds=4,7&styles=disney,cubism")
    first = page.locator("#styles label:has(> input + span)").first
    assert first.locator("input").get_attribute("aria-label") == first.inner_text().strip() == "disney"
    page.locator("#go").click()
    shown = figures(page, 6)
    assert loaded(page)
    under = [re.search(r"\d+", text)[0] for text in shown.locator(".note").all_inner_texts()]
    assert under == ["4", "4", "4", "7", "7", "7"]
    for one in range(6):
        with page.expect_download() as waiting:
            shown.nth(one).get_by_role("link").first.click()
        settings = read_settings(open(waiting.value.path(), "rb").read())
        assert settings["seed"] == int(under[one])
        assert settings["style"] == ["source", "disney", "cubism"][one % 3]
    assert not visitor.faults()
    visitor.look("styles")


def test_settings_come_back_from_a_dropped_picture(visitor):
    page = visitor.open("studio?seeds=11&styles=werewolf&truncation=0.5&strength=0.6")
    page.locator("#go").click()
    address = figures(page, 2).nth(1).locator("img").get_attribute("src")
    data = page.request.get(visitor.address + address).body()
    page = visitor.open("studio?seeds=0&styles=cubism")
    page.evaluate("""data => {
        const file = new File([new Uint8Array(data)], "face.png", { type: "image/png" }), one = new DataTransfer();
        one.items.add(file);
        document.querySelector("h1").dispatchEvent(new DragEvent("drop", { dataTransfer: one, bubbles: true }));
    }""", list(data))
    page.wait_for_function("document.querySelector('#seeds').querySelector('input, textarea').value === '11'")
    figures(page, 2)
    assert page.locator("#styles input:checked").count() == 1
    assert page.locator("#strength input[type=number]").input_value() == "0.6"
    again = page.request.get(visitor.address + figures(page).nth(1).locator("img").get_attribute("src")).body()
    pixels = [np.asarray(Image.open(io.BytesIO(one))) for one in (data, again)]
    np.testing.assert_array_equal(*pixels)


def test_pets_are_drawn_in_a_style_and_photographs_of_them_refused_with_the_reason(visitor):
    page = visitor.open("studio?subject=pets&seeds=1&styles=cartoon")
    page.locator("#go").click()
    figures(page, 2)
    assert loaded(page) and not visitor.faults()
    visitor.look("pets")
    page = visitor.open("photo")
    page.locator("#subject input").nth(1).click()
    page.locator("#refusal").wait_for()
    assert not page.locator("#picture").is_visible() and not visitor.faults()


def test_own_picture_points_reconstruction_and_styles(visitor):
    data = photograph(visitor)
    page = visitor.open("photo")
    page.locator("#picture input[type=file]").first.set_input_files(
        {"name": "me.jpg", "mimeType": "image/jpeg", "buffer": data})
    page.locator(".points button").nth(2).wait_for()
    page.locator("#align-panel figure img").wait_for()
    page.get_by_text(visitor.words("remark.turned"), exact=True).wait_for()
    box = page.locator(".points img").bounding_box()
    scale = box["width"] / SHAPE[1]
    for x, y in (*EYES, MOUTH):         # clicks place one point after the other
        page.locator(".points").click(position={"x": x * scale, "y": y * scale})
    page.wait_for_timeout(300)
    before = place(page, 2)
    page.locator(".points button").nth(2).focus()
    page.keyboard.press("ArrowDown")
    page.wait_for_function("old => document.querySelectorAll('.points button')[2].style.top !== old[1]", arg=before)
    assert place(page, 2)[0] == before[0]
    assert page.evaluate("document.activeElement.dataset.at") == "2"
    page.locator("#align-panel .status").wait_for(state="detached")
    assert not visitor.faults()
    page.locator("#go").click()
    page.locator("#photo-panel figure").nth(4).wait_for()
    page.locator("#photo-panel .status").wait_for(state="detached")
    assert loaded(page)
    page.locator(".facts").get_by_text(visitor.words("verdict.known", share="|").split("|")[0]).wait_for()
    visitor.look("photo")
    page.get_by_role("link", name=visitor.words("photo.edit")).click()      # the same face, edited by words
    page.locator("#face").wait_for()
    page.locator("#go").click()
    figures(page).nth(3).wait_for()
    page.locator(".panel .status").wait_for(state="detached")
    assert loaded(page)


def place(page, at):
    """Return where one of the points is, as its style says."""
    return page.evaluate("at => { const { left, top } = document.querySelectorAll('.points button')[at].style;"
                         "return [left, top]; }", at)


def test_a_picture_from_the_camera(visitor):
    page = visitor.open("photo")
    page.locator("#picture .source-selection button").nth(1).click()
    page.locator("#picture").get_by_role("button", name=visitor.words("gradio.access")).click()
    page.locator("#picture video").wait_for()
    page.wait_for_function("document.querySelector('#picture video').videoWidth > 0")       # nothing is caught before
    assert not visitor.faults()
    shutter = page.locator("#picture .capture-button")
    assert shutter.get_attribute("aria-label") == visitor.words("gradio.capture")
    assert visitor.language == "en" or not page.evaluate(LATIN)
    visitor.look("camera")
    page.locator("#picture button[aria-label*=apture], #picture .button-wrap button").first.click()
    page.locator(".points img").wait_for()
    assert not visitor.faults()


def test_edits_by_words_with_a_live_strip_in_source_and_style(visitor):
    page = visitor.open("edit?seed=2&style=disney&target=face with gold hair")
    page.locator("#go").click()
    strips = page.locator(".panel .pictures.strip")
    figures(page, 8)
    assert page.locator(".panel .notes li").all_inner_texts() == [
        visitor.words("note.read_as", word="gold", other="blond")]
    assert strips.count() == 2 and loaded(page)
    page.locator("#offset input[type=number]").fill("6")
    page.wait_for_function("document.querySelectorAll('.panel figure[data-key]').length === 12")
    page.locator(".panel .status").wait_for(state="detached")
    assert not page.locator("#auto input").is_checked()
    offsets = [float(re.search(r"-?[\d.]+", one)[0]) for one in strips.first.locator(".what").all_inner_texts()]
    assert offsets == [-3, 0, 1.5, 3, 4.5, 6]
    assert not visitor.faults()
    visitor.look("edit")


def test_a_style_is_learnt_live_and_kept_under_its_name(visitor):
    name = f"my {visitor.kind}"
    page = visitor.open("learn")
    text(page, "words").fill("cubism")
    text(page, "name").fill(name)
    page.locator("#go").click()
    learnt_live(page)
    assert not visitor.faults()
    visitor.look("learn")
    draws_with_the_kept_style(page, name)


def test_a_style_is_learnt_from_three_pictures_and_kept_under_its_name(visitor):
    name = f"three {visitor.kind}"
    page = visitor.open("studio?seeds=1,2,3&styles=cubism")
    page.locator("#go").click()
    shown = figures(page, 6)
    styled = [shown.nth(at).locator("img").get_attribute("src") for at in (1, 3, 5)]
    drawn = [page.request.get(visitor.address + one).body() for one in styled]
    files = [{"name": f"{number}.png", "mimeType": "image/png", "buffer": one} for number, one in enumerate(drawn)]
    page = visitor.open("learn")
    page.get_by_role("tab").nth(1).click()
    page.locator("#pictures input[type=file]").set_input_files(files[:2])
    text(page, "pictures-name").fill(name)
    rows, more = page.locator("#pictures tr.file"), page.locator("#pictures .icon-button:has(input[type=file])")
    rows.nth(1).wait_for()
    assert more.get_attribute("aria-label") == more.get_attribute("title") != "common.upload"
    page.wait_for_timeout(500)          # Gradio puts its list together again, and what had the focus with it
    with page.expect_file_chooser() as asked:
        more.press("Enter")
    asked.value.set_files(files[2:])
    rows.nth(2).wait_for()
    page.locator("#go-pictures").click()
    learnt_live(page)
    assert not visitor.faults()
    visitor.look("learn-pictures")
    portraits = page.request.get(visitor.address + "/api/v1/catalogue").json()["subjects"][0]
    assert [one["method"] for one in portraits["styles"] if one["name"] == name] == ["few-shot"]
    draws_with_the_kept_style(page, name)


def learnt_live(page):
    """See a style being learnt, until it is: a bar, the curve of the loss, samples, and that it is kept."""
    page.locator(".panel .bar").wait_for()
    page.locator(".panel .curve svg").wait_for()
    page.locator(".panel .group figure img").first.wait_for()
    page.locator(".panel .kept").wait_for()
    assert loaded(page)


def draws_with_the_kept_style(page, name):
    """Follow the link of a style just learnt, and draw with it."""
    page.locator(".panel .kept a").click()
    page.locator("#styles").get_by_text(name, exact=True).wait_for()
    page.locator("#go").click()
    assert name in figures(page, 2).nth(1).inner_text()
    assert loaded(page)


def test_jobs_survive_a_closed_tab_wait_in_a_queue_and_are_cancelled(visitor):
    waiting, page = visitor.words("place.next"), visitor.open("learn")
    page.locator("#method input").nth(2).check()        # the method that takes longest here
    for number in (1, 2):               # one that learns, one that waits for it
        text(page, "words").fill("pointillism")
        text(page, "name").fill(f"queue {visitor.kind} {number}")
        page.locator("#go").click()
        page.locator(".panel .status").wait_for()
    page.locator(".status").get_by_text(waiting).wait_for()
    page.close()
    visitor.page = visitor.context.new_page()
    page = visitor.open("learn")
    page.locator(".status").get_by_text(waiting).wait_for()
    page.goto(f"{visitor.address}/{visitor.language}/jobs")
    page.locator(".job-row").nth(1).wait_for()
    assert not visitor.faults()
    visitor.look("jobs")
    for number in (2, 1):               # the one that waits first, then the one that learns
        page.locator("[data-cancel]").first.click()
        page.locator(".badge.cancelled").nth(2 - number).wait_for()
    page.locator("[data-forget]").first.click()
    page.wait_for_function("document.querySelectorAll('.job-row').length === 1")


def test_methods_side_by_side(visitor):
    page = visitor.open("compare?style=ukiyo-e&seed=5")
    page.locator("#go").click()
    figures(page, 3)
    assert loaded(page) and not visitor.faults()
    visitor.look("compare")


def test_results_are_browsed_with_their_scores(visitor):
    page = visitor.open("results")
    page.locator(".tiles img").nth(2).wait_for()
    page.locator("#go").click()
    page.locator(".scores td.number").first.wait_for()
    assert not visitor.faults()
    visitor.look("results")


def test_language_and_light_are_switched_and_remembered(visitor):
    page = visitor.open("studio?seeds=9")
    dark = "document.body.classList.contains('dark')"
    before = page.evaluate(dark)
    assert before is (visitor.kind == "phone")
    page.locator("[data-theme-switch]").click()
    assert page.evaluate(dark) is not before
    page.locator("a[data-language]").click()
    other = "en" if visitor.language == "zh" else "zh"
    page.wait_for_url(re.compile(rf"/{other}/studio\?seeds=9$"), wait_until="commit")
    page.locator("#content h1").wait_for()
    assert page.evaluate("document.documentElement.lang") == {"en": "en", "zh": "zh-CN"}[other]
    assert page.evaluate(dark) is not before and not visitor.faults()
    page.goto(visitor.address + "/")
    page.wait_for_url(re.compile(rf"/{other}/$"), wait_until="commit")


def test_the_keyboard_is_enough(visitor):
    page = visitor.open("studio?seeds=1&styles=cartoon")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    text(page, "seeds").focus()
    page.keyboard.press("Control+A")
    page.keyboard.type("12")
    page.keyboard.press("Enter")
    assert "12" in figures(page, 2).first.locator(".note").inner_text()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "go"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_mistakes_are_told_in_one_line(visitor):
    page = visitor.open("studio")
    text(page, "seeds").fill("five")
    page.locator("#go").click()
    page.locator(".problem").wait_for()
    told = page.locator(".problem").inner_text()
    assert "five" in told and visitor.words("error.in_english", text="") in told and not visitor.faults()
    text(page, "seeds").fill("0-64")
    page.locator("#go").click()
    page.locator(".problem").get_by_text(visitor.words("error.many_seeds", count=65, most=64)).wait_for()
    assert page.locator(".problem").count() == 1


@pytest.fixture
def signing_in_address(tmp_path):
    """Address of a server that has a user, anna, and nothing else."""
    add_user(tmp_path / "users.txt", "anna", "correct horse")
    accounts, app = Accounts(tmp_path / "users.txt"), FastAPI()
    app.include_router(signing_in.router(accounts))

    @app.get("/")
    def home(request: Request):
        return HTMLResponse(f'<link rel="icon" href="data:,">{owner_of(request)}')
    with socket.create_server(("127.0.0.1", 0)) as listening:
        running = uvicorn.Server(uvicorn.Config(Guard(app, ServerSettings(), accounts), log_level="warning"))
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listening]})
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        running.should_exit = True
        thread.join()


def test_signing_in(visitor, signing_in_address):
    page, missing = visitor.page, []
    page.on("console", lambda said: missing.append(said.location["url"]) if "404" in said.text else None)
    page.goto(signing_in_address)
    assert page.url.endswith("/login") and not visitor.faults()
    for password, seen in (("wrong", "用户名或密码错误"), ("correct horse", "user anna")):
        page.locator("input[name=name]").fill("anna")
        page.locator("input[name=password]").fill(password)
        page.locator("button").click()
        page.get_by_text(seen).wait_for()
        if password == "wrong":
            assert not visitor.faults()
            visitor.look("sign-in")
    assert not missing

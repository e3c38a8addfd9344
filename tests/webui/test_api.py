"""The JSON API over a stand-in service: jobs, files, uploads, results, and what may not be reached through them."""
from __future__ import annotations

import asyncio
import io
import json

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("fastapi", reason="the page's packages are not installed: pip install -r requirements-ui.txt")
import httpx  # noqa: E402
from fastapi import FastAPI  # noqa: E402
from stand_in import MISTAKE, SLOW, StandIn  # noqa: E402
from starlette.testclient import TestClient  # noqa: E402

from jittor_ipl.images.files import encode_png  # noqa: E402
from jittor_ipl.webui import api  # noqa: E402
from jittor_ipl.webui.desk import Desk  # noqa: E402
from jittor_ipl.webui.guard import Guard  # noqa: E402
from jittor_ipl.webui.settings import Limits, ServerSettings  # noqa: E402


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    root = tmp_path_factory.mktemp("server")
    settings = ServerSettings(runs=root / "webui", trained=(root / "runs",), results=root / "results", queue=2,
                              limits=Limits(upload_pixels=1_000_000, upload_side=256, uploads=3))
    desk = Desk(settings, service=StandIn())
    desk.start()
    app = FastAPI()
    api.answer_errors(app)
    app.include_router(api.router(desk))
    yield Guard(app, settings, None), desk
    desk.stop()


@pytest.fixture
def browser(server):
    return TestClient(server[0], base_url="http://127.0.0.1:7860")


def asked(browser, **job):
    answer = browser.post("/api/v1/jobs", json=job)
    assert answer.status_code == 202, answer.text
    return browser.get(f"/api/v1/jobs/{answer.json()['id']}?wait=60").json()


def test_a_job_from_the_request_to_its_pictures(browser):
    done = asked(browser, kind="generate", seeds="7,3")
    assert done["state"] == "done" and [one["seed"] for one in done["result"]["pictures"]] == [7, 3]
    picture = browser.get(done["result"]["pictures"][0]["url"])
    assert picture.headers["content-type"] == "image/png" and "private" in picture.headers["cache-control"]
    assert np.asarray(Image.open(io.BytesIO(picture.content)))[0, 0, 0] == 7
    listed = browser.get("/api/v1/jobs").json()["jobs"]
    assert [one["id"] for one in listed] == [done["id"]]
    assert browser.get("/api/v1/health").json()["queue"] == 2
    assert [one["id"] for one in browser.get("/api/v1/catalogue").json()["subjects"]] == ["portraits", "pets"]


def test_nobody_sees_another_ones_jobs_pictures_and_uploads(browser, server):
    done = asked(browser, kind="generate", seeds=1)
    upload = browser.post("/api/v1/uploads", content=encode_png(np.zeros((40, 40, 3), np.uint8)),
                          headers={"content-type": "image/png"}).json()
    other = TestClient(server[0], base_url="http://127.0.0.1:7860")
    assert other.get("/api/v1/jobs").json() == {"jobs": []}
    for path in (f"/api/v1/jobs/{done['id']}", done["result"]["pictures"][0]["url"]):
        assert other.get(path).status_code == 404 and browser.get(path).status_code == 200
    assert other.delete(f"/api/v1/jobs/{done['id']}").status_code == 404
    assert other.get(upload["url"]).status_code == 422 and browser.get(upload["url"]).status_code == 200
    marks = {"eyes": [[10, 10], [20, 10]], "mouth": [15, 20]}
    assert other.post("/api/v1/jobs", json={"kind": "align", "upload": upload["id"], **marks}).status_code == 422


@pytest.mark.parametrize("name", ["job.json", "%2e%2e", "..%2f..%2f..%2fetc%2fpasswd", "....//etc/passwd",
                                  "%2fetc%2fpasswd", "C:\\x", "000-seed0001.png%00.png", ""])
def test_a_job_serves_its_own_pictures_and_nothing_else(browser, name):
    done = asked(browser, kind="generate", seeds=1)
    answer = browser.get(f"/api/v1/jobs/{done['id']}/files/{name}")
    assert answer.status_code in (404, 405, 422) and "root" not in answer.text and "owner" not in answer.text


def test_a_full_queue_answers_busy_and_says_when_to_come_back(browser):
    slow = browser.post("/api/v1/jobs", json={"kind": "generate", "seeds": SLOW}).json()
    while browser.get(f"/api/v1/jobs/{slow['id']}").json()["state"] == "queued":
        pass
    for _ in range(2):
        assert browser.post("/api/v1/jobs", json={"kind": "generate"}).status_code == 202
    busy = browser.post("/api/v1/jobs", json={"kind": "generate"})
    assert busy.status_code == 503 and busy.json()["error"].startswith("busy") and busy.headers["retry-after"]
    for job in browser.get("/api/v1/jobs").json()["jobs"]:
        browser.delete(f"/api/v1/jobs/{job['id']}")
    assert browser.get(f"/api/v1/jobs/{slow['id']}?wait=30").json()["state"] == "cancelled"


def test_those_who_wait_for_a_job_keep_nobody_else_waiting(server):
    """Starlette answers in forty threads; more than that wait here."""
    async def visit():
        transport = httpx.ASGITransport(server[0])
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:7860") as browser:
            slow = (await browser.post("/api/v1/jobs", json={"kind": "generate", "seeds": SLOW})).json()["id"]
            waits = [asyncio.create_task(browser.get(f"/api/v1/jobs/{slow}?wait=20")) for _ in range(50)]
            await asyncio.sleep(0.5)
            assert (await browser.get("/api/v1/health")).status_code == 200
            assert not any(task.done() for task in waits)
            await browser.delete(f"/api/v1/jobs/{slow}")
            assert {answer.json()["state"] for answer in await asyncio.gather(*waits)} == {"cancelled"}
    asyncio.run(visit())


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"null", b"[]", b'"x"', b'{"kind": "sudo"}', b"1" * 5000,
                                  b'{"kind": "generate", "seeds": 1e999}', b'{"kind":"generate","__class__":"x"}'])
def test_malformed_requests_cost_a_line(browser, body):
    answer = browser.post("/api/v1/jobs", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 422 and set(answer.json()) == {"error"} and len(answer.text) < 400


def test_failed_jobs_tell_no_places(browser, server):
    failed = asked(browser, kind="generate", seeds=MISTAKE)
    assert failed["state"] == "failed" and str(server[1].settings.runs) not in json.dumps(failed)


# ---- uploads ---------------------------------------------------------------------------------------------------------

def picture(width: int, height: int, kind: str = "PNG", **more) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), (9, 99, 199)).save(buffer, kind, **more)
    return buffer.getvalue()


def sent(browser, data: bytes, kind: str = "image/png"):
    return browser.post("/api/v1/uploads", content=data, headers={"content-type": kind})


def test_uploads_are_kept_as_plain_pictures_of_bounded_size(browser):
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "secret place"
    told = sent(browser, picture(60, 40, "JPEG", exif=exif), "image/jpeg").json()
    assert (told["width"], told["height"]) == (40, 60) and "turned upright" in told["remarks"][0]
    kept = browser.get(told["url"]).content
    assert kept.startswith(b"\x89PNG") and b"secret place" not in kept
    large = sent(browser, picture(1000, 500)).json()
    assert (large["width"], large["height"]) == (256, 128) and large["remarks"] == ["reduced to 256 px"]


def test_the_oldest_uploads_go(browser):
    ids = [sent(browser, picture(40, 40)).json()["url"] for _ in range(5)]
    assert [browser.get(url).status_code for url in ids] == [422, 422, 200, 200, 200]


@pytest.mark.parametrize("data, said", [
    (b"", "an empty file"), (b"GIF89a" + b"x" * 50, "a GIF"), (b"<svg onload=alert(1)>", "an SVG"),
    (b"%PDF-1.4", "a PDF"),
    (b"#!/bin/sh\nrm -rf /", "an unknown file"), (picture(40, 40)[:-20], "cut short"), (picture(20, 400), "too few"),
    (picture(1001, 1000), "at most 1000000"), (b"\x89PNG\r\n\x1a\n" + b"\0" * 30, "damaged PNG")])
def test_other_files_are_refused_without_a_trace(browser, server, data, said):
    refused = sent(browser, data)
    assert refused.status_code == 422 and said in refused.json()["error"]
    assert str(server[1].settings.private) not in refused.text and ".raw" not in refused.text
    assert not list(server[1].settings.private.rglob("*.raw"))


def test_settings_are_read_back_from_a_png(browser):
    data = encode_png(np.zeros((8, 8, 3), np.uint8), {"seed": "4", "style": "disney"})
    read = browser.post("/api/v1/settings", content=data, headers={"content-type": "image/png"})
    assert read.json() == {"seed": 4, "style": "disney"}
    assert browser.post("/api/v1/settings", content=b"x", headers={"content-type": "image/png"}).status_code == 422


@pytest.mark.parametrize("path", ["/api/v1/results/..", "/api/v1/results/%2e%2e/00/x.png", "/api/v1/results/none",
                                  "/api/v1/results/demo/00/..%2f..%2fseeds.json", "/api/v1/uploads/..%2fx"])
def test_results_and_uploads_serve_nothing_outside(browser, path):
    assert browser.get(path).status_code in (404, 422)

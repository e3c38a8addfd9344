"""What stands before every route, without any page behind it: hosts, owners, passwords, bodies, headers."""
from __future__ import annotations

import asyncio
import base64
import json
import threading
from dataclasses import replace

import pytest

pytest.importorskip("fastapi", reason="the page's packages are not installed: pip install -r requirements-ui.txt")
from fastapi import FastAPI, Request  # noqa: E402
from starlette.testclient import TestClient  # noqa: E402

from jittor_ipl.errors import UserError  # noqa: E402
from jittor_ipl.webui import accounts as accounts_module  # noqa: E402
from jittor_ipl.webui.accounts import Accounts, add_user  # noqa: E402
from jittor_ipl.webui.guard import HEADERS, Guard, is_loopback, owner_of  # noqa: E402
from jittor_ipl.webui.serve import check  # noqa: E402
from jittor_ipl.webui.settings import Limits, ServerSettings  # noqa: E402
from jittor_ipl.webui.signing_in import router as signing_in  # noqa: E402

HERE = "http://127.0.0.1:7860"


@pytest.fixture(scope="module")
def users(tmp_path_factory):
    file = tmp_path_factory.mktemp("users") / "users.txt"
    add_user(file, "anna", "correct horse")
    add_user(file, "bert", "battery staple")
    return file


def client(settings: ServerSettings | None = None, accounts: Accounts | None = None) -> TestClient:
    app = FastAPI()

    @app.api_route("/{path:path}", methods=["GET", "POST", "DELETE"])
    async def any_route(request: Request, path: str):
        return {"owner": owner_of(request), "bytes": len(await request.body()), "path": path}
    if accounts is not None:
        app.router.routes.insert(0, signing_in(accounts).routes[0])
        for route in signing_in(accounts).routes[1:]:
            app.router.routes.insert(0, route)
    return TestClient(Guard(app, settings or ServerSettings(), accounts), base_url=HERE, follow_redirects=False)


def test_a_browser_keeps_its_owner_and_nobody_sets_one_by_a_header():
    one, other = client(), client()
    first = one.get("/").json()["owner"]
    assert one.get("/", headers={"x-jittor-ipl-owner": "browser somebody"}).json()["owner"] == first
    assert other.get("/").json()["owner"] != first
    cookie = client().get("/").headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie
    assert "set-cookie" not in one.get("/").headers


def test_every_answer_carries_the_headers_and_refusals_too():
    for answer in (client().get("/"), client().get("/gradio_api/proxy=http://x/")):
        assert all(answer.headers[name] == value for name, value in HEADERS.items())
    assert "connect-src 'self'" in HEADERS["content-security-policy"]


@pytest.mark.parametrize("host, status", [
    ("127.0.0.1:7860", 200), ("localhost:7860", 200), ("localhost", 200), ("evil.example", 400),
    ("127.0.0.1.evil.example:7860", 400), ("localhost:7860@evil.example", 400), ("", 400)])
def test_only_this_machine_is_a_host(host, status):
    assert client().get("/", headers={"host": host}).status_code == status


@pytest.mark.parametrize("origin, status", [(None, 200), (HERE, 200), ("http://evil.example", 403),
                                            ("http://127.0.0.1:7861", 403), ("null", 403)])
def test_other_pages_cannot_post(origin, status):
    headers = {} if origin is None else {"origin": origin}
    assert client().post("/x", json={}, headers=headers).status_code == status
    assert client().get("/x", headers=headers).status_code == 200


@pytest.mark.parametrize("path", [
    "/gradio_api/proxy=http://169.254.169.254/latest/meta-data", "/en/gradio_api/proxy=http://127.0.0.1:22/",
    "/gradio_api/file=http://127.0.0.1:22/", "/file=https://example.org/x", "//gradio_api//proxy=http://x",
    "/zh/gradio_api/vibe-code/", "/en/monitoring", "/en/gradio_api/run/predict", "/gradio_api/call/fn",
    "/en/gradio_api/info", "/en/gradio_api/runs", "/zh/gradio_api/file=//http://x", "/en//gradio_api//call//fn",
    "/gradio_api/openapi.json", "/gradio_api/deep_link", "/gradio_api/custom_component/1/client/component/x.js",
    "/api/v1/jobs/..%2f..%2fetc/passwd", "/..%2f..%2fetc%2fpasswd", "/a%5c..%5cb", "/a%00b"])
def test_routes_that_reach_elsewhere_are_closed(path):
    for method in ("GET", "POST", "HEAD"):
        assert client().request(method, path).status_code == 404, path


@pytest.mark.parametrize("name", ["dev", "profiling", "monitoring", "vibe-x", "run-history", "gradio_api/api"])
def test_results_may_be_called_like_a_closed_route_of_gradio(name):
    assert client().get(f"/api/v1/results/{name}/00/0.png").status_code == 200
    for path in (f"/en/{name}/x", f"//api/v1/{name}/x", f"/api/{name}/x", f"/{name}/api/v1/"):
        assert client().get(path).status_code == 404, path


@pytest.mark.parametrize("path, said", [("/zh/gradio_api/run/x", "这里什么也没有"), ("/en/monitoring", "nothing here"),
                                        ("/gradio_api/run/x", "nothing here")])
def test_a_refusal_is_in_the_language_of_its_page(path, said):
    assert said in client().get(path).json()["error"]


# ---- bodies ----------------------------------------------------------------------------------------------------------

SMALL = replace(ServerSettings(), limits=Limits(body=100_000, json_body=10_000, json_depth=8, body_seconds=0.3))


def parts(count: int, size: int):
    for _ in range(count):
        yield b" " * size


def test_a_body_that_does_not_arrive_is_given_up():
    sent, pieces = [], [{"type": "http.request", "body": b"{", "more_body": True}]

    async def receive():
        return pieces.pop() if pieces else await asyncio.sleep(60)

    async def send(message):
        sent.append(message)
    scope = {"type": "http", "method": "POST", "path": "/x", "client": ("127.0.0.1", 1),
             "headers": [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")]}
    asyncio.run(Guard(lambda *_: pytest.fail("it was passed on"), SMALL, None)(scope, receive, send))
    assert sent[0]["status"] == 408


@pytest.mark.parametrize("headers, body, status", [
    ({"content-length": str(10 << 30), "content-type": "image/png"}, b"x", 413),       # refused by what it declares
    ({"content-length": str(10 << 30)}, b"{}", 413), ({"content-length": "-5"}, b"{}", 400),
    ({"content-length": "0x10"}, b"{}", 400), ({"content-length": "9" * 5000}, b"{}", 413),
    ({"content-type": "image/png"}, b"x" * 90_000, 200), ({"content-type": "application/json"}, b" " * 9_999, 200),
    ({"content-type": "application/json"}, b" " * 10_001, 413), ({"content-type": "text/weird"}, b" " * 10_001, 413)])
def test_sizes_of_bodies(headers, body, status):
    assert client(SMALL).post("/x", content=body, headers=headers).status_code == status


def test_a_body_without_a_declared_size_is_counted():
    for kind, count, status in (("image/png", 20, 200), ("image/png", 400, 413), ("application/json", 20, 413)):
        answer = client(SMALL).post("/x", content=parts(count, 1000), headers={"content-type": kind})
        assert answer.status_code == status


@pytest.mark.parametrize("text, status", [
    ("[" * 9 + "]" * 9, 400), ("[" * 8 + "]" * 8, 200), ("[" * 5000, 400), ('{"a":' * 9 + "1" + "}" * 9, 400),
    (json.dumps("[" * 500), 200), (json.dumps(["\\" * 3, '"[[[[[[[[[[[[[[']), 200), ("[]" * 100, 200)])
def test_nested_json_is_refused_before_anything_parses_it(text, status):
    answer = client(SMALL).post("/x", content=text, headers={"content-type": "application/json"})
    assert answer.status_code == status
    if status == 400:
        assert answer.json()["error"] == "this JSON is nested deeper than 8"


# ---- signing in ------------------------------------------------------------------------------------------------------

def test_without_a_file_of_users_only_this_machine_is_served(users):
    for host in ("0.0.0.0", "192.168.1.5", "::", "example.org"):
        with pytest.raises(UserError, match="--auth-file"):
            check(ServerSettings(host=host))
        check(ServerSettings(host=host, auth=users))
    for host in ("127.0.0.1", "localhost", "::1", "127.8.8.8"):
        check(ServerSettings(host=host))
    assert not is_loopback("127.0.0.1.evil.example")


def test_nothing_is_served_before_signing_in(users):
    browser = client(accounts=Accounts(users))
    for method, path in (("GET", "/x"), ("POST", "/api/v1/jobs"), ("GET", "/gradio_api/file=/etc/passwd"),
                         ("POST", "/gradio_api/upload"), ("GET", "/config"), ("GET", "/login/x"), ("HEAD", "/")):
        assert browser.request(method, path).status_code == 401, path
    sent = browser.get("/", headers={"accept": "text/html"})
    assert sent.status_code == 303 and sent.headers["location"] == "/login"
    assert browser.get("/login").status_code == 200


def test_signing_in_and_out(users):
    browser = client(accounts=Accounts(users))
    assert browser.post("/login", data={"name": "anna", "password": "wrong"}).status_code == 401
    entered = browser.post("/login", data={"name": "anna", "password": "correct horse"})
    assert entered.status_code == 303 and "HttpOnly" in entered.headers["set-cookie"] \
        and "samesite=strict" in entered.headers["set-cookie"].lower()
    assert browser.get("/x").json()["owner"] == "user anna"
    secret = browser.cookies["jittor_ipl_session"]
    assert browser.post("/logout").status_code == 303
    assert browser.get("/x", headers={"cookie": f"jittor_ipl_session={secret}"}).status_code == 401


def basic(name: str, password: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


def test_programs_sign_in_by_http_basic_and_are_slowed_down_when_they_guess(users, monkeypatch):
    program = client(accounts=Accounts(users))
    assert program.get("/x", headers=basic("bert", "battery staple")).json()["owner"] == "user bert"
    wrong = [basic("bert", "x"), basic("nobody", "battery staple"), basic("", ""), basic("anna", "battery staple")]
    assert [program.get("/x", headers=one).status_code for one in wrong] == [401] * 4
    assert program.get("/x", headers={"authorization": "Basic !!"}).status_code == 401
    assert program.get("/x", headers=basic("bert", "y")).status_code == 401
    assert program.get("/x", headers=basic("bert", "battery staple")).status_code == 429       # even the right one
    monkeypatch.setattr(accounts_module, "PAUSE", 0.0)
    assert program.get("/x", headers=basic("bert", "battery staple")).status_code == 200


def test_guesses_made_side_by_side_are_all_counted(users):
    accounts, answers = Accounts(users), []

    def guess(number: int) -> None:
        try:
            answers.append(accounts.check("anna", f"guess {number}", "there"))
        except UserError:
            answers.append("refused")
    threads = [threading.Thread(target=guess, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers.count(False) == accounts_module.TRIES and answers.count("refused") == 12 - accounts_module.TRIES
    assert accounts.check("anna", "correct horse", "elsewhere")


def test_the_file_of_users(users, tmp_path):
    text = users.read_text()
    assert "correct horse" not in text and users.stat().st_mode & 0o777 == 0o600
    open_to_all = tmp_path / "open.txt"
    open_to_all.write_text(text)
    open_to_all.chmod(0o644)
    damaged, empty = tmp_path / "damaged.txt", tmp_path / "empty.txt"
    damaged.write_text("anna:secret\n")
    empty.write_text("# nobody\n")
    for file in (damaged, empty):
        file.chmod(0o600)
    for file, said in ((open_to_all, "chmod 600"), (damaged, "line 1 is no user"), (empty, "names no user"),
                       (tmp_path / "none", "cannot read")):
        with pytest.raises(UserError, match=said):
            Accounts(file)
    for name, password, said in (("a:b", "long enough", "may have letters"), ("", "long enough", "may have letters"),
                                 ("anna", "short", "at least 8")):
        with pytest.raises(UserError, match=said):
            add_user(users, name, password)
    copy = tmp_path / "copy.txt"
    add_user(copy, "anna", "first password")
    add_user(copy, "anna", "second password")
    assert len(copy.read_text().splitlines()) == 1
    assert not Accounts(copy).check("anna", "first password", "here") \
        and Accounts(copy).check("anna", "second password", "here")

"""The server as a process: it is up within seconds, never imports Jittor, and what it refuses costs it nothing."""
from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("gradio", reason="the page's packages are not installed: pip install -r requirements-ui.txt")
import httpx  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
# Serves every page once, and then says which modules it has.
ONE_PROCESS = """
import sys
sys.path.insert(0, "tests/webui")
from pathlib import Path
from stand_in import StandIn
from starlette.testclient import TestClient
from jittor_ipl.webui.desk import Desk
from jittor_ipl.webui.serve import application
from jittor_ipl.webui.settings import ServerSettings
settings = ServerSettings(runs=Path(sys.argv[1]), trained=(Path("B_weight"),))
if __name__ == "__main__":
    desk = Desk(settings, service=StandIn())
    desk.start()
    app = application(settings, desk, None)
    from jittor_ipl.webui.pages.frame import PAGES
    with TestClient(app, base_url="http://127.0.0.1:7860") as browser:
        pages = ["/", *(f"/{language}/{page}" for language in ("en", "zh") for page in ["", *PAGES])]
        for path in (*pages, "/en/config", "/api/v1/catalogue", "/api/v1/results", "/api/v1/jobs"):
            assert browser.get(path).status_code == 200, path
        job = browser.post("/api/v1/jobs", json={"kind": "generate", "seeds": "0-2"}).json()
        assert browser.get("/api/v1/jobs/" + job["id"] + "?wait=60").json()["state"] == "done"
    print([name for name in sys.modules if name == "jittor" or name.startswith("jittor.")])
"""


def test_the_page_s_process_never_imports_jittor(tmp_path):
    done = subprocess.run([sys.executable, "-c", ONE_PROCESS, str(tmp_path)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.strip().splitlines()[-1] == "[]", done.stdout + done.stderr


class Server:
    """`python -m jittor_ipl ui` on a free port, in an empty folder."""

    def __init__(self, folder: Path):
        self.folder = folder
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "jittor_ipl", "ui", "--port", "0", "--runs", str(folder / "ui")], cwd=folder,
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        self.address = re.match(r"http://127\.0\.0\.1:\d+", line)[0]
        self.port = int(self.address.rpartition(":")[2])

    def raw(self, data: bytes, wait: float = 60) -> bytes:
        """Send bytes as they are and return the beginning of the answer."""
        with socket.create_connection(("127.0.0.1", self.port), wait) as connection:
            connection.sendall(data)
            return connection.recv(4096)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("serving"))
    with httpx.Client(base_url=server.address, timeout=120) as browser:
        while not browser.get("/api/v1/health").json()["ready"]:
            time.sleep(0.2)
        yield server, browser
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(30) in (0, -signal.SIGTERM, 128 + signal.SIGTERM)


def test_the_page_is_up_after_a_few_seconds_of_work(tmp_path):
    """Processor seconds are counted, and not those on the clock: other tests run beside this one."""
    server = Server(tmp_path)
    try:
        assert httpx.get(server.address, timeout=60, follow_redirects=True).status_code == 200
        ticks = Path(f"/proc/{server.process.pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13]
        seconds = sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")
        print(f"{seconds:.1f} processor seconds until the page answers")
        assert seconds < 15
    finally:
        server.process.kill()
        server.process.wait()


@pytest.mark.parametrize(("path", "tag"), [("/en/studio", "en"), ("/zh/", "zh-CN")])
def test_a_document_has_its_language_before_any_script(server, path, tag):
    """Gradio reads the browser's language in its first script, and sets the document's by it."""
    found = server[1].get(path, headers={"accept-language": "fr"})
    assert re.search(r'<html[^>]*\slang="([^"]*)"', found.text)[1] == tag
    assert found.text.index(f'"language", {{get: () => "{tag}"}}') < found.text.index("gradio_config")
    assert found.text.index('<link rel="icon" href="data:,">') < found.text.index("<script")
    assert int(found.headers["content-length"]) == len(found.content)


def test_a_styled_portrait_over_the_wire(server):
    _, browser = server
    job = browser.post("/api/v1/jobs", json={"kind": "generate", "styles": ["disney"], "seeds": 3})
    if job.status_code == 422 and not (ROOT / "B_weight").is_dir():
        pytest.skip("no styles without B_weight")
    done = browser.get(f"/api/v1/jobs/{job.json()['id']}?wait=30").json()
    assert done["state"] == "done" and [one["style"] for one in done["result"]["pictures"]] == ["source", "disney"]


def test_the_example_of_the_docs_runs(server, tmp_path):
    if not (ROOT / "B_weight").is_dir():
        pytest.skip("no styles without B_weight")
    example = (ROOT / "docs/web-ui.md").read_text().partition("```python\n")[2].partition("```")[0]
    assert "http://127.0.0.1:7860" in example
    done = subprocess.run([sys.executable, "-c", example.replace("http://127.0.0.1:7860", server[0].address)],
                          cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.glob("*-seed000[0-3].png"))) == 12


def test_the_private_folder_is_private(server):
    private = server[0].folder / "ui" / "private"
    assert private.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("path", [
    "/en/gradio_api/file=/etc/passwd", "/file=/etc/passwd", "/en/gradio_api/file=../../../../etc/passwd",
    "/en/gradio_api/file=ui/private/jobs", "/en/static/../../../../etc/passwd", "/static/..%2f..%2fetc%2fpasswd",
    "/en/assets/..%2f..%2f..%2fetc%2fpasswd",
    "/en/svelte/..%2f..%2f..%2fetc%2fpasswd", "/en/gradio_api/proxy=http://127.0.0.1:1/", "/theme.css/../../etc/passwd",
    "/en/gradio_api/file=http://127.0.0.1:1/x", "/en/gradio_api/file=/proc/self/environ", "//etc/passwd"])
def test_no_route_reads_a_file_or_reaches_another_host(server, path):
    answer = server[0].raw(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
    status = int(answer.split()[1])
    assert status in (400, 403, 404, 405) and b"root:" not in answer, answer[:300]


def test_ten_gigabytes_are_refused_by_what_they_declare(server):
    for path, kind in (("/api/v1/uploads", "image/png"), ("/en/gradio_api/upload", "multipart/form-data; boundary=x")):
        answer = server[0].raw(f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {kind}\r\n"
                               f"Content-Length: {10 << 30}\r\n\r\n".encode() + b"x" * 1000)
        assert answer.startswith(b"HTTP/1.1 413"), answer[:200]


def test_an_upload_that_only_claims_to_be_small_is_counted(server):
    def endless():
        for _ in range(40):
            yield b"x" * (1 << 20)
    try:
        answer = server[1].post("/en/gradio_api/upload", content=endless(),
                                headers={"content-type": "multipart/form-data; boundary=x"})
        assert answer.status_code in (400, 413)
    except httpx.TransportError:        # the connection is closed while we still send
        pass
    assert server[1].get("/api/v1/health").status_code == 200


def test_garbage_leaves_the_server_as_it_was(server):
    for data in (b"\0" * 100 + b"\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"POST / HTTP/1.1\r\nHost: x\r\n\r\n",
                 b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n" + b"X: " + b"y" * 200_000 + b"\r\n\r\n"):
        try:
            assert b" 200 " not in server[0].raw(data)[:20]
        except ConnectionError:
            pass
    assert server[1].get("/api/v1/health").status_code == 200


def test_a_second_server_says_what_is_in_its_way(server, tmp_path):
    for port, runs, said in ((server[0].port, tmp_path, "cannot listen"), (0, server[0].folder / "ui", "another")):
        done = subprocess.run([sys.executable, "-m", "jittor_ipl", "ui", "--port", str(port), "--runs", str(runs)],
                              cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 2 and said in done.stderr and done.stderr.count("\n") == 1, done.stderr


def test_nothing_of_gradio_s_own_reaches_outside(server):
    config = server[1].get("/en/config").json()
    text = json.dumps(config)
    assert not config.get("analytics_enabled") and "huggingface.co" not in text

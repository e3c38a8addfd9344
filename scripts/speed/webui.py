"""The web page under load: sessions that all ask at once, every result checked, its worker killed in the middle.

    python scripts/speed/webui.py [--sessions 50] [--requests 500] [--kills 3]

A server of its own, on the demo world, in a temporary folder. Every picture is compared, pixel by pixel, with what
`generate` makes of that seed in that style, and every session may see its own jobs alone. Prints the table of
docs/web-ui.md; exit code 1 where a result was wrong, mixed up or lost.
"""
from __future__ import annotations

import argparse
import io
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import httpx
import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
STYLES = {"disney": "00", "cubism": "09"}
SEEDS, TRUNCATION = 25, 0.7
DIED = "the worker process ended"


def references(folder: Path) -> dict[tuple[str, int], np.ndarray]:
    """Return {(style, seed): pixels} as the command `generate` makes them."""
    found = {}
    weights = {"source": "demo:generator", **{style: f"B_weight/demo/{number}" for style, number in STYLES.items()}}
    for style, what in weights.items():
        out = folder / style
        subprocess.run([sys.executable, "-m", "jittor_ipl", "generate", "--weights", what, "--seeds", f"0-{SEEDS - 1}",
                        "--trunc", str(TRUNCATION), "--outdir", str(out)], cwd=ROOT, check=True, capture_output=True)
        found |= {(style, seed): np.asarray(Image.open(out / f"seed{seed:04d}.png")) for seed in range(SEEDS)}
    return found


class Server:
    """The page in a process of its own."""

    def __init__(self, folder: Path):
        command = [sys.executable, "-m", "jittor_ipl", "ui", "--port", "0", "--runs", str(folder / "ui")]
        began = time.monotonic()
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        self.address = re.match(r"http://\S+", self.process.stdout.readline())[0]
        httpx.get(self.address, timeout=60)
        self.up = time.monotonic() - began
        while not httpx.get(f"{self.address}/api/v1/health").json()["ready"]:
            time.sleep(0.1)
        self.ready = time.monotonic() - began

    def worker(self) -> int | None:
        """Return the number of the process that owns the models."""
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                parent = int(path.read_text().rpartition(")")[2].split()[1])
                if parent == self.process.pid and b"spawn_main" in (path.parent / "cmdline").read_bytes():
                    return int(path.parent.name)
            except OSError:
                continue
        return None

    def memory(self) -> tuple[float, float]:
        """Return the resident megabytes of the server and of its worker."""
        return resident(self.process.pid), resident(self.worker())


def resident(pid: int | None) -> float:
    """Return a process's resident memory in MiB, NaN where it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    except OSError:
        return float("nan")


class Load:
    """All sessions together: what they asked, what they got, and how long it took."""

    def __init__(self, server: Server, wanted: dict[tuple[str, int], np.ndarray]):
        self.server, self.wanted, self.lock = server, wanted, threading.Lock()
        self.taken: list[float] = []        # seconds in which the server took a request
        self.done: list[float] = []         # seconds from the click to the pictures
        self.busy, self.lost, self.wrong = 0, 0, []

    def session(self, number: int, requests: int) -> None:
        """Ask for pictures one after the other, as a person does, and check every one."""
        draw, ids = np.random.RandomState(number), set()
        with httpx.Client(base_url=self.server.address, timeout=120) as browser:
            for _ in range(requests):
                style, seed = str(draw.choice(list(STYLES))), int(draw.randint(SEEDS))
                ids.add(self.ask(browser, style, seed))
            listed = {job["id"] for job in browser.get("/api/v1/jobs").json()["jobs"]}
            if not ids <= listed or len(listed - ids) > 3:
                self.wrong.append(f"session {number} sees {len(listed)} jobs, {len(ids)} are its own")

    def ask(self, browser: httpx.Client, style: str, seed: int) -> str:
        """Ask until it is done: where the queue is full a little later, where the worker was killed once more."""
        request = {"kind": "generate", "styles": [style], "seeds": [seed], "truncation": TRUNCATION}
        while True:
            began = time.monotonic()
            answer = browser.post("/api/v1/jobs", json=request)
            took = time.monotonic() - began
            if answer.status_code == 503:
                with self.lock:
                    self.busy += 1
                time.sleep(0.5)
                continue
            job = answer.json()
            while job["state"] in ("queued", "running"):
                job = browser.get(f"/api/v1/jobs/{job['id']}?wait=30").json()
            with self.lock:
                self.taken.append(took)
                if job["state"] == "failed" and job["error"].startswith(DIED):
                    self.lost += 1
                    continue
                self.done.append(time.monotonic() - began)
            self.check(browser, job, style, seed)
            return job["id"]

    def check(self, browser: httpx.Client, job: dict, style: str, seed: int) -> None:
        """Note what is not exactly what was asked for."""
        shown = job["result"]["pictures"]
        found = [(one["style"], one["seed"]) for one in shown]
        if job["state"] != "done" or found != [("source", seed), (style, seed)]:
            self.wrong.append(f"{style} {seed}: {job['state']} {job['error']}")
            return
        for one in shown:
            picture = Image.open(io.BytesIO(browser.get(one["url"]).content))
            inside = json.loads(picture.text["jittor_ipl"])
            if (inside["style"], inside["seed"]) != (one["style"], seed) or \
                    not np.array_equal(np.asarray(picture), self.wanted[one["style"], seed]):
                self.wrong.append(f"{one['style']} {seed}: other pixels or settings")


def run(load: Load, sessions: int, requests: int, kills: int) -> tuple[list[tuple[float, float]], int]:
    """Run all sessions at once and kill the worker at even parts of the way.

    Return the memory once a second, and how often the worker was killed: a short load may end before the last time.
    """
    threads = [threading.Thread(target=load.session, args=(number, requests // sessions)) for number in range(sessions)]
    for thread in threads:
        thread.start()
    memory, killed, ready_again = [], 0, 0
    while any(thread.is_alive() for thread in threads):
        time.sleep(1)
        memory.append(load.server.memory())
        ready_again += 1
        if killed < kills and len(load.done) > requests * (killed + 1) / (kills + 1) and ready_again > 5:
            os.kill(load.server.worker(), signal.SIGKILL)
            killed, ready_again = killed + 1, 0
    return memory, killed


def clicks(server: Server) -> list[float]:
    """Return seconds from the click to the styled portrait, one after the other, nobody else there."""
    took = []
    with httpx.Client(base_url=server.address, timeout=60) as browser:
        for seed in range(12):
            began = time.monotonic()
            job = browser.post("/api/v1/jobs", json={"kind": "generate", "styles": ["disney"], "seeds": seed}).json()
            done = browser.get(f"/api/v1/jobs/{job['id']}?wait=30").json()
            browser.get(done["result"]["pictures"][1]["url"])
            took.append(time.monotonic() - began)
    return took[2:]


def quantile(values: list[float], part: float) -> str:
    """Return a quantile in seconds, as text."""
    return f"{sorted(values)[min(len(values) - 1, int(part * len(values)))]:.2f} s"


def main() -> int:
    """Run the load and print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("sessions", 50), ("requests", 500), ("kills", 3)):
        parser.add_argument(f"--{name}", type=int, default=value)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        wanted = references(Path(folder))
        server = Server(Path(folder))
        try:
            alone = clicks(server)
            load, began = Load(server, wanted), time.monotonic()
            memory, killed = run(load, given.sessions, given.requests, given.kills)
            seconds = time.monotonic() - began
        finally:
            server.process.terminate()
            server.process.wait()
    third = max(1, len(memory) // 3)
    pages, workers = zip(*memory)
    for name, value in (
            ("page answers, models ready after the command", f"{server.up:.1f} s, {server.ready:.1f} s"),
            ("click to styled portrait, alone: p50, p95", f"{quantile(alone, .5)}, {quantile(alone, .95)}"),
            (f"{given.requests} requests of {given.sessions} sessions",
             f"{seconds:.0f} s, load {os.getloadavg()[0]:.1f}"),
            ("a request is taken: p50, p95", f"{quantile(load.taken, .5)}, {quantile(load.taken, .95)}"),
            ("click to pictures: p50, p95", f"{quantile(load.done, .5)}, {quantile(load.done, .95)}"),
            ("answered \"busy\"", load.busy), ("lost with a killed worker", f"{load.lost} of {killed} kills"),
            ("wrong or mixed up", len(load.wrong)), ("done", len(load.done)),
            ("server's memory, first and last third", f"{statistics.fmean(pages[:third]):.0f}, "
             f"{statistics.fmean(pages[-third:]):.0f} MiB"),
            ("worker's largest", f"{np.nanmax(workers):.0f} MiB")):
        print(f"| {name} | {value} |")
    print("\n".join(load.wrong[:20]), file=sys.stderr)
    return int(bool(load.wrong) or len(load.done) != given.requests or load.lost > killed)


if __name__ == "__main__":
    sys.exit(main())

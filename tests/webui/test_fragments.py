"""The pieces of a page that follow a job."""
from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from jittor_ipl.webui.jobs import Job
from jittor_ipl.webui.requests import parse
from jittor_ipl.webui.task import JobResult

pytest.importorskip("gradio", reason="the page's packages are not installed: pip install -r requirements-ui.txt")
from jittor_ipl.webui.pages.fragments import _news  # noqa: E402


def test_what_ends_while_it_is_shown_is_asked_for_again():
    """A page stops asking after X-Over: the piece that has it shows the end."""
    job = {"state": "running"}

    def show():
        shown = job["state"]
        job["state"] = "done"           # the worker reports from a thread of its own
        return shown

    def answer(seen=""):
        return asyncio.run(_news(lambda: job["state"], show, lambda: job["state"] == "done", seen, None))
    first = answer()
    assert first.body == b"running" and "X-Over" not in first.headers
    last = answer(first.headers["X-Version"])
    assert last.body == b"done" and last.headers["X-Over"] == "1"


def test_a_job_that_is_over_has_all_that_it_has():
    class Watched(Job):
        def __setattr__(self, name, value):
            super().__setattr__(name, value)
            if getattr(self, "state", "") == "done":
                assert self.facts == {"psnr": 30.0} and self.files == ["a.npy"] and self.ended and self.fraction == 1.0
    job = Watched(id="a", owner="b", request=parse({"kind": "generate", "seeds": [1]}), folder=Path("c"))
    job.end("done", JobResult(files=["a.npy"], facts={"psnr": 30.0}))
    assert job.state == "done"

"""The desk: bounded queues, owners kept apart, cancellation, workers that die, and what a restart finds."""
from __future__ import annotations

import os
import signal
import time
from dataclasses import replace

import pytest
from stand_in import DIES, FAULT, MISTAKE, SLOW, StandIn

from jittor_ipl.errors import UserError
from jittor_ipl.webui.desk import Busy, Desk, NoSuchJob
from jittor_ipl.webui.jobs import Job
from jittor_ipl.webui.requests import parse
from jittor_ipl.webui.settings import Limits, ServerSettings

ANNA, BERT = "browser anna", "browser bert"


def job_of(*seeds: int):
    return parse({"kind": "generate", "seeds": list(seeds)})


@pytest.fixture
def settings(tmp_path):
    return ServerSettings(runs=tmp_path / "webui", trained=(), results=tmp_path / "results", queue=4)


@pytest.fixture
def desk(settings):
    desk = Desk(settings, service=StandIn())
    desk.start()
    yield desk
    desk.stop()


def ended(desk, job):
    assert desk.wait(job, 60), desk.told(job)
    return desk.told(job)


def begun(desk, job):
    while desk.told(job)["state"] == "queued" or not job.pictures:
        time.sleep(0.01)
    return job


def test_a_job_runs_and_tells_what_came_of_it(desk):
    told = ended(desk, desk.submit(job_of(3, 1, 2), ANNA))
    assert told["state"] == "done" and told["fraction"] == 1 and told["place"] is None and told["error"] is None
    assert [picture["seed"] for picture in told["result"]["pictures"]] == [3, 1, 2]
    assert told["live"]["loss"] == [[3, 0.5], [1, 0.5], [2, 0.5]] and told["request"]["seeds"] == [3, 1, 2]
    for picture in told["result"]["pictures"]:
        assert picture["url"] == f"/api/v1/jobs/{told['id']}/files/{picture['name']}"
        assert (desk.job(told["id"], ANNA).folder / picture["name"]).is_file()


def test_the_queue_is_bounded_and_tells_everybody_their_place(desk):
    slow = begun(desk, desk.submit(job_of(SLOW), ANNA))
    waiting = [desk.submit(job_of(number), BERT) for number in range(4)]
    assert [desk.told(job)["place"] for job in waiting] == [0, 1, 2, 3]
    with pytest.raises(Busy, match="busy: 4 jobs are waiting"):
        desk.submit(job_of(9), ANNA)
    desk.cancel(waiting[1].id, BERT)
    assert [desk.told(job)["place"] for job in waiting] == [0, None, 1, 2]
    desk.submit(job_of(9), ANNA)
    desk.cancel(slow.id, ANNA)
    assert [ended(desk, job)["state"] for job in (slow, *waiting)] == ["cancelled", "done", "cancelled", "done", "done"]


def test_nobody_fills_the_queue_alone(settings):
    desk = Desk(replace(settings, limits=Limits(waiting=2)), service=StandIn())     # not started: all wait
    (settings.private / "jobs").mkdir(parents=True)
    for number in range(2):
        desk.submit(job_of(number), ANNA)
    with pytest.raises(Busy, match="2 jobs of yours"):
        desk.submit(job_of(3), ANNA)
    desk.submit(job_of(3), BERT)


def test_owners_are_kept_apart(desk):
    job = desk.submit(job_of(1), ANNA)
    for action in (desk.job, desk.cancel, desk.forget):
        with pytest.raises(NoSuchJob) as refused:
            action(job.id, BERT)
        with pytest.raises(NoSuchJob) as unknown:
            action("0" * 16, BERT)
        assert str(refused.value) == str(unknown.value).replace("0" * 16, job.id)
    assert desk.jobs(BERT) == [] and desk.jobs(ANNA) == [job]
    for name in ("..", "../..", "", "a" * 16 + "/../" + job.id):
        with pytest.raises(NoSuchJob):
            desk.job(name, ANNA)


def test_a_running_job_is_cancelled_at_its_next_step_and_what_is_over_stays(desk):
    slow = begun(desk, desk.submit(job_of(SLOW), ANNA))
    assert desk.told(desk.cancel(slow.id, ANNA))["cancelling"]
    told = ended(desk, slow)
    assert told["state"] == "cancelled" and not told["cancelling"] and told["result"]["pictures"] == []
    assert desk.cancel(slow.id, ANNA).state == "cancelled"
    done = desk.submit(job_of(1), ANNA)
    ended(desk, done)
    assert desk.cancel(done.id, ANNA).state == "done"


def test_a_job_is_cancelled_even_while_its_worker_starts(desk, monkeypatch):
    ended(desk, desk.submit(job_of(1), ANNA))
    worker, cancelled = desk._lanes["draw"].worker, []
    send = worker.send

    def cancel_and_send(request):
        cancelled.append(desk.cancel(desk.jobs(ANNA)[0].id, ANNA).cancelling)
        send(request)
    monkeypatch.setattr(worker, "send", cancel_and_send)
    assert ended(desk, desk.submit(job_of(SLOW), ANNA))["state"] == "cancelled" and cancelled == [True]


def test_a_worker_that_dies_costs_its_own_job_alone(desk):
    jobs = [desk.submit(job_of(seed), ANNA) for seed in (1, DIES, 2)]
    told = [ended(desk, job) for job in jobs]
    assert [one["state"] for one in told] == ["done", "failed", "done"] and told[1]["error_key"] == "error.died"
    assert told[0]["result"]["facts"]["pid"] != told[2]["result"]["facts"]["pid"]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_worker_that_is_killed_from_outside_is_started_again(desk, number):
    slow = begun(desk, desk.submit(job_of(SLOW), ANNA))
    after = desk.submit(job_of(5), BERT)
    os.kill(desk.pids["draw"], number)
    assert ended(desk, slow)["error_key"] == "error.died" and ended(desk, after)["state"] == "done"


def test_errors_tell_nothing_of_the_inside(desk, settings):
    mistake, fault = (ended(desk, desk.submit(job_of(seed), ANNA)) for seed in (MISTAKE, FAULT))
    assert mistake["state"] == fault["state"] == "failed"
    assert mistake["error"] == "cannot read 'weights.safetensors': it is damaged; z.dat too"
    assert "secret" not in fault["error"] and "went wrong on our side" in fault["error"]
    assert mistake["error_key"] == "error.in_english" and mistake["error_fields"] == {"text": mistake["error"]}
    assert fault["error_key"] == "error.fault" and fault["error_fields"]["mark"] in fault["error"]


def test_jobs_are_found_again_after_a_restart(settings):
    first = Desk(settings, service=StandIn())
    first.start()
    done = ended(first, first.submit(job_of(4), ANNA))
    slow = begun(first, first.submit(job_of(SLOW), ANNA))
    waiting = first.submit(job_of(6), ANNA)
    first.stop()
    broken = settings.private / "jobs" / ("f" * 16)
    broken.mkdir()
    (broken / "job.json").write_text('{"id": "')
    second = Desk(settings, service=StandIn())
    second.start()
    try:
        found = {job.id: second.told(job) for job in second.jobs(ANNA)}
        assert list(found) == [waiting.id, slow.id, done["id"]] and not broken.exists()
        assert found[done["id"]] == done
        for job in (slow, waiting):
            assert found[job.id]["state"] == "failed" and "stopped" in found[job.id]["error"]
    finally:
        second.stop()


def test_a_full_disk_does_not_keep_the_server_from_stopping(desk, monkeypatch, caplog):
    jobs = [begun(desk, desk.submit(job_of(SLOW), ANNA)), *(desk.submit(job_of(seed), ANNA) for seed in (1, 2))]

    def full(job):
        raise UserError("no space left")
    monkeypatch.setattr(Job, "save", full)
    desk.stop()
    assert [job.state for job in jobs] == ["failed"] * 3 and caplog.text.count("no space left") == 3


def test_old_jobs_go_with_their_pictures(settings):
    desk = Desk(replace(settings, limits=Limits(jobs=2)), service=StandIn())
    desk.start()
    try:
        jobs = [desk.submit(job_of(number), ANNA) for number in range(3)]
        for job in jobs:
            ended(desk, job)
        desk._drop_old()
        assert desk.jobs(ANNA) == jobs[:0:-1] and not jobs[0].folder.exists() and jobs[1].folder.exists()
        desk.forget(jobs[1].id, ANNA)
        assert desk.jobs(ANNA) == [jobs[2]] and not jobs[1].folder.exists()
    finally:
        desk.stop()

"""Worker processes: answers in order, errors in one line, deaths told and replaced, nothing left running."""
from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jittor_ipl.errors import UserError
from jittor_ipl.jobs.workers import Worker, WorkerDied, answers, in_order

ROOT = Path(__file__).resolve().parents[1]


def answer(request):
    """What the workers of these tests do; it runs in their processes."""
    kind, value = request
    if kind == "sleep":
        time.sleep(value)
    if kind == "kill":
        os.kill(os.getpid(), value)
    if kind == "raise":
        raise value if isinstance(value, Exception) else Unportable(*value)
    return os.environ.get(value) if kind == "variable" else (value, os.getpid())


class Unportable(Exception):
    def __init__(self, one, other):
        super().__init__(f"{one} and {other}")


class Counter:
    """Keeps what it once loaded."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, step):
        self.count += step
        return self.count


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def gone(*pids: int) -> bool:
    for _ in range(200):
        if not any(alive(pid) for pid in pids):
            return True
        time.sleep(0.05)
    return False


def test_a_worker_keeps_its_state_and_starts_again_after_it_died():
    worker = Worker(Counter())
    assert [worker.ask(1), worker.ask(2)] == [1, 3]
    os.kill(worker._process.pid, signal.SIGKILL)
    worker._process.join()
    assert worker.ask(5) == 5
    second = worker._process.pid
    worker.stop()
    worker.stop()
    assert gone(second) and worker.ask(7) == 7
    worker.stop()


def count_up(last, progress):
    """What a worker that reports does: every number up to the last, unless it is told to stop."""
    for number in range(last):
        progress(number)
        if progress.cancelled:
            return "stopped"
        time.sleep(0.01)
    return "cancel"


def test_a_worker_reports_and_hears_a_cancellation_of_its_own_request_alone():
    worker, seen = Worker(count_up, reports=True), []
    worker.send(3)
    assert worker.receive(seen.append) == "cancel" and seen == [0, 1, 2]
    worker.cancel()                             # of nobody
    worker.send(1_000_000)
    assert worker.receive(lambda number: worker.cancel() if number == 2 else seen.append(number)) == "stopped"
    assert seen[3:5] == [0, 1]
    worker.send(5)
    worker.cancel()
    first = worker.receive()
    worker.send(2)
    assert first == "stopped" and worker.receive() == "cancel" and worker.pid is not None
    worker.stop()
    assert worker.pid is None


def test_answers_come_in_the_order_of_the_requests():
    requests = [("sleep", 0.5 if number == 0 else 0) for number in range(7)]
    found = list(in_order(answer, requests, [{}, {}]))
    assert [value for value, _ in found] == [0.5] + [0] * 6 and len({pid for _, pid in found}) == 2


def test_errors_are_answers_and_a_dead_worker_is_replaced():
    requests = [("raise", UserError("a mistake")), ("kill", signal.SIGKILL), ("raise", (1, 2)), ("ok", 3)]
    found = {one.number: one for one in answers(answer, requests, [{}])}
    assert isinstance(found[0].error, UserError) and str(found[0].error) == "a mistake"
    assert isinstance(found[1].error, WorkerDied) and "SIGKILL" in str(found[1].error)
    assert "\n" not in str(found[1].error)
    assert "Unportable: 1 and 2" in str(found[2].error) and "Traceback" in str(found[2].error.__cause__)
    assert found[3].value[0] == 3


def test_the_first_error_ends_all_workers():
    pids = []
    with pytest.raises(UserError, match="a mistake"):
        for _, pid in in_order(answer, [("ok", 1), ("raise", UserError("a mistake")), ("sleep", 600)], [{}, {}]):
            pids.append(pid)
    assert gone(*pids)


def test_every_worker_has_its_environment_and_fresh_ones_do_one_request_each(monkeypatch):
    monkeypatch.delenv("DEVICE", raising=False)
    environments = [{"DEVICE": "a"}, {"DEVICE": "b"}]
    requests = [("variable", "DEVICE")] * 2
    assert {one.value for one in answers(answer, requests, environments)} == {"a", "b"} and "DEVICE" not in os.environ
    pids = [one.value[1] for one in answers(answer, [("ok", number) for number in range(3)], [{}], fresh=True)]
    assert len(set(pids)) == 3 and gone(*pids)


PARENT = """
import sys, time
from pathlib import Path
sys.path.insert(0, "tests")
from jittor_ipl.jobs.workers import answers
from workers_children import save_when_stopped
for one in answers(save_when_stopped, [sys.argv[1] + "/0", sys.argv[1] + "/1"], [{}, {}]):
    print("answered", one)
"""


@pytest.mark.parametrize("number, code", [(signal.SIGTERM, 143), (signal.SIGINT, 1), (signal.SIGKILL, -9)])
def test_workers_end_with_their_parent(tmp_path, number, code):
    """SIGTERM reaches them as such, Ctrl-C through the parent alone; a killed parent leaves no orphan."""
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path)], cwd=ROOT, start_new_session=True,
                              stderr=subprocess.PIPE, text=True)
    for _ in range(600):
        if len(list(tmp_path.glob("*.pid"))) == 2:
            break
        time.sleep(0.05)
    pids = [int(path.read_text()) for path in tmp_path.glob("*.pid")]
    assert len(pids) == 2
    if number == signal.SIGINT:
        os.killpg(parent.pid, number)       # as a terminal does
    else:
        parent.send_signal(number)
    told = parent.communicate(timeout=60)[1]
    assert gone(*pids) and sorted(path.name for path in tmp_path.glob("*.saved")) == ["0.saved", "1.saved"]
    assert parent.returncode in (code, -number) and told.count("Traceback") == (number == signal.SIGINT), told


def test_a_worker_that_a_signal_ended_ends_all(tmp_path):
    with pytest.raises(SystemExit) as stopped:
        list(answers(answer, [("kill", signal.SIGTERM), ("sleep", 600)], [{}, {}]))
    assert stopped.value.code == 143

"""Tasks on Ray nodes: one is killed in the middle, the store fails now and then, and the result is the local one's."""
from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import ipaddress
import os
import socket
import sys
from pathlib import Path

import pytest

from jittor_ipl.errors import UserError
from jittor_ipl.jobs.engine import LocalEngine, NodeTask

# Not imported yet: Ray reads its variables once.
if missing := [name for name in ("ray", "s3fs", "moto", "flask_cors") if importlib.util.find_spec(name) is None]:
    pytest.skip(f"{', '.join(missing)}: not installed; pip install -r requirements-cluster.txt -r requirements-dev.txt",
                allow_module_level=True)

from jittor_ipl.disk.objects import ObjectStore  # noqa: E402
from jittor_ipl.jobs.ray_engine import RayEngine, reachable  # noqa: E402
from tests.cluster.nodes import (  # noqa: E402
    BUCKET,
    Stretch,
    failures,
    kill_one,
    ray_nodes,
    refuse,
    s3_server,
    stretch,
)

TASKS = 10


def tasks(seconds: float = 0.0) -> list[NodeTask]:
    return [NodeTask(f"task{number}", hashlib.sha256(b"stretch %d" % number).hexdigest(),
                 Stretch("inputs/source.bin", number, "made", seconds),
                 inputs={"inputs/source.bin": "inputs/source.bin"}, outputs={"made": f"out/{number}"},
                 passed_over=("checkpoints",)) for number in range(TASKS)]


def content(folder: Path) -> dict[str, bytes]:
    """Return the files that are a result, by name."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*")
            if path.is_file() and "checkpoints" not in path.parts}


def listening() -> list[str]:
    """Return the addresses on which processes of Ray listen, and this one, which has a part of Ray in it.

    As /proc tells them: a socket of IPv4 or IPv6 that listens (state 0A), and the processes that hold its inode.
    """
    sockets = {}
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            _, local, _, state, *_ = fields = line.split()
            if state == "0A":
                sockets[f"socket:[{fields[9]}]"] = address_of(local)
    return [sockets[held] for held in held_by_ray() if held in sockets]


def address_of(local: str) -> str:
    """Return an address of /proc/net/tcp, words of the machine's byte order in hexadecimal and a port, as people do."""
    address, port = local.split(":")
    words = [int(address[start:start + 8], 16).to_bytes(4, sys.byteorder) for start in range(0, len(address), 8)]
    return f"{ipaddress.ip_address(b''.join(words))}:{int(port, 16)}"


def held_by_ray() -> list[str]:
    """Return what the open files of this process and of all of Ray's are, such as "socket:[4711]"."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):          # it has ended, or is another user's
            name = (process / "comm").read_text()
            if name.startswith(("ray", "gcs_server")) or process.name == str(os.getpid()):
                for file in os.listdir(process / "fd"):
                    with contextlib.suppress(FileNotFoundError):    # closed since, as the list of files itself
                        found.append(os.readlink(process / "fd" / file))
    return found


def test_a_killed_node_and_a_failing_store_change_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("inputs").mkdir()
    Path("local/out").mkdir(parents=True)
    Path("inputs/source.bin").write_bytes(b"source" * 1000)
    expected = {}
    for one in LocalEngine().run(stretch, tasks(), "local"):
        expected[one.request.name] = one.value
        Path("made").rename(Path("local") / one.request.outputs["made"])
    local = content(Path("local/out"))
    with s3_server(rate=0.05, seed=3) as server, ray_nodes(2) as cluster:
        engine = RayEngine(cluster.address, ObjectStore(f"s3://{BUCKET}/a"), logs=Path("logs"))
        found, killed = {}, False
        for answer in engine.run(stretch, tasks(seconds=1.0), "first"):
            assert answer.error is None, answer.error
            assert answer.request.name not in found
            found[answer.request.name] = answer.value
            if not killed:
                kill_one(cluster)
                killed = True
        assert found == expected and content(Path("out")) == local
        assert len(listening()) > 3
        loopback = "127.0.0.1:", "::ffff:127.0.0.1:", "::ffff:7f00:1:"
        assert not [one for one in listening() if not one.startswith(loopback)]
        # What is in the store is not done again; a mistake of the user's is not tried again.
        commits = engine.store.record("manifests/first")["tasks"]
        assert {one["name"] for one in commits.values()} == expected.keys()
        Path("out").rename("before")
        wrong = NodeTask("wrong", "0" * 64, "no such style")
        again = {one.request.name: one for one in engine.run(refuse, [*tasks(), wrong], "second")}
        assert isinstance(again.pop("wrong").error, UserError) and content(Path("out")) == local
        assert {name: one.value for name, one in again.items()} == expected
        assert engine.store.record("manifests/second") is None, "a job with a failed task is committed"
        assert failures(server)["requests"] > 100
    logs = sorted(path.name for path in Path("logs/second").iterdir())
    assert logs == ["wrong.1.log"]
    assert "about to refuse" in Path("logs/second/wrong.1.log").read_text()
    assert sum("stretched" in path.read_text() for path in Path("logs/first").iterdir()) >= TASKS - 1


@pytest.mark.parametrize("address, told", [("8.8.8.8:6379", "public internet"), ("auto", "not host:port"),
                                           ("127.0.0.1:1", "nothing answers")])
def test_addresses_that_are_refused(address, told):
    with pytest.raises(UserError, match=told):
        reachable(address)


def test_private_addresses_pass():
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        assert reachable(address) == address

"""The object store: whole or absent, once, verified, and tried again; on a disk and on a real S3 server that fails."""
from __future__ import annotations

import hashlib

import pytest

from jittor_ipl.disk import objects
from jittor_ipl.errors import UserError

pytest.importorskip("s3fs", reason="s3fs is not installed: pip install -r requirements-cluster.txt")
pytest.importorskip("moto", reason="moto is not installed: pip install -r requirements-dev.txt")

from tests.cluster.nodes import BUCKET, failures, s3_server  # noqa: E402


@pytest.fixture(scope="module")
def flaky():
    with s3_server(rate=0.3) as address:
        yield address


@pytest.fixture(params=["disk", "s3"])
def store(request, tmp_path, monkeypatch):
    monkeypatch.setattr(objects, "FIRST_WAIT", 0.001)
    if request.param == "disk":
        return objects.ObjectStore(str(tmp_path / "store"))
    request.getfixturevalue("flaky")
    return objects.ObjectStore(f"s3://{BUCKET}/{tmp_path.name}", tries=20)


def test_files_come_back_and_are_sent_once(store, tmp_path, monkeypatch):
    for size in (0, 1, 1 << 20):
        (tmp_path / "file").write_bytes(bytes(range(256)) * (size // 256) + b"x" * (size % 256))
        digest = store.put(tmp_path / "file")
        assert digest == hashlib.sha256((tmp_path / "file").read_bytes()).hexdigest()
        assert store.has(digest, size) and not store.has(digest, size + 1)
        assert store.get(digest, tmp_path / "deep" / "copy").read_bytes() == (tmp_path / "file").read_bytes()
    monkeypatch.setattr(store, "_send", lambda *_: pytest.fail("sent again"))
    store.put(tmp_path / "file")


def test_of_several_records_the_first_stands(store):
    assert store.record("commits/one") is None
    assert store.first_record("commits/one", {"by": 1}) == {"by": 1}
    assert store.first_record("commits/one", {"by": 2}) == {"by": 1} == store.record("commits/one")
    store.write_record("commits/one", {"by": 3})
    assert store.record("commits/one") == {"by": 3}


def test_damage_is_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr(objects, "FIRST_WAIT", 0)
    store = objects.ObjectStore(str(tmp_path / "store"))
    (tmp_path / "file").write_bytes(b"sound")
    digest = store.put(tmp_path / "file")
    (tmp_path / "store/objects" / digest).write_bytes(b"sOund")
    with pytest.raises(objects.StoreError, match="damaged"):
        store.get(digest, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
    store.write_record("commits/one", {"by": 1})
    (tmp_path / "store/commits/one.json").write_bytes(b"{}")
    assert store.record("commits/one") is None and store.first_record("commits/one", {"by": 2}) == {"by": 2}


def test_the_server_did_fail(flaky, monkeypatch):
    monkeypatch.setattr(objects, "FIRST_WAIT", 0.001)
    store = objects.ObjectStore(f"s3://{BUCKET}/fails", tries=20)
    for number in range(20):
        store.write_record("commits/one", {"by": number})
    counts = failures(flaky)
    assert min(counts.values()) > 0, counts


@pytest.mark.parametrize("url", ["gs://bucket/x", "memory://x", "s3://", "", "/"])
def test_other_places_are_refused(url):
    with pytest.raises(UserError, match="object store"):
        objects.ObjectStore(url)


def test_a_store_that_is_gone_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr(objects, "FIRST_WAIT", 0)
    store = objects.ObjectStore(str(tmp_path / "store"), tries=2)
    monkeypatch.setattr(store._files, "cat_file", lambda path: (_ for _ in ()).throw(TimeoutError("no answer")))
    with pytest.raises(objects.StoreError, match="failed 2 times"):
        store.record("commits/one")

"""An object store: one path, local or S3-compatible, that machines share which share no disk.

Files lie under their SHA-256 (`objects/<sha256>`), so that the same file is never sent twice and a damaged one is
noticed. Records (`<folder>/<name>.json`) carry their own SHA-256 and appear whole. No rename is needed: object stores
have none.
"""
from __future__ import annotations

import os
import random
import secrets
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from jittor_ipl.disk.atomic import staged, write_bytes
from jittor_ipl.disk.integrity import file_sha256, sealed, unsealed
from jittor_ipl.errors import UserError, in_brief

TRIES, FIRST_WAIT = 8, 0.2      # of one operation; seconds, twice as long each time, half of it by chance
_FINAL = (FileNotFoundError, FileExistsError, PermissionError, UserError)
Value = TypeVar("Value")


class StoreError(UserError):
    """The store refused an operation again and again."""


class ObjectStore:
    """The store at `url`: `s3://bucket/prefix`, or a path or file:// URL that all machines see.

    Credentials and the address of an S3-compatible server are the environment's, as every AWS tool reads them
    (AWS_ENDPOINT_URL, AWS_PROFILE, ...). Raises UserError for another kind of URL and where fsspec is not installed.
    """

    def __init__(self, url: str, tries: int = TRIES) -> None:
        scheme, separator, rest = url.partition("://")
        self.local = not separator or scheme == "file"
        if not self.local and scheme != "s3":
            raise UserError(f"the object store {url!r} is neither a path nor s3://bucket/prefix")
        if not (rest if separator else url).strip("/"):
            raise UserError(f"the object store {url!r} names no place: write s3://bucket/prefix, or a folder")
        self.url = str(Path(rest if separator else url).absolute()) if self.local else url.rstrip("/")
        self.tries = tries
        # Listings are not remembered: other machines write, too.
        options = {} if self.local else {"use_listings_cache": False, "skip_instance_cache": True}
        try:
            import fsspec
            self._files, self._root = fsspec.url_to_fs(self.url, **options)
        except ImportError as error:
            raise UserError("the packages that read an object store, fsspec and s3fs, are missing: pip install -r "
                            "requirements-cluster.txt") from error

    def __reduce__(self) -> tuple[type, tuple[str, int]]:
        return type(self), (self.url, self.tries)       # connections stay in their process

    def put(self, path: str | Path) -> str:
        """Store a file and return its SHA-256; one that is there already is not sent again."""
        digest = file_sha256(path)
        target, size = f"{self._root}/objects/{digest}", os.path.getsize(path)
        if self._size(target) != size:
            self._again(lambda: self._send(str(path), target))
        return digest

    def get(self, digest: str, path: str | Path) -> Path:
        """Fetch a stored file to `path`, whole or not at all; StoreError when its bytes are not those of its name."""
        def fetch() -> None:
            with staged(path) as part:
                self._files.get_file(f"{self._root}/objects/{digest}", str(part))
                if file_sha256(part) != digest:
                    raise OSError(f"object {digest[:12]} arrived damaged")
        try:
            self._again(fetch)
        except FileNotFoundError:
            raise StoreError(f"{self.url} has no object {digest[:12]}..., which a record names") from None
        return Path(path)

    def has(self, digest: str, size: int) -> bool:
        """Tell whether a file of this SHA-256 and size is there."""
        return self._size(f"{self._root}/objects/{digest}") == size

    def record(self, name: str) -> dict[str, Any] | None:
        """Return the record of this name; None when there is none, or none that is whole."""
        path = f"{self._root}/{name}.json"
        with suppress(FileNotFoundError):
            data = self._again(lambda: self._files.cat_file(path))
            with suppress(UserError):
                return unsealed(data, path, "record")
        return None

    def write_record(self, name: str, content: Mapping[str, Any]) -> None:
        """Write a record in place of an earlier one."""
        self._again(lambda: self._write(f"{self._root}/{name}.json", sealed(content)))

    def first_record(self, name: str, content: Mapping[str, Any]) -> dict[str, Any]:
        """Write a record unless a whole one is there, and return the one that stands: of several writers one wins."""
        with suppress(FileExistsError):     # another writer's, or ours, whose answer was lost
            self._again(lambda: self._write(f"{self._root}/{name}.json", sealed(content), only_new=True))
        if (found := self.record(name)) is not None:
            return found
        self.write_record(name, content)    # in place of a damaged one
        return dict(content)

    def _size(self, path: str) -> int | None:
        with suppress(FileNotFoundError):
            return self._again(lambda: self._files.info(path))["size"]
        return None

    def _send(self, path: str, target: str) -> None:
        if self.local:
            with staged(target) as part:
                shutil.copyfile(path, part)
        else:
            self._files.put_file(path, target)

    def _write(self, path: str, data: bytes, only_new: bool = False) -> None:
        if not self.local:
            self._files.pipe_file(path, data, mode="create" if only_new else "overwrite")
        elif only_new:
            whole = write_bytes(f"{path}.{secrets.token_hex(8)}", data)
            try:
                os.link(whole, path)        # in one step, and refused where the name is taken
            finally:
                whole.unlink()
        else:
            write_bytes(path, data)

    def _again(self, action: Callable[[], Value]) -> Value:
        """Return what `action` does, tried again after a fault; what another try cannot change is raised at once."""
        for attempt in range(1, self.tries + 1):
            try:
                return action()
            except _FINAL as error:
                if isinstance(error, PermissionError):
                    raise StoreError(f"the object store {self.url} refuses access: {in_brief(error)}; look at its "
                                     "credentials and rights") from error
                raise
            except Exception as error:  # noqa: BLE001 - a store fails in the errors of four libraries
                if attempt == self.tries:
                    raise StoreError(f"the object store {self.url} failed {attempt} times: {in_brief(error)}; see that "
                                     "it can be reached from every node") from error
                time.sleep(FIRST_WAIT * 2 ** (attempt - 1) * random.uniform(0.5, 1))
        raise AssertionError("no try")

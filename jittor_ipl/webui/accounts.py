"""Who may sign in: a file of names with salted hashes of passwords, and the sessions that are open."""
from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import threading
import time
from pathlib import Path

from jittor_ipl.disk.atomic import write_bytes
from jittor_ipl.disk.small_files import read_lines
from jittor_ipl.errors import UserError
from jittor_ipl.webui.page_error import PageError

SESSION_SECONDS = 12 * 3600
TRIES, PAUSE = 5, 60.0      # wrong passwords from one address, and for how long it then has to wait
_COST = {"n": 2**14, "r": 8, "p": 1, "maxmem": 64 << 20}        # of scrypt: a twentieth of a second and 16 MiB
SHORTEST = 8


def add_user(path: Path, name: str, password: str) -> None:
    """Write a user into the file, in place of one of that name; UserError for an unfit name or password."""
    if not name or not all(c.isalnum() or c in "-_.@" for c in name) or len(name) > 60:
        raise UserError(f"the user's name {name[:60]!r} may have letters, digits and -_.@ alone, at most 60")
    if len(password) < SHORTEST:
        raise UserError(f"the password has {len(password)} characters; at least {SHORTEST} are needed")
    kept = [line for line in read_lines(path, "file of users") if line.partition(":")[0] != name] \
        if path.exists() else []
    salt = secrets.token_bytes(16)
    write_bytes(path, "\n".join([*kept, f"{name}:{salt.hex()}:{_hash(password, salt).hex()}", ""]).encode())
    path.chmod(0o600)


def _hash(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, **_COST)


class Accounts:
    """The users of a file and their sessions; safe to call from many threads."""

    def __init__(self, path: Path):
        """Read the file; UserError when others may read it, too, or it is malformed."""
        lines = read_lines(path, "file of users")
        if os.stat(path).st_mode & 0o077:
            raise UserError(f"{str(path)!r} may be read or written by others: chmod 600 it")
        self._users: dict[str, tuple[bytes, bytes]] = {}
        for number, line in enumerate(lines, 1):
            if not line or line.startswith("#"):
                continue
            try:
                name, salt, wanted = line.split(":")
                self._users[name] = bytes.fromhex(salt), bytes.fromhex(wanted)
            except ValueError:
                raise UserError(f"{path}, line {number} is no user: add users with "
                                f"python -m jittor_ipl ui --auth-file {path} --add-user NAME") from None
        if not self._users:
            raise UserError(f"{path} names no user: add one with --add-user NAME")
        self._sessions: dict[str, tuple[str, float]] = {}
        self._wrong: dict[str, tuple[int, float]] = {}
        self._lock = threading.Lock()
        self._one_at_a_time = threading.Lock()      # a hash takes 16 MiB and all of a core

    def check(self, name: str, password: str, address: str) -> bool:
        """Whether that is the user's password. Raises UserError after too many wrong ones from an address."""
        salt, wanted = self._users.get(name, (b"\0" * 16, b""))     # an unknown name takes as long
        with self._one_at_a_time:       # guesses made side by side are counted one by one, too
            count, last = self._wrong.get(address, (0, 0.0))
            recent = time.monotonic() - last < PAUSE
            if count >= TRIES and recent:
                raise PageError("error.many_passwords", seconds=round(PAUSE))
            right = hmac.compare_digest(_hash(password[:1000], salt), wanted)
            self._wrong.pop(address, None)
            if not right:
                self._wrong[address] = (count + 1 if recent else 1), time.monotonic()
                self._wrong = dict(list(self._wrong.items())[-10_000:])
        return right

    def open(self, name: str) -> str:
        """Return the secret of a new session of a user."""
        secret = secrets.token_urlsafe(32)
        with self._lock:
            now = time.monotonic()
            self._sessions = {key: one for key, one in self._sessions.items() if one[1] > now}
            self._sessions[secret] = name, now + SESSION_SECONDS
        return secret

    def user(self, secret: str) -> str | None:
        """Return whose session a secret opens, None for none."""
        with self._lock:
            name, until = self._sessions.get(secret, (None, 0.0))
        return name if until > time.monotonic() else None

    def close(self, secret: str) -> None:
        """End a session."""
        with self._lock:
            self._sessions.pop(secret, None)

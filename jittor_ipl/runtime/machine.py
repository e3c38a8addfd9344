"""Whether another machine computes the same as this one: the same code, and what decides the bits of a result."""
from __future__ import annotations

import hashlib
import socket
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from jittor_ipl.errors import UserError
from jittor_ipl.runtime.device import fingerprint

PACKAGE = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class MachineKind:
    """What a machine is, as far as results depend on it."""

    name: str
    code: str                       # SHA-256 (hex) of the package's Python files, with the sizes of all others
    fingerprint: dict[str, str]

    def require_code(self) -> None:
        """Raise UserError unless the package here is this machine's, to the byte."""
        if self.code != (here := this_machine()).code:
            raise UserError(f"{here.name} has another version of jittor_ipl than {self.name}: install the same one on "
                            "every node, or start the nodes in equal checkouts")

    def require_bits(self) -> None:
        """Raise UserError unless pictures made here have the bits of this machine's."""
        if unlike := self.unlike(this_machine().fingerprint):
            raise UserError(f"{socket.gethostname()} is another kind of machine than {self.name} ({unlike}): its "
                            "pictures could differ in bits; give the cluster nodes of one kind, or start there")

    def unlike(self, other: dict[str, Any]) -> str:
        """Return the names of what differs in another fingerprint, an empty text when nothing does."""
        return ", ".join(name for name, value in self.fingerprint.items() if other.get(name) != value)


@lru_cache(maxsize=1)
def this_machine() -> MachineKind:
    """Return what this machine is."""
    digest = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            digest.update(f"{path.relative_to(PACKAGE).as_posix()} {path.stat().st_size}\n".encode())
            digest.update(path.read_bytes() if path.suffix == ".py" else b"")
    return MachineKind(socket.gethostname(), digest.hexdigest(), fingerprint())

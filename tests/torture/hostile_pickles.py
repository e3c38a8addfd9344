"""The self-written hostile files in every container: refused in one line, nothing executed, bounded memory and time.

    python -m tests.torture.hostile_pickles
"""
from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator

from jittor_ipl.errors import UserError
from jittor_ipl.weights.containers.read import read_tensors
from tests.torture.common import ROOT, finish, parse

sys.path.insert(0, str(ROOT / "tests" / "weights"))
import hostile_arrays  # noqa: E402
import hostile_pickles as hostile  # noqa: E402

# processor seconds for one file; KiB that the process may grow by over all of them
LONGEST, MAX_GROWTH = 5.0, 100 << 10


def corpora() -> Iterator[tuple[str, str, bytes]]:
    """Yield (container, payload, file)."""
    for name, body in hostile.payloads().items():
        for container in hostile.CONTAINERS:
            yield container, name, hostile.containers(body, container)
    for container, corpus in (("npy", hostile_arrays.hostile_npy), ("npz", hostile_arrays.hostile_npz),
                              ("safetensors", hostile_arrays.hostile_safetensors)):
        yield from ((container, name, data) for name, data in corpus().items())


def attempt(data: bytes) -> str:
    """Return "" when the file is refused as it should be, else what happened."""
    try:
        dict(read_tensors(data)[0])
        return "accepted"
    except UserError as error:
        return "" if "\n" not in str(error) else "a message of several lines"
    except Exception as error:  # noqa: BLE001 - any other exception is the finding
        return f"{type(error).__name__}: {str(error)[:100]}"


def main(argv: list[str] | None = None) -> int:
    """Read every hostile file and print the figures."""
    arguments = parse(__doc__.splitlines()[0], 1, 1, argv)
    hostile.CANARY.unlink(missing_ok=True)
    files, counts, told, slowest = list(corpora()), {}, [], 0.0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for container, name, data in files:
        counts[container] = counts.get(container, 0) + 1
        began = time.process_time()
        found = attempt(data)
        slowest = max(slowest, time.process_time() - began)
        if found:
            told.append(f"{container}, {name}: {found}")
    growth = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    executed = hostile.CANARY.exists()
    figures = {"files": len(files), "by_container": counts, "code_executed": executed,
               "not_refused_in_one_line": len(told), "grown_MiB": growth >> 10,
               "slowest_ms": round(1000 * slowest), "failed": told[:5]}
    passed = not told and not executed and slowest < LONGEST and growth < MAX_GROWTH and min(counts.values()) >= 60
    return finish("hostile_pickles", arguments, figures, passed, "hostile weight files in every container")


if __name__ == "__main__":
    sys.exit(main())

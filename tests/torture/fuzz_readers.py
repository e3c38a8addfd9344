"""Mutated and generated weight files: each is read as announced, or refused in one line; nothing else, no hang.

Every input is a function of --seed and its number alone. One million inputs take a few minutes of one core. A failing
input is saved in the scratch folder under its reader and number.

    python -m tests.torture.fuzz_readers --count 1000000
"""
from __future__ import annotations

import io
import math
import random
import resource
import signal
import sys
import time
import traceback
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np

from jittor_ipl.errors import UserError
from jittor_ipl.weights.containers.pickle.opcodes import OPERATIONS
from jittor_ipl.weights.containers.read import read_tensors
from tests.torture.common import ROOT, finish, fresh, parse

sys.path.insert(0, str(ROOT / "tests" / "weights"))
import hostile_pickles  # noqa: E402
import small_files  # noqa: E402

HANG, SLOW = 20, 5.0            # wall-clock seconds until an input is stopped; processor seconds that are too many
MAX_GROWTH = 200 << 10          # KiB that the process may grow by over the whole run
NUMBERS = (0, 1, 2, 7, 8, 255, 256, 2**15, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1)
WORDS = (b"ccollections\nOrderedDict\n", b"cnumpy\nndarray\n", b"cnumpy\ndtype\n",
         b"cnumpy.core.multiarray\n_reconstruct\n",
         b"ctorch._utils\n_rebuild_tensor_v2\n", b"ctorch\nFloatStorage\n", b"c_codecs\nencode\n", b"cos\nsystem\n",
         b"cargparse\nNamespace\n", b"ctorch.storage\n_load_from_bytes\n", b"cbuiltins\nset\n", b"cjittor\nVar\n",
         b"K\x01", b"K\x00\x85",
         b"(K\x02K\x03t", b"X\x01\x00\x00\x00a", b"C\x04abcd", b"X\x02\x00\x00\x00f4", b"X\x07\x00\x00\x00storage",
         b"X\x03\x00\x00\x00cpu",
         b"q\x01", b"h\x01", b"\x94", b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06", b'"shape":[',
         b'"data_offsets":[0,8]', b'"F32"', b"{}", b"[]",
         b"__metadata__", b"'descr': '|O'", b"'shape': (", b"\xff\xfe", b"\n", b"\x8b\xff\xff\xff\x7f")


CONTAINERS = ("plain", "jittor", "legacy", "zip", "torchscript")


class Hang(BaseException):
    """The time for one input is over; no reader may catch it."""


def mutated(data: bytes, others: list[bytes], rng: random.Random) -> bytes:
    """Return `data` with one to five changes: flips, bytes, cuts, repeats, words, numbers, swaps, splices."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 5))):
        size = len(out)
        at, length, kind = rng.randrange(size + 1), rng.choice((1, 2, 4, 8, 30, 100)), rng.randrange(10)
        if kind == 0 and size:
            out[at % size] ^= 1 << rng.randrange(8)
        elif kind == 1 and size:
            out[at % size] = rng.randrange(256)
        elif kind == 2:
            del out[at:at + length]
        elif kind == 3:
            out[at:at] = rng.randbytes(length)
        elif kind == 4:
            out[at:at + rng.randrange(2) * length] = rng.choice(WORDS)
        elif kind == 5:
            del out[at:]
        elif kind == 6:
            out[at:at] = out[at:at + length] * rng.choice((1, 2, 40))
        elif kind == 7:
            other = rng.choice(others)
            out[at:] = other[rng.randrange(len(other)):]
        elif kind == 8:
            width = rng.choice((1, 2, 4, 8))
            out[at:at + width] = (rng.choice(NUMBERS) & (256**width - 1)).to_bytes(width, "little")
        else:
            other_at = rng.randrange(size + 1)
            first, second = out[at:at + length], out[other_at:other_at + length]
            if at + length <= other_at:
                out[at:at + length], out[other_at:other_at + length] = second, first
    return bytes(out)


def opcode(rng: random.Random) -> bytes:
    """Return one random opcode with an argument of the right form, mostly."""
    code = rng.choice(_CODES)
    char = chr(code)
    if char in "ILFpgPSVci":
        lines = {"c": 2, "i": 2}.get(char, 1)
        return bytes([code]) + b"".join(rng.choice((b"0", b"1", b"-5", b"99999999999", b"1.5", b"'x'", b"os",
                                                    b"a")) + b"\n" for _ in range(lines))
    width = {"K": 1, "M": 2, "J": 4, "G": 8, "q": 1, "h": 1, "r": 4, "j": 4, "\x80": 1, "\x95": 8}.get(char)
    if width is not None:
        return bytes([code]) + (rng.choice(NUMBERS[:6] if rng.random() < 0.8
                                           else NUMBERS) & (256**width - 1)).to_bytes(width, "little")
    width = {"T": 4, "U": 1, "X": 4, "\x8c": 1, "\x8d": 8, "B": 4, "C": 1, "\x8e": 8, "\x96": 8, "\x8a": 1,
             "\x8b": 4}.get(char)
    if width is not None:
        text = rng.choice((b"", b"a", b"os", b"system", b"\xff", rng.randbytes(5)))
        return bytes([code]) + (len(text) if rng.random() < 0.95
                                else 2**31 - 1 & (256**width - 1)).to_bytes(width, "little") + text
    return bytes([code])


def value(rng: random.Random, depth: int = 0) -> bytes:
    """Return pickle code that pushes one value, well formed: scalars, containers, arrays, tensors, objects, calls."""
    kind = rng.randrange(7 if depth > 3 else 16 if rng.random() < 0.97 else 18)
    right = rng.random() < 0.9      # arrays and tensors that fit their bytes
    inner = [value(rng, depth + 1) for _ in range(rng.randrange(4))] if kind > 6 else []
    name = b"\x8c\x01" + bytes([rng.randrange(97, 123)])
    small = [b"K" + bytes([rng.choice((0, 1, 2, 3, 200))]) for _ in range(3)]
    count, storage_kind, code = (b"K\x08", b"ByteStorage", b"u1") if right else (
        small[0], rng.choice((b"FloatStorage", b"BoolStorage", b"BFloat16Storage", b"QInt8Storage")),
        rng.choice((b"f4", b"b1", b"f2", b"O8", b"V4")))
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R"
    dtype = b"cnumpy\ndtype\n\x8c\x02" + code + b"\x89\x88\x87R"
    storage = b"(\x8c\x07storagectorch\n" + storage_kind + b"\n\x8c\x010\x8c\x03cpu" + count + b"tQ"
    return (b"N", b"\x88", small[0], name, b"C\x04abcd", b"J" + rng.randbytes(4), b"G" + rng.randbytes(8),
            b"(" + b"".join(inner) + b"t", b"(" + b"".join(inner) + b"l",
            b"}(" + b"".join(name[:2] + bytes([97 + n]) + v for n, v in enumerate(inner)) + b"u",
            b"ccollections\nOrderedDict\n(" + b"".join(inner) + b"tR",
            b"cargparse\nNamespace\n)\x81}" + name + b"".join(inner[:1] or [b"N"]) + b"sb",
            array + b"(K\x01" + count + b"\x85" + dtype + rng.choice((b"\x88", b"\x89")) + b"C" + bytes([8])
            + rng.randbytes(8) + b"tb",
            b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + small[1] + small[2] + b"\x85K\x01" + b"\x85\x89NtR",
            b"\x8f(" + b"".join(inner) + b"\x90", b"".join(inner[:1] or [b"N"]) + b"q" + bytes([rng.randrange(3)]),
            b"h" + bytes([rng.randrange(3)]), rng.choice(WORDS[:11]) + b"(" + b"".join(inner) + b"tR")[kind]


def generated(rng: random.Random) -> bytes:
    """Return a pickle of random values, every other one with random opcodes in between, in a random container."""
    pairs = [(b"\x8c\x02x" + bytes([97 + n]), value(rng)) for n in range(rng.randrange(1, 6))]
    noise = [b"".join(opcode(rng) for _ in range(rng.randrange(3))) if rng.random() < 0.2 else b"" for _ in pairs]
    body = b"}" + b"".join(key + content + more + b"s" for (key, content), more in zip(pairs, noise))
    return hostile_pickles.containers(body, rng.choice(CONTAINERS))


def rezipped(data: bytes, others: list[bytes], rng: random.Random) -> bytes:
    """Return an archive with one record mutated and every checksum right, so that what lies behind them is reached."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        records = {entry.filename: archive.read(entry) for entry in archive.infolist()}
        method = archive.infolist()[0].compress_type
    target = rng.choice([name for name in records if "/code/" not in name])
    records[target] = mutated(records[target], others, rng)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in records.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def one_input(name: str, corpus: dict[str, bytes], others: list[bytes], rng: random.Random) -> bytes:
    """Return one input for a reader."""
    if name not in corpus:
        return generated(rng)
    if corpus[name].startswith(b"PK") and rng.randrange(2):
        return rezipped(corpus[name], others, rng)
    return mutated(corpus[name], others, rng)


def attempt(data: bytes) -> str:
    """Read everything in `data`; return "read", "refused", or what went wrong."""
    try:
        tensors, info = read_tensors(data)
        for name, entry in tensors.entries.items():
            array = tensors[name]
            if array.shape != entry.shape or array.dtype != entry.dtype or array.nbytes > 16 * len(data) + (1 << 22):
                return f"odd tensor {array.shape} {array.dtype}, {entry.shape} {entry.dtype} announced"
        for name in info.extras:
            np.asarray(info.extras[name])
        return "read"
    except UserError as error:
        text = str(error)
        return "refused" if "\n" not in text and len(text) < 2000 else "message of several lines"
    except Hang:
        return f"hang: more than {HANG} s"
    except Exception as error:          # the point of the fuzz: any other type is a finding
        place = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__}: {error} ({place.filename.rpartition('/')[2]}:{place.lineno})"[:300]


def _stop(*_: object) -> None:
    raise Hang


def fuzz(name: str, count: int, seed: int, corpus: dict[str, bytes], work: Path) -> dict:
    """Read `count` inputs of one kind; return its figures."""
    outcomes, failed, slowest = Counter(), [], (0.0, -1)
    others, began, worked = list(corpus.values()), time.perf_counter(), time.process_time()
    for number in range(count):
        rng = random.Random(f"{seed}/{name}/{number}")
        data = one_input(name, corpus, others, rng)
        start = time.process_time()
        signal.setitimer(signal.ITIMER_REAL, HANG)
        outcome = attempt(data)
        signal.setitimer(signal.ITIMER_REAL, 0)
        seconds = time.process_time() - start
        slowest = max(slowest, (seconds, number))
        outcomes[outcome if outcome in ("read", "refused") else "wrong"] += 1
        if outcome not in ("read", "refused") or seconds > SLOW:
            (work / f"{name}-{number}.bin").write_bytes(data)
            failed.append(f"{name} {number}: {outcome} ({seconds:.1f} s)")
    took, busy = time.perf_counter() - began, time.process_time() - worked
    figures = {"inputs": count, "read": outcomes["read"], "refused": outcomes["refused"], "wrong": outcomes["wrong"],
               "slowest_ms": math.ceil(1000 * slowest[0]), "slowest_input": slowest[1],
               "inputs_per_s": round(count / max(took, 1e-9)), "processor_s": round(busy, 1)}
    print(f"{name}: {figures}", *failed[:3], flush=True)
    return {**figures, "failed": failed}


def main(argv: list[str] | None = None) -> int:
    """Read mutated and generated files with every reader and print the figures."""
    arguments = parse(__doc__.splitlines()[0], 1_000_000, 13_000, argv)
    work, corpus = fresh(arguments.work), small_files.small_files()
    hostile_pickles.CANARY.unlink(missing_ok=True)
    signal.signal(signal.SIGALRM, _stop)
    names = [*corpus, "generated pickles"]
    fuzz(names[0], 50, -1, corpus, work)        # what is loaded once is no growth
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    shares = [arguments.count // len(names) + (index < arguments.count % len(names)) for index in range(len(names))]
    found = {name: fuzz(name, share, arguments.seed, corpus, work) for name, share in zip(names, shares)}
    growth = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    failed = [line for part in found.values() for line in part.pop("failed")]
    totals = {key: sum(part[key] for part in found.values()) for key in ("inputs", "read", "refused", "wrong")}
    executed = hostile_pickles.CANARY.exists()
    figures = {**totals, "slowest_ms": max(part["slowest_ms"] for part in found.values()),
               "inputs_per_s": round(totals["inputs"] / max(sum(p["inputs"] / max(p["inputs_per_s"], 1)
                                                                for p in found.values()), 1e-9)),
               "processor_s": round(sum(part["processor_s"] for part in found.values())), "grown_MiB": growth >> 10,
               "code_executed": executed, "failed": failed[:5], "readers": found}
    return finish("fuzz_readers", arguments, figures, not failed and not executed and growth <= MAX_GROWTH,
                  "mutated and generated weight files")


_CODES = (*OPERATIONS, 0x2E, 0x82, 0x97, ord("o"), 0xFF)

if __name__ == "__main__":
    sys.exit(main())

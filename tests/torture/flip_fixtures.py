"""Cut every weight file anywhere and flip any of its bits: an error, a listed problem, or the true tensors.

Two corpora. Tiny files, one of each container, are cut at every byte and flipped at every bit. The fixtures of every
family, and what convert makes of them, are cut and flipped at --count places each, evenly spread, through inspect.

safetensors, .npy, plain pickles and PyTorch's legacy stream carry no checksum: a flipped bit in their numbers gives
another number, and nothing in the file tells. Those are counted apart; everywhere else none may pass unnoticed. Files
that convert wrote belong to "everywhere else": they carry the SHA-256 of their tensors.

    python -m tests.torture.flip_fixtures --count 2000
"""
from __future__ import annotations

import hashlib
import io
import pickle
import shutil
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jittor_ipl.errors import UserError
from jittor_ipl.weights.containers.read import read_tensors
from jittor_ipl.weights.containers.safetensors import write_safetensors
from jittor_ipl.weights.containers.torch_writer import write_torch
from jittor_ipl.weights.convert import Written, convert
from jittor_ipl.weights.delta import fingerprint
from jittor_ipl.weights.folder import SUFFIXES, TENSORS_SHA256, find_file_sets, open_file_set
from jittor_ipl.weights.inspect import inspect
from tests.torture.common import ROOT, finish, fresh, parse

sys.path.insert(0, str(ROOT / "tests" / "weights"))
import fixture_files  # noqa: E402

REFUSED, PROBLEM, IDENTICAL, UNNOTICED, CRASH = "refused", "problem listed", "identical", "unnoticed", "crash"
_WITH_CHECKSUM = ("torch-zip", "torchscript", "jittor-pickle")
_DATA = ROOT / "tests" / "weights" / "data"


@dataclass(frozen=True)
class Case:
    """One file to damage; `whole` is what is inspected (the file, or the folder that it lies in)."""

    name: str
    file: Path
    whole: Path


def damages(data: bytes, count: int | None) -> Iterator[tuple[str, bytes]]:
    """Yield (what was done, the damaged bytes): every cut and every flipped bit, or `count` of them evenly spread."""
    total = 9 * len(data)
    for number in range(total) if count is None or count >= total else sorted({i * total // count
                                                                               for i in range(count)}):
        if number < len(data):
            yield f"cut at byte {number}", data[:number]
            continue
        byte, bit = divmod(number - len(data), 8)
        flipped = bytearray(data)
        flipped[byte] ^= 1 << bit
        yield f"bit {bit} of byte {byte}", bytes(flipped)


def truth(path: Path) -> list[tuple[str, str]]:
    """Return the label and the hash of every network's tensors."""
    return [(source.label, fingerprint(open_file_set(source).at()[0])) for source in find_file_sets(path)]


def outcome(path: Path, expected: list[tuple[str, str]], networks: bool) -> str:
    """Return what came of a damaged file; with `networks` inspect looks at it too, which may find more than the
    reader.
    """
    try:
        identical = truth(path) == expected
    except UserError as error:
        identical = None
        if "\n" in str(error):
            return f"{CRASH}: a message of several lines"
    except Exception as error:  # noqa: BLE001 - any other exception is the finding
        return f"{CRASH}: {type(error).__name__}: {str(error)[:80]}"
    if not networks:
        return REFUSED if identical is None else IDENTICAL if identical else UNNOTICED
    try:
        code = inspect(path).exit_code
    except UserError:
        code = 2
    except Exception as error:  # noqa: BLE001
        return f"{CRASH}: inspect: {type(error).__name__}: {str(error)[:80]}"
    if identical is None:
        return REFUSED if code else f"{CRASH}: inspect calls it sound"
    return IDENTICAL if identical else PROBLEM if code else UNNOTICED


def guarded(path: Path) -> bool:
    """Tell whether a file has a checksum over its numbers."""
    _, info = read_tensors(path)
    return info.format in _WITH_CHECKSUM or TENSORS_SHA256 in info.metadata


def torture(case: Case, count: int | None, networks: bool, told: list[str]) -> tuple[Counter, Counter]:
    """Return the outcomes of all damages of one file, and the unnoticed ones by whether it has a checksum."""
    data, expected = case.file.read_bytes(), truth(case.whole)
    safe = case.file.suffix == ".json" or guarded(case.file)
    outcomes: Counter = Counter()
    for what, damaged in damages(data, count):
        case.file.write_bytes(damaged)
        found = outcome(case.whole, expected, networks)
        outcomes[found.partition(":")[0]] += 1
        if found.startswith(CRASH) or (found == UNNOTICED and safe):
            told.append(f"{case.name}, {what}: {found}")
    case.file.write_bytes(data)
    return outcomes, Counter({("with a checksum" if safe else "without a checksum"): outcomes[UNNOTICED]})


def tiny(folder: Path) -> list[Case]:
    """Write one small file of every container."""
    arrays: Mapping[str, np.ndarray] = {"a.weight": np.arange(6, dtype="f4").reshape(2, 3) / 7,
                                        "b": np.array([3, -1], "i8")}
    write_safetensors(folder / "plain.safetensors", arrays)
    write_safetensors(folder / "hashed.safetensors", arrays, {TENSORS_SHA256: fingerprint(arrays)})
    write_torch(folder / "zip.pt", {"g_ema": dict(arrays)})
    for name in ("tiny.pt", "tiny_legacy.pt", "torchscript.pt"):
        shutil.copy(_DATA / name, folder / name)
    pickled = pickle.dumps(dict(arrays), 4)
    (folder / "plain.pkl").write_bytes(pickled)
    (folder / "jittor.pkl").write_bytes(pickled + hashlib.sha1(pickled).digest() + b"HCAJSLHD")
    (folder / "paddle.pdparams").write_bytes(pickle.dumps({name: ("parameter", array)
                                                           for name, array in arrays.items()}, 2))
    stream = io.BytesIO()
    np.save(stream, arrays["a.weight"])
    (folder / "array.npy").write_bytes(stream.getvalue())
    return [Case(path.name, path, path) for path in sorted(folder.iterdir())]


def fixtures(folder: Path, only: str = "") -> list[Case]:
    """Return every readable fixture file as it is (inside its folder where it has one), and as converted."""
    fixture_files.extract(folder)
    cases = []
    for name in fixture_files.names():
        whole = folder / name
        if only not in name:
            continue
        try:
            truth(whole)
            written = [part.path for part in convert(whole, folder / "converted" / name.replace("/", "-"))
                       if isinstance(part, Written)]
        except UserError as error:
            print(f"left out: {name}: {error}")
            continue
        if whole.is_symlink():
            data = whole.read_bytes()
            whole.unlink()
            whole.write_bytes(data)
        files = [whole] if whole.is_file() else [path for path in sorted(whole.rglob("*"))
                                                 if path.name.endswith((*SUFFIXES, ".json"))]
        cases += [Case(str(file.relative_to(folder)), file, whole) for file in files if "tokenizer" not in file.parts]
        cases += [Case(f"converted {path.name}", path, path) for path in written]
    return cases


def main() -> int:
    arguments = parse(__doc__ or "", 2000, 24)
    folder = fresh(arguments.work)
    for part in ("tiny", "fixtures"):
        (folder / part).mkdir()
    outcomes, unnoticed, told = Counter(), Counter(), []
    work = [(case, 400 if arguments.short else None, False) for case in tiny(folder / "tiny")]
    work += [(case, arguments.count, True) for case in fixtures(folder / "fixtures")]
    for case, count, networks in work:
        found, missed = torture(case, count, networks, told)
        outcomes += found
        unnoticed += missed
        print(f"{case.name}: {dict(found)}", flush=True)
    print("\n".join(told[:50]))
    figures = {"files": len(work), "damaged": sum(outcomes.values()),
               **{key.replace(" ", "_"): outcomes[key] for key in (REFUSED, PROBLEM, IDENTICAL)},
               "unnoticed_though_there_is_a_checksum": unnoticed["with a checksum"],
               "unnoticed_in_numbers_without_checksum": unnoticed["without a checksum"], "crashes": outcomes[CRASH]}
    return finish("flip_fixtures", arguments, figures, not told, "weight files cut at bytes and flipped at bits")


if __name__ == "__main__":
    raise SystemExit(main())

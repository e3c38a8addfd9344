"""Hostile .npy and .npz files, zip archives and safetensors headers: everything that is no pickle."""
from __future__ import annotations

import io
import json
import struct
import zipfile

OBJECT = b"\x80\x04cposix\nsystem\n\x8c\x1ctouch /tmp/jittor_ipl_canary\x85R."  # numpy.load would run it


def npy(header: str | bytes, data: bytes = bytes(8), version: bytes = b"\x01\x00", length: int | None = None) -> bytes:
    """A .npy file with this header, padded as NumPy pads it."""
    text = header if isinstance(header, bytes) else header.encode("latin-1")
    width = 2 if version[:1] == b"\x01" else 4
    text += b" " * (-(len(text) + 9 + width) % 64) + b"\n"
    claimed = len(text) if length is None else length
    return b"\x93NUMPY" + version + (claimed & (256**width - 1)).to_bytes(width, "little") + text + data


def fields(descr: str = "'<f4'", fortran: str = "False", shape: str = "(2,)") -> str:
    return f"{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}"


def hostile_npy() -> dict[str, bytes]:
    """Files that must be refused, by name."""
    descriptions = ["'|O'", "'O'", "'|O8'", "'<O8'", "'>O'", "'|V8'", "'V4'", "'<U4'", "'|S4'", "'S'", "'<M8[ns]'",
                    "'<m8[s]'", "'<f3'", "'<f16'", "'<g16'",
                    "'<i16'", "'<c32'", "'f'", "'<<f4'", "'<>f4'", "'float32'", "''", "'<f4,<i4'", "'(2,)f4'",
                    "[('a', '<f4')]", "[('a', '|O')]", "('<f4', (2,))",
                    "{'names': ['a'], 'formats': ['<f4']}", "None", "4", "__import__('os').system('x')", "'<f4' + ''",
                    "'\\x3cf4'", "eval('1')", "lambda: 0"]
    shapes = ["(3,)", "(1,)", "()", "(2, 2)", "(-2,)", "(2.0,)", "(True, 2)", "2", "[2]", "(2",
              "(9223372036854775807,)", "(4611686018427387904, 4)",
              "(99999999999999999999,)", "(0, 99999999999999999999)", "(" + "1, " * 40 + "2)", "(1_0,)", "(0x2,)",
              "('2',)", "(2 ** 1,)", "(2,,)", "(" * 500 + "2" + ")" * 500]
    orders = ["None", "0", "1", "'False'", "true", "not True", "False or False"]
    return {
        **{f"descr {code[:20]}": npy(fields(descr=code), OBJECT if "O" in code else bytes(8)) for code in descriptions},
        **{f"shape {shape[:20]}": npy(fields(shape=shape)) for shape in shapes},
        **{f"order {order}": npy(fields(fortran=order)) for order in orders},
        "empty": npy(""), "no dictionary": npy("[1]"), "one key": npy("{'descr': '<f4'}"),
        "another key": npy(fields()[:-1] + "'x': 1}"),
        "code before": npy("print(1) or " + fields()), "code behind": npy(fields() + "; import os"),
        "two": npy(fields() + fields()), "nested": npy("{" * 3000),
        "minus": npy("-" * 9000 + "1"), "NUL": npy(fields().encode() + b"\0"), "latin": npy(b"\xff" * 50),
        "length": npy(fields(), length=60000),
        "zero length": npy(fields(), length=0), "long": npy(fields() + " " * 20000),
        "version 4": npy(fields(), version=b"\x04\x00"), "version 1.1": npy(fields(), version=b"\x01\x01"),
        "version 0": npy(fields(), version=b"\x00\x00"),
        "claims 4 GiB": npy(fields(), version=b"\x02\x00", length=2**32 - 1), "short": npy(fields(), bytes(7)),
        "trailing": npy(fields(), bytes(9)), "pickle behind": npy(fields(), bytes(8) + OBJECT),
        "magic alone": b"\x93NUMPY", "version alone": b"\x93NUMPY\x01\x00"}


def npz(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def hostile_npz() -> dict[str, bytes]:
    """Archives that must be refused: every hostile member, and tricks of the archive."""
    good = npy(fields())
    whole, packed = npz({"a.npy": good}), npz({"a.npy": good}, zipfile.ZIP_DEFLATED)
    # Texts are passed over, for .npz files may hold names beside their arrays; alone they leave nothing to read.
    found = {f"{name} ({how})": npz({"a.npy": data}, method) for name, data in hostile_npy().items()
             for how, method in (("stored", zipfile.ZIP_STORED), ("deflated", zipfile.ZIP_DEFLATED))}
    return {**found, "bomb": npz({"a.npy": npy(fields(shape="(50000000,)"), bytes(200_000_000))}, zipfile.ZIP_DEFLATED),
            "size lie": whole.replace(struct.pack("<II", len(good), len(good)),
                                      struct.pack("<II", len(good), len(good) * 900)),
            "unpacked lie": packed.replace(struct.pack("<I", len(good)), struct.pack("<I", len(good) + 1)),
            "method": npz({"a.npy": good}, zipfile.ZIP_BZIP2), "no ending": npz({"a.npy": good, "b": good}),
            "prefix": whole[:4] + bytes(90) + whole,
            "trailing": whole + b"x", "text alone": npz({"a.npy": npy(fields("'<U2'", shape="(1,)"))}),
            "empty": npz({})}


def safetensors(header: object, data: bytes = b"", length: int | None = None) -> bytes:
    """A safetensors file with this header (JSON, or the bytes themselves)."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def entry(begin: int, end: int, shape: tuple = (1,), dtype: object = "F32") -> dict:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


def hostile_safetensors() -> dict[str, bytes]:
    """Files that break the specification, by what they break."""
    good, one = json.dumps(entry(0, 4)).encode(), bytes(4)
    raw = safetensors
    headers = {name: raw(text, one) for name, text in {
        "list": b"[]", "open": b"{", "not UTF-8": b"{\xff}", "leading space": b" {}", "nesting": b'{"a":' * 100_000,
        "NaN": b'{"a":NaN}',
        "digits": b'{"a":' + b"9" * 5000 + b"}", "twice": b'{"w":' + good + b',"w":' + good + b"}",
        "escaped twice": b'{"w":' + good + b',"\\u0077":' + good + b"}",
        "surrogate": b'{"\\ud800":' + good + b"}", "comma": b'{"w":' + good + b",}", "no colon": b'{"w" ' + good + b"}",
        "name": b"{w:" + good + b"}",
        "quotes": b"{'w':" + good + b"}", "open name": b'{"w', "backslash": b'{"w\\', "control": b'{"w\n":' + good
        + b"}", "behind": b'{"w":' + good + b"}{}",
        "NUL behind": b'{"w":' + good + b"}\0\0", "comment": b'{/**/"w":' + good + b"}",
        "missing": b'{"w":{"dtype":"F32","shape":[1]}}', "text": b'{"w":"x"}',
        "null": b'{"w":null}', "minus zero": b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[-0,4]}}',
        "dtype twice": b'{"w":' + good[:-1] + b',"dtype":"F32"}}',
        "metadata twice": b'{"__metadata__":{},"__metadata__":{},"w":' + good + b"}",
        "metadata number": b'{"__metadata__":{"a":1},"w":' + good + b"}", "metadata text": b'{"__metadata__":"a","w":'
        + good + b"}",
        "metadata nested": b'{"__metadata__":{"a":{}},"w":' + good + b"}",
        "metadata null": b'{"__metadata__":null,"w":' + good + b"}",
        "metadata key twice": b'{"__metadata__":{"a":"","a":""},"w":' + good + b"}", "many lists": b'{"w":['
        + b"[]," * 300_000 + b"1]}"}.items()}
    entries = {"hole": entry(1, 5), "more": {**entry(0, 4), "more": 1}, "list": [1], "shape": entry(0, 4, (2,)),
               "negative": entry(0, 4, (-1,)), "reversed": entry(4, 0),
               "float": entry(0, 4, (1.0,)), "boolean": entry(0, 4, (True,)), "rank": entry(0, 4, (1,) * 40),
               "overflow": entry(0, 0, (2**62, 2**62, 0)),
               "huge": entry(0, 2**63), "type 7": entry(0, 4, dtype=7),
               "no offsets": {**entry(0, 4), "data_offsets": []}, "three": {**entry(0, 4), "data_offsets": [0, 4, 4]},
               "nested shape": entry(0, 4, ([1],)), "no shape": {**entry(0, 4), "shape": None}, "beyond": entry(4, 8),
               **{f"type {code}": entry(0, 4, (4,), code)
                  for code in ("F128", "f32", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F4", "F6_E2M3", "", "F32 ", "BF17",
                               "U128", "OBJECT")}}
    layouts = {"overlap": ({"a": entry(0, 4), "b": entry(2, 6)}, 6), "same": ({"a": entry(0, 4), "b": entry(0, 4)}, 4),
               "gap": ({"a": entry(0, 4), "b": entry(5, 9)}, 9),
               "trailing": ({"a": entry(0, 4)}, 5), "short": ({"a": entry(0, 4)}, 3), "only data": ({}, 1)}
    return {**headers, **{f"entry {name}": raw({"w": value}, one) for name, value in entries.items()},
            **{f"layout {name}": raw(header, bytes(size)) for name, (header, size) in layouts.items()},
            "length 3": raw({}, length=3), "over 100,000,000": raw({}, length=100_000_001),
            "beyond the file": raw({}, length=10_000), "length 0": bytes(8) + b"{}"}

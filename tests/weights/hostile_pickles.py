"""Pickles that try to run code, exhaust memory or confuse a reader, in every container that can carry a pickle."""
from __future__ import annotations

import hashlib
import io
import pickle
import struct
import zipfile
from pathlib import Path

from jittor_ipl.weights.containers.torch_file import LEGACY_MAGIC

CANARY = Path("/tmp/jittor_ipl_canary")     # the payloads create it when they run
COMMAND = f"touch {CANARY}"


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def call(module: str, name: str, argument: bytes, stack_global: bool = False) -> bytes:
    function = text(module) + text(name) + b"\x93" if stack_global else f"c{module}\n{name}\n".encode()
    return function + argument + b"\x85R"


def _wrapped(payload: bytes) -> bytes:
    """Place a payload as a value in an otherwise honest dictionary."""
    return b"}" + text("w") + payload + b"s"


_EXECUTORS = [
    ("os", "system"), ("posix", "system"), ("nt", "system"), ("subprocess", "call"), ("subprocess", "Popen"),
    ("builtins", "eval"), ("builtins", "exec"), ("builtins", "compile"), ("builtins", "open"),
    ("builtins", "__import__"),
    ("builtins", "getattr"), ("builtins", "setattr"), ("builtins", "globals"), ("builtins", "breakpoint"),
    ("__builtin__", "eval"), ("__builtin__", "apply"), ("__main__", "x"), ("sys", "exit"), ("sys", "modules"),
    ("runpy", "run_path"), ("pty", "spawn"), ("socket", "create_connection"), ("shutil", "rmtree"), ("ctypes", "CDLL"),
    ("importlib", "import_module"), ("pkgutil", "resolve_name"), ("pydoc", "locate"), ("pydoc", "pipepager"),
    ("cProfile", "run"), ("profile", "run"), ("timeit", "timeit"), ("pdb", "run"), ("code", "interact"), ("bdb", "Bdb"),
    ("uuid", "_get_command_stdout"), ("imaplib", "IMAP4_stream"), ("logging", "FileHandler"),
    ("logging.config", "listen"),
    ("operator", "attrgetter"), ("operator", "methodcaller"), ("functools", "partial"), ("functools", "reduce"),
    ("types", "FunctionType"), ("types", "CodeType"), ("marshal", "loads"), ("pickle", "loads"), ("_pickle", "loads"),
    ("dill", "loads"), ("cloudpickle.cloudpickle", "_make_function"), ("joblib", "load"), ("asyncio", "run"),
    ("webbrowser", "open"), ("urllib.request", "urlopen"), ("tempfile", "mktemp"), ("venv", "create"),
    ("ensurepip", "_run_pip"),
    ("distutils.spawn", "spawn"), ("numpy.testing._private.utils", "runstring"), ("numpy.f2py.crackfortran", "myeval"),
    ("numpy", "load"), ("numpy", "fromfile"), ("numpy.core.multiarray", "fromfile"), ("torch", "load"),
    ("torch", "hub.load"),
    ("torch.hub", "load"), ("torch.storage", "_load_from_bytes"), ("torch.jit", "load"),
    ("torch._utils", "_import_dotted_name"),
    ("torch.serialization", "load"), ("torch.utils.data", "DataLoader"), ("jittor", "load"), ("jittor", "Module"),
    ("torch_utils.persistence", "_reconstruct_persistent_obj"), ("dnnlib.tflib.network", "Network"),
    ("copyreg", "_reconstructor"), ("copyreg", "__newobj__"), ("argparse", "FileType"), ("pathlib", "Path.write_text"),
    ("collections", "namedtuple"), ("collections.abc", "Sized"), ("collections", "OrderedDict.__class__"),
    ("jittor_ipl.weights.containers.pickle.reader", "read_pickle"), ("__torch__", "os.system"),
    ("__torch__.os", "system"),
]


def _confusions() -> dict[str, bytes]:
    """Everything else: misused opcodes, allowed names with wrong arguments, numbers made to allocate."""
    ordered, tensor = b"ccollections\nOrderedDict\n", b"ctorch._utils\n_rebuild_tensor_v2\n"
    reconstruct = b"cnumpy.core.multiarray\n_reconstruct\n"
    array = reconstruct + b"(cnumpy\nndarray\nK\x00\x85C\x01btR"
    dtype = b"cnumpy\ndtype\n" + text("f4") + b"\x89\x88\x87R"
    return {
        "inst": b"(S'" + COMMAND.encode() + b"'\nios\nsystem\n",
        "obj": b"(cos\nsystem\n" + text(COMMAND) + b"o",
        "ext1": b"\x82\x01", "ext2": b"\x83\x01\x00", "ext4": b"\x84\x01\x00\x00\x00",
        "newobj": b"cos\n_wrap_close\n)\x81", "newobj_ex": b"csubprocess\nPopen\n)}\x92",
        "newobj_ex keywords": b"cargparse\nNamespace\n)}" + text("a") + b"K\x01s\x92",
        "reduce on text": text("os.system") + text(COMMAND) + b"\x85R",
        "reduce on dictionary": b"})R", "reduce without tuple": ordered + b"]R", "build on list": b"]}b",
        "build on global": ordered + b"}b", "build with a list": b"cargparse\nNamespace\n)\x81]b",
        "build class attributes": ordered + b"}" + text("__class__") + b"cos\nsystem\nsb",
        "stack global of numbers": b"K\x01K\x02\x93", "stack global of one": text("os") + b"\x93",
        "dotted global": text("collections") + text("OrderedDict.fromkeys.__globals__") + b"\x93",
        "persistent text": b"Pos.system\n", "persistent module": b"(" + text("module") + text("os") + b"tQ",
        "persistent list": b"]Q", "persistent storage without type":
            b"(" + text("storage") + text("FloatStorage") + text("0") + text("cpu") + b"K\x02tQ",
        "persistent path": b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("../../etc/passwd") + text("cpu")
        + b"K\x02tQ",
        "persistent negative": b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu")
        + b"J\xff\xff\xff\xfftQ",
        "persistent huge": b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + b"\x8a\x07"
        + b"\xff" * 6 + b"\x7ftQ",
        "tensor without storage": tensor + b"(NK\x00K\x02\x85K\x01\x85\x89}tR", "tensor of nothing": tensor + b")R",
        "array of a class": reconstruct + b"(cos\nsystem\nK\x00\x85C\x01btR",
        "array shape": array + b"(K\x01(J\xff\xff\xff\x7fJ\xff\xff\xff\x7ft" + dtype + b"\x89C\x04abcdtb",
        "array of objects": array + b"(K\x01K\x01\x85cnumpy\ndtype\n" + text("O8") + b"\x85R\x89]tb",
        "array never filled": array, "dtype": b"cnumpy\ndtype\n" + text("V8") + b"\x85R",
        "dtype list": b"cnumpy\ndtype\n]\x85R",
        "encode": b"c_codecs\nencode\n" + text("x") + text("zip") + b"\x86R",
        "memo huge": b"Nr\xff\xff\xff\xff", "memo text": b"Np99999999999\n", "memo negative": b"Np-1\n",
        "memo unknown": b"h\x07",
        "string of 4 GiB": b"X\xff\xff\xff\xff", "bytes of 2^63": b"\x8e" + b"\xff" * 7 + b"\x7f", "bytearray": b"\x96"
        + b"\xff" * 8,
        "long of 2 GiB": b"\x8b\xff\xff\xff\x7f", "long of 100 bytes": b"\x8a\x64" + b"\x7f" * 100, "frame": b"\x95"
        + b"\xff" * 8,
        "digits": b"I" + b"9" * 4000 + b"\n", "line without end": b"I" + b"9" * 9000, "next buffer": b"\x97",
        "read-only buffer": b"\x98",
        "protocol 255": b"\x80\xff", "unknown opcode": b"\xff", "empty stack": b"0", "pop beyond": b"R",
        "mark lost": b"t",
        "untidy stack": b"NN", "open mark": b"(N", "odd items": b"}(Nu", "tuple key": b"}N\x85Ns", "list key": b"}]Ns",
        "append to text": text("a") + b"Na", "set items on a list": b"]NNs", "items for a set": b"}(N\x90",
        "latin": b"X\x02\x00\x00\x00\xff\xfe",
        "float": b"Fabc\n", "quoted": b"S'\\x41'\n", "many operations": b"N0" * 600_000,
        "deep": b"]" + b"]" * 50_000 + b"a" * 50_000, "deep tuple": b")" + b"\x85" * 100_000, "marks": b"(" * 100_000,
        "shared tuples as a key": b"}" + b")" + b"2\x86" * 60 + b"Ns",
        "itself": b"]q\x00h\x00a",
        "copied for ever": b"](" + b"N" * 60_000 + b"eq\x01" + b"0" + b"cbuiltins\nset\nq\x02"
        + b"h\x02h\x01\x85R" * 20_000,
    }


def payloads() -> dict[str, bytes]:
    """Every hostile pickle body by name, without protocol and STOP."""
    bodies = {}
    for module, name in _EXECUTORS:
        bodies[f"{module}.{name}"] = call(module, name, text(COMMAND))
        bodies[f"{module}.{name} (stack)"] = call(module, name, text(COMMAND), stack_global=True)
    bodies["nested"] = _wrapped(call("os", "system", text(COMMAND)))
    return {**bodies, **_confusions()}


CONTAINERS = ("plain", "jittor", "legacy", "zip", "torchscript", "nested")


def containers(body: bytes, only: str = "") -> "dict[str, bytes] | bytes":
    """The whole files that carry `body` as their pickle, by container; the one file when `only` names its container."""
    return _contained(body, only) if only else {name: _contained(body, name) for name in CONTAINERS}


def _contained(body: bytes, container: str) -> bytes:
    pickled = b"\x80\x04" + body + b"."
    if container == "jittor":
        return pickled + hashlib.sha1(pickled).digest() + b"HCAJSLHD"
    if container == "legacy":
        return legacy_stream(body)
    if container == "zip":
        return archive({"data.pkl": pickled, "data/0": bytes(8)})
    if container == "torchscript":
        return archive({"data.pkl": pickled, "data/0": bytes(8), "constants.pkl": b"\x80\x02)."})
    return nested(legacy_stream(body)) if container == "nested" else pickled


def legacy_stream(body: bytes) -> bytes:
    """A legacy PyTorch stream without storages whose object is `body`."""
    head = b"\x80\x02" + LEGACY_MAGIC + pickle.dumps(1001, 2) + pickle.dumps({"little_endian": True}, 2)
    return head + b"\x80\x04" + body + b"." + pickle.dumps([], 2)


def nested(stream: bytes, levels: int = 1) -> bytes:
    """A plain pickle in which a PyTorch stream lies, as `pickle.dump` writes tensors; in `levels` streams around it."""
    for _ in range(levels - 1):
        stream = legacy_stream(_loaded(stream))
    return b"\x80\x02}" + text("w") + _loaded(stream) + b"s."


def _loaded(stream: bytes) -> bytes:
    return b"ctorch.storage\n_load_from_bytes\nB" + struct.pack("<I", len(stream)) + stream + b"\x85R"


def archive(records: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    """A zip archive in PyTorch's layout."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as file:
        for name, data in records.items():
            file.writestr(f"archive/{name}", data)
    return buffer.getvalue()

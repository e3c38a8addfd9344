"""Plain pickles: dictionaries of arrays (JCLIP's and Paddle's), Jittor's with their checksum, NVIDIA's networks.

Tensors of PyTorch may lie in them too: `pickle.dump` of a tensor calls `torch.storage._load_from_bytes(bytes)`, and
those bytes are a legacy stream that holds one storage, from PyTorch 1.0 to 2.x alike.
"""
from __future__ import annotations

import hashlib

from jittor_ipl.weights.containers.limits import Meter, refuse
from jittor_ipl.weights.containers.paddle import joined_parameters
from jittor_ipl.weights.containers.pickle.nvidia_rules import NVIDIA_RULES, find_inert_rule, networks_as_names
from jittor_ipl.weights.containers.pickle.objects import Context, Rule, RuleTable, look_up
from jittor_ipl.weights.containers.pickle.reader import read_pickle
from jittor_ipl.weights.containers.pickle.rules import RULES
from jittor_ipl.weights.containers.pickle.torch_rules import TORCH_RULES
from jittor_ipl.weights.containers.source import ByteSource
from jittor_ipl.weights.containers.torch_file import Contents, read_nested_stream

_JITTOR_TRAILER = b"HCAJSLHD"   # jt.save: pickle, SHA-1 of it, this mark
_STREAMS: RuleTable = {("torch.storage", "_load_from_bytes"): Rule(call=read_nested_stream, context=True)}
_find_known = look_up(NVIDIA_RULES, _STREAMS, TORCH_RULES, RULES)


def _find(module: str, name: str) -> Rule | None:
    return _find_known(module, name) or find_inert_rule(module)


def is_pickle(head: bytes, tail: bytes) -> bool:
    """Tell whether a file with these first and last bytes may be a pickle: of protocol 2 to 5, or an older one."""
    modern = head[:1] == b"\x80" and head[1:2] <= b"\x05"
    return modern or (head[:1] in (b"(", b"]", b"}", b"c") and tail.endswith((b".", _JITTOR_TRAILER)))


def open_pickle(source: ByteSource) -> Contents:
    """Return the contents of a plain pickle, with or without Jittor's checksum trailer.

    Raises UnsafeWeightsError when it is malformed or asks for anything outside the allow-list.
    """
    data, kind = source.read(0, source.size), "pickle"
    if bytes(data[-8:]) == _JITTOR_TRAILER and len(data) > 28:
        kind, digest, data = "jittor-pickle", bytes(data[-28:-8]), data[:-28]
        if hashlib.sha1(data).digest() != digest:
            refuse("the checksum does not match; the file is damaged")
    root, end = read_pickle(data, Context(_find, Meter(source.size)))
    if end != len(data):
        refuse(f"{len(data) - end} bytes after the end of the pickle")
    root = joined_parameters(networks_as_names(root))
    return Contents(kind, root, lambda storage: refuse("a reference to data outside the pickle"))

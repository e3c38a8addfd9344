"""The allow-list common to all pickled weights: plain containers, NumPy arrays, Jittor Vars, all as stand-ins."""
from __future__ import annotations

from typing import Any

from jittor_ipl.weights.containers.limits import described, refuse
from jittor_ipl.weights.containers.pickle.numpy_rules import NUMPY_RULES, ArrayStub
from jittor_ipl.weights.containers.pickle.objects import (
    RECORD,
    Context,
    Global,
    LongText,
    OrderedDictStub,
    Record,
    Rule,
    RuleTable,
    scalar,
)


def _ordered_dict(pairs: Any = ()) -> OrderedDictStub:
    if isinstance(pairs, dict):
        return OrderedDictStub(pairs)
    result = OrderedDictStub()
    for pair in pairs if isinstance(pairs, (list, tuple)) else refuse("an OrderedDict of something else"):
        if not isinstance(pair, (list, tuple)) or len(pair) != 2:
            refuse("an OrderedDict entry that is no pair")
        result[scalar(pair[0])] = pair[1]
    return result


def _default_dict(factory: Any = None, items: Any = ()) -> OrderedDictStub:
    if not isinstance(factory, (Global, type(None))):
        refuse("a defaultdict whose factory is no name")
    return _ordered_dict(items)


def _encode(context: Context, text: Any, codec: Any) -> Any:
    """Protocol 2 writes bytes as latin-1 text; long ones stay as they are until an array needs them."""
    if codec not in ("latin1", "latin-1") or not isinstance(codec, str):
        refuse(f"_codecs.encode with codec {described(codec)}")
    if isinstance(text, LongText):
        return text
    return text.encode("latin-1") if isinstance(text, str) else refuse("_codecs.encode of something that is no text")


def _set(items: Any = ()) -> set:
    plain = isinstance(items, (list, tuple, set, frozenset))
    return set(map(scalar, items)) if plain else refuse("a set of something else")


def _bytes(value: Any = b"", codec: Any = "latin-1") -> bytes:
    """`bytes()` (protocol 2 has no other empty bytes) and protocol 2's `bytearray(text, 'latin-1')`."""
    if isinstance(value, str) and codec in ("latin1", "latin-1"):
        return value.encode("latin-1")
    return value if isinstance(value, (bytes, memoryview)) else refuse("bytes of something that is no text")


def _complex(real: Any, imaginary: Any) -> complex:
    if type(real) is not float or type(imaginary) is not float:
        refuse("a complex number of something else")
    return complex(real, imaginary)


def _jittor_var(value: Any) -> Any:
    return value if isinstance(value, ArrayStub) else refuse("a Jittor Var without an array")


def _reconstruct(kind: Any, base: Any, state: Any) -> Record:
    """Protocols 0 and 1 make every object through `copyreg._reconstructor(class, base class, base's value)`."""
    if not isinstance(kind, Global) or kind.rule.new is None or not isinstance(base, Global):
        refuse("copyreg._reconstructor of something that is no known class")
    made = kind.rule.new()
    if isinstance(made, Record) and isinstance(state, dict):
        made.items.update(state)
    return made


def _sequence(kind: type) -> Rule:
    def make(items: Any = ()) -> Any:
        return kind(items) if isinstance(items, (list, tuple)) else refuse(f"a {kind.__name__} of something else")
    return Rule(call=make)


RULES: RuleTable = {
    ("collections", "OrderedDict"): Rule(call=_ordered_dict, new=lambda: OrderedDictStub()),
    ("collections", "defaultdict"): Rule(call=_default_dict),
    ("builtins", "object"): Rule(),
    ("builtins", "dict"): Rule(call=_ordered_dict),
    ("builtins", "list"): _sequence(list),
    ("builtins", "tuple"): _sequence(tuple),            # Paddle writes a tensor by itself as tuple((name, array))
    **{("builtins", name): Rule() for name in ("int", "float", "bool", "str")},
    ("builtins", "bytes"): Rule(call=_bytes),
    ("builtins", "bytearray"): Rule(call=_bytes),
    ("builtins", "complex"): Rule(call=_complex),
    ("builtins", "set"): Rule(call=_set),
    ("builtins", "frozenset"): Rule(call=lambda items=(): frozenset(_set(items))),
    ("_codecs", "encode"): Rule(call=_encode, context=True),
    ("copyreg", "_reconstructor"): Rule(call=_reconstruct),
    ("argparse", "Namespace"): RECORD,   # rosinality's and pSp's training options
    ("types", "SimpleNamespace"): RECORD,
    **dict.fromkeys((("jittor", "Var"), ("jittor", "jittor_core.Var"), ("jittor_core", "Var")), Rule(call=_jittor_var)),
    **{(module, f"{kind}Path"): RECORD for module in ("pathlib", "pathlib._local")
       for kind in ("Posix", "Windows", "PurePosix", "PureWindows")},
    **NUMPY_RULES,
}

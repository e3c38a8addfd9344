"""Names and strict loading of a network's tensors: everything named must be there, fit, and be finite."""
from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from jittor_ipl.errors import UserError, nearest

FLOATS = ("float16", "bfloat16", "float32", "float64")
# Where whole numbers may stand for, or beside, a network's own: counters, positions, token ids, and a LoRA's alpha.
_WHOLE = re.compile(r"(.*\.)?(position_ids|num_batches_tracked|token_embedding\.rows|alpha)")

if TYPE_CHECKING:
    from jittor_ipl.runtime.backend import jt


def named_tensors(module: Any) -> "dict[str, jt.Var]":
    """Return every parameter and buffer of a Jittor module under its checkpoint name, in order of definition.

    Attributes whose name starts with "_" or whose Var says `persistent = False` are derived values, not state
    (Jittor's own `state_dict` leaves them out too).
    """
    named = dict(_walk(module, ""))
    assert len({id(var) for var in named.values()}) == len(named), "one Var is registered under two names"
    return named


def numpy_tensors(module: Any) -> dict[str, np.ndarray]:
    """Return a NumPy copy of `named_tensors(module)`, the form that the writers take."""
    return {name: var.numpy() for name, var in named_tensors(module).items()}


def load_into(module: Any, tensors: Mapping[str, np.ndarray], *, source: str) -> None:
    """Copy `tensors` into the module's parameters and buffers, converted to their types.

    Nothing changes unless everything fits: a missing, extra, mis-shaped or non-finite tensor raises UserError with
    its name, the nearest name and `source`. Shapes [] and [1] are one (Jittor has no scalars).
    """
    from jittor_ipl.runtime.backend import jt
    named = named_tensors(module)
    shapes = {name: tuple(value.shape) for name, value in tensors.items()}
    complex_ = {name: value.dtype.name for name, value in tensors.items() if value.dtype.kind == "c"}
    require_fit(compare({name: tuple(var.shape) for name, var in named.items()}, (), shapes, complex_, limit=3), source)
    for name, var in named.items():
        _check_values(name, tensors[name], str(var.dtype), source)
    for name, var in named.items():
        value = np.ascontiguousarray(tensors[name], dtype=str(var.dtype)).reshape(var.shape)
        requires_grad = var.requires_grad
        # Told a type, jt.array copies once more; told none, it makes 32 bits of 64.
        var.assign(jt.array(value, dtype=str(var.dtype)) if value.dtype.itemsize > 4 else jt.array(value))
        var.requires_grad = requires_grad  # assign takes the flag of the new value


@dataclass(frozen=True)
class Problem:
    """One way in which a file differs from what its layout expects; `what` is "missing", "extra", "shape" or "type"."""

    what: str
    name: str
    wanted: tuple[int, ...] | None = None
    found: tuple[int, ...] | None = None
    nearest: str = ""
    type: str = ""

    def __str__(self) -> str:
        if self.what == "type":
            return f"tensor {self.name!r} is of type {self.type}, expected are floating-point numbers"
        if self.what == "shape":
            return f"tensor {self.name!r} has shape {list(self.found)}, expected is {list(self.wanted)}"
        if self.what == "missing":
            return f"tensor {self.name!r} is missing{self.nearest}"
        return f"unexpected tensor {self.name!r}{self.nearest}"


def compare(expected: Mapping[str, tuple[int, ...]], optional: Sequence[str], shapes: Mapping[str, tuple[int, ...]],
            types: Mapping[str, str] = MappingProxyType({}), *, limit: int = 50) -> list[Problem]:
    """Return every difference between a file's tensors and those expected: missing, extra, mis-shaped, then mis-typed.

    Names that match one of the regular expressions `optional` in full may be there or not. Only the first `limit`
    problems carry a nearest name, for finding it takes time. Shapes [] and [1] are one. All types of floating-point
    numbers are one, and nothing else is theirs (an int8 or a complex tensor holds other numbers than the network's),
    except where whole numbers belong.
    """
    missing, extra, shaped = _differences(expected, optional, shapes)
    problems = [Problem("missing", name, expected[name], nearest=nearest(name, extra) if index < limit else "")
                for index, name in enumerate(missing)]
    problems += [Problem("extra", name, found=shapes[name], nearest=nearest(name, missing or expected)
                         if index < limit else "") for index, name in enumerate(extra, len(problems))]
    problems += [Problem("shape", name, expected[name], shapes[name]) for name in shaped]
    return problems + [Problem("type", name, type=types[name]) for name in expected
                       if name in types and not _fits_type(name, types[name])]


def count_problems(expected: Mapping[str, tuple[int, ...]], optional: Sequence[str],
                   shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Return how many problems `compare` would list."""
    return sum(map(len, _differences(expected, optional, shapes)))


def require_fit(problems: Sequence[Problem], source: str) -> None:
    """Raise UserError with the first three problems and the number of all; nothing happens when there is none."""
    if problems:
        rest = f"; {len(problems)} problems in all" if len(problems) > 3 else ""
        raise UserError(f"{source}: {'; '.join(map(str, problems[:3]))}{rest}")


def _differences(expected: Mapping[str, tuple[int, ...]], optional: Sequence[str],
                 shapes: Mapping[str, tuple[int, ...]]) -> tuple[list[str], list[str], list[str]]:
    """Return the names that are missing, extra and mis-shaped."""
    may = is_optional(optional)
    missing = [name for name in expected if name not in shapes and not may(name)]
    extra = [name for name in shapes if name not in expected and not may(name)]
    shaped = [name for name, shape in expected.items()
              if name in shapes and (tuple(shape) or (1,)) != (tuple(shapes[name]) or (1,))]
    return missing, extra, shaped


def _fits_type(name: str, type_: str) -> bool:
    return type_ in FLOATS or (type_.startswith(("int", "uint")) and _WHOLE.fullmatch(name) is not None)


def is_optional(patterns: Sequence[str]) -> Callable[[str], object]:
    """Return a function that tells whether a name matches one of the regular expressions in full."""
    return re.compile("|".join(f"(?:{pattern})" for pattern in patterns)).fullmatch if patterns else lambda name: None


def check_names(expected: Iterable[str], names: Iterable[str], source: str) -> None:
    """Raise UserError unless `names` are those expected; see `require_fit`."""
    require_fit(compare(dict.fromkeys(expected, ()), (), dict.fromkeys(names, ()), limit=3), source)


def _check_values(name: str, value: np.ndarray, dtype: str, source: str) -> None:
    if not np.isfinite(value).all():
        raise UserError(f"{source}: tensor {name!r} holds NaN or infinity; the file is damaged")
    with np.errstate(over="ignore"):
        if value.dtype.itemsize > 4 and not np.isfinite(value.astype(dtype)).all():
            raise UserError(f"{source}: tensor {name!r} has values beyond {dtype}'s range")


def _walk(module: Any, prefix: str) -> "Iterator[tuple[str, jt.Var]]":
    from jittor_ipl.runtime.backend import jt, nn
    # Sequential and the lists keep theirs in dictionaries.
    members = {nn.Sequential: "layers", nn.ParameterList: "params"}
    kept = next((getattr(module, name) for kind, name in members.items() if isinstance(module, kind)), vars(module))
    for name, value in kept.items():
        if isinstance(name, str) and name.startswith("_"):
            continue
        if isinstance(value, jt.Var):
            if getattr(value, "persistent", True):
                yield f"{prefix}{name}", value
        elif isinstance(value, jt.Module):
            yield from _walk(value, f"{prefix}{name}.")

"""What a config.json of diffusers or transformers says about a network: read field by field, nothing passed over.

A field is either used, or supported with one value only, or known to leave the network as it is. Any other field is
refused by name, because a network built without it could fit all shapes and still compute something else.
"""
from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from jittor_ipl.errors import UserError, nearest

MAX_COUNT, MAX_WIDTH = 64, 1 << 20     # of blocks or layers; of channels: keeps a hostile config from costing memory
_OFF = (None, False, 0, 0.0, "", [], {})
Readers = Mapping[str, tuple[Any, Callable[[Any, str], Any]]]   # field -> (default, check of (value, name))


@dataclass(frozen=True)
class Fields:
    """The fields of one class of networks: those used, supported with one value, and harmless.

    Each of `per_block` is a list with one entry a block, the first says how many blocks there are; where its default is
    a number, a number stands for equal entries.
    """

    class_name: str
    used: Readers
    only: Mapping[str, tuple]      # every value that changes nothing for us
    harmless: frozenset[str]
    per_block: Readers = field(default_factory=dict)
    remarks: Mapping[str, str] = field(default_factory=dict)    # what a refused field stands for


def read_fields(config: Mapping[str, Any], fields: Fields) -> dict[str, Any]:
    """Return the used fields of `config`, checked, with defaults filled in and lists spelled out per block.

    Raises UserError for a value that is none of the field, for a field that changes the network in a way that is not
    supported, and for an unknown one that is switched on.
    """
    used = {**fields.used, **fields.per_block}
    for name, value in config.items():
        if name in fields.only and not _is_among(value, fields.only[name]):
            remark = f" ({fields.remarks[name]})" if name in fields.remarks else ""
            only = " or ".join(map(_shown, fields.only[name]))
            raise UserError(f"{fields.class_name}: {name} {_shown(value)} is not supported{remark}; only {only} is")
        if not (name in used or name in fields.only or name in fields.harmless or name.startswith("_")
                or _is_among(value, _OFF)):
            raise UserError(f"{fields.class_name}: the config's field {name!r} ({_shown(value)}) is unknown and may "
                            f"change the network{nearest(name, (*used, *fields.only, *fields.harmless))}")
    numbers = {name: check(config.get(name, default), name) for name, (default, check) in fields.used.items()}
    blocks = 0
    for name, (default, check) in fields.per_block.items():
        numbers[name] = _per_block(config.get(name, default), name, check, 0 if isinstance(default, tuple) else blocks)
        blocks = blocks or len(numbers[name])
        if len(numbers[name]) != blocks:
            raise UserError(f"{name} has {len(numbers[name])} entries, the network has {blocks} blocks")
    return numbers


def _per_block(value: Any, name: str, check: Callable[[Any, str], Any], repeat: int) -> list:
    """Return a checked list; anything else is taken `repeat` times."""
    entries = value if isinstance(value, (list, tuple)) else [value] * repeat
    if not 1 <= len(entries) <= MAX_COUNT:
        raise UserError(f"{name} must be a list with one entry a block, the config says {_shown(value)}")
    return [check(entry, name) for entry in entries]


def _is_among(value: Any, choices: Collection) -> bool:
    return any(type(value) is type(choice) and value == choice for choice in choices)


def _shown(value: Any) -> str:
    return repr(value)[:60]


def count(value: Any, name: str, most: int = MAX_WIDTH) -> int:
    """Return a config's whole number from 1 to `most`; UserError with its name for anything else."""
    if type(value) is not int or not 1 <= value <= most:
        raise UserError(f"{name} must be a whole number from 1 to {most}, the config says {_shown(value)}")
    return value


small_count = partial(count, most=MAX_COUNT)


def number(value: Any, name: str) -> float:
    """Return a config's finite number from 0 on; UserError with its name for anything else."""
    if type(value) not in (int, float) or not 0 <= value < math.inf:
        raise UserError(f"{name} must be a number from 0 on, the config says {_shown(value)}")
    return value


def one_of(value: Any, name: str, known: Collection) -> Any:
    """Return a value that is among `known`; UserError with the field's name, the nearest and all choices otherwise."""
    if not _is_among(value, known):
        raise UserError(f"{name} {_shown(value)} is not supported{nearest(str(value)[:60], known)}; "
                        f"known are {', '.join(map(str, known))}")
    return value


switch = partial(one_of, known=(True, False))


def require_groups(numbers: Mapping[str, Any]) -> None:
    """Raise UserError unless the groups of the group norms divide every width."""
    for width in numbers["block_out_channels"]:
        if width % numbers["norm_num_groups"]:
            raise UserError(f"norm_num_groups {numbers['norm_num_groups']} does not divide {width} channels")

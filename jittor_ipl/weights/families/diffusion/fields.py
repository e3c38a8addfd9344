"""What a config.json of diffusers or transformers says about a network: read field by field, nothing passed over.

A field is either used, or supported with one value only, or known to leave the network as it is. Any other field is
refused by name, because a network built without it could fit all shapes and still compute something else.
"""
from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from jittor_ipl.errors import UserError, nearest

MAX_COUNT, MAX_WIDTH = 64, 1 << 20     # of blocks or layers; of channels: keeps a hostile config from costing memory
_OFF = (None, False, 0, 0.0, "", [], {})


@dataclass(frozen=True)
class Fields:
    """The fields of one class of networks: those used (with their defaults), supported with one value, and harmless."""

    class_name: str
    used: Mapping[str, Any]
    only: Mapping[str, tuple]      # every value that changes nothing for us
    harmless: frozenset[str]
    remarks: Mapping[str, str]     # what a refused field stands for


def read_fields(config: Mapping[str, Any], fields: Fields) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the used fields of `config` with defaults filled in, and the names of the fields that were passed over.

    Raises UserError for a field that changes the network in a way that is not supported, and for an unknown one that
    is switched on.
    """
    passed_over = []
    for name, value in config.items():
        if name in fields.used:
            continue
        if name in fields.only:
            _require(name, value, fields)
        elif not (name.startswith("_") or name in fields.harmless or _is_off(value)):
            known = (*fields.used, *fields.only, *fields.harmless)
            raise UserError(f"{fields.class_name}: the config's field {name!r} ({_shown(value)}) is unknown and may "
                            f"change the network{nearest(name, known)}")
        else:
            passed_over.append(name)
    return {**fields.used, **{name: config[name] for name in fields.used if name in config}}, tuple(passed_over)


def _require(name: str, value: Any, fields: Fields) -> None:
    if not any(type(value) is type(allowed) and value == allowed for allowed in fields.only[name]):
        remark = fields.remarks.get(name, "")
        only = " or ".join(map(_shown, fields.only[name]))
        raise UserError(f"{fields.class_name}: {name} {_shown(value)} is not supported{remark and f' ({remark})'}; "
                        f"only {only} is")


def _is_off(value: Any) -> bool:
    return any(type(value) is type(off) and value == off for off in _OFF)


def _shown(value: Any) -> str:
    return repr(value)[:60]


def count(value: Any, name: str, most: int = MAX_WIDTH) -> int:
    """Return a config's whole number from 1 to `most`; UserError with its name for anything else."""
    if type(value) is not int or not 1 <= value <= most:
        raise UserError(f"{name} must be a whole number from 1 to {most}, the config says {_shown(value)}")
    return value


def number(value: Any, name: str) -> float:
    """Return a config's finite number from 0 on; UserError with its name for anything else."""
    if type(value) not in (int, float) or not 0 <= value < math.inf:
        raise UserError(f"{name} must be a number from 0 on, the config says {_shown(value)}")
    return value


def switch(value: Any, name: str) -> bool:
    """Return a config's true or false; UserError with its name for anything else."""
    if type(value) is not bool:
        raise UserError(f"{name} must be true or false, the config says {_shown(value)}")
    return value


def counts(value: Any, name: str, number: int | None, most: int = MAX_WIDTH) -> list[int]:
    """Return a config's list of whole numbers; one number stands for `number` equal ones."""
    if number is not None and type(value) is int:
        value = [value] * number
    if not isinstance(value, (list, tuple)) or not 1 <= len(value) <= MAX_COUNT:
        raise UserError(f"{name} must be a list of whole numbers, the config says {_shown(value)}")
    if number is not None and len(value) != number:
        raise UserError(f"{name} has {len(value)} entries, the network has {number} blocks")
    return [count(item, name, most) for item in value]


def block_types(value: Any, name: str, known: Iterable[str], number: int) -> list[str]:
    """Return a config's list of block types; UserError names the first that is not among `known`."""
    known = tuple(known)
    if not isinstance(value, (list, tuple)) or len(value) != number:
        raise UserError(f"{name} must name {number} blocks (as block_out_channels do), the config says {_shown(value)}")
    for item in value:
        if item not in known:
            raise UserError(f"{name}: {_shown(item)} is not supported{nearest(str(item)[:60], known)}; "
                            f"known are {', '.join(known)}")
    return list(value)


def require_groups(channels: Iterable[int], groups: int) -> None:
    """Raise UserError unless the groups of the group norms divide every width."""
    for width in channels:
        if width % groups:
            raise UserError(f"norm_num_groups {groups} does not divide {width} channels")

"""The harmless part of YAML: no tags, no aliases, no repeated keys, no surprising types.

Beyond `yaml.safe_load`: `1e-4` is a number (YAML 1.1 reads text), only `true` and `false` are truth values
(a style may be called `no`), dates and base-60 numbers stay text, and nesting is limited.
"""
from __future__ import annotations

import re
from typing import Any, NoReturn

import yaml

from jittor_ipl.errors import UserError

MAX_DEPTH = 12


def _refuse(problem: str, place: yaml.Event | yaml.Node) -> NoReturn:
    raise yaml.MarkedYAMLError(problem=problem, problem_mark=place.start_mark)


class _Loader(yaml.SafeLoader):
    """`SafeLoader` without aliases, tags, repeated keys, deep nesting and YAML 1.1's implicit types."""

    yaml_implicit_resolvers: dict[str, list] = {}
    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()
        self.depth += 1
        if isinstance(event, yaml.events.AliasEvent):
            _refuse("aliases (*name) are not allowed", event)
        if getattr(event, "tag", None) is not None:
            _refuse(f"tags ({event.tag}) are not allowed", event)
        if self.depth > MAX_DEPTH:
            _refuse(f"nested deeper than {MAX_DEPTH} levels", event)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> dict:
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                _refuse("a key must be a word", key)
            if key.value in seen:
                _refuse(f"the key {key.value!r} is given twice", key)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


for _tag, _pattern, _first in (
        ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
        ("null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
        ("int", r"^[-+]?(?:0|[1-9][0-9]{0,18})$", "-+0123456789"),
        ("float", r"^(?:[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?"
                  r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$", "-+.0123456789")):
    # int before float: the first pattern that fits wins, and every whole number fits both.
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), list(_first))


def parse_yaml(data: bytes, source: str) -> Any:
    """Parse one YAML document into dict, list, str, int, float, bool, None; `UserError` with line and column if not."""
    try:
        return yaml.load(data.decode("utf-8-sig"), Loader=_Loader)  # noqa: S506 - derived from SafeLoader
    except UnicodeDecodeError as error:
        raise UserError(f"{source}: not UTF-8 text (byte {error.start})") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise UserError(f"{source}{place}: {', '.join(filter(None, (error.context, error.problem)))}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise UserError(f"{source}: not valid YAML: {str(error).splitlines()[0]}") from None

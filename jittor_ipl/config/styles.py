"""What every suite does with its list of styles, whatever its runs are."""
from __future__ import annotations

from typing import Any

from jittor_ipl.errors import UserError, nearest


class StyleList:
    """The styles of a suite in order; the suite has `styles`, entries with a name, and `resolve(number)`."""

    def run_of(self, style: str) -> Any:
        """Return the resolved run of the style with this name; `UserError` with the nearest name when there is none."""
        names = self.names()
        if style not in names:
            raise UserError(f"unknown style {style!r}{nearest(style, names)}; the suite {self.suite!r} has: "
                            f"{', '.join(names)}")
        return self.resolve(names.index(style))

    def names(self) -> list[str]:
        """Return the names of the listed styles."""
        return [entry.name for entry in self.styles]

    def runs(self) -> list[Any]:
        """Return the resolved run of every style, in the order of the file."""
        return [self.resolve(number) for number in range(len(self.styles))]

    def settings_of(self, entry: Any) -> dict[str, Any]:
        """Return the suite's settings with an entry's own put over them."""
        return merged(self.model_dump(by_alias=True, exclude={"styles"}), entry.overrides())


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return `base` with `changes` put over it, mappings merged key by key, everything else replaced."""
    result = dict(base)
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if both else value
    return result

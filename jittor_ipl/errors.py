"""The two ways this project says no: `UserError` for what the user can mend, `assert` for our own mistakes."""
from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """A mistake in an input, told in one line: the value, the choices and the next step.

    The command line prints it without a traceback and exits with code 2.
    """


def nearest(name: str, choices: Iterable[str]) -> str:
    """Return `" (did you mean 'x'?)"` for the closest of `choices`, or an empty string when none is close."""
    close = difflib.get_close_matches(str(name), [str(c) for c in choices], n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""

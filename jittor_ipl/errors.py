"""The two ways this project says no: `UserError` for what the user can mend, `assert` for our own mistakes."""
from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable
from pathlib import Path


class UserError(ValueError):
    """A mistake in an input, told in one line: the value, the choices and the next step.

    The command line prints it without a traceback and exits with code 2.
    """


def in_brief(error: BaseException, limit: int = 300) -> str:
    """Return what a page of Jittor's says in one line of at most `limit` characters: its last reason, else its start.

    Colours of a terminal and places in Jittor's source go; the command line's --debug shows all.
    """
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\[[efwi] \d{4} [^\]\n]*\]", "", str(error))
    lines = [line for line in map(str.strip, text.splitlines()) if line] or [""]
    reasons = [match[1] for line in lines if (match := re.match(r"(?i)\[?(?:failed )?reason\]?:(.*\S.*)", line))]
    brief = " ".join((reasons or lines[:1])[-1].split())
    return brief if len(brief) <= limit else brief[:limit - 1] + "…"


def closest(name: str, choices: Iterable[str]) -> str | None:
    """Return the one of `choices` that is written most like `name`, None when none is close."""
    return next(iter(difflib.get_close_matches(str(name), [str(c) for c in choices], n=1, cutoff=0.5)), None)


def nearest(name: str, choices: Iterable[str]) -> str:
    """Return `" (did you mean 'x'?)"` for the closest of `choices`, or an empty string when none is close."""
    close = closest(name, choices)
    return "" if close is None else f" (did you mean {close!r}?)"


def nearest_file(path: str | os.PathLike) -> str:
    """Return `" (did you mean 'folder/x'?)"` for a file or folder there of nearly that name, or an empty string.

    Of a path whose folder does not exist either, the first part that is missing is looked for. Endings do not make two
    names alike: "manifest.json" is not nearly "seeds.json".
    """
    path = Path(path)
    try:
        while not path.parent.is_dir() and path.parent != path:
            path = path.parent
        entries = [entry for entry in path.parent.iterdir() if not entry.name.startswith(".")]
        beside = {entry.name: entry for entry in entries if entry.name != path.name}
    except (OSError, ValueError):
        return ""
    stems = difflib.get_close_matches(path.stem, {Path(name).stem for name in beside}, n=3, cutoff=0.6)
    alike = {name for name in beside if Path(name).stem in stems}
    close = difflib.get_close_matches(path.name, alike, n=1, cutoff=0.5)
    return f" (did you mean {str(beside[close[0]])!r}?)" if close else ""

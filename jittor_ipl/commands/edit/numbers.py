"""Lists of numbers on the command lines of `edit`: strengths and thresholds."""
from __future__ import annotations

from jittor_ipl.errors import UserError


def numbers_of(text: str, option: str) -> list[float] | None:
    """Return the numbers of a list such as "-1,0,2.5", None for "auto"; UserError for anything else."""
    if text.strip() == "auto":
        return None
    try:
        found = [float(part) for part in text.strip("[] ").replace(" ", ",").split(",") if part]
    except ValueError:
        found = []
    if not found or not all(abs(number) <= 100 for number in found):
        raise UserError(f"{option} {text!r} is neither auto nor a list of numbers from -100 to 100, such as -1,0,2.5")
    return found

"""Lists of prompts, one per line of a text file: the user's own, and sixty that ship for each of ten styles.

A list describes a style in many ways; stage 1 can pull the target prompts towards its mean (`mapper.lambda_prompts`).
Lines that begin with # are comments, {} stands for the target's name. Nothing here needs Jittor.
"""
from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jittor_ipl.disk.small_files import read_lines
from jittor_ipl.errors import UserError, nearest
from jittor_ipl.text.tokenizer import check_prompt, shorten, tokenizer

FOLDER = Path(__file__).parent / "lists"
SHIPPED = "shipped"             # in place of a file name in a configuration: the list of that style
DEMO = "demo"                   # the same: a list in the few words that the demo CLIPs know, for any style
COUNT = 60                      # prompts in a list that ships, as in the thesis's advice
CONTEXT = 77                    # tokens that OpenAI's CLIPs read, start and end included
ENOUGH_KNOWN = 0.9              # share of a list's words that a CLIP should know; below it reads mostly gaps
MAX_PROMPTS = 1000


@dataclass(frozen=True)
class Prompt:
    """One line of a list: its number in the file, its text as written, and its token ids without start and end."""

    line: int
    text: str
    tokens: tuple[int, ...]


def shipped_styles() -> list[str]:
    """Return the styles that a list ships for, with hyphens for blanks as in the names of folders."""
    return sorted(path.stem for path in FOLDER.glob("*.txt"))


def list_path(name: str, style: str) -> Path:
    """Return the file that `mapper.prompts` names: a path, or the list of `SHIPPED` (for this style) or `DEMO`.

    Raises UserError, with the nearest name, when no list ships for the style.
    """
    if name != SHIPPED:
        return FOLDER / "demo" / "demo.txt" if name == DEMO else Path(name)
    known, wanted = shipped_styles(), style.strip().lower().replace(" ", "-")
    if wanted not in known:
        raise UserError(f"no list of prompts ships for {style!r}{nearest(wanted, known)}; there are lists for "
                        f"{', '.join(known)}: write one of your own (docs/prompts.md)")
    return FOLDER / f"{wanted}.txt"


def fill(prompts: Sequence[Prompt], target: str) -> list[str]:
    """Return the texts of `prompts` with `target` in place of their {}."""
    return [prompt.text.replace("{}", target) for prompt in prompts]


def read_prompts(path: str | os.PathLike, target: str = "", context_length: int = CONTEXT) -> list[Prompt]:
    """Return the prompts of a list, checked with `target` in place of {}.

    Raises UserError, with the number of the line, for an empty or repeated one, one over `context_length` tokens, or
    one that no CLIP can read; and for a file that is too large, not UTF-8, or holds no prompt.
    """
    prompts: dict[tuple[int, ...], Prompt] = {}
    for number, line in enumerate(read_lines(path, "list of prompts"), 1):
        if line.startswith("#"):
            continue
        prompt = Prompt(number, line, prompt_tokens(line, target, context_length, f"{path}, line {number}"))
        first = prompts.setdefault(prompt.tokens, prompt)
        if first is not prompt:
            raise UserError(f"{path}, line {number} repeats line {first.line}: {shorten(line)}")
        if len(prompts) > MAX_PROMPTS:
            raise UserError(f"{path} holds more than {MAX_PROMPTS} prompts, whose mean says nothing: shorten it")
    if not prompts:
        raise UserError(f"{path} holds no prompt: write one per line (docs/prompts.md)")
    return list(prompts.values())


def prompt_tokens(line: str, target: str, context_length: int, where: str) -> tuple[int, ...]:
    """Return the token ids of one line; UserError, beginning with `where`, when it is no prompt."""
    if not line:
        raise UserError(f"{where} is empty: write a prompt there, or remove the line")
    rest = line.replace("{}", "")
    if "{" in rest or "}" in rest:
        raise UserError(f"{where}: {shorten(line)} has a brace that is not {{}}, which alone is filled in")
    try:
        text = line.replace("{}", target)
        check_prompt(text)
        tokens = tuple(tokenizer().encode(text))
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    if not tokens:
        raise UserError(f"{where}: {shorten(line)} holds nothing that CLIP can read")
    if len(tokens) + 2 > context_length:
        raise UserError(f"{where} has {len(tokens)} tokens, CLIP reads {context_length - 2}: shorten it")
    return tokens

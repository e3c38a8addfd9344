"""What a run says in words, checked before any training: its style's name, its seeds and its prompts."""
from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import SequenceMatcher
from pathlib import Path

from jittor_ipl.config.lora import LoraRun, LoraSuite
from jittor_ipl.config.suite import StyleRun, Suite
from jittor_ipl.errors import UserError
from jittor_ipl.runtime.streams import parse_seeds
from jittor_ipl.text.prompt_lists import CONTEXT, fill, list_path, read_prompts
from jittor_ipl.text.tokenizer import ClassPrompt, check_prompt, class_prompts, fill_templates, tokenize


def choose_runs(suite: Suite, styles: Sequence[str], as_written: bool = False) -> list[StyleRun]:
    """Return the runs of these styles, all of the suite's when none is named; any words get the suite's settings.

    Raises `UserError` for words that look like a listed style misspelt (but `as_written`) or that no CLIP can read.
    """
    return [_run_of(suite, style, as_written) for style in dict.fromkeys(styles)] or suite.runs()


def _run_of(suite: Suite, style: str, as_written: bool) -> StyleRun:
    if style in suite.names():
        return suite.run_of(style)
    near = next((name for name in suite.names() if misspelt(style, name)), None)
    listed = [part.strip() for part in style.split(",")]
    if set(listed) <= set(suite.names()) and not as_written:
        raise UserError(f"the suite {suite.suite!r} has no style {style!r} (did you mean --styles "
                        f"{','.join(listed)!r}?): --new-style insists on the words as they are")
    if near and not as_written:
        raise UserError(f"the suite {suite.suite!r} has no style {style!r} (did you mean {near!r}?): "
                        "--new-style insists on the words as they are")
    run = suite.run_of_words(style)
    check_prompts(run, f"the style {style!r}")
    return run


def choose_lora_runs(suite: LoraSuite, styles: Sequence[str]) -> list[LoraRun]:
    """Return the runs of these styles, by name or number ("05"), all of the suite's when none is named.

    Raises `UserError` for a style that the suite does not list: its pictures lie in the folder of its number.
    """
    numbers = {f"{number:02d}": name for number, name in enumerate(suite.names())}
    names = dict.fromkeys(numbers.get(style, style) for style in styles)
    return [suite.run_of(name) for name in names] or suite.runs()


def misspelt(style: str, name: str) -> bool:
    """Tell whether `style` looks like `name` with a slip of the pen: each word nearly the same, or blanks astray."""
    def alike(one: str, other: str, least: float) -> bool:
        return SequenceMatcher(None, one, other, autojunk=False).ratio() >= least
    words, others = (re.split(r"[\s_-]+", text.strip().casefold()) for text in (style, name))
    return alike("".join(words), "".join(others), 0.9) or \
        len(words) == len(others) and all(alike(*pair, 0.75) for pair in zip(words, others))


def prompts_path(run: StyleRun) -> Path | None:
    """Return the file of a run's list of prompts, None where no list counts; UserError for a style without one."""
    listed = run.method == "ipl" and run.mapper.lambda_prompts
    return list_path(run.mapper.prompts, run.style) if listed else None


def prompts_of(run: StyleRun, context_length: int = CONTEXT) -> list[str]:
    """Return the texts of a run's list, the target's name filled in, [] without one; UserError as in `read_prompts`."""
    path = prompts_path(run)
    return [] if path is None else fill(read_prompts(path, run.target, context_length), run.target)


def class_prompts_of(run: StyleRun) -> tuple[ClassPrompt, ClassPrompt]:
    """Return the prompts of a run's source class and of its target, each behind `mapper.init` (IPL, section 3.2)."""
    mapper, source = run.mapper, run.source.class_name
    return class_prompts(source, mapper.init, mapper.n_ctx), class_prompts(run.target, mapper.init, mapper.n_ctx)


def check_prompts(run: StyleRun, where: str) -> None:
    """Raise `UserError`, beginning with `where`, for seeds or prompts, listed ones too, that are no use to any CLIP."""
    try:
        parse_seeds(run.generate.seeds)
        for class_name in (run.source.class_name, run.target):
            check_prompt(class_name)
            tokenize(max(fill_templates(class_name), key=len))
        tokenize([prompt.sentence for prompt in class_prompts_of(run)])
        prompts_of(run)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None

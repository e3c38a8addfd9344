"""Questions whose answers adaptation should not change: a text file with one question a line, its answers apart by |.

"a {} boy | a {} girl" asks a CLIP which of the two a picture shows; {} is the source class before adaptation and the
target after it. Two lists ship, for portraits and for pets, in words that the demo CLIPs know.
"""
from __future__ import annotations

import os
from pathlib import Path

from jittor_ipl.disk.small_files import read_lines
from jittor_ipl.errors import UserError
from jittor_ipl.text.prompt_lists import CONTEXT, FOLDER, prompt_tokens

SHIPPED = ("portraits", "pets")      # in place of a file name in a configuration
MAX_QUESTIONS, MAX_ANSWERS = 100, 20


def variations_path(name: str) -> Path:
    """Return the file that `generator.variations` names: a path, or one of the shipped lists."""
    return FOLDER / "questions" / f"{name}.txt" if name in SHIPPED else Path(name)


def read_variations(path: str | os.PathLike, class_names: tuple[str, ...],
                    context_length: int = CONTEXT) -> list[list[str]]:
    """Return the questions of a list, each as its answers with {} in place of the class.

    Every answer is checked with each of `class_names` in it. Raises UserError, with the number of the line, for fewer
    than two answers, an answer given twice or without {}, and for what `prompt_lists.read_prompts` refuses.
    """
    questions: list[list[str]] = []
    for number, line in enumerate(read_lines(path, "list of questions"), 1):
        if line.startswith("#"):
            continue
        where, answers = f"{path}, line {number}", [answer.strip() for answer in line.split("|")]
        if not 2 <= len(answers) <= MAX_ANSWERS or len(set(answers)) < len(answers):
            raise UserError(f"{where}: a question has 2 to {MAX_ANSWERS} different answers, apart by |; "
                            f"this one has {len(set(answers))}")
        for answer in answers:
            if "{}" not in answer:
                raise UserError(f"{where}: {answer!r} has no {{}}, the place of the class's name")
            for name in class_names:
                prompt_tokens(answer, name, context_length, where)
        questions.append(answers)
        if len(questions) > MAX_QUESTIONS:
            raise UserError(f"{path} asks more than {MAX_QUESTIONS} questions: shorten it")
    if not questions:
        raise UserError(f"{path} asks nothing: write one question per line, its answers apart by | (docs/prompts.md)")
    return questions

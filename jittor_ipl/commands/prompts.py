"""`prompts`: what a list of prompts holds, and how much of it a CLIP understands."""
from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from jittor_ipl.commands import options
from jittor_ipl.errors import UserError

if TYPE_CHECKING:
    from jittor_ipl.text.prompt_lists import Prompt

EXAMPLES = """  python -m jittor_ipl prompts list
  python -m jittor_ipl prompts check my-elves.txt --style "tolkien elf"
  python -m jittor_ipl prompts check demo --style disney --clip demo:clip-local"""


@click.group(cls=options.Group, examples=EXAMPLES, subcommand_metavar="ACTION", no_args_is_help=False)
def command() -> None:
    """Check a list of prompts for stage 1, or name the lists that ship."""


@command.command(cls=options.Command, examples=EXAMPLES)
@click.argument("file", metavar="FILE")
@click.option("--style", "--target-class", default="", metavar="NAME",
              help="What {} stands for, and what the prompts should name.")
@click.option("--clip", metavar="FILE", help="Say how much of the list this CLIP understands, such as demo:clip-local.")
def check(file: str, style: str, clip: str | None) -> int:
    """Count, compare and measure the prompts of a list: a text file with one per line, shipped or demo."""
    from jittor_ipl.text.prompt_lists import CONTEXT, SHIPPED, list_path, read_prompts
    if file == SHIPPED and not style:
        raise UserError("a list that ships belongs to a style: add --style NAME")
    path = list_path(file, style)
    prompts = read_prompts(path, style or "photo")
    longest = max(prompts, key=lambda prompt: len(prompt.tokens))
    print(f"{path}: {len(prompts)} prompts, all different, {sum('{}' in prompt.text for prompt in prompts)} with {{}}; "
          f"the longest has {len(longest.tokens)} of {CONTEXT - 2} tokens (line {longest.line})")
    for line in remarks(prompts, style):
        print(f"  note: {line}")
    if clip:
        print(understood(prompts, style, clip))
    return 0


@command.command("list", cls=options.Command, examples=EXAMPLES)
def listing() -> int:
    """Name the styles that a list ships for."""
    from jittor_ipl.text.prompt_lists import shipped_styles
    print("\n".join(shipped_styles()))
    return 0


def remarks(prompts: Sequence[Prompt], style: str) -> list[str]:
    """Return what is allowed but seldom meant: too few prompts, list marks, quotes, one sentence again and again."""
    from jittor_ipl.text.prompt_lists import COUNT
    from jittor_ipl.text.tokenizer import shorten
    notes = []
    if len(prompts) < COUNT:
        notes.append(f"{len(prompts)} prompts; {COUNT} are usual")
    marked = [p for p in prompts if p.text.lstrip("0123456789")[:2] in (". ", ") ") or p.text[:2] in ("- ", "* ")]
    quoted = [p for p in prompts if p.text[0] in "\"'[“" or p.text[-1] in "\",]”"]
    if marked:
        notes.append(f"line {marked[0].line} begins with a list mark, which CLIP reads as words: "
                     f"{shorten(marked[0].text)}")
    if quoted:
        notes.append(f"line {quoted[0].line} keeps its quotes or commas: {shorten(quoted[0].text)}")
    frame, count = Counter(" ".join(p.text.lower().split()[:3]) for p in prompts).most_common(1)[0]
    if count > max(3, len(prompts) // 4):
        notes.append(f"{count} prompts begin with the words {frame!r}: vary the sentences")
    if style and not any("{}" in p.text or style.lower() in p.text.lower() for p in prompts):
        notes.append(f"no prompt names {style!r}, not even as {{}}")
    return notes


def understood(prompts: Sequence[Prompt], style: str, ref: str) -> str:
    """Return how much of the list the CLIP at `ref` knows, and how near its mean feature is to the style's own."""
    from jittor_ipl.adaptation.listeners import known_share
    from jittor_ipl.models.clip.texts import encode_texts, template_features
    from jittor_ipl.ops.norms import unit
    from jittor_ipl.text.prompt_lists import ENOUGH_KNOWN, fill
    from jittor_ipl.weights.clip import load_clip
    clip = load_clip(ref)
    texts = fill(prompts, style or "photo")
    share = known_share(clip, texts)
    mean = unit(unit(encode_texts(clip, texts)).sum(0, keepdims=True))

    def near(name: str) -> float:
        return float((mean * unit(template_features(clip, name).sum(0, keepdims=True))).sum().item())
    text = f"{ref} knows {share:.0%} of the words; cosine of the list's mean feature with 'photo' {near('photo'):.3f}"
    text += f", with {style!r} {near(style):.3f}" if style else ""
    return text + (": most of the list says nothing to this CLIP" if share < ENOUGH_KNOWN else "")

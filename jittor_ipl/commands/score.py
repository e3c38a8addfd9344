"""`score`: the Jittor competition's score."""
from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import click

from jittor_ipl.commands import options
from jittor_ipl.errors import UserError, nearest

EXAMPLES = """  python -m jittor_ipl score --results results/A --references data/A --parts hist
  python -m jittor_ipl score --results results/A --references data/A --dino dinov2-base/ --inception inception.pth \\
      --lpips squeeze.pth,squeezenet1_1.pth --clip-r clip-vit-large-patch14/ --clip-iqa RN50.pt --words words.txt"""
# What each part of the score needs: the option and what to put there.
FILES = {"dino": {"dino": "facebook/dinov2-base (model.safetensors)"}, "hist": {},
         "lpips": {"lpips": "squeeze.pth of the lpips package and squeezenet1_1-b8a52dc0.pth, separated by a comma"},
         "fid": {"inception": "pt_inception-2015-12-05-6726825d.pth"},
         "clip_r": {"clip_r": "openai/clip-vit-large-patch14", "words": "the list of words, one per line (215)"},
         "clip_iqa": {"clip_iqa": "OpenAI's RN50.pt"}}
NETWORKS = (("--words", "FILE", "CLIP-R's list of words, one per line."),
            ("--dino", "FILE", "facebook/dinov2-base, file or folder."),
            ("--lpips", "FILE,FILE", "squeeze.pth,squeezenet1_1-b8a52dc0.pth, or one file with both."),
            ("--inception", "FILE", "Inception v3 of FID."),
            ("--clip-r", "FILE", "openai/clip-vit-large-patch14, file or folder."),
            ("--clip-iqa", "FILE", "OpenAI's RN50.pt."))


def network_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a command with the files of the score's networks, and with the demo world's stand-ins for them."""
    for name, metavar, text in (*NETWORKS[::-1],):
        function = click.option(name, cls=options.Option, heading="networks of the score", metavar=metavar,
                                help=text)(function)
    return click.option("--demo", is_flag=True, cls=options.Option, heading="networks of the score",
                        help="The demo world's own for those without a file: its figures compare with each other "
                             "only.")(function)


def missing_parts(files: Mapping[str, str | None], wanted: Collection[str]) -> dict[str, str]:
    """Return, for the parts of the score that cannot be computed, the reason."""
    missing = {part: "; ".join(f"--{option.replace('_', '-')} is not given: {what}"
                               for option, what in needed.items() if not files[option])
               if part in wanted else "not asked for" for part, needed in FILES.items()}
    return {part: reason for part, reason in missing.items() if reason}


def scorers_of(files: Mapping[str, str | None], parts: Collection[str], words: Sequence[str]) -> dict[str, tuple]:
    """Return what the parts of `metrics.competition` take besides the styles, from the files of their networks."""
    from jittor_ipl.metrics import scorers  # starts Jittor
    load = {"dino": lambda: (scorers.dino_feature(files["dino"]),), "hist": tuple,
            "lpips": lambda: (scorers.lpips_embedding(files["lpips"].split(",")),),
            "fid": lambda: (scorers.fid_feature(files["inception"]),),
            "clip_r": lambda: (words, *scorers.clip_r_features(files["clip_r"])),
            "clip_iqa": lambda: scorers.clip_iqa_features(files["clip_iqa"])}
    return {part: load[part]() for part in load if part in parts}


@click.command(cls=options.Command, examples=EXAMPLES)
@click.option("--results", required=True, metavar="DIR", help="Generated pictures: DIR/<NN>/<prompt>.png")
@click.option("--references", required=True, metavar="DIR", help="Style pictures: DIR/<NN>/images/* or DIR/<NN>/*")
@click.option("--parts", metavar="LIST", help="dino,hist,lpips,fid,clip-r,clip-iqa  [default: all]")
@network_options
@options.skip_bad
@options.report_json
@options.report_markdown
def command(results: str, references: str, parts: str | None, demo: bool, skip_bad: bool, json_file: str | None,
            markdown_file: str | None, **files: str | None) -> int:
    """Compute the Jittor competition's official score of a folder of results, or parts of it."""
    from jittor_ipl.metrics import competition
    from jittor_ipl.metrics.hashes import weights_sha256
    from jittor_ipl.metrics.report import write_report
    wanted = competition.PARTS if parts is None else [part.strip().replace("-", "_") for part in parts.split(",")]
    for part in wanted:
        if part not in competition.PARTS:
            raise UserError(f"the score has no part {part!r}{nearest(part, competition.PARTS)}; "
                            f"choose from {', '.join(competition.PARTS)}")
    styles, skipped = competition.decodable(competition.find_styles(results, references), skip_bad)
    for fault in skipped:
        click.echo(f"left out: {fault}", err=True)
    with_words = files["words"] and "clip_r" in wanted
    words = competition.read_words(files["words"]) if with_words else ()   # before hours of work
    missing = missing_parts(files, wanted)
    stand_ins: dict[str, tuple] = {}
    if demo:
        from jittor_ipl.world.judging.stand_ins import demo_scorers
        own = words or sorted({competition.word_of(path) for style in styles for path in style.images})
        stand_ins = {part: needed for part, needed in demo_scorers(own).items() if part in wanted and part in missing}
        missing = {part: reason for part, reason in missing.items() if part not in stand_ins}
    scorers = {**scorers_of(files, [part for part in competition.PARTS if part not in {*missing, *stand_ins}], words),
               **stand_ins}
    values = {part: getattr(competition, part)(styles, *scorers[part]) for part in competition.PARTS if part in scorers}
    refs = {option: files[option] for part in values if part not in stand_ins for option in FILES[part]}
    hashes = {option: weights_sha256(ref.split(",") if option == "lpips" else [ref]) for option, ref in refs.items()}
    result = competition.report(styles, values, missing, hashes, len(words) if "clip_r" in refs else None, skipped,
                                list(stand_ins))
    print(competition.text_of(result))
    write_report(result, competition.markdown(result), json_file, markdown_file)
    return 0

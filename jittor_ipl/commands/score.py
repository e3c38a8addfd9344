"""`score`: the Jittor competition's score."""
from __future__ import annotations

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


@click.command(cls=options.Command, examples=EXAMPLES)
@click.option("--results", required=True, metavar="DIR", help="Generated pictures: DIR/<NN>/<prompt>.png")
@click.option("--references", required=True, metavar="DIR", help="Style pictures: DIR/<NN>/images/* or DIR/<NN>/*")
@click.option("--parts", metavar="LIST", help="dino,hist,lpips,fid,clip-r,clip-iqa  [default: all]")
@click.option("--words", metavar="FILE", help="CLIP-R's list of words, one per line.")
@click.option("--dino", metavar="FILE", help="facebook/dinov2-base, file or folder.")
@click.option("--lpips", metavar="FILE,FILE", help="squeeze.pth,squeezenet1_1-b8a52dc0.pth, or one file with both.")
@click.option("--inception", metavar="FILE", help="Inception v3 of FID.")
@click.option("--clip-r", metavar="FILE", help="openai/clip-vit-large-patch14, file or folder.")
@click.option("--clip-iqa", metavar="FILE", help="OpenAI's RN50.pt.")
@options.skip_bad
@options.report_json
@options.report_markdown
def command(results: str, references: str, parts: str | None, skip_bad: bool, json_file: str | None,
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
    missing = {part: "; ".join(f"--{option.replace('_', '-')} is not given: {what}"
                               for option, what in FILES[part].items() if not files[option])
               if part in wanted else "not asked for" for part in competition.PARTS}
    missing = {part: reason for part, reason in missing.items() if reason}
    from jittor_ipl.metrics import scorers  # starts Jittor: after all that can be refused without it
    compute = {
        "dino": lambda: competition.dino(styles, scorers.dino_feature(files["dino"])),
        "hist": lambda: competition.hist(styles),
        "lpips": lambda: competition.lpips(styles, scorers.lpips_embedding(files["lpips"].split(","))),
        "fid": lambda: competition.fid(styles, scorers.fid_feature(files["inception"])),
        "clip_r": lambda: competition.clip_r(styles, words, *scorers.clip_r_features(files["clip_r"])),
        "clip_iqa": lambda: competition.clip_iqa(styles, *scorers.clip_iqa_features(files["clip_iqa"]))}
    values = {part: compute[part]() for part in competition.PARTS if part not in missing}
    refs = {option: files[option] for part in values for option in FILES[part]}
    hashes = {option: weights_sha256(ref.split(",") if option == "lpips" else [ref]) for option, ref in refs.items()}
    result = competition.report(styles, values, missing, hashes, len(words) if "clip_r" in values else None, skipped)
    print(competition.text_of(result))
    write_report(result, competition.markdown(result), json_file, markdown_file)
    return 0

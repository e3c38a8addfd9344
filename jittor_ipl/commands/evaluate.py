"""`evaluate`: the figures of a folder of pictures and how they were taken."""
from __future__ import annotations

import click

from jittor_ipl.commands import options

EXAMPLES = """  python -m jittor_ipl evaluate --images out --metrics is,intra-lpips
  python -m jittor_ipl evaluate --images adapted --reference target --source photos --json results/figures.json
  python -m jittor_ipl evaluate --images a --reference b --metrics fid,kid --inception pt_inception-2015-12-05.pth
  python -m jittor_ipl evaluate --images adapted --source photos --prompt "a disney" --source-prompt "a photo" \\
      --clip ViT-B-32.pt"""
NETWORKS = {"cls": options.Option, "heading": "networks (docs/metrics.md says which files)", "metavar": "FILE"}


@click.command(cls=options.Command, examples=EXAMPLES)
@click.option("--images", "--input1", required=True, metavar="DIR", help="The pictures that are measured.")
@click.option("--reference", "--input2", metavar="DIR",
              help="Pictures of the target domain: FID, KID, SIFID; or FID's statistics, an .npz with mu and sigma.")
@click.option("--source", metavar="DIR",
              help="The same pictures before, under the same names: SCS, identity, LPIPS, PSNR, SSIM.")
@click.option("--prompt", metavar="TEXT", help="What the pictures should show: CLIP score.")
@click.option("--source-prompt", metavar="TEXT", help="What the pictures before show: CLIP direction similarity.")
@click.option("--metrics", metavar="LIST", help="is,fid,kid,sifid,intra-lpips,intra-lpips-reference,scs,id,lpips,psnr,"
              "ssim,clip,clip-direction  [default: all that the sets allow]")
@click.option("--features", default="demo", type=click.Choice(["demo", "demo:pets"]),
              help="Judge that stands in for absent networks.")
@click.option("--inception", **NETWORKS, help="Inception v3 of FID.")
@click.option("--lpips", **NETWORKS, help="LPIPS: one file, or heads and network as FILE,FILE.")
@click.option("--arcface", **NETWORKS, help="IR-SE50.")
@click.option("--clip", **NETWORKS, help="A CLIP, or demo:<name>.")
@click.option("--batch", "--batch-size", type=options.positive, default=32, metavar="N",
              help="Pictures handed to a network at once.")
@click.option("--seed", type=int, default=2020, metavar="N", help="Of the splits and subsets.")
@click.option("--size", type=options.positive, metavar="N",
              help="Cut every picture to its square and resize it to N x N first.")
@options.skip_bad
@click.option("--cache", metavar="DIR", help="Keep features here between runs.")
@options.report_json
@options.report_markdown
def command(images: str, reference: str | None, source: str | None, prompt: str | None, source_prompt: str | None,
            metrics: str | None, features: str, inception: str | None, lpips: str | None, arcface: str | None,
            clip: str | None, batch: int, seed: int, size: int | None, skip_bad: bool, cache: str | None,
            json_file: str | None, markdown_file: str | None) -> int:
    """Measure a folder of pictures: FID, KID, Inception Score, LPIPS, ..."""
    from jittor_ipl.metrics import report
    from jittor_ipl.metrics.catalogue import METRICS
    from jittor_ipl.metrics.evaluate import choose, measure
    from jittor_ipl.metrics.image_set import from_folder
    from jittor_ipl.metrics.statistics import SUFFIX, read_statistics
    from jittor_ipl.runtime.streams import check_seed
    from jittor_ipl.world.judging.features import CLIP, extractor_of
    from jittor_ipl.world.subjects import SUBJECTS
    wanted = [key.strip() for key in metrics.split(",")] if metrics is not None else None
    check_seed(seed)
    given = {"images": True, "reference": bool(reference), "source": bool(source), "prompt": bool(prompt),
             "prompts": bool(source and prompt and source_prompt)}      # --clip may be left to the demo's
    statistics = reference if (reference or "").endswith(SUFFIX) else None
    chosen = choose(wanted, given, statistics=bool(statistics))         # a mistake is told before anything is read
    folders = {"images": images, "reference": None if statistics else reference, "source": source}
    sets = {label: from_folder(folder, label, skip_bad=skip_bad, size=size)
            for label, folder in folders.items() if folder}
    for label, part in sets.items():
        for fault in part.skipped:
            click.echo(f"left out of {label}: {fault}", err=True)
    if statistics:
        sets["reference"] = read_statistics(statistics)
    subject = SUBJECTS[features.partition(":")[2] or "portraits"]      # its judge stands in for networks without a file
    extractor = extractor_of(subject, inception, lpips.split(",") if lpips else (), arcface,
                             (clip or CLIP) if any(METRICS[key].network == "clip" for key in chosen) else None)
    result = measure(**sets, extractor=extractor, metrics=wanted, prompt=prompt, source_prompt=source_prompt,
                     seed=seed, batch=batch, cache=cache)
    print(report.markdown(result), end="")
    report.write_report(result, report.markdown(result), json_file, markdown_file)
    return 0

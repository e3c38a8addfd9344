"""`invert`: bring photographs into a generator, and out in other styles."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jittor_ipl.commands import options
from jittor_ipl.commands.alignment import face_options
from jittor_ipl.errors import UserError

if TYPE_CHECKING:
    import numpy as np

    from jittor_ipl.inversion.inputs import Align, Input
    from jittor_ipl.inversion.invert import Inverted, Tools
    from jittor_ipl.inversion.projection import Projection
    from jittor_ipl.inversion.tuning import Tuning
    from jittor_ipl.metrics.extract import Extractor
    from jittor_ipl.submission.sets import SetEntry

EXAMPLES = """  python -m jittor_ipl invert photo.png --styles all
  python -m jittor_ipl invert faces/ --tune-steps 0 --outdir inverted
  python -m jittor_ipl invert a.png b.png --together --styles disney,cubism
  python -m jittor_ipl invert photo.png --weights ffhq.pkl --lpips vgg.pth,vgg16-397923af.pth --styles none"""
DEMO, DEMO_ENCODER, RELEASE = "demo:generator", "demo:encoder", "B_weight/demo"
FINDING: dict[str, Any] = {"cls": options.Option, "heading": "finding the code"}
TUNING: dict[str, Any] = {"cls": options.Option, "heading": "tuning the generator"}
NETWORKS: dict[str, Any] = {"cls": options.Option, "heading": "networks (docs/metrics.md says which files)",
                            "metavar": "FILE"}


@click.command(cls=options.Command, examples=EXAMPLES)
@click.argument("pictures", nargs=-1, required=True, metavar="PICTURES...")
@click.option("--weights", "--network", "--stylegan-weights", default=DEMO, metavar="FILE",
              help="The generator: a file or demo:<name>.")
@click.option("--style", "--styles", "styles", cls=options.Option, lists="--styles", metavar="NAME",
              help="Style to show the pictures in, by name or number, all, or none; may be given again, or as "
                   "--styles A,B.  [default: all, none for other generators without --release]")
@click.option("--release", "--adapted", type=options.shipped, metavar="DIR",
              help="Where the styles are: B_weight/<suite>, runs/<suite> or one run folder.  [default: B_weight/demo]")
@click.option("--outdir", "--output", "--output-dir", default="inverted", metavar="DIR", help="Folder of the results.")
@click.option("--align", "mode", type=click.Choice(["auto", "always", "never"]), default="auto",
              help="Cut the face out as FFHQ's were: of pictures that are not square, of all, of none.")
@click.option("--together", is_flag=True, help="One tuning for all pictures, in one file.")
@options.skip_bad
@click.option("--seed", type=int, default=0, metavar="N", help="Of the noise on the code.")
@click.option("--encoder", "--checkpoint-path", metavar="FILE", help="demo:encoder, a checkpoint of pSp, e4e or "
              "ReStyle, or none: start from the mean face.  [default: demo:encoder for demo:generator, else none]",
              **FINDING)
@click.option("--encoder-type", metavar="CLASS", help="Where a checkpoint does not say it.", **FINDING)
@click.option("--encoder-steps", "--n-iters-per-batch", type=options.positive, default=5, metavar="N",
              help="Passes of ReStyle's loop.", **FINDING)
@click.option("--steps", "--num-steps", "--first-inv-steps", type=click.IntRange(0), metavar="N",
              help="Of optimisation.  [default: 450; 100 up to 64 px, 30 after an encoder]", **FINDING)
@click.option("--space", type=click.Choice(["w", "w+"]), default="w",
              help="One code for all layers, or one each.", **FINDING)
@click.option("--lr", "--learning-rate", type=click.FloatRange(0, min_open=True), metavar="R",
              help="[default: 0.01; 0.03 up to 64 px]", **FINDING)
@click.option("--noise-maps", type=click.Choice(["keep", "fit"]), default="keep",
              help="The generator's own noise maps, or maps fitted to the picture.", **FINDING)
@click.option("--tune-steps", "--max-pti-steps", type=click.IntRange(0), metavar="N",
              help="0 leaves the generator as it is.  [default: 350; 30 up to 64 px]", **TUNING)
@click.option("--tune-lr", "--pti-learning-rate", type=click.FloatRange(0, min_open=True), metavar="R",
              help="[default: 0.0003; 0.003 up to 64 px]", **TUNING)
@click.option("--tune-parts", type=click.Choice(["convolutions", "synthesis"]), default="convolutions",
              help="Which weights move.", **TUNING)
@click.option("--stop", "--lpips-threshold", type=click.FloatRange(0), default=0.06, metavar="D",
              help="Perceptual distance at which a picture is good enough.", **TUNING)
@click.option("--locality", type=click.FloatRange(0), default=0.0, metavar="W",
              help="Weight of leaving faces nearby as they are.", **TUNING)
@face_options
@click.option("--lpips", help="LPIPS: one file, or heads and network as FILE,FILE.", **NETWORKS)
@click.option("--arcface", help="IR-SE50, for the distance of identities.", **NETWORKS)
def command(pictures: tuple[str, ...], weights: str, styles: tuple[str, ...], release: str | None, outdir: str,
            mode: str, together: bool, skip_bad: bool, seed: int, encoder: str | None, encoder_type: str | None,
            encoder_steps: int, noise_maps: str, landmarks: str | None, eyes: str | None, mouth: str | None, face: int,
            predictor: str | None, lpips: str | None, arcface: str | None, **numbers: Any) -> int:
    """Invert photographs: find their codes, tune the generator to them, show them in other styles."""
    from jittor_ipl.disk.atomic import output_folder
    from jittor_ipl.disk.lock import locked
    from jittor_ipl.inversion import results
    from jittor_ipl.inversion.inputs import picture_files, read_all
    from jittor_ipl.inversion.invert import check
    from jittor_ipl.inversion.landmarks import given_landmarks
    from jittor_ipl.inversion.settings import settings_of
    from jittor_ipl.runtime.streams import check_seed
    check_seed(seed)
    files = picture_files(pictures)
    given = given_landmarks(landmarks, eyes, mouth, len(files))
    mode = "always" if given is not None and mode == "auto" else mode
    entries = _styles(styles or ("all" if release or weights == DEMO else "none",), release, weights)
    work = _open(weights, encoder, {"encoder_type": encoder_type, "steps": encoder_steps}, lpips, arcface, entries)
    size = work.tools.generator.size
    settings = settings_of(size, work.encoder is not None, maps=noise_maps == "fit", seed=seed, given=numbers)
    check(work.tools, len(files) if together else 1, settings[0])
    found, bad = read_all(files, size, mode, _aligning(size, given, predictor, face), skip_bad)
    for text in [*(f"left out: {fault}" for fault in bad),
                 *(f"{name}: {remark}" for name, one in found.items() for remark in one.remarks)]:
        options.note(text)
    jobs = [found] if together and len(found) > 1 else [{name: one} for name, one in found.items()]
    folder = output_folder(Path(outdir))
    with locked(folder):
        results.clean(folder)
        for job in jobs:
            _invert(work, job, settings, folder)
    return 0


def _aligning(size: int, landmarks: Any, predictor: str | None, face: int) -> Align:
    from jittor_ipl.inversion.align import MAX_SIZE, aligned
    return lambda path: aligned(path, size, transform_size=min(4 * size, MAX_SIZE), landmarks=landmarks,
                                predictor=predictor, face=face)


@dataclass(frozen=True)
class _Work:
    """What one call works with: networks, the styles, and the hashes that tell one result from another."""

    weights: str
    encoder: str | None
    tools: Tools
    extractor: Extractor
    entries: Sequence[SetEntry]
    facts: Mapping[str, Any]


def _open(weights: str, encoder: str | None, encoding: Mapping[str, Any], lpips: str | None, arcface: str | None,
          entries: Sequence[SetEntry]) -> _Work:
    """Load the generator, the encoder and the networks that measure; UserError for what does not fit together.

    `encoding` is what `encode_with` takes beside encoder and generator.
    """
    from jittor_ipl.inversion.encode import encode_with
    from jittor_ipl.inversion.invert import Tools
    from jittor_ipl.inversion.matching import Edges
    from jittor_ipl.submission.produce import source_of, weight_hashes
    from jittor_ipl.weights.generator import generator_sha256
    from jittor_ipl.world.judging.features import extractor_of
    from jittor_ipl.world.subjects import subject_of
    generator = source_of(weights)
    named = encoder or (DEMO_ENCODER if weights == DEMO else "none")
    ref = None if named == "none" else named
    extractor = extractor_of(subject_of(weights), None, lpips.split(",") if lpips else (), arcface)
    network = extractor.lpips.model if lpips else Edges()       # the judge, in LPIPS's place, measures alone
    hashes = {"generator": generator_sha256(generator), "encoder": _hash(ref),
              "lpips": extractor.lpips.sha256, "identity": extractor.identity.sha256}
    facts = hashes | {"encoding": dict(encoding) if ref else None,
                      "styles": {number: list(pair) for number, pair in weight_hashes(entries).items()}}
    encode = encode_with(ref, generator, **encoding) if ref else None
    tools = Tools(generator, network, encode)
    return _Work(weights, ref, tools, extractor, entries, facts)


def _hash(ref: str | None) -> str | None:
    from jittor_ipl.metrics.hashes import weights_sha256
    return None if ref is None else weights_sha256([ref])


def _styles(styles: Sequence[str], release: str | None, weights: str) -> Sequence[SetEntry]:
    """Return the entries to show pictures in; UserError for an unknown one, a LoRA, or one of another generator."""
    from jittor_ipl.submission.produce import source_sha256
    from jittor_ipl.submission.sets import choose, open_set
    named = [style.lower() for style in styles]
    if named == ["none"]:
        return ()
    release = release or options.shipped(RELEASE)
    entries = choose(open_set(Path(release)), [] if named == ["all"] else list(styles)).entries
    mine = source_sha256(weights, False)
    for entry in entries:
        if entry.is_lora:
            raise UserError(f"{entry.label} of {release} is a LoRA: only adapted generators show an inverted picture")
        if entry.plan.source != weights and source_sha256(entry.plan.source, False) != mine:
            raise UserError(f"{entry.label} of {release} was adapted from {entry.plan.source}, the pictures are "
                            f"inverted in {weights}: give --weights {entry.plan.source}, another --release, or "
                            "--styles none")
    return entries


def _invert(work: _Work, job: Mapping[str, Input], settings: tuple[Projection, Tuning], root: Path) -> None:
    """Make, or keep, the folder of one picture, or of those that share a tuning; print what came out."""
    import numpy as np

    from jittor_ipl.images.pixels import from_uint8
    from jittor_ipl.inversion import results
    from jittor_ipl.inversion.invert import invert
    from jittor_ipl.weights.tuned import save_tuned
    names, originals = tuple(job), np.stack([one.pixels for one in job.values()])
    folder = root / (names[0] if len(names) == 1 else results.TOGETHER)
    facts = {**work.facts, "projection": asdict(settings[0]), "tuning": asdict(settings[1])}
    identity = results.identity_of(facts, {name: one.pixels for name, one in job.items()})
    report = results.kept(folder, identity)
    if report is None:
        made = invert(work.tools, names, from_uint8(originals), *settings, tick=_progress)
        drawn = _in_styles(work, made)
        views = {name: results.Views(originals[i], {stage: images[i] for stage, images in made.stages.items()},
                                     {style: images[i] for style, images in drawn.items()})
                 for i, name in enumerate(names)}
        report = results.write(folder, views, made.tuned.latents, lambda path: save_tuned(
            made.tuned, work.tools.generator, path, {"source": work.weights}),
            {"identity": identity, **_report(work, job, originals, made, settings), "facts": facts})
        print(_summary(folder, report))
    else:
        print(f"{folder}: kept, nothing has changed")


def _progress(what: str, step: int, steps: int) -> None:
    if step == steps or step % 50 == 0:
        click.echo(f"{what} {step}/{steps}", err=True)


def _in_styles(work: _Work, made: Inverted) -> dict[str, np.ndarray]:
    """Return {"<NN>-<style>": pictures uint8 [N, H, W, 3]} of the tuned pictures in every style."""
    from jittor_ipl.disk.names import folder_of
    from jittor_ipl.inversion.invert import drawn
    from jittor_ipl.submission.produce import load
    from jittor_ipl.weights.tuned import carried_over
    found = {}
    for entry in work.entries:
        styled = carried_over(made.tuned.generator, work.tools.generator, load(entry))
        found[folder_of(int(entry.number), entry.plan.style)] = drawn(styled, made.tuned.latents)
    return found


def _report(work: _Work, job: Mapping[str, Input], originals: np.ndarray, made: Inverted,
            settings: tuple[Projection, Tuning]) -> dict[str, Any]:
    """Return what report.json says of a result besides files and identity."""
    from jittor_ipl.inversion.distances import distances, explained, verdict
    from jittor_ipl.inversion.invert import mean_picture
    mean = mean_picture(work.tools.generator, settings[0])
    by_stage = {stage: distances(work.extractor, originals, images) for stage, images in made.stages.items()}
    shares = {stage: [explained(picture, image, mean) for picture, image in zip(originals, images)]
              for stage, images in (("codes", made.untuned), ("tuning", made.final))}
    tuned = "tuning" in made.stages
    pictures = {name: {"distances": {stage: rows[i] for stage, rows in by_stage.items()},
                       "explained": shares["codes"][i],
                       "verdict": verdict(shares["codes"][i], shares["tuning"][i] if tuned else None),
                       "alignment": one.alignment, "remarks": list(one.remarks)}
                for i, (name, one) in enumerate(job.items())}
    return {"pictures": pictures, "seconds": {stage: round(s, 2) for stage, s in made.seconds.items()},
            "measured_by": {"lpips": work.extractor.lpips.name, "identity": work.extractor.identity.name},
            "fitted_by": getattr(work.tools.network, "name", "LPIPS and squared differences"),
            "generator": work.weights, "encoder": work.encoder or "none"}


def _summary(folder: Path, report: Mapping[str, Any]) -> str:
    """Return a line a picture: how near each stage came, and whether the generator knows such pictures."""
    lines = []
    for name, facts in report["pictures"].items():
        stages = ", ".join(f"{stage} {row['psnr']:.1f} dB" if row["psnr"] is not None else f"{stage} exact"
                           for stage, row in facts["distances"].items())
        lines.append(f"{name}: {stages}; {facts['verdict']}")
    seconds = ", ".join(f"{stage} {s:.1f} s" for stage, s in report["seconds"].items())
    return "\n".join([*lines, f"{folder} ({seconds})"])

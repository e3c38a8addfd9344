"""`edit train-mapper` and `edit mapper`: StyleCLIP's latent mapper, trained for one prompt, and used on any face."""
from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jittor_ipl.commands import options
from jittor_ipl.commands.edit.faces import (
    OpenedGenerator,
    count_of,
    face_options,
    generator_options,
    open_faces,
    open_generator,
    open_mapper,
)
from jittor_ipl.commands.edit.guides import (
    DEMO_CLIPS,
    DEMO_IDENTITY,
    guide_options,
    in_units,
    of_the_demo,
    open_guides,
    open_identity,
    units_option,
)
from jittor_ipl.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable

    from jittor_ipl.editing.codes import Faces
    from jittor_ipl.editing.latent_mapper import MapperSettings
    from jittor_ipl.models.latent_mappers import LatentMapperConfig

EXAMPLES = """  python -m jittor_ipl edit train-mapper --prompt "face with curly hair"
  python -m jittor_ipl edit train-mapper --prompt "angry face" --no-fine-mapper --exp-dir runs/angry
  python -m jittor_ipl edit train-mapper --weights ffhq.pt --clip ViT-B/32 --ir-se50-weights model_ir_se50.pth \\
      --latents-train-path train_faces.pt --description "mohawk hairstyle" --no-fine-mapper"""
USE_EXAMPLES = """  python -m jittor_ipl edit mapper --mapper runs/mapper/face-with-curly-hair --seeds 0-7
  python -m jittor_ipl edit mapper --mapper runs/mapper/angry-face --latent faces.safetensors --strength 0.5
  python -m jittor_ipl edit mapper --checkpoint-path mohawk.pt --latents-test-path test_faces.pt"""
_TRAINING = {"cls": options.Option, "heading": "the training (StyleCLIP's numbers)"}
_NETWORK = {"cls": options.Option, "heading": "the mapper"}
_RUN = {"cls": options.Option, "heading": "what is written meanwhile"}
# A 64 px generator needs few steps, and Ranger only begins to move after as many.
ON_THE_DEMO = {"steps": 80, "batch": 4, "lr": 2.0, "optimiser": "adam", "id_lambda": 0.0, "l2_lambda": 0.4}
ON_THE_DEMO_IN_S = {**ON_THE_DEMO, "l2_lambda": 0.1}          # a sum over layers, not a mean


@click.command(cls=options.Command, examples=EXAMPLES)
@generator_options
@guide_options
@click.option("--mapper-type", metavar="NAME", help="LevelsMapper or SingleMapper of W+; WithoutToRGBStyleSpaceMapper "
              "or FullStyleSpaceMapper of S.  [default: LevelsMapper, or with --work-in-stylespace "
              "WithoutToRGBStyleSpaceMapper]", **_NETWORK)
@click.option("--work-in-stylespace", "in_s", is_flag=True, help="A mapper of S codes in place of W+.", **_NETWORK)
@click.option("--no-coarse-mapper", is_flag=True, help="Leave the coarse layers (pose, shape) alone.", **_NETWORK)
@click.option("--no-medium-mapper", is_flag=True, help="Leave the medium layers (features) alone.", **_NETWORK)
@click.option("--no-fine-mapper", is_flag=True, help="Leave the fine layers (colours) alone.", **_NETWORK)
@click.option("--max-steps", "--steps", type=options.positive, metavar="N",
              help=f"Steps.  [default: 50000; {ON_THE_DEMO['steps']} for the demo's generator]", **_TRAINING)
@click.option("--batch-size", "--batch", type=options.positive, metavar="N",
              help=f"Faces a step.  [default: 2; {ON_THE_DEMO['batch']} for the demo's generator]", **_TRAINING)
@click.option("--learning-rate", "--lr", type=float, metavar="X",
              help=f"Learning rate.  [default: 0.5; {ON_THE_DEMO['lr']} for the demo's generator]", **_TRAINING)
@click.option("--optim-name", type=click.Choice(["ranger", "adam"]),
              help="Optimiser.  [default: ranger; adam for the demo's generator]", **_TRAINING)
@click.option("--clip-lambda", type=float, default=1.0, metavar="X", help="Weight of the CLIP loss.", **_TRAINING)
@click.option("--latent-l2-lambda", "l2_lambda", type=float, metavar="X", help="Weight of the mean squared change of "
              f"the codes.  [default: 0.8; {ON_THE_DEMO['l2_lambda']}, of S {ON_THE_DEMO_IN_S['l2_lambda']}, for the "
              "demo's generator]", **_TRAINING)
@click.option("--pixel-lambda", type=float, default=0.0, metavar="X",
              help="Weight of the mean squared change of the picture; 0 as published.", **_TRAINING)
@click.option("--id-lambda", type=float, metavar="X", help="Weight of the identity loss.  [default: 0.1; 0 for the "
              "demo's generator]", **_TRAINING)
@units_option
@click.option("--latents-train-path", "--latent", "latents", metavar="FILE",
              help="Train on the faces of these codes.  [default: new ones at every step]", **_TRAINING)
@click.option("--truncation", "--trunc", "--psi", type=float, metavar="PSI", help="Of new faces.  [default: the "
              "style's, else 0.7]", **_TRAINING)
@click.option("--seed", type=int, default=0, metavar="N", help="Of first weights and of faces.", **_TRAINING)
@click.option("--image-interval", type=options.positive, default=100, metavar="N", help="Steps between samples.",
              **_RUN)
@click.option("--board-interval", type=options.positive, default=10, metavar="N", help="Steps between records.",
              **_RUN)
@click.option("--save-interval", type=options.positive, default=100, metavar="N", help="Steps between checkpoints.",
              **_RUN)
@click.option("--exp-dir", "--output", "--outdir", metavar="DIR", help="Folder of the run.  "
              "[default: runs/mapper/<prompt>]")
@options.resume
@options.restart
def train(prompt: str, neutral: str, clips: tuple[str, ...], identity_file: str | None, compat: str,
          mapper_type: str | None, in_s: bool, latents: str | None, truncation: float | None, image_interval: int,
          board_interval: int, save_interval: int, exp_dir: str | None, restart: bool,
          in_deviations: bool | None, **more: Any) -> int:
    """Train a network that edits any face as a prompt says. A finished run is skipped, a stopped one goes on."""
    from jittor_ipl.config.sections import Run
    from jittor_ipl.editing.codes import faces_of_seeds
    from jittor_ipl.editing.results import slug
    from jittor_ipl.editing.train_mapper import MapperRun, train_mapper_in
    from jittor_ipl.runtime.streams import check_seed
    check_seed(more["seed"])
    _settings(more)         # a mistake is told before anything is read
    opened = open_generator(truncation=truncation, **more)
    config = _config(opened, mapper_type, in_s, compat, more)
    usual = ON_THE_DEMO_IN_S if config.of_styles else ON_THE_DEMO
    settings = _settings(more, **(usual if of_the_demo(opened) else {}))
    faces, shown = _faces(opened, latents, settings)
    guides = open_guides(opened, prompt, clips, compat, neutral)
    recogniser = open_identity(identity_file, clips, settings.id_lambda)
    read = [*(clips or DEMO_CLIPS), *([identity_file or DEMO_IDENTITY] if recogniser else []),
            *([latents] if latents else [])]
    truncation = opened.entry.plan.recipe.truncation
    shown = shown or faces_of_seeds(opened.generator, range(4), truncation, opened.center())
    run = MapperRun(prompt, neutral if compat == "none" else "", truncation, config, settings, shown, faces, guides,
                    recogniser, _hashes(read), in_units(opened, in_deviations))
    logging = Run(sample_every=image_interval, samples=len(run.shown.names), checkpoint_every=save_interval,
                  log_every=board_interval)
    folder = Path(exp_dir or Path("runs") / "mapper" / slug(prompt))
    report = train_mapper_in(run, folder, logging, restart=restart)
    print(f"{prompt}: {'finished before' if report.skipped else f'{report.seconds:.0f} s'} -> {folder}")
    return 0


def _settings(given: dict[str, Any], **defaults: Any) -> MapperSettings:
    """Return the settings of the training; `defaults` in place of the published numbers where none is given."""
    from jittor_ipl.editing.latent_mapper import MapperSettings
    names = {"max_steps": "steps", "batch_size": "batch", "learning_rate": "lr", "optim_name": "optimiser"}
    names |= {name: name for name in ("clip_lambda", "l2_lambda", "pixel_lambda", "id_lambda", "seed")}
    chosen = {ours: given[theirs] for theirs, ours in names.items() if given[theirs] is not None}
    return MapperSettings(**{**defaults, **chosen})


def _config(opened: OpenedGenerator, mapper_type: str | None, in_s: bool, compat: str,
            given: dict[str, Any]) -> LatentMapperConfig:
    """Return the numbers of the mapper; UserError for a type that there is not, or that reads the other codes."""
    from jittor_ipl.editing.latent_mapper import config_for
    from jittor_ipl.errors import nearest
    from jittor_ipl.models.latent_mappers import S_TYPES, TYPES, W_TYPES
    name = mapper_type or (S_TYPES[1] if in_s else W_TYPES[0])
    if name not in TYPES:
        raise UserError(f"no latent mapper is called {name!r}{nearest(name, TYPES)}; there are {', '.join(TYPES)}")
    if in_s and name not in S_TYPES:
        raise UserError(f"--work-in-stylespace: {name} reads W+; there are {' and '.join(S_TYPES)} of S")
    without = [level for level, option in (("course", "no_coarse_mapper"), ("medium", "no_medium_mapper"),
                                           ("fine", "no_fine_mapper")) if given[option]]
    if without and name != "LevelsMapper":
        raise UserError(f"{name} knows no levels: leave --no-{without[0].replace('course', 'coarse')}-mapper out")
    return config_for(opened.generator, name, without, "layers" if compat == "official" else "codes")


def _faces(opened: OpenedGenerator, latents: str | None,
           settings: MapperSettings) -> tuple[Callable[[int], Faces], Faces | None]:
    """Return what draws the faces of a step, and those that samples show where a file names them."""
    from jittor_ipl.editing.latent_mapper import drawn_faces, listed_faces
    if latents is None:
        return drawn_faces(opened.generator, settings, opened.entry.plan.recipe.truncation, opened.center()), None
    faces = open_faces(opened, None, latents)
    return listed_faces(faces, settings), faces.take(slice(0, 4))


def _hashes(refs: list[str]) -> list[str]:
    from jittor_ipl import clip as clip_files
    from jittor_ipl.metrics.hashes import weights_sha256
    return [weights_sha256([clip_files.find(ref) if ref in clip_files.MODELS else ref]) for ref in refs]


@click.command(cls=options.Command, examples=USE_EXAMPLES)
@face_options
@click.option("--mapper", "--checkpoint-path", "mapper_file", required=True, metavar="WHAT",
              help="Run folder of train-mapper, its mapper.safetensors, or a checkpoint of StyleCLIP's.")
@click.option("--latents-test-path", "test_latents", metavar="FILE", help="The same as --latent.")
@click.option("--strength", type=float, default=1.0, metavar="X", help="Times the published step; 0 changes nothing, "
              "a negative one goes the other way.")
@click.option("--couple-outputs", is_flag=True, expose_value=False, help="Before and after: always done.")
@click.option("--outdir", "--output", "--exp-dir", metavar="DIR",
              help="Folder of the results.  [default: edits/mapper-PROMPT]")
def command(weights: str, seeds: str | None, latent: str | None, test_latents: str | None, mapper_file: str,
            strength: float, outdir: str | None, **more: Any) -> int:
    """Edit faces with a trained mapper; StyleCLIP's released ones bring their generator along."""
    from jittor_ipl.editing.drawing import draw
    from jittor_ipl.editing.latent_mapper import edit_faces
    from jittor_ipl.editing.results import LATENTS, edit_folder, save_codes, save_edit
    from jittor_ipl.weights.latent_mapper import require_its_generator
    if not abs(strength) <= 100:
        raise UserError(f"--strength {strength} is out of range; choose -100 to 100")
    stored = open_mapper(mapper_file)
    chosen = click.get_current_context().get_parameter_source("weights").name != "DEFAULT"
    own = None if chosen or stored.generator_sha256 is not None else stored.own_generator()
    opened = open_generator(weights if own is None else str(mapper_file), **more)
    faces = open_faces(opened, seeds, latent or test_latents)
    require_its_generator(stored, [opened.generator, faces.generator])
    began = time.monotonic()
    codes, styles = edit_faces(faces, stored.mapper, strength)
    before, after = (list(draw(faces.generator, shown)) for shown in (faces.styles, styles))
    seconds = round(time.monotonic() - began, 2)
    facts = {"method": "mapper", "prompt": stored.description, "mapper": mapper_file, "strength": strength,
             "seconds": seconds}
    folder = edit_folder(outdir, "mapper", stored.description or Path(mapper_file).stem)
    shown = save_edit(folder, faces.names, before, after, facts)
    save_codes(folder / LATENTS, faces, codes)
    print(f"{stored.description or mapper_file}: {count_of(after)} in {seconds:.1f} s -> {shown}")
    return 0

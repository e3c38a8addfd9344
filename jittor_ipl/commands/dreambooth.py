"""`dreambooth`: teach a diffusion model the styles of a suite, each by a few pictures, as a LoRA."""
from __future__ import annotations

from pathlib import Path

import click

from jittor_ipl.commands import options
from jittor_ipl.commands.lora_settings import as_lora_overrides, lora_settings_options
from jittor_ipl.errors import UserError

EXAMPLES = """  python -m jittor_ipl dreambooth --style ukiyo-e
  python -m jittor_ipl dreambooth --config configs/jittor_b.yaml --style 05
  python -m jittor_ipl dreambooth --config configs/jittor_b.yaml --instance-data-dir data/mine --rank 8
  python -m jittor_ipl dreambooth --style werewolf --set lora.feature.on=true --dry-run"""


@click.command(cls=options.Command, examples=EXAMPLES)
@click.option("--config", "--config-file", default="demo_lora", metavar="SUITE",
              callback=lambda ctx, param, name: options.suite_file(name),
              help="A suite's file with method: lora, or the name of one that ships.")
@click.option("--style", "--styles", "styles", cls=options.Option, lists="--styles", metavar="NAME",
              help="A style of the suite, by name or number; may be given again, or as --styles A,B.  "
                   "[default: all of the suite]")
@options.changes
@options.runs
@options.resume
@options.restart
@options.dry_run
@lora_settings_options
def command(config: Path, styles: tuple[str, ...], changes: tuple[str, ...], output: str | None, restart: bool,
            dry_run: bool, **settings: object) -> int:
    """Teach a diffusion model styles by DreamBooth with LoRA. Finished ones are skipped. 2 when a style failed."""
    from jittor_ipl.config import choose_lora_runs, load_lora_suite, to_yaml
    from jittor_ipl.disk.layout import CONFIG
    suite = load_lora_suite(config, [*as_lora_overrides(settings), *changes])
    runs = choose_lora_runs(suite, styles)
    if dry_run:
        print("---\n".join(to_yaml(run) for run in runs), end="")
        return 0
    from jittor_ipl.diffusion.competition_data import read_style
    from jittor_ipl.submission.demo_data import data_folder
    root, data, failed = Path(output or Path("runs") / suite.suite), data_folder(suite.data), False
    for run in runs:
        folder = root / run.folder
        try:
            found = read_style(data, run.number, run.style)
            from jittor_ipl.diffusion.train_style import train_style  # heavy: after mistakes in the data
            report = train_style(run, found, folder, restart=restart and (folder / CONFIG).is_file())
        except UserError as error:
            if len(runs) == 1:
                raise
            click.echo(f"error: {error}", err=True)
            failed = True
            continue
        print(f"{run.folder}: {'finished before' if report.skipped else f'{report.seconds:.0f} s'} -> {folder}",
              flush=True)
    return 2 if failed else 0

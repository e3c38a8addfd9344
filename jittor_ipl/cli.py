"""The command line: `python -m jittor_ipl COMMAND`, and what run_all.py, test.py and train_all.sh call.

Nothing heavy is imported before a command runs: `--help` needs neither Jittor nor NumPy. Exit codes: 0 done, 1 the
verification found differences, the doctor a fault or inspect a problem, 2 a mistake of the user's, 3 one of ours, 130 stopped by Ctrl-C.
"""
from __future__ import annotations

import argparse
import importlib
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import NoReturn

from jittor_ipl import __version__
from jittor_ipl.errors import UserError, in_brief, nearest

Command = Callable[[argparse.Namespace], int]


class _Parser(argparse.ArgumentParser):
    """An argument parser that raises UserError, with the nearest option, instead of printing its usage."""

    def error(self, message: str) -> NoReturn:
        """Raise UserError for a command line that cannot be understood."""
        raise UserError(f"{message} (see {self.prog} --help)")

    def parse(self, argv: Sequence[str]) -> argparse.Namespace:
        """Parse `argv`; unknown options are refused with the nearest known one."""
        known, unknown = self.parse_known_args([_dashed(word) for word in argv])
        if unknown:
            options = {option for parser in self._parsers(known) for option in parser._option_string_actions}
            word = unknown[0].split("=")[0]
            raise UserError(f"unknown argument {word!r}{nearest(word, options)} (see {self.prog} --help)")
        return known

    def _parsers(self, known: argparse.Namespace) -> list[argparse.ArgumentParser]:
        chosen = getattr(known, "parser", None)
        return [self, chosen] if chosen else [self]


def _dashed(word: str) -> str:
    """Turn `--learning_rate=1` into `--learning-rate=1`: both spellings are right; values stay as they are."""
    name, equals, value = word.partition("=")
    return name.replace("_", "-") + equals + value if word.startswith("--") and len(word) > 2 else word


def _new_parser(prog: str, description: str, examples: str) -> _Parser:
    return _Parser(prog=prog, description=description, epilog="examples:\n" + examples, allow_abbrev=False,
                   formatter_class=argparse.RawDescriptionHelpFormatter)


def main(argv: Sequence[str] | None = None) -> int:
    """Run `python -m jittor_ipl` with `argv` (default: the process's) and return the exit code."""
    return _run(_main_parser(), argv)


def run_all(argv: Sequence[str] | None = None) -> int:
    """Run `run_all.py` and return the exit code."""
    parser = _new_parser("run_all.py", "Make every picture of a suite: weights and seeds in, results/<suite>/ out.", _RUN_ALL)
    _add_debug(parser)
    _add_build(parser)
    return _run(parser, argv)


def verify(argv: Sequence[str] | None = None) -> int:
    """Run `test.py` and return the exit code."""
    parser = _new_parser("test.py", "Regenerate recorded pictures and compare them, pixel by pixel.", _VERIFY)
    _add_debug(parser)
    _add_verify(parser)
    return _run(parser, argv)


def _run(parser: _Parser, argv: Sequence[str] | None) -> int:
    """Parse, run the command, and turn every way out into an exit code and at most one line."""
    argv = list(sys.argv[1:] if argv is None else argv)
    try:
        arguments = parser.parse(argv)
        return arguments.command(arguments)
    except UserError as error:
        return _told(argv, str(error), 2)
    except KeyboardInterrupt:
        return _told(argv, "stopped", 130)
    except BrokenPipeError:  # the reader of our output went away, as `head` does
        sys.stderr.close()
        return 141
    except OSError as error:
        return _told(argv, _of_system(error), 2)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("jittor_ipl"):
            raise
        return _told(argv, f"the Python package {error.name!r} is missing here: activate the environment that the scripts made "
                           "(source .venv/bin/activate) or run: pip install -r requirements.txt", 2)
    except Exception as error:  # noqa: BLE001 - the last line of defence: told, never hidden
        return _told(argv, f"internal fault, {type(error).__name__}: {in_brief(error)}", 3)


def _of_system(error: OSError) -> str:
    """Say what the system refused and where, without its number and with an endless path cut."""
    if error.strerror is None or error.filename is None:
        return error.strerror or str(error)
    name = str(error.filename)
    shown = name if len(name) <= 300 else name[:299] + "…"
    return f"{error.strerror}: {shown!r}"


def _told(argv: Sequence[str], message: str, code: int) -> int:
    """Print `message` as one line (with the traceback before it under --debug) and return `code`."""
    if "--debug" in argv:
        traceback.print_exc()
    hint = " (run again with --debug to see where)" if code == 3 and "--debug" not in argv else ""
    print(f"error: {' '.join(message.split())}{hint}", file=sys.stderr, flush=True)
    return code


def _main_parser() -> _Parser:
    parser = _new_parser("python -m jittor_ipl", "Text-driven image-domain adaptation on Jittor.", _MAIN)
    parser.add_argument("--version", action="version", version=f"jittor_ipl {__version__}")
    _add_debug(parser)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND", parser_class=_Parser)
    for name, add, description, examples in (
            ("adapt", _add_adapt, "Adapt a generator to the styles of a suite, or to one of them.", _ADAPT),
            ("generate", _add_generate, "Make pictures of chosen seeds.", _GENERATE),
            ("verify", _add_verify, "Regenerate recorded pictures and compare them (what test.py does).", _VERIFY),
            ("train-all", _add_train_all, "Adapt, generate, verify and show a whole suite (what train_all.sh does).", _TRAIN_ALL),
            ("summary", _add_summary, "Print the table of a suite's runs and write their contact sheet.", _SUMMARY),
            ("release", _add_release, "Fill B_weight/<suite> from finished runs (what scripts/release.sh does).", _RELEASE),
            ("evaluate", _add_evaluate, "Measure a folder of pictures: FID, KID, Inception Score, LPIPS, ...", _EVALUATE),
            ("score", _add_score, "The Jittor competition's official score of a folder of results, or parts of it.", _SCORE),
            ("inspect", _add_inspect, "Say what a weight file or folder is, and what is wrong with it.", _INSPECT),
            ("convert", _add_convert, "Write a weight file anew: safetensors in this project's names, or another program's.", _CONVERT),
            ("prompts", _add_prompts, "Check a list of prompts for stage 1, or name the lists that ship.", _PROMPTS),
            ("doctor", _add_doctor, "Look at this machine and say what mends each fault.", _DOCTOR)):
        command = commands.add_parser(name, help=description, description=description, epilog="examples:\n" + examples,
                                      allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter)
        command.set_defaults(parser=command)
        command.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
        add(command)
    return parser


def _add_debug(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")


def _positive(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) >= 1):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return int(text)


def _lazily(name: str, module: str = "actions") -> Command:
    """Return a command that imports its module only when it runs."""
    def command(arguments: argparse.Namespace) -> int:
        return getattr(importlib.import_module(f"jittor_ipl.commands.{module}"), name)(arguments)
    return command


# Familiar names of the settings, as IPL, diffusers and kohya users know them; all others go by --set key=value.
SETTINGS = {
    "--method": ("method", "ipl or nada"),
    "--seed": ("seed", "seed of both stages"),
    "--iter --steps --max-train-steps": ("generator.steps", "steps of stage 2"),
    "--learning-rate --lr": ("generator.lr", "learning rate of stage 2"),
    "--batch --train-batch-size": ("generator.batch", "images per step of stage 2"),
    "--ema-decay": ("generator.ema", "decay of the moving average of the weights"),
    "--mixing": ("generator.mixing", "probability of style mixing"),
    "--auto-layer-k": ("generator.auto_layers_k", "layers chosen when layers: auto"),
    "--auto-layer-batch": ("generator.auto_layers_batch", "images behind the choice of layers"),
    "--auto-layer-iters": ("generator.auto_layers_iters", "steps behind the choice of layers"),
    "--phase": ("generator.layers", "which layers move"),
    "--iter-mapper": ("mapper.steps", "steps of stage 1"),
    "--lr-mapper": ("mapper.lr", "learning rate of stage 1"),
    "--batch-mapper": ("mapper.batch", "latents per step of stage 1"),
    "--ctx-init": ("mapper.init", "words beside the learned prompt"),
    "--n-ctx": ("mapper.n_ctx", "learned prompt vectors"),
    "--lambda-l": ("mapper.lambda_domain", "weight of the domain loss"),
    "--lambda-src": ("mapper.lambda_source", "weight of the source loss, relative to it"),
    "--mapper": ("mapper.architecture", "ipl, transformer_v1, _v2, _v3 or levels"),
    "--prompts": ("mapper.prompts", "list of prompts: a text file, shipped or demo"),
    "--lambda-prompts": ("mapper.lambda_prompts", "weight of the loss on that list, relative to the domain loss"),
    "--lambda-direction": ("losses.directional", "weight of the directional loss"),
    "--lambda-global": ("losses.global", "weight of the global loss"),
    "--lambda-manifold": ("losses.manifold", "weight of the manifold loss"),
    "--lambda-texture": ("losses.texture", "weight of the texture loss"),
    "--lambda-patch": ("losses.patch", "weight of the patch loss"),
    "--source-class": ("source.class", "what the source's images are, in words"),
    "--frozen-gen-ckpt --pretrained-model-name-or-path": ("source.generator", "weight file of the source generator"),
    "--output-interval --sample-every": ("run.sample_every", "steps between sample grids"),
    "--save-interval --checkpointing-steps": ("run.checkpoint_every", "steps between checkpoints"),
    "--checkpoints-total-limit": ("run.keep", "checkpoints kept"),
}


def _add_adapt(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", "--config-file", default="configs/demo.yaml", help="suite file (default %(default)s)")
    parser.add_argument("--style", "--target-class", action="append", default=[], metavar="NAME",
                        help="style of the suite, may be given again (default: all)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change any setting: generator.steps=10")
    parser.add_argument("--output", "--output-dir", "--outdir", metavar="DIR", help="default runs/<suite>")
    parser.add_argument("--resume", "--resume-from-checkpoint", nargs="?", const="latest", choices=["latest"],
                        help="go on after the last checkpoint (always done; the option is accepted for habit's sake)")
    parser.add_argument("--restart", action="store_true", help="forget what the run folder holds and begin anew")
    parser.add_argument("--dry-run", "-n", action="store_true", help="print the resolved configuration and stop")
    parser.add_argument("--list", action="store_true", help="print number, folder, state and name of every style and stop")
    group = parser.add_argument_group("settings (each is short for --set)")
    for options, (key, text) in SETTINGS.items():
        group.add_argument(*options.split(), dest=f"setting:{key}", metavar="VALUE", help=f"{text} ({key})")
    parser.set_defaults(command=_lazily("adapt"))


def _add_production(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--batch", "--batch-size", type=_positive, default=8, help="pictures handed to Jittor at once (default 8)")
    parser.add_argument("--workers", type=_positive, default=1, help="processes (default 1); neither changes any pixel")


def _add_generate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--weights", "--network", "--adapted-gen-ckpt", required=True, metavar="WHAT",
                        help="run folder, B_weight/<suite>/<NN>, suite folder with --style, weight file, or demo:<name>")
    parser.add_argument("--style", help="which style of a suite folder")
    parser.add_argument("--source", help="source generator of a delta file")
    parser.add_argument("--seeds", "--seed", required=True, help="0,1,5-10")
    parser.add_argument("--truncation", "--trunc", "--truncation-psi", "--sample-truncation", type=float,
                        help="psi (default: the style's, else 0.7)")
    parser.add_argument("--noise-mode", "--noise", choices=["const", "none", "random"], help="default: the style's, else const")
    parser.add_argument("--outdir", "--output", "--output-dir", default="out", help="folder of the pictures (default %(default)s)")
    _add_production(parser)
    parser.set_defaults(command=_lazily("generate"))


def _add_build(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--weights", default="B_weight/demo", help="runs/<suite> or B_weight/<suite> (default %(default)s)")
    parser.add_argument("--seeds", help="0,1,5-10, or a JSON file {name: seed} or {\"00\": {name: seed}} (default: the configured ones)")
    parser.add_argument("--style", action="append", default=[], help="only this style, by name or number; may be given again")
    parser.add_argument("--output", "--outdir", "--output-dir", default="results", help="root of the results (default %(default)s)")
    parser.add_argument("--zip", nargs="?", const="", metavar="FILE", help="pack a submission too (default results/<suite>.zip)")
    _add_production(parser)
    parser.set_defaults(command=_lazily("build"))


def _add_verify(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--weights", default="B_weight", help="B_weight, one suite in it, or runs/<suite> (default %(default)s)")
    parser.add_argument("--results", default="results", help="where the record of runs/<suite> is (default %(default)s)")
    parser.add_argument("--style", action="append", default=[], help="only this style, by name or number; may be given again")
    parser.add_argument("--sample", type=_positive, metavar="N", help="only N pictures of each suite, always the same ones")
    parser.add_argument("--json", metavar="FILE", help="write the outcome as JSON too")
    _add_production(parser)
    parser.set_defaults(command=_lazily("verify"))


def _add_train_all(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", default="configs/demo.yaml", help="suite file (default %(default)s)")
    parser.add_argument("--styles", default="", metavar="A,B", help="only these styles")
    parser.add_argument("--method", default="", help="ipl or nada (default: the suite's)")
    parser.add_argument("--gpus", default="", metavar="0,1", help="one process per GPU (default: the CPU)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change any setting")
    parser.set_defaults(command=_lazily("train_all"))


def _add_summary(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", default="configs/demo.yaml", help="suite file (default %(default)s)")
    parser.add_argument("--style", action="append", default=[], help="only this style; may be given again")
    parser.add_argument("--runs", metavar="DIR", help="default runs/<suite>")
    parser.add_argument("--results", metavar="DIR", help="default results/<suite>")
    parser.add_argument("--verified", metavar="FILE", help="what test.py --json wrote")
    parser.add_argument("--sheet", metavar="FILE", help="write the contact sheet here")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    parser.set_defaults(command=_lazily("summary"))


def _add_release(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--runs", default="runs/demo", help="finished runs (default %(default)s)")
    parser.add_argument("--output", default="B_weight", help="root of the releases (default %(default)s)")
    parser.add_argument("--exact", action="store_true", help="store float32 values instead of float16 differences")
    parser.add_argument("--limit-mib", type=float, default=25.0, help="largest size of a suite (default %(default)s)")
    _add_production(parser)
    parser.set_defaults(command=_lazily("release"))


def _add_evaluate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--images", "--input1", required=True, metavar="DIR", help="the pictures that are measured")
    parser.add_argument("--reference", "--input2", metavar="DIR", help="pictures of the target domain: FID, KID, SIFID; or FID's statistics, an .npz with mu and sigma")
    parser.add_argument("--source", metavar="DIR", help="the same pictures before, under the same names: SCS, identity, LPIPS, PSNR, SSIM")
    parser.add_argument("--prompt", metavar="TEXT", help="what the pictures should show: CLIP score")
    parser.add_argument("--source-prompt", metavar="TEXT", help="what the pictures before show: CLIP direction similarity")
    parser.add_argument("--metrics", metavar="LIST", help="is,fid,kid,sifid,intra-lpips,intra-lpips-reference,scs,id,lpips,psnr,"
                        "ssim,clip,clip-direction (default: all that the sets allow)")
    group = parser.add_argument_group("networks (docs/metrics.md says which files)")
    group.add_argument("--features", default="demo", choices=["demo", "demo:pets"],
                       help="judge that stands in for absent networks (default %(default)s)")
    group.add_argument("--inception", metavar="FILE", help="Inception v3 of FID")
    group.add_argument("--lpips", metavar="FILE", help="LPIPS: one file, or heads and network as FILE,FILE")
    group.add_argument("--arcface", metavar="FILE", help="IR-SE50")
    group.add_argument("--clip", metavar="FILE", help="a CLIP, or demo:<name>")
    parser.add_argument("--batch", "--batch-size", type=_positive, default=32, help="pictures handed to a network at once (default 32)")
    parser.add_argument("--seed", type=int, default=2020, help="of the splits and subsets (default 2020, torch-fidelity's)")
    parser.add_argument("--size", type=_positive, metavar="N", help="cut every picture to its square and resize it to N x N first")
    parser.add_argument("--skip-bad", action="store_true", help="leave damaged pictures out, and count them")
    parser.add_argument("--cache", metavar="DIR", help="keep features here between runs")
    parser.add_argument("--json", metavar="FILE", help="write figures and protocol as JSON")
    parser.add_argument("--markdown", metavar="FILE", help="write the printed report")
    parser.set_defaults(command=_lazily("evaluate", "score"))


def _add_score(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--results", required=True, metavar="DIR", help="generated pictures: DIR/<NN>/<prompt>.png")
    parser.add_argument("--references", required=True, metavar="DIR", help="style pictures: DIR/<NN>/images/* or DIR/<NN>/*")
    parser.add_argument("--parts", metavar="LIST", help="dino,hist,lpips,fid,clip-r,clip-iqa (default: all; the total needs all)")
    parser.add_argument("--words", metavar="FILE", help="CLIP-R's list of words, one per line")
    parser.add_argument("--dino", metavar="FILE", help="facebook/dinov2-base, file or folder")
    parser.add_argument("--lpips", metavar="FILE,FILE", help="squeeze.pth,squeezenet1_1-b8a52dc0.pth, or one file with both")
    parser.add_argument("--inception", metavar="FILE", help="Inception v3 of FID")
    parser.add_argument("--clip-r", metavar="FILE", help="openai/clip-vit-large-patch14, file or folder")
    parser.add_argument("--clip-iqa", metavar="FILE", help="OpenAI's RN50.pt")
    parser.add_argument("--skip-bad", action="store_true", help="leave damaged pictures out, count them, withhold the total")
    parser.add_argument("--json", metavar="FILE", help="write parts, total and protocol as JSON")
    parser.add_argument("--markdown", metavar="FILE", help="write them as a Markdown table")
    parser.set_defaults(command=_lazily("score", "score"))


def _add_inspect(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", metavar="FILE|FOLDER", help="weight file, folder of one or several networks, or demo:<name>")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the text")
    parser.add_argument("--all", action="store_true", help="print every tensor and every problem")
    parser.add_argument("--keys", metavar="PATTERN", help="list the tensors whose names match, such as '*.weight'")
    parser.add_argument("--container", metavar="KEY", help="of a checkpoint with several networks the one under this key")
    parser.set_defaults(command=_lazily("inspect", "inspect"))


def _add_convert(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", metavar="FILE|FOLDER", help="weight file, folder of one or several networks, or demo:<name>")
    parser.add_argument("--to", required=True, metavar="DIR", help="folder of the new files, made when missing")
    parser.add_argument("--as", dest="dialect", default="ours", metavar="DIALECT",
                        help="whose names: ours (default), rosinality, ipl, openai, huggingface, diffusers-lora, kohya-lora")
    parser.add_argument("--format", choices=["safetensors", "pt"], default="safetensors", help="file format (default %(default)s)")
    parser.add_argument("--dtype", choices=["float32", "float16", "bfloat16"], help="type of the floating-point tensors (default: as they are, bfloat16 as float32)")
    parser.add_argument("--container", metavar="KEY", help="of a checkpoint with several networks the one under this key")
    parser.add_argument("--name", metavar="NAME", help="name of the new file without ending (default: the source's)")
    parser.add_argument("--overwrite", action="store_true", help="replace a file of that name")
    parser.set_defaults(command=_lazily("convert", "inspect"))


def _add_prompts(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(title="actions", required=True, metavar="ACTION", parser_class=_Parser)
    check = actions.add_parser("check", allow_abbrev=False, help="count, compare and measure the prompts of a list")
    check.add_argument("file", metavar="FILE", help="text file with one prompt per line, shipped or demo")
    check.add_argument("--style", "--target-class", metavar="NAME", help="what {} stands for, and what the prompts should name")
    check.add_argument("--clip", metavar="FILE", help="say how much of the list this CLIP understands, such as demo:clip-local")
    check.set_defaults(parser=check, command=_lazily("check", "prompts"))
    listing = actions.add_parser("list", allow_abbrev=False, help="name the styles that a list ships for")
    listing.set_defaults(parser=listing, command=_lazily("show", "prompts"))
    for action in (check, listing):
        action.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)


def _add_doctor(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--deep", action="store_true", help="also compile and run a kernel; prepares Jittor (minutes when new)")
    parser.add_argument("--quiet", action="store_true", help="print faults only")
    parser.set_defaults(command=_lazily("doctor"))


_MAIN = """  python -m jittor_ipl doctor
  python -m jittor_ipl adapt --style disney
  python -m jittor_ipl generate --weights runs/demo/00-disney --seeds 0-7
  python -m jittor_ipl verify --sample 10"""
_ADAPT = """  python -m jittor_ipl adapt --config configs/demo.yaml --style disney
  python -m jittor_ipl adapt --style "anime painting" --method nada --set generator.steps=60
  python -m jittor_ipl adapt --style werewolf --learning-rate 0.002 --dry-run"""
_GENERATE = """  python -m jittor_ipl generate --weights runs/demo/00-disney --seeds 0-7 --outdir out
  python -m jittor_ipl generate --weights B_weight/demo --style cubism --seeds 3,5 --trunc 1
  python -m jittor_ipl generate --network demo:generator --seeds 0,1,5-10 --noise-mode random"""
_VERIFY = """  python test.py
  python test.py --sample 10
  python test.py --weights runs/demo"""
_RUN_ALL = """  python run_all.py
  python run_all.py --weights runs/demo --zip
  python run_all.py --weights B_weight/demo --seeds 0-99 --workers 2"""
_TRAIN_ALL = """  python -m jittor_ipl train-all --styles disney,cubism
  python -m jittor_ipl train-all --config configs/ffhq.yaml --gpus 0,1"""
_SUMMARY = """  python -m jittor_ipl summary --sheet results/demo-sheet.png"""
_RELEASE = """  python -m jittor_ipl release --runs runs/demo"""
_EVALUATE = """  python -m jittor_ipl evaluate --images out --metrics is,intra-lpips
  python -m jittor_ipl evaluate --images adapted --reference target --source photos --json figures.json
  python -m jittor_ipl evaluate --images a --reference b --metrics fid,kid --inception pt_inception-2015-12-05-6726825d.pth
  python -m jittor_ipl evaluate --images adapted --source photos --prompt "a disney" --source-prompt "a photo" --clip ViT-B-32.pt"""
_SCORE = """  python -m jittor_ipl score --results results/A --references data/A --parts hist
  python -m jittor_ipl score --results results/A --references data/A --dino dinov2-base/ --inception inception.pth \\
      --lpips squeeze.pth,squeezenet1_1.pth --clip-r clip-vit-large-patch14/ --clip-iqa RN50.pt --words words.txt"""
_INSPECT = """  python -m jittor_ipl inspect stylegan2-ffhq-config-f.pt
  python -m jittor_ipl inspect clip-vit-base-patch32/ --keys "visual*" --all
  python -m jittor_ipl inspect demo:generator --json"""
_CONVERT = """  python -m jittor_ipl convert stylegan2-ffhq-config-f.pt --to weights
  python -m jittor_ipl convert ffhq.pkl --to weights --as rosinality --format pt
  python -m jittor_ipl convert lora.safetensors --to weights --as kohya-lora --dtype float16"""
_PROMPTS = """  python -m jittor_ipl prompts list
  python -m jittor_ipl prompts check my-elves.txt --style "tolkien elf"
  python -m jittor_ipl prompts check demo --style disney --clip demo:clip-local"""
_DOCTOR = """  python -m jittor_ipl doctor
  python -m jittor_ipl doctor --deep"""

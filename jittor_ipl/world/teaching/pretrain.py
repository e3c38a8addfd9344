"""Rebuild the demo world's assets with this project's own code: `python -m jittor_ipl.world.teaching.pretrain PART`.

Every part is resumable (checkpoints in `runs/pretrain/<part>/`) and ends by writing its asset and its measured figures
(`report.json` beside the asset's metadata). Training faces, judge faces and test faces come from different streams.
"""
from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from jittor_ipl.config.sections import Run
from jittor_ipl.diffusion.teacher import load_teacher
from jittor_ipl.disk import atomic
from jittor_ipl.disk.layout import CHECKPOINTS, REPORT
from jittor_ipl.models.lora import merge
from jittor_ipl.models.strict import load_into, numpy_tensors
from jittor_ipl.train.checkpoint import Checkpoints
from jittor_ipl.train.stage import Stage
from jittor_ipl.weights.containers.safetensors import read_safetensors, write_safetensors
from jittor_ipl.weights.diffusion import load_diffusion, save_diffusion
from jittor_ipl.weights.generator import generator_sha256, load_generator
from jittor_ipl.weights.lora import BASE_KEY, LoraModule, from_tensors, read_lora_for, write_lora
from jittor_ipl.weights.network import read_network
from jittor_ipl.world.judging.judge import ASSETS
from jittor_ipl.world.subjects import SUBJECTS
from jittor_ipl.world.teaching import (
    pool,
    pretrain_clip,
    pretrain_diffusion,
    pretrain_encoder,
    pretrain_generator,
    pretrain_judge,
    pretrain_pets,
    pretrain_shape,
    pretrain_vae,
)

WORK = Path("runs/pretrain")
SETTINGS = Run(checkpoint_every=200, log_every=50, tensorboard=False)
TEST_FACES = 128                  # of the shape judge's, which are drawn anew and not kept
ZERO_BITS = 4                     # of the ten stored bits of a float16's fraction
# Name: faces, each in all styles of its subject.
POOLS = {"clip": 4000, "diffusion": 6000, "judge": 2500, "test": 150, "pets-clip": 3000, "pets-diffusion": 2000,
         "pets-judge": 3000, "pets-test": 256}


def main(arguments: list[str] | None = None) -> None:
    """Train the named parts (default: all; a finished one is only measured again) and print their figures."""
    parser = argparse.ArgumentParser(prog="python -m jittor_ipl.world.teaching.pretrain", description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="parts to make (default: all)")
    parser.add_argument("--pools", action="store_true", help="only render the shared pictures")
    parser.add_argument("--work", type=Path, default=WORK, help="folder for checkpoints and logs")
    parser.add_argument("--assets", type=Path, default=ASSETS, help="folder the assets are written to")
    parser.add_argument("--adapted", type=Path, default=Path("runs/demo_clip"),
                        help="runs or release whose generators, where CLIP alone taught them, judge-shape says no to")
    parser.add_argument("--report", type=Path, help="only write the finished parts' figures as Markdown to this file")
    parser.add_argument("--scale", type=float, default=1.0, help="shorten every training, e.g. 0.01 for a trial")
    options = parser.parse_args(arguments)
    if options.pools:
        for name in POOLS:
            shared_pool(name, options)
        return
    if options.report:
        atomic.write_bytes(options.report, report(options.work).encode())
        return
    for part in options.parts or PARTS:
        began = time.monotonic()
        figures = PARTS[part](part, options)
        figures["seconds"] = round(time.monotonic() - began, 1)
        atomic.make_folder(options.assets)
        atomic.write_json(options.work / part / REPORT, figures)
        print(json.dumps({part: figures}, indent=1), flush=True)


def report(work: Path) -> str:
    """The figures of all finished parts in `work` as a Markdown list."""
    lines = ["# What the demo world's networks reach", "", "On pictures of faces that no training saw. Made by "
             "`python -m jittor_ipl.world.teaching.pretrain --report docs/demo_networks.md`; seconds are those of a "
             "part's last sitting.", ""]
    for part in PARTS:
        path = work / part / REPORT
        if path.exists():
            figures = json.loads(path.read_text(encoding="utf-8"))
            shown = ", ".join(f"{name} {value:.1f}" if name.startswith(("psnr", "seconds")) else
                              f"{name} {value:.4f}" if name.startswith("error") else f"{name} {value:.1%}"
                              for name, value in figures.items())
            lines.append(f"- **{part}**: {shown}")
    return "\n".join(lines) + "\n"


def _clip(part: str, options) -> dict:
    recipe = _scaled(pretrain_clip.RECIPES[part], options.scale)
    words = pretrain_clip.Vocabulary()
    faces = [shared_pool(f"{subject.prefix}clip", options) for subject, _, _ in pretrain_clip.SUBJECTS]
    with _stage(part, options, recipe) as stage:
        origin = None
        if recipe.origin and stage.state is None:
            latest = Checkpoints(options.work / recipe.origin / CHECKPOINTS).latest()
            assert latest is not None, f"train {recipe.origin} first: other parts start from it"
            origin = latest.tensors("state")
        clip = pretrain_clip.train(recipe, faces, words, origin, stage)
    folder = options.work / part if recipe.stage else options.assets
    _write_asset(folder / f"{part}.safetensors", "clip", clip, {**clip.config(), "vocab_size": 49408},
                 {"token_embedding.rows": words.rows.astype(np.int32)})
    figures = {}
    for subject, language, _ in pretrain_clip.SUBJECTS:
        seen = pretrain_clip.zero_shot(clip, words, shared_pool(f"{subject.prefix}test", options), language)
        figures |= {f"{name} of {subject.name}": value for name, value in seen.items()}
    return figures


def _judge(part: str, options) -> dict:
    recipe = _scaled(pretrain_judge.RECIPES[part], options.scale)
    prefix = SUBJECTS[recipe.subject].prefix
    faces = shared_pool(f"{prefix}judge", options)
    with _stage(part, options, recipe) as stage:
        judge = pretrain_judge.train(recipe, faces, stage)
    _write_asset(options.assets / f"{part}.safetensors", "judge", judge, judge.config())
    return pretrain_judge.evaluate(judge, shared_pool(f"{prefix}test", options))


def _shape(part: str, options) -> dict:
    recipe, vae = _scaled(pretrain_shape.RECIPES[part], options.scale), load_diffusion("demo:diffusion").vae

    def shapes(faces: int, first: int) -> pretrain_shape.Shapes:
        z = pretrain_shape.latents(faces, first)
        adapted = pretrain_shape.adapted_by_clip(options.adapted, z)
        if absent := [style for style in pretrain_shape.STYLES if style not in adapted]:
            print(f"{options.adapted} has no generator that CLIP alone taught {', '.join(absent)}: photos stand in",
                  file=sys.stderr, flush=True)
        return pretrain_shape.render(z, vae, adapted, first)
    with _stage(part, options, recipe) as stage:
        judge = pretrain_shape.train(recipe, shapes(recipe.faces, pretrain_shape.FIRST_SEED), stage)
    _write_asset(options.assets / f"{part}.safetensors", "judge", judge, judge.config())
    faces = max(4, int(TEST_FACES * min(1.0, options.scale * 4)))
    return pretrain_shape.evaluate(judge, shapes(faces, pretrain_shape.FIRST_TEST_SEED))


def _generator(part: str, options) -> dict:
    recipe = _scaled(pretrain_generator.RECIPES[part], options.scale)
    with _stage(part, options, recipe) as stage:
        generator = pretrain_generator.train(recipe, stage)
    _write_asset(options.assets / f"{part}.safetensors", "stylegan2", generator, generator.config.to_json())
    return pretrain_generator.evaluate(generator, SUBJECTS[recipe.subject])


def _encoder(part: str, options) -> dict:
    recipe, path = _scaled(pretrain_encoder.RECIPES[part], options.scale), options.assets / "generator.safetensors"
    generator = load_generator(path if path.exists() else "demo:generator")
    with _stage(part, options, recipe) as stage:
        encoder = pretrain_encoder.train(recipe, generator, stage)
    _write_asset(options.assets / f"{part}.safetensors", "compact-encoder", encoder, encoder.config.to_json(),
                 facts={"source_sha256": generator_sha256(generator)})
    return pretrain_encoder.evaluate(encoder, generator)


def _decoder(part: str, options) -> dict:
    recipe = _scaled(pretrain_vae.RECIPES[part], options.scale)
    with _stage(part, options, recipe) as stage:
        vae = pretrain_vae.train(recipe, shared_pool("diffusion", options), stage)
    write_safetensors(_decoder_path(options.work), numpy_tensors(vae),
                      {"kind": "vae", "config": json.dumps(vae.config.to_json(), sort_keys=True)})
    return pretrain_vae.evaluate(vae, shared_pool("test", options))


def _diffusion(part: str, options) -> dict:
    path = _decoder_path(options.work)
    if not path.exists():
        print(json.dumps({"diffusion-decoder": _decoder("diffusion-decoder", options)}, indent=1), flush=True)
    recipe = _scaled(pretrain_diffusion.RECIPES[part], options.scale)
    faces = shared_pool("diffusion", options)
    vae = pretrain_vae.with_encoder(pretrain_vae.RECIPES["diffusion-decoder"], faces)
    load_into(vae, read_network(path, kind="vae").tensors, source=str(path))
    with _stage(part, options, recipe) as stage:
        origin = load_diffusion(f"{options.assets / recipe.origin}") if recipe.origin else None
        unet, text, codec = pretrain_diffusion.train(recipe, vae, faces, stage, origin)
    save_diffusion(options.assets / part, unet, vae, text, codec, pretrain_diffusion.SCHEDULER, overwrite=True)
    return pretrain_diffusion.evaluate(recipe, unet, text, codec, vae, shared_pool("test", options))


def _pets_decoder(part: str, options) -> dict:
    recipe, model = _scaled(pretrain_pets.RECIPES[part], options.scale), load_diffusion(_portraits(options))
    vae = model.vae
    with _stage(part, options, recipe) as stage:
        lora = pretrain_pets.train_decoder(recipe, vae, shared_pool("pets-diffusion", options), stage)
    write_safetensors(_pets_decoder_path(options.work), lora, {"kind": "lora", "config": "{}", BASE_KEY: model.sha256})
    merge({"vae": vae}, ((name, module.delta()) for name, module in from_tensors(lora).items()))
    return pretrain_vae.evaluate(vae, shared_pool("pets-test", options))


def _pets_teacher(part: str, options) -> dict:
    decoder, base = _pets_decoder_path(options.work), load_teacher(_portraits(options))
    if not decoder.exists() or read_safetensors(decoder)[1].get(BASE_KEY) != base.model.sha256:
        print(json.dumps({"pets-decoder": _pets_decoder("pets-decoder", options)}, indent=1), flush=True)
    recipe = _scaled(pretrain_pets.RECIPES[part], options.scale)
    with _stage(part, options, recipe) as stage:
        words = pretrain_pets.train_words(recipe, base, shared_pool("pets-diffusion", options), options.work / part,
                                          stage)
    lora = {**read_lora_for(base.model, words), **from_tensors(read_safetensors(decoder)[0])}
    asset = options.assets / f"{part}.safetensors"
    atomic.make_folder(options.assets)
    write_lora(asset, {name: LoraModule(_stored(module.down), _stored(module.up), module.alpha)
                       for name, module in lora.items()}, {BASE_KEY: base.model.sha256})
    test = shared_pool("pets-test", options)
    teacher = load_teacher(_portraits(options), base_lora=str(asset))
    return pretrain_pets.evaluate(teacher, pool.Pool(test.images[:48], test.labels[:48]))


def _portraits(options) -> str:
    """The model that learns pets: the one among these assets, else the one that ships."""
    made = options.assets / "diffusion-all"
    return str(made) if made.exists() else "demo:diffusion-all"


def _pets_decoder_path(work: Path) -> Path:
    return work / "pets-decoder" / "lora.safetensors"


def _decoder_path(work: Path) -> Path:
    return work / "diffusion-decoder" / "vae.safetensors"


PARTS = {**dict.fromkeys(pretrain_judge.RECIPES, _judge), **dict.fromkeys(pretrain_clip.RECIPES, _clip),
         **dict.fromkeys(pretrain_generator.RECIPES, _generator), **dict.fromkeys(pretrain_encoder.RECIPES, _encoder),
         **dict.fromkeys(pretrain_vae.RECIPES, _decoder),
         **dict.fromkeys(pretrain_diffusion.RECIPES, _diffusion), **dict.fromkeys(pretrain_shape.RECIPES, _shape),
         "pets-decoder": _pets_decoder, "pets-teacher": _pets_teacher}


def shared_pool(name: str, options) -> pool.Pool:
    """The pool `name` at this scale, rendered once and kept in the work folder."""
    faces = max(64, int(POOLS[name] * min(1.0, options.scale * 4)))
    path = options.work / f"pool-{name}-{faces}.npz"
    if path.exists():
        stored = np.load(path, allow_pickle=False)
        return pool.Pool(stored["images"], stored["labels"])
    subject = SUBJECTS["pets" if name.startswith("pets-") else "portraits"]
    made = pool.build(7, f"faces of {name}", faces, subject=subject)
    atomic.make_folder(options.work)
    with atomic.staged(path) as staging, open(staging, "wb") as file:
        np.savez(file, images=made.images, labels=made.labels)
    return made


def _stage(part: str, options, recipe) -> Stage:
    """The harness of one part's training; its checkpoints lie in `<work>/<part>/checkpoints/`."""
    return Stage(options.work / part, part, recipe.steps, SETTINGS, checkpoints=options.work / part / CHECKPOINTS)


def _write_asset(path: Path, kind: str, network, config: dict, more: dict[str, np.ndarray] | None = None,
                 facts: dict[str, str] | None = None) -> None:
    tensors = {name: _stored(value) for name, value in numpy_tensors(network).items()}
    write_safetensors(path, {**tensors, **(more or {})},
                      {"kind": kind, "config": json.dumps(config, sort_keys=True), **(facts or {})})


def _scaled(recipe, scale: float):
    """The recipe with its step counts (and the generator's faces) shortened to the share `scale`."""
    counts = ("steps", "mapping_steps", "faces")
    shorter = {name: max(2, int(getattr(recipe, name) * scale)) for name in counts if getattr(recipe, name, 0)}
    return recipe if scale == 1 else replace(recipe, **shorter)


def _stored(value: np.ndarray) -> np.ndarray:
    """Float16 of seven significant bits where that is exact enough for an asset: weights of at least two axes.

    An error of 0.8 % at most in a weight costs neither judges nor generators anything that can be measured, and a file
    whose last bits are zero packs to 72 %.
    """
    if value.ndim < 2 or value.dtype != np.float32:
        return value
    bits = value.astype(np.float16).view(np.uint16)
    return ((bits + np.uint16(1 << ZERO_BITS >> 1)) & np.uint16(0xFFFF << ZERO_BITS & 0xFFFF)).view(np.float16)


if __name__ == "__main__":
    main()

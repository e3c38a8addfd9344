"""What `evaluate` does, from parsed arguments to an exit code."""
from __future__ import annotations

import sys
from argparse import Namespace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jittor_ipl.metrics.extract import Extractor


def evaluate(arguments: Namespace) -> int:
    """Print the figures of a folder of pictures and how they were taken."""
    from jittor_ipl.metrics import report
    from jittor_ipl.metrics.catalogue import METRICS
    from jittor_ipl.metrics.evaluate import choose, measure
    from jittor_ipl.metrics.image_set import from_folder
    from jittor_ipl.runtime.streams import check_seed
    metrics = [key.strip() for key in arguments.metrics.split(",")] if arguments.metrics is not None else None
    check_seed(arguments.seed)
    given = _given(arguments)
    chosen = choose(metrics, given)                     # a mistake is told before anything is read
    sets = {label: from_folder(folder, label, skip_bad=arguments.skip_bad, size=arguments.size)
            for label, folder in (("images", arguments.images), ("reference", arguments.reference), ("source", arguments.source))
            if folder}
    for label, part in sets.items():
        for fault in part.skipped:
            print(f"left out of {label}: {fault}", file=sys.stderr)
    wanted = {METRICS[key].network for key in chosen}
    wanted |= {"inception", "lpips"} if metrics is None else set()
    result = measure(**sets, extractor=_extractor(arguments, "clip" in wanted), metrics=metrics, prompt=arguments.prompt,
                     source_prompt=arguments.source_prompt, seed=arguments.seed, batch=arguments.batch, cache=arguments.cache)
    print(report.markdown(result), end="")
    report.write(result, arguments.json, arguments.markdown)
    return 0


def _given(arguments: Namespace) -> dict[str, bool]:
    """Return which inputs of `metrics.catalogue.Metric.needs` the arguments hold; --clip may be left to the demo's."""
    given = {"images": True, "reference": bool(arguments.reference), "source": bool(arguments.source), "prompt": bool(arguments.prompt)}
    return {**given, "prompts": given["source"] and given["prompt"] and bool(arguments.source_prompt)}


def _extractor(arguments: Namespace, with_clip: bool) -> "Extractor":
    """Return the networks of the files that are named, the demo judge for the others."""
    from dataclasses import replace

    from jittor_ipl.metrics import networks
    from jittor_ipl.world.features import CLIP, demo_extractor
    from jittor_ipl.world.subjects import SUBJECTS
    subject = SUBJECTS[arguments.features.partition(":")[2] or "portraits"]
    found = demo_extractor(subject, clip=None)
    if arguments.inception:
        found = replace(found, inception=networks.InceptionFeatures(arguments.inception))
    if arguments.lpips:
        found = replace(found, lpips=networks.PerceptualEmbedding(arguments.lpips.split(",")))
    if arguments.arcface:
        found = replace(found, identity=networks.IdentityFeatures(arguments.arcface))
    return replace(found, clip=networks.ClipFeatures(arguments.clip or CLIP)) if with_clip else found

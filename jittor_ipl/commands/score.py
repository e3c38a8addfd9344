"""What `evaluate` and `score` do, from parsed arguments to an exit code."""
from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable
from typing import TYPE_CHECKING

from jittor_ipl.errors import UserError, nearest

if TYPE_CHECKING:
    from jittor_ipl.metrics.competition import Style
    from jittor_ipl.metrics.extract import Extractor

# What each part of the score needs: the option and what to put there.
_SCORE_FILES = {"dino": {"dino": "facebook/dinov2-base (model.safetensors)"}, "hist": {},
                "lpips": {"lpips": "squeeze.pth of the lpips package and squeezenet1_1-b8a52dc0.pth, separated by a comma"},
                "fid": {"inception": "pt_inception-2015-12-05-6726825d.pth"},
                "clip_r": {"clip_r": "openai/clip-vit-large-patch14", "words": "the list of words, one per line (officially 215)"},
                "clip_iqa": {"clip_iqa": "OpenAI's RN50.pt"}}


def evaluate(arguments: Namespace) -> int:
    """Print the figures of a folder of pictures and how they were taken."""
    from jittor_ipl.metrics import report
    from jittor_ipl.metrics.catalogue import METRICS
    from jittor_ipl.metrics.evaluate import choose, measure
    from jittor_ipl.metrics.image_set import from_folder
    from jittor_ipl.metrics.statistics import SUFFIX, read_statistics
    from jittor_ipl.runtime.streams import check_seed
    metrics = [key.strip() for key in arguments.metrics.split(",")] if arguments.metrics is not None else None
    check_seed(arguments.seed)
    given = _given(arguments)
    statistics = (arguments.reference or "").endswith(SUFFIX)
    chosen = choose(metrics, given, statistics=statistics)      # a mistake is told before anything is read
    folders = {"images": arguments.images, "reference": None if statistics else arguments.reference, "source": arguments.source}
    sets = {label: from_folder(folder, label, skip_bad=arguments.skip_bad, size=arguments.size)
            for label, folder in folders.items() if folder}
    for label, part in sets.items():
        for fault in part.skipped:
            print(f"left out of {label}: {fault}", file=sys.stderr)
    if statistics:
        sets["reference"] = read_statistics(arguments.reference)
    extractor = _extractor(arguments, any(METRICS[key].network == "clip" for key in chosen))
    result = measure(**sets, extractor=extractor, metrics=metrics, prompt=arguments.prompt, source_prompt=arguments.source_prompt,
                     seed=arguments.seed, batch=arguments.batch, cache=arguments.cache)
    print(report.markdown(result), end="")
    report.write_report(result, report.markdown(result), arguments.json, arguments.markdown)
    return 0


def _given(arguments: Namespace) -> dict[str, bool]:
    """Return which inputs of `metrics.catalogue.Metric.needs` the arguments hold; --clip may be left to the demo's."""
    given = {"images": True, "reference": bool(arguments.reference), "source": bool(arguments.source), "prompt": bool(arguments.prompt)}
    return {**given, "prompts": given["source"] and given["prompt"] and bool(arguments.source_prompt)}


def _extractor(arguments: Namespace, with_clip: bool) -> "Extractor":
    """Return the networks of the files that are named, the demo judge for the others."""
    from jittor_ipl.world.judging.features import CLIP, extractor_of
    from jittor_ipl.world.subjects import SUBJECTS
    return extractor_of(SUBJECTS[arguments.features.partition(":")[2] or "portraits"], arguments.inception,
                        arguments.lpips.split(",") if arguments.lpips else (), arguments.arcface,
                        (arguments.clip or CLIP) if with_clip else None)


def score(arguments: Namespace) -> int:
    """Print the competition's score, or those parts of it that the given files allow."""
    from jittor_ipl.metrics import competition
    from jittor_ipl.metrics.report import write_report
    wanted = competition.PARTS if arguments.parts is None else [part.strip().replace("-", "_") for part in arguments.parts.split(",")]
    for part in wanted:
        if part not in competition.PARTS:
            raise UserError(f"the score has no part {part!r}{nearest(part, competition.PARTS)}; choose from {', '.join(competition.PARTS)}")
    styles, skipped = competition.decodable(competition.find_styles(arguments.results, arguments.references), arguments.skip_bad)
    for fault in skipped:
        print(f"left out: {fault}", file=sys.stderr)
    missing, parts = {}, {}
    words = competition.read_words(arguments.words) if arguments.words and "clip_r" in wanted else None     # before hours of work
    for part in competition.PARTS:
        lacking = {option: what for option, what in _SCORE_FILES[part].items() if not getattr(arguments, option)}
        if part not in wanted:
            missing[part] = "not asked for"
        elif lacking:
            missing[part] = "; ".join(f"--{option.replace('_', '-')} is not given: {what}" for option, what in lacking.items())
        else:
            parts[part] = _clip_r(styles, words, arguments) if part == "clip_r" else _PARTS[part](styles, arguments)
    result = competition.report(styles, parts, missing, _score_weights(arguments, parts),
                                len(words) if "clip_r" in parts else None, skipped)
    print(competition.text_of(result))
    write_report(result, competition.markdown(result), arguments.json, arguments.markdown)
    return 0


def _score_weights(arguments: Namespace, parts: dict[str, float]) -> dict[str, str]:
    from jittor_ipl.metrics.hashes import weights_sha256
    named = {option: getattr(arguments, option) for part in parts for option in _SCORE_FILES[part]}
    return {option: weights_sha256(ref.split(",") if option == "lpips" else [ref]) for option, ref in named.items()}


def _dino(styles: "list[Style]", arguments: Namespace) -> float:
    from jittor_ipl.metrics import competition, scorers
    return competition.dino(styles, scorers.dino_feature(arguments.dino))


def _hist(styles: "list[Style]", arguments: Namespace) -> float:
    from jittor_ipl.metrics import competition
    return competition.hist(styles)


def _lpips(styles: "list[Style]", arguments: Namespace) -> float:
    from jittor_ipl.metrics import competition, scorers
    return competition.lpips(styles, scorers.lpips_embedding(arguments.lpips.split(",")))


def _fid(styles: "list[Style]", arguments: Namespace) -> float:
    from jittor_ipl.metrics import competition, scorers
    return competition.fid(styles, scorers.fid_feature(arguments.inception))


def _clip_r(styles: "list[Style]", words: list[str], arguments: Namespace) -> float:
    from jittor_ipl.metrics import competition, scorers
    return competition.clip_r(styles, words, *scorers.clip_r_features(arguments.clip_r))


def _clip_iqa(styles: "list[Style]", arguments: Namespace) -> float:
    from jittor_ipl.metrics import competition, scorers
    return competition.clip_iqa(styles, *scorers.clip_iqa_features(arguments.clip_iqa))


_PARTS: "dict[str, Callable[[list[Style], Namespace], float]]" = {
    "dino": _dino, "hist": _hist, "lpips": _lpips, "fid": _fid, "clip_iqa": _clip_iqa}

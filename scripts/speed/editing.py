"""Ways to a dictionary of global directions against the published procedure, in one run on the demo world.

    python scripts/speed/editing.py                       # times of all ways, and how near first-order is to full
    python scripts/speed/editing.py --faces 16 --alpha 1

CPU seconds of one thread (a busy machine stretches wall seconds), carried forward to all channels and to 100 faces.
`cosine` compares the relevances of all channels for a prompt, first-order's with full's of the same faces.
"""
from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
if TYPE_CHECKING:
    from jittor_ipl.editing.ways import Way

PROMPTS = ("boy face", "happy face", "angry face", "face with long hair", "face with curly hair",
           "face with blond hair")
FACES = 100                     # of the published procedure; all ways are told for as many


def timed(call: Callable[[], np.ndarray]) -> tuple[np.ndarray, float]:
    """Return what a call gives and its CPU seconds."""
    begun = time.process_time()
    return call(), time.process_time() - begun


def main() -> None:
    """Print one JSON line with the times, one for each first-order dictionary with its cosines."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=int, default=6, help="that full and first-order are made and compared on")
    parser.add_argument("--alpha", type=float, default=5.0, help="deviations to either side")
    parser.add_argument("--channels", type=int, default=12, help="channels that the published procedure is timed on")
    options = parser.parse_args()

    from jittor_ipl.editing import responses
    from jittor_ipl.editing.partial import steps_to, style_of
    from jittor_ipl.editing.statistics import measure_statistics, sampled_styles
    from jittor_ipl.editing.ways import FIRST_ORDER, FULL, make_way
    from jittor_ipl.editing.words import text_direction
    from jittor_ipl.weights.clip import load_clip
    from jittor_ipl.weights.generator import load_generator
    generator, clips = load_generator("demo:generator"), [load_clip("demo:clip-local")]
    responses.frozen(generator, *clips)
    statistics = measure_statistics(generator, count=20_000)
    faces, steps = next(sampled_styles(generator, options.faces)), steps_to(generator, 64)
    positions = [style_of(step) for step in range(steps)]
    channels = sum(responses.channels_of(statistics, steps))
    one, random = tuple(code[:1] for code in faces), np.random.default_rng(0)
    picks = [(position, int(random.integers(len(statistics.std[position])))) for position in
             random.choice(positions, options.channels,
                           p=[len(statistics.std[p]) / channels for p in positions])]

    def published() -> np.ndarray:
        return np.concatenate([responses.published_responses(generator, clips, one, statistics, *pick, options.alpha)
                               for pick in picks])
    published()                                                     # compiles
    cost = {"published": timed(published)[1] / options.channels * channels * FACES}
    texts = np.stack([text_direction(clips, "face", target) for target in PROMPTS])
    made = {}
    for label, name, along in (("full", FULL, None), ("first-order", FIRST_ORDER, None),
                               ("first-order, 6 targets", FIRST_ORDER, texts)):
        way = make_way(name, generator, clips, statistics, options.faces, options.alpha, along)
        way.sample()                                                # compiles
        made[label], seconds = timed(lambda: summed(way))           # noqa: B023
        cost[label] = seconds / options.faces * FACES
    ratios = {name: round(cost["published"] / value, 1) for name, value in cost.items()}
    print(json.dumps({"cpu_seconds_100_faces": {name: round(value, 1) for name, value in cost.items()},
                      "times_faster": ratios, "channels": channels}), flush=True)
    for label in list(made)[1:]:
        print(json.dumps({"faces": options.faces, "alpha": options.alpha, "way": label,
                          "cosine to full": cosines(made["full"], made[label], texts)}))


def summed(way: Way) -> np.ndarray:
    """Return the directions of a way, its blocks one after the other."""
    sums: dict[str, np.ndarray] = {}
    for block in range(way.blocks):
        sums = {name: sums.get(name, 0) + array for name, array in way.measure(block).items()}
    return way.finish(sums)


def cosines(one: np.ndarray, other: np.ndarray, texts: np.ndarray) -> dict[str, float]:
    """Return, by prompt, the cosine of the relevances [channels] of two dictionaries of the same faces."""
    found = {}
    for target, text in zip(PROMPTS, texts):
        a, b = (directions.astype(np.float64) @ text for directions in (one, other))
        found[target] = round(float(a @ b / np.linalg.norm(a) / np.linalg.norm(b)), 3)
    return found


if __name__ == "__main__":
    main()

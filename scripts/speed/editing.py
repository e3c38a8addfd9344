"""Ways to a dictionary of global directions against the published procedure, in one run on the demo world.

    python scripts/speed/editing.py                       # times of all ways, and how near first-order is to full
    python scripts/speed/editing.py --faces 16 --alpha 1

CPU seconds of one thread (a busy machine stretches wall seconds), carried forward to all channels and to 100 faces.
`cosine` compares the relevances of all channels for a prompt, first-order's or sampled's with full's of the same faces.
"""
from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

PROMPTS = ("boy face", "happy face", "angry face", "face with long hair", "face with curly hair",
           "face with blond hair")
FACES = 100                     # of the published procedure; all ways are told for as many


def timed(call: Callable[[], np.ndarray]) -> tuple[np.ndarray, float]:
    """Return what a call gives and its CPU seconds."""
    begun = time.process_time()
    return call(), time.process_time() - begun


def main() -> None:
    """Print one JSON line with the times, one with the cosines."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=int, default=6, help="faces that full and first-order are compared on")
    parser.add_argument("--alpha", type=float, default=5.0, help="deviations to either side, of full and published")
    parser.add_argument("--channels", type=int, default=12, help="channels that the published procedure is timed on")
    options = parser.parse_args()

    from jittor_ipl.editing import responses
    from jittor_ipl.editing.partial import steps_to, style_of
    from jittor_ipl.editing.statistics import measure_statistics, sampled_styles
    from jittor_ipl.weights.clip import load_clip
    from jittor_ipl.weights.generator import load_generator
    generator, clips = load_generator("demo:generator"), [load_clip("demo:clip-local")]
    responses.frozen(generator, *clips)
    statistics = measure_statistics(generator, count=20_000)
    faces, steps = next(sampled_styles(generator, options.faces)), steps_to(generator, 64)
    positions = [style_of(step) for step in range(steps)]
    channels = sum(len(statistics.std[position]) for position in positions)
    one, axes = tuple(code[:1] for code in faces), np.eye(clips[0].settings.embed_dim)

    random, cost = np.random.default_rng(0), {}
    picks = [(position, int(random.integers(len(statistics.std[position])))) for position in
             random.choice(positions, options.channels,
                           p=[len(statistics.std[p]) / channels for p in positions])]
    def published() -> np.ndarray:
        return np.concatenate([responses.published_responses(generator, clips, one, statistics, *pick, options.alpha)
                               for pick in picks])
    published()                                                     # compiles
    cost["published"] = timed(published)[1] / options.channels * channels * FACES
    responses.shared_responses(generator, clips, one, statistics, steps, options.alpha, most=1)
    full, seconds = [], 0.0
    for i in range(options.faces):
        found, spent = timed(lambda: responses.shared_responses(
            generator, clips, tuple(code[i:i + 1] for code in faces), statistics, steps, options.alpha))   # noqa: B023
        full, seconds = [*full, found], seconds + spent
    cost["full"] = seconds / options.faces * FACES
    responses.derived_responses(generator, clips, faces, statistics, steps, axes[:1])
    derived, spent = timed(lambda: responses.derived_responses(generator, clips, faces, statistics, steps, axes))
    cost["first-order"] = spent / options.faces * FACES
    _, spent = timed(lambda: responses.derived_responses(generator, clips, faces, statistics, steps, axes[:6]))
    cost["first-order, 6 axes"] = spent / options.faces * FACES
    ratios = {name: round(cost["published"] / value, 1) for name, value in cost.items()}
    print(json.dumps({"cpu_seconds_100_faces": {name: round(value, 1) for name, value in cost.items()},
                      "times_faster": ratios, "channels": channels}), flush=True)
    print(json.dumps({"faces": options.faces, "alpha": options.alpha, "cosine": cosines(clips, full, derived)}))


def cosines(clips: list, full: list[np.ndarray], derived: np.ndarray) -> dict[str, float]:
    """Return, by prompt, the cosine of the relevances [channels] of two dictionaries of the same faces."""
    from jittor_ipl.editing.responses import unit_rows
    from jittor_ipl.editing.words import text_direction
    one, other = (unit_rows(unit_rows(np.asarray(parts)).mean(0)) for parts in (full, derived))
    found = {}
    for target in PROMPTS:
        a, b = (dictionary @ text_direction(clips, "face", target) for dictionary in (one, other))
        found[target] = round(float(a @ b / np.linalg.norm(a) / np.linalg.norm(b)), 3)
    return found


if __name__ == "__main__":
    main()

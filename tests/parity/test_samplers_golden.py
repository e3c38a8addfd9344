"""Every sampler's whole trajectory, img2img and inversion against diffusers (tests/golden/samplers.npz)."""
from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import sampler_cases as cases
from golden import GOLDEN, error, record, report
from reference import run_reference

from jittor_ipl.diffusion.samplers import SAMPLERS, invert, pndm, sampling_sigmas, start
from jittor_ipl.diffusion.schedule import Denoiser, NoiseSchedule, noise_schedule, to_exploding, to_preserving
from jittor_ipl.weights.pipeline import read_scheduler

LIMIT = 1e-5
EXPLODING = ("euler", "euler-a")        # whose schedulers in diffusers keep x = x0 + sigma noise


@pytest.fixture(scope="module")
def kept() -> dict[str, np.ndarray]:
    return record("samplers")


def schedule_of(case: cases.Case) -> NoiseSchedule:
    class_name = "DDIMInverseScheduler" if case.inverted else cases.CLASSES[case.sampler]
    return noise_schedule(read_scheduler({"_class_name": class_name, **case.config}))


def trajectory(case: cases.Case) -> tuple[list[np.ndarray], list[float]]:
    """Return our x after every step, and the sigmas where they stand."""
    schedule = schedule_of(case)
    denoise = Denoiser(schedule, cases.network)
    sigmas = sampling_sigmas(schedule, case.sampler, case.steps)
    if case.inverted:
        return list(invert(denoise, to_exploding(cases.draw("picture"), sigmas[-1]), sigmas)), sigmas[-2::-1]
    sigmas = sigmas[-case.taken - 1:] if case.taken else sigmas
    x = cases.draw("picture") + cases.draw("z") * sigmas[0] if case.taken \
        else start(case.sampler, schedule, cases.draw("z"), sigmas[0])
    run = SAMPLERS[case.sampler].run
    run = partial(run, velocity=case.prediction == "v_prediction") if run is pndm else run
    return list(run(denoise, x, sigmas, lambda step: cases.draw(f"noise {step}"))), sigmas[1:]


@pytest.mark.parametrize("case", cases.CASES, ids=lambda case: case.name)
def test_a_whole_trajectory(case, kept):
    ours, theirs = trajectory(case), kept[case.name]
    found = [x if case.sampler in EXPLODING else to_preserving(x, sigma) for x, sigma in zip(*ours)]
    if case.sampler == "pndm" and case.steps > 1:
        theirs = theirs[1:]     # its first record is the first half of Heun's step
    assert len(found) == len(theirs)
    assert all(x.dtype == np.float32 for x in found)
    report(case.name, max(error(x, reference) for x, reference in zip(found, theirs)), LIMIT)


@pytest.mark.reference
def test_the_record_is_what_diffusers_says():
    print("largest relative difference", run_reference("tests/parity/record_samplers.py", "--check",
                                                       GOLDEN / "samplers.npz"))

"""Record tests/golden/pipeline.npz: pictures of diffusers' pipelines; run in the reference environment.

    python tests/parity/record_pipeline.py [--out FILE | --check FILE]

The tiny Stable Diffusion of tests/fixtures/diffusion makes pictures with every sampler, with and without guidance, and
from a start picture. Diffusers' random numbers are replaced by those of sampler_cases.py. --check compares instead of
writing.
"""
from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from unittest import mock

import numpy as np
import pipeline_cases as cases
import tiny_diffusion
import torch

import diffusers  # isort: skip - after tiny_diffusion, which keeps torchvision away
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution  # isort: skip

GOLDEN = Path(__file__).resolve().parents[1] / "golden"


@torch.no_grad()
def picture(pipeline: diffusers.StableDiffusionPipeline, case: cases.Case) -> np.ndarray:
    """Return one picture of the whole pipeline, float32 [3, 16, 16] in [-1, 1]."""
    steps = iter(range(100))
    noise = lambda shape, **_: torch.from_numpy(cases.draw("z" if case.strength and next(steps) == 0 else "fresh"))
    kind = getattr(diffusers, f"{cases.CLASSES[case.sampler]}")
    settings = {"skip_prk_steps": True} if case.sampler == "pndm" else {}
    # "leading" is what the fixture's file says: a saved scheduler states its class's defaults.
    scheduler = kind.from_config(pipeline.scheduler.config, timestep_spacing="leading", **settings)
    parts = {**pipeline.components, "scheduler": scheduler}
    asked = dict(prompt=case.prompt, negative_prompt=case.negative, guidance_scale=case.guidance, output_type="np",
                 num_inference_steps=case.steps)
    if case.strength:
        made = diffusers.StableDiffusionImg2ImgPipeline(**parts, requires_safety_checker=False)
        asked |= dict(image=torch.from_numpy(cases.draw("picture")), strength=case.strength)
    else:
        made = diffusers.StableDiffusionPipeline(**parts, requires_safety_checker=False)
        asked |= dict(latents=torch.from_numpy(cases.draw("z")))
    made.set_progress_bar_config(disable=True)
    places = [type(made).__module__, kind.__module__]
    with mock.patch.object(DiagonalGaussianDistribution, "sample", lambda self, *_, **__: self.mode()), \
            mock.patch(f"{places[0]}.randn_tensor", noise, create=True), \
            mock.patch(f"{places[1]}.randn_tensor", noise, create=True):
        return made(**asked).images[0].transpose(2, 0, 1) * 2 - 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=GOLDEN / "pipeline.npz")
    parser.add_argument("--check", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        pipeline = tiny_diffusion.build(Path(folder))
        found = {case.name: picture(pipeline, case) for case in cases.CASES}
    if arguments.check is None:
        np.savez_compressed(arguments.out, **found)
        return
    with np.load(arguments.check) as kept:
        assert set(kept.files) == set(found), set(kept.files) ^ set(found)
        worst = max(float(np.abs(kept[name] - value).max()) for name, value in found.items())
    print(f"{worst:.3g}")
    assert worst < 1e-4, worst


if __name__ == "__main__":
    main()

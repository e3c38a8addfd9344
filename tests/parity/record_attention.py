"""Record tests/golden/attention.npz, StyleID and StyleAligned on diffusers' networks; for the reference environment.

    python tests/parity/record_attention.py [--out FILE | --check FILE]

Written from the papers' formulas on the tiny pipeline of tests/fixtures/diffusion, one picture a pass: DDIM's inversion
by DDIMInverseScheduler, features kept and handed on by attention processors. --check compares instead of writing.
"""
from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pipeline_cases as cases
import tiny_diffusion
import torch

from diffusers import DDIMInverseScheduler, DDIMScheduler  # isort: skip - after tiny_diffusion
from diffusers.models.attention_processor import AttnProcessor  # isort: skip

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
STEPS, LAST = 6, 2          # of DDIM; self-attentions of the way up that StyleID changes
GAMMA, TEMPERATURE, GUIDANCE = 0.75, 1.5, 3.0


class Watched:
    """Self-attention whose query, key and value [B, n, width] pass through `change`, which also sees the module."""

    def __init__(self, change: Callable):
        self.change = change

    def __call__(self, attn, x, encoder_hidden_states=None, attention_mask=None, **_):
        q, k, v = self.change(attn, attn.to_q(x), attn.to_k(x), attn.to_v(x))
        split = lambda y: y.unflatten(-1, (attn.heads, -1)).transpose(1, 2)
        logits = split(q) @ split(k).transpose(-1, -2) / (q.shape[-1] // attn.heads) ** 0.5
        mixed = (logits.softmax(-1) @ split(v)).transpose(1, 2).flatten(2)
        return attn.to_out[0](mixed)


class Tiny:
    """The tiny pipeline's parts, its inversion and its noise schedule."""

    def __init__(self, pipeline):
        self.pipeline, self.unet, self.vae = pipeline, pipeline.unet, pipeline.vae
        self.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
        self.scheduler.set_timesteps(STEPS)

    def states(self, text: str) -> torch.Tensor:
        kinds = dict(padding="max_length", max_length=12, truncation=True, return_tensors="pt")
        return self.pipeline.text_encoder(self.pipeline.tokenizer(text, **kinds).input_ids)[0]

    def inversion(self, picture: np.ndarray, states: torch.Tensor) -> list[torch.Tensor]:
        """Return the latents at every timestep of the sampling, the noisiest first."""
        inverse = DDIMInverseScheduler.from_config(self.pipeline.scheduler.config)
        inverse.config.clip_sample = False
        inverse.set_timesteps(STEPS)
        x = self.vae.encode(torch.from_numpy(picture)).latent_dist.mode() * self.vae.config.scaling_factor
        found = []
        for t in inverse.timesteps:
            x = inverse.step(self.unet(x, t, encoder_hidden_states=states).sample, t, x).prev_sample
            found.append(x)
        return found[::-1]

    def watch(self, change: Callable, names: list[str]) -> None:
        """Let `change` see the self-attentions of these names, and none for an empty list."""
        self.unet.set_attn_processor({name: Watched(change) if name in names else AttnProcessor()
                                      for name in self.unet.attn_processors})

    def self_attentions(self) -> list[str]:
        return [name for name in self.unet.attn_processors if "attn1" in name]

    def decoded(self, latents: torch.Tensor) -> np.ndarray:
        return self.vae.decode(latents / self.vae.config.scaling_factor).sample[0].clamp(-1, 1).numpy()


def style_id(tiny: Tiny) -> np.ndarray:
    """Return a picture in the style of another."""
    empty = tiny.states("")
    content, style = (tiny.inversion(cases.draw(name), empty) for name in ("picture", "style"))
    names = [name for name in tiny.self_attentions() if name.startswith("up_blocks")][-LAST:]
    kept, mode = {}, ["keep content"]

    def change(attn, q, k, v):
        if mode[0] != "use":
            kept[id(attn), mode[0]] = q, k, v
            return q, k, v
        (content_q, _, _), (_, style_k, style_v) = (kept[id(attn), f"keep {name}"] for name in ("content", "style"))
        return TEMPERATURE * (GAMMA * content_q + (1 - GAMMA) * q), style_k, style_v

    tiny.watch(change, names)
    over = dict(dim=(2, 3), keepdim=True)
    x = (content[0] - content[0].mean(**over)) / (content[0].std(**over) + 1e-4) * style[0].std(**over) \
        + style[0].mean(**over)
    for step, t in enumerate(tiny.scheduler.timesteps):
        for mode[0], latents in (("keep content", content[step]), ("keep style", style[step]), ("use", x)):
            output = tiny.unet(latents, t, encoder_hidden_states=empty).sample
        x = tiny.scheduler.step(output, t, x).prev_sample
    tiny.watch(change, [])
    return tiny.decoded(x)


def first_of_halves(x: torch.Tensor) -> torch.Tensor:
    """Return the reference's row of both halves (negative prompt, prompt) in the places of all rows."""
    return x[[0, 0, 2, 2]]


def style_aligned(tiny: Tiny) -> np.ndarray:
    """Return a picture that shares the style of another one, with guidance."""
    states = torch.cat([tiny.states(text) for text in ("", "", "a ring", "a a")])
    reference = tiny.inversion(cases.draw("style"), tiny.states("a ring"))

    def like(x):
        mean, deviation = x.mean(1, keepdim=True), (x.var(1, keepdim=True) + 1e-5).sqrt()
        return (x - mean) / deviation * first_of_halves(deviation) + first_of_halves(mean)

    def change(attn, q, k, v):
        q, k = like(q), like(k)
        return q, torch.cat([k, first_of_halves(k)], 1), torch.cat([v, first_of_halves(v)], 1)

    tiny.watch(change, tiny.self_attentions())
    norms = [module for module in tiny.unet.modules() if isinstance(module, torch.nn.GroupNorm)]
    for norm in norms:
        norm.forward = lambda x, norm=norm: type(norm).forward(
            norm, torch.cat([x, first_of_halves(x)], 2))[:, :, :x.shape[2]]
    x = torch.from_numpy(cases.draw("z"))
    for step, t in enumerate(tiny.scheduler.timesteps):
        away, towards = tiny.unet(torch.cat([reference[step], x] * 2), t, encoder_hidden_states=states).sample[1::2]
        x = tiny.scheduler.step((away + GUIDANCE * (towards - away))[None], t, x).prev_sample
    for norm in norms:
        del norm.forward
    tiny.watch(change, [])
    return tiny.decoded(x)


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=GOLDEN / "attention.npz")
    parser.add_argument("--check", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        tiny = Tiny(tiny_diffusion.build(Path(folder)))
        found = {"style_id": style_id(tiny), "style_aligned": style_aligned(tiny)}
    if arguments.check is None:
        np.savez_compressed(arguments.out, **found)
        return
    with np.load(arguments.check) as kept:
        worst = max(float(np.abs(kept[name] - value).max()) for name, value in found.items())
    print(f"{worst:.3g}")
    assert worst < 1e-4, worst


if __name__ == "__main__":
    main()

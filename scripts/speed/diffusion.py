"""Time and peak memory of Stable Diffusion 2.1 with random weights in float32, as JSON lines; nothing to download.

    python scripts/speed/diffusion.py --list
    python scripts/speed/diffusion.py denoise lora decode --reference-python /path/to/python/with/diffusers
    python scripts/speed/diffusion.py lora --checkpointing --size 768

Every case runs in a process of its own that holds all three networks, as generation and training do. With
--reference-python, diffusers (and peft) does the same in turn on the same machine. CPU seconds, of all threads
together, tell more than wall seconds on a busy machine. The smallest of --repeats counts.
"""
from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

REFERENCE = Path(__file__).with_name("diffusion_reference.py")
TEXT = dict(hidden_size=1024, intermediate_size=4096, num_hidden_layers=23, num_attention_heads=16, vocab_size=49408)
# What differs from Stable Diffusion 2.1, in diffusers' names: U-Net, autoencoder, text encoder.
SCALES = {
    "real": ({"block_out_channels": [320, 640, 1280, 1280], "attention_head_dim": [5, 10, 20, 20]},
             {"block_out_channels": [128, 256, 512, 512]}, TEXT),
    "half": ({"block_out_channels": [160, 320, 640, 640], "attention_head_dim": [5, 10, 20, 20]},
             {"block_out_channels": [64, 128, 256, 256]}, TEXT | {"num_hidden_layers": 6}),
    "small": ({"block_out_channels": [64, 96, 128, 128], "attention_head_dim": [2, 3, 4, 4]},
              {"block_out_channels": [32, 32, 64, 64]}, TEXT | {"num_hidden_layers": 2}),
}
CASES = {"denoise": "one step of the U-Net with guidance: batch 2",
         "lora": "one step of LoRA on U-Net and text encoder: rank 4, batch 1, AdamW",
         "decode": "latents to a picture"}
UNET_TARGETS = ["to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj"]
TEXT_TARGETS = ["q_proj", "k_proj", "v_proj", "out_proj"]


def networks(scale: str):
    """Return U-Net, autoencoder and text encoder with random weights that never train."""
    from jittor_ipl.models.clip.config import TextConfig
    from jittor_ipl.models.clip.model import TextTower
    from jittor_ipl.models.diffusion.config import UNetConfig, VaeConfig
    from jittor_ipl.models.diffusion.unet import UNet
    from jittor_ipl.models.diffusion.vae import Vae
    from jittor_ipl.models.layers import freeze
    from jittor_ipl.models.strict import named_tensors
    from jittor_ipl.runtime.backend import jt
    from jittor_ipl.runtime.memory import give_back_freed_memory
    unet, vae, text = SCALES[scale]
    made = (UNet(UNetConfig.from_json(unet)), Vae(VaeConfig.from_json(vae)),
            TextTower(TextConfig(77, text["vocab_size"], text["hidden_size"], text["num_attention_heads"],
                                 text["num_hidden_layers"], text["intermediate_size"], "gelu")))
    random = np.random.default_rng(0)
    for network in made:
        for var in named_tensors(network).values():
            if var.ndim > 1:
                deviation = 1 / math.sqrt(math.prod(var.shape[1:]))
                values = random.standard_normal(var.shape, np.float32)
                values *= np.float32(deviation)
                var.assign(jt.array(values))
            var.sync()
        freeze(network)
    del values
    give_back_freed_memory(jt)
    return made


def prepared(case: str, scale: str, size: int, checkpointing: bool) -> Callable[[], object]:
    """Return what is timed: one step of a case, which leaves nothing uncomputed."""
    from jittor_ipl.runtime.backend import jt
    unet, vae, text = networks(scale)
    random, side = np.random.default_rng(1), size // 8

    def draw(*shape: int) -> jt.Var:
        return jt.array(random.standard_normal(shape, np.float32))

    def denoise() -> None:
        with jt.no_grad():
            unet(latents, timestep, context).numpy()

    def decode() -> None:
        with jt.no_grad():
            vae.decode(latents).numpy()

    timestep = jt.array(np.float32([500]))
    latents = draw(2 if case == "denoise" else 1, 4, side, side)
    if case != "lora":
        context = draw(2, 77, 1024)
        call = denoise if case == "denoise" else decode
        call.networks = unet, vae, text     # all three stay in memory
        return call

    from jittor_ipl.models.lora import attach, initial, places, targets
    from jittor_ipl.ops.norms import mean
    from jittor_ipl.train.optim import Adam
    parts = {"unet": unet, "text_encoder": text}
    known = places(parts)
    modules = targets(known, "unet", UNET_TARGETS) + targets(known, "text_encoder", TEXT_TARGETS)
    params = attach(parts, initial(known, modules, 4, 4, random))
    adam, noise, tokens = Adam(params, 1e-4, weight_decay=0.01, decoupled=True), draw(1, 4, side, side), draw_tokens()
    unet.gradient_checkpointing = checkpointing

    def lora() -> None:
        difference = unet(latents, timestep, text.hidden_states(tokens)) - noise
        loss = mean(difference * difference)
        grads = jt.grad(loss, list(params.values()))
        jt.sync([loss, *grads])
        adam.step(dict(zip(params, grads)), 1e-4)
        jt.sync(list(params.values()))

    lora.networks = unet, vae, text
    return lora


def draw_tokens() -> np.ndarray:
    """Return the tokens [1, 77] of some words between start and end."""
    return np.concatenate([[49406], np.arange(320, 332), [49407], np.zeros(63)])[None].astype(np.int32)


def measure(call: Callable[[], object], repeats: int) -> dict:
    """Return the times of the best of `repeats` runs after one that compiles, and the process's peak memory."""
    def timed() -> tuple[float, float]:
        wall, cpu = time.perf_counter(), time.process_time()
        call()
        return time.perf_counter() - wall, time.process_time() - cpu

    Path("/proc/self/clear_refs").write_text("5")       # the peak from here on, not that of the loading
    loaded = gib("VmRSS")
    timed()
    times = [timed() for _ in range(repeats)]
    return {"wall_s": round(min(wall for wall, _ in times), 2), "cpu_s": round(min(cpu for _, cpu in times), 2),
            "loaded_gib": loaded, "peak_gib": gib("VmHWM")}


def gib(line: str) -> float:
    """Return a line of this process's status, such as VmRSS, in GiB."""
    status = Path("/proc/self/status").read_text().splitlines()
    return round(next(int(text.split()[1]) for text in status if text.startswith(f"{line}:")) / 2**20, 2)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE", help="see --list; all of them when none is named")
    parser.add_argument("--list", action="store_true", help="print the cases")
    parser.add_argument("--scale", choices=[*SCALES], default="real", help="of the networks")
    parser.add_argument("--size", type=int, default=512, help="of the picture in pixels")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--checkpointing", action="store_true", help="of gradients, on both sides")
    parser.add_argument("--reference-python", type=Path, help="a Python with diffusers, transformers and peft")
    parser.add_argument("--here", action="store_true", help="run in this process (what each case's own process does)")
    options = parser.parse_args()
    cases = options.cases or list(CASES)
    if unknown := [case for case in cases if case not in CASES]:
        parser.error(f"unknown case {unknown[0]!r}; choose from {', '.join(CASES)}")
    if options.list:
        print("\n".join(f"{name}: {what}" for name, what in CASES.items()))
        return 0
    if options.here:
        result = measure(prepared(cases[0], options.scale, options.size, options.checkpointing), options.repeats)
        print(json.dumps({"case": cases[0], "by": "ours", **result}), flush=True)
        return 0
    threads = os.environ.setdefault("OMP_NUM_THREADS", str(len(os.sched_getaffinity(0))))
    print(json.dumps({"scale": options.scale, "size": options.size, "threads": int(threads),
                      "checkpointing": options.checkpointing}), flush=True)
    switch = ["--checkpointing"] * options.checkpointing
    commands = [[sys.executable, __file__, "--here", "--scale", options.scale, *switch]]
    if options.reference_python:
        commands.append([options.reference_python, REFERENCE, "--networks", json.dumps(SCALES[options.scale]), *switch])
    return max(subprocess.call([*command, case, "--size", str(options.size), "--repeats", str(options.repeats)])
               for case in cases for command in commands)


if __name__ == "__main__":
    sys.exit(main())

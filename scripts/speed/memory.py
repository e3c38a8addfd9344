"""Peak memory of a run of a shipped suite, as JSON: random weights of the real size, nothing to download.

    python scripts/speed/memory.py                      configs/ffhq.yaml, 1024 px and 256 px
    python scripts/speed/memory.py 256 --limit 5

Each size is a process of its own: one step of stage 1, two of stage 2, samples and report. It is ended, and `within` is
false, when it takes more than --limit GiB.
"""
from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

LIMITS = {1024: 16.0, 256: 5.0}      # GiB
GIB = 1 << 20                        # in KiB, as /proc counts


def write_random_networks(folder: Path, size: int) -> None:
    """Write a StyleGAN2 config-f of `size` and a ViT-B/32 with random weights to `folder`."""
    from jittor_ipl.models.clip.config import ClipConfig
    from jittor_ipl.models.clip.model import Clip
    from jittor_ipl.models.strict import numpy_tensors
    from jittor_ipl.models.stylegan2.config import GeneratorConfig
    from jittor_ipl.models.stylegan2.generator import Generator
    from jittor_ipl.weights.containers.safetensors import write_safetensors
    from jittor_ipl.weights.generator import save_generator
    save_generator(Generator(GeneratorConfig(size), np.random.default_rng(0)), folder / "generator.safetensors")
    clip = Clip(ClipConfig(embed_dim=512, image_resolution=224, vision_layers=12, vision_width=768,
                           vision_patch_size=32, transformer_width=512, transformer_heads=8, transformer_layers=12))
    tensors = numpy_tensors(clip.initialise(np.random.default_rng(1)))
    write_safetensors(folder / "clip.safetensors", tensors, {"kind": "clip", "config": json.dumps(clip.config())})


def run(folder: Path, size: int) -> None:
    """The measured process: one style of the suite, a few steps."""
    from jittor_ipl.adaptation.adapt import adapt_style
    from jittor_ipl.config import load_suite
    suite = load_suite(ROOT / "configs" / "ffhq.yaml", [
        f"source.generator={folder}/generator.safetensors", f"clip.0.model={folder}/clip.safetensors", "mapper.steps=1",
        "generator.steps=2", "run={samples: 8, log_every: 1, tensorboard: false}", "styles=[disney]"])
    adapt_style(suite.runs()[0], folder / "run")


def measure(size: int, limit: float) -> dict:
    """Return the peak of resident memory of a run, in GiB, and its seconds."""
    began, peak, within = time.monotonic(), 0, True
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, str(size), "--into", folder]
        subprocess.run([*command, "--networks"], check=True)    # what making them leaves behind is not the run's
        child = subprocess.Popen(command)
        while child.poll() is None:
            now = _kib(child.pid)
            peak = max(peak, now)
            if now > limit * GIB:
                within = False
                child.kill()
            time.sleep(0.2)
    return {"case": f"ffhq-{size}", "peak_gib": round(peak / GIB, 2), "limit_gib": limit,
            "within": within and child.returncode == 0, "seconds": round(time.monotonic() - began, 1)}


def _kib(pid: int) -> int:
    """Return the resident memory of a process in KiB, 0 when it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("VmRSS:")), 0)


def main(arguments: list[str] | None = None) -> int:
    """Measure the sizes asked for; 1 when one was over its limit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sizes", nargs="*", type=int, choices=[*LIMITS, []], default=list(LIMITS), help="px")
    parser.add_argument("--limit", type=float, help="GiB; default 16 for 1024 px, 5 for 256 px")
    parser.add_argument("--into", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--networks", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.into:
        (write_random_networks if options.networks else run)(options.into, options.sizes[0])
        return 0
    results = [measure(size, options.limit or LIMITS[size]) for size in options.sizes or LIMITS]
    for result in results:
        print(json.dumps(result), flush=True)
    return 0 if all(result["within"] for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())

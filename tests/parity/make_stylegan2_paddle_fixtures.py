"""Make tests/fixtures/stylegan2/paddlegan* with PaddleGAN's own generator; run where paddlepaddle is installed.

    python tests/parity/make_stylegan2_paddle_fixtures.py --repository PATH [--out DIR]

PATH is your checkout of PaddleGAN; only its generator and the three modules that it is made of are used.
"""
from __future__ import annotations

import argparse
import importlib.util
import re
import sys
import types
from pathlib import Path

import numpy as np
import paddle

OUT = Path(__file__).resolve().parents[1] / "fixtures" / "stylegan2"
GENERATOR = "ppgan/models/generators/generator_styleganv2.py"


def generator_class(repository: Path) -> type:
    """Return their StyleGANv2Generator with the channel table 12, 12, 8, without importing the rest of the package."""
    registry = types.SimpleNamespace(register=lambda: (lambda cls: cls))
    for package in ("ppgan", "ppgan.modules", "ppgan.models", "ppgan.models.generators"):
        sys.modules[package] = types.ModuleType(package)
        sys.modules[package].__path__ = [str(repository / package.replace(".", "/"))]
    sys.modules["ppgan.models.generators.builder"] = types.SimpleNamespace(GENERATORS=registry)
    text = (repository / GENERATOR).read_text()
    text = re.sub(r"(\d+): \d+( \* channel_multiplier)?,\n", lambda m: f"{m[1]}: {12 if int(m[1]) < 16 else 8},\n",
                  text)
    spec = importlib.util.spec_from_loader("ppgan.models.generators.generator_styleganv2", loader=None)
    module = importlib.util.module_from_spec(spec)
    module.__package__ = "ppgan.models.generators"
    # your own checkout, in the reference environment
    exec(compile(text, GENERATOR, "exec"), module.__dict__)
    return module.StyleGANv2Generator


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repository", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    paddle.seed(0)
    net = generator_class(arguments.repository)(16, 16, 3)
    net.eval()
    rng = np.random.RandomState(3)
    for name, parameter in net.named_parameters():
        if name.endswith(("bias", "noise.weight")):
            scale = 20 if name.startswith("style.") else 0.3
            parameter.set_value(parameter.numpy() + scale * rng.randn(*parameter.shape).astype(np.float32))
    paddle.save(net.state_dict(), str(arguments.out / "paddlegan.pdparams"))
    z = np.random.RandomState(7).randn(2, 16).astype(np.float32)
    latents = paddle.to_tensor(z)
    with paddle.no_grad():
        const = net([latents], randomize_noise=False)[0].numpy()
        none = net([latents], noise=[paddle.zeros([1])] * net.num_layers)[0].numpy()
        np.savez_compressed(arguments.out / "paddlegan_images.npz", z=z, w=net.style(latents).numpy(), const=const,
                            none=none)


if __name__ == "__main__":
    main()

"""Inversion encoders against what PyTorch computed (tests/golden/encoders.npz), and against the published classes."""
from __future__ import annotations

import os
import subprocess
from pathlib import Path

import golden
import numpy as np
import pytest
from encoder_cases import CASES, SEED, TENSORS
from feature_records import normalised, summary
from reference import ROOT, reference_python, run_reference

from jittor_ipl.models.encoders.config import TYPES, EncoderConfig
from jittor_ipl.models.encoders.encoder import InversionEncoder
from jittor_ipl.models.strict import load_into, named_tensors
from jittor_ipl.runtime.backend import jt

FORWARD, GRADIENT = 1e-5, 1e-4     # measured: 7e-7 and 1.2e-5
# At full size a few of ten million activations lie so near a kink that rounding picks the slope: measured 4e-3.
PUBLISHED_GRADIENT = 1e-2
CHECKOUTS = {"pixel2style2pixel": "JITTOR_IPL_PSP", "encoder4editing": "JITTOR_IPL_E4E",
             "restyle-encoder": "JITTOR_IPL_RESTYLE"}


def check(name: str, numbers: EncoderConfig, record: dict[str, np.ndarray], gradient_limit: float = GRADIENT) -> None:
    """Compare codes and gradients of an encoder with the weights of the record."""
    encoder = InversionEncoder(numbers)
    tensors = named_tensors(encoder)
    load_into(encoder, {tensor: np.asarray(golden.fill.features(tensor, tuple(var.shape), SEED), np.float32)
                        for tensor, var in tensors.items()}, source="golden record")
    side = numbers.input_size
    pictures = golden.fill.pictures(4, side, side, SEED).reshape(2, 6, side, side)[:, :numbers.input_channels]
    x = normalised(np.ascontiguousarray(pictures))
    codes = encoder(x)
    golden.report(f"{name} codes", golden.error(codes, record[f"{name}/codes"]), FORWARD)
    loss = (codes * jt.array(golden.fill.draw("cotangent", tuple(codes.shape), SEED))).sum()
    recorded = [tensor for tensor in TENSORS if tensor in tensors]
    assert {f"{name}/grad/{tensor}" for tensor in [*recorded, "pictures"]} | {f"{name}/codes"} == {
        key for key in record if key.startswith(f"{name}/")}
    for tensor, gradient in zip(["pictures", *recorded], jt.grad(loss, [x, *(tensors[one] for one in recorded)])):
        wanted = record[f"{name}/grad/{tensor}"]
        golden.report(f"{name} gradient of {tensor}",
                      float(np.abs(summary(gradient) - wanted).max() / np.abs(wanted[1:]).max()), gradient_limit)


@pytest.mark.parametrize("name", CASES)
def test_codes_and_gradients(name):
    check(name, EncoderConfig(**CASES[name]), golden.record("encoders"))


@pytest.mark.reference
def test_the_record_is_what_pytorch_says():
    print("largest relative difference",
          run_reference("tests/parity/record_encoders.py", "--check", golden.GOLDEN / "encoders.npz"))


@pytest.mark.reference
@pytest.mark.parametrize("repository", CHECKOUTS)
def test_the_published_classes(repository, tmp_path):
    """Every encoder of a checkout, in its published size, with the weights of the record."""
    path = os.environ.get(CHECKOUTS[repository])
    if not path:
        pytest.skip(f"{CHECKOUTS[repository]} names no checkout of {repository}")
    made = tmp_path / "record.npz"
    done = subprocess.run([reference_python(), ROOT / "tests/parity/record_encoders.py", "--out", made, "--checkout",
                           repository], cwd=Path(path), capture_output=True, text=True, timeout=7200)
    assert done.returncode == 0, done.stderr[-4000:]
    with np.load(made) as data:
        record = {name: data[name] for name in data.files}
    for name in sorted({key.partition("/")[0] for key in record}):
        if repository == "encoder4editing" and name.endswith("IntoW"):      # there it repeats its code itself
            continue
        trunk, heads = next(key for key, names in TYPES.items() if name in names)
        ir, channels = trunk == "ir", 6 if repository == "restyle-encoder" else 3
        check(name, EncoderConfig(trunk, heads, name, layers=50 if ir else 34, squeeze=ir, input_channels=channels,
                                  n_styles=1 if heads == "w" else 18), record, PUBLISHED_GRADIENT)

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

FORWARD, GRADIENT = 1e-5, 1e-5     # measured: 7e-7 and 2e-6
CHECKOUTS = {"pixel2style2pixel": "JITTOR_IPL_PSP", "encoder4editing": "JITTOR_IPL_E4E",
             "restyle-encoder": "JITTOR_IPL_RESTYLE"}


def apart(found: np.ndarray, wanted: np.ndarray) -> float:
    """Return how far a summary is from the one `wanted`: the norms in theirs, the entries in the largest of theirs."""
    difference = np.abs(found - wanted)
    return float(max(difference[0] / wanted[0], difference[1:].max() / np.abs(wanted[1:]).max()))


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
        golden.report(f"{name} gradient of {tensor}", apart(summary(gradient), record[f"{name}/grad/{tensor}"]),
                      gradient_limit)


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
    """Every encoder of a checkout, in its published size, with the weights of the record, against float64.

    Of ten million activations a few lie so near a kink that rounding picks the slope, other ones in every program. So
    gradients are asked within a multiple of what PyTorch's own float32 loses to float64 in one of the classes.
    """
    path = os.environ.get(CHECKOUTS[repository])
    if not path:
        pytest.skip(f"{CHECKOUTS[repository]} names no checkout of {repository}")
    made = tmp_path / "record.npz"
    done = subprocess.run([reference_python(), ROOT / "tests/parity/record_encoders.py", "--out", made, "--checkout",
                           repository], cwd=Path(path), capture_output=True, text=True, timeout=7200)
    assert done.returncode == 0, done.stderr[-4000:]
    with np.load(made) as data:
        both = {name: data[name] for name in data.files}
    record = {key: value for key, value in both.items() if "/float32/" not in key}
    own = max(apart(both[key.replace("/", "/float32/", 1)], value) for key, value in record.items() if "/grad/" in key)
    print(f"PyTorch's float32 gradients are up to {own:.1e} from float64")
    for name in sorted({key.partition("/")[0] for key in record}):
        if repository == "encoder4editing" and name.endswith("IntoW"):      # there it repeats its code itself
            continue
        trunk, heads = next(key for key, names in TYPES.items() if name in names)
        ir, channels = trunk == "ir", 6 if repository == "restyle-encoder" else 3
        check(name, EncoderConfig(trunk, heads, name, layers=50 if ir else 34, squeeze=ir, input_channels=channels,
                                  n_styles=1 if heads == "w" else 18), record, golden.MULTIPLE * own)

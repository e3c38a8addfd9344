"""bfloat16, which NumPy does not have: the upper half of a float32, kept as uint16 bit patterns."""
from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np

BFLOAT16 = "bfloat16"
_TYPE = SimpleNamespace(name=BFLOAT16, itemsize=2, kind="f")    # in place of a NumPy type, where these are asked for


@dataclass(frozen=True, eq=False)
class Bfloat16:
    """An array of bfloat16 values by their bits (uint16, any shape); the writers store it as that type."""

    bits: np.ndarray

    dtype = _TYPE

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the array."""
        return self.bits.shape

    @property
    def size(self) -> int:
        """The number of values."""
        return self.bits.size

    @property
    def nbytes(self) -> int:
        """The number of bytes, two per value."""
        return self.bits.nbytes

    def widen(self) -> np.ndarray:
        """Return the values as float32; exact."""
        return widen_bfloat16(self.bits)


def widen_bfloat16(bits: np.ndarray) -> np.ndarray:
    """Return float32 from the uint16 bit patterns of bfloat16 values; exact, bfloat16 being float32's upper half."""
    wide = bits.astype(np.uint32)
    wide <<= 16
    return wide.view(np.float32)


def narrow(values: np.ndarray) -> Bfloat16:
    """Return float values rounded to bfloat16, to nearest with ties to even as PyTorch rounds; NaN stays NaN."""
    bits = np.ascontiguousarray(values, np.float32).reshape(values.shape).view(np.uint32)
    rounded = ((bits + (((bits >> 16) & 1) + np.uint32(0x7FFF))) >> 16).astype(np.uint16)
    return Bfloat16(np.where(np.isnan(values), np.uint16(0x7FC0), rounded))

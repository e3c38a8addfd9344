"""bfloat16, which NumPy does not have: the upper half of a float32, kept as uint16 bit patterns."""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class _Name:
    """Stands in for a NumPy type where only its name is asked for."""

    name: str = "bfloat16"
    itemsize: int = 2
    kind: str = "f"


@dataclass(frozen=True, eq=False)
class Bfloat16:
    """An array of bfloat16 values by their bits (uint16, any shape); the writers store it as that type."""

    bits: np.ndarray

    dtype = _Name()

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
        return (self.bits.astype(np.uint32) << 16).view(np.float32)


def narrow(values: np.ndarray) -> Bfloat16:
    """Return float values rounded to bfloat16, to nearest with ties to even as PyTorch rounds; NaN stays NaN."""
    bits = np.ascontiguousarray(values, np.float32).reshape(values.shape).view(np.uint32)
    rounded = ((bits + (((bits >> 16) & 1) + np.uint32(0x7FFF))) >> 16).astype(np.uint16)
    return Bfloat16(np.where(np.isnan(values), np.uint16(0x7FC0), rounded))

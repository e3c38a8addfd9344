"""Pictures as floating-point arrays in another size."""
from __future__ import annotations

import numpy as np
from PIL import Image


def resized(pictures: np.ndarray, side: int) -> np.ndarray:
    """Return float32 pictures [B, C, H, W] as [B, C, side, side] by Lanczos' filter, antialiased, or themselves."""
    if pictures.shape[2:] == (side, side):
        return pictures.astype(np.float32, copy=False)
    planes = pictures.reshape(-1, *pictures.shape[2:]).astype(np.float32, copy=False)
    made = [np.asarray(Image.fromarray(plane).resize((side, side), Image.Resampling.LANCZOS)) for plane in planes]
    return np.stack(made).reshape(*pictures.shape[:2], side, side)

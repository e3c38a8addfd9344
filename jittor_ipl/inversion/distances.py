"""How far reconstructions are from their pictures, in the measures of `evaluate`."""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jittor_ipl.metrics.cosines import cosines
from jittor_ipl.metrics.extract import Extractor, FeatureSet
from jittor_ipl.metrics.image_set import from_array
from jittor_ipl.metrics.pixels import psnr

KNOWN = 0.8     # of what tells a picture from the mean one: whoever shows less of it was hardly met by the generator


def distances(extractor: Extractor, pictures: np.ndarray, made: np.ndarray) -> list[dict[str, float | None]]:
    """Return, for every pair of pictures uint8 [N, H, W, 3], "lpips", "identity" (a cosine) and "psnr" in dB.

    The networks are the extractor's; PSNR is None for equal pictures, which JSON has no number for.
    """
    before, after = (FeatureSet(from_array(images), batch=1) for images in (pictures, made))
    far = after.pair_distances(before, extractor.lpips)
    alike = cosines(*(part.get(extractor.identity, "identity")[0] for part in (before, after)))
    noise = psnr(pictures, made)
    return [{"lpips": float(a), "identity": float(b), "psnr": float(c) if np.isfinite(c) else None}
            for a, b, c in zip(far, alike, noise)]


def explained(picture: np.ndarray, made: np.ndarray, mean: np.ndarray) -> float:
    """Return 1 - |picture - made|^2 / |picture - mean|^2, all uint8 [H, W, 3]: how much of a picture is reproduced.

    1 is all of what tells it from the generator's `mean` picture, 0 no more than that picture shows.
    """
    left, all_ = (float(np.square(picture.astype(np.float64) - other).mean()) for other in (made, mean))
    return 1 - left / max(all_, 1e-12)


def verdict(shares: Sequence[float], tuned: bool) -> str:
    """Return a plain sentence on pictures of which codes alone reproduce these `shares` of what is `explained`."""
    low = min(shares)
    if low >= KNOWN:
        return f"the generator knows such pictures: their codes alone reproduce at least {low:.0%} of them"
    kept = "tuning has learned it by heart, and edits and styles will hold less well" if tuned else \
        "tuning (--tune-steps) can learn it by heart, though edits and styles will hold less well"
    return (f"outside of what this generator knows: a code alone reproduces only {low:.0%} of what tells the picture "
            f"from the mean one ({KNOWN:.0%} and more for pictures of its kind); {kept}")

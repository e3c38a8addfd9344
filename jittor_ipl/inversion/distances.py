"""How far reconstructions are from their pictures, in the measures of `evaluate`."""
from __future__ import annotations

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


def verdict(share: float, tuned: float | None) -> str:
    """Return a plain sentence on a picture of which its code alone reproduces this `share` of what is `explained`.

    `tuned` is the share after tuning, None without one.
    """
    if share >= KNOWN:
        return f"the generator knows such pictures: the code alone reproduces {share:.0%} of it"
    found = (f"outside of what this generator knows: a code alone reproduces only {max(share, 0):.0%} of what tells "
             f"the picture from the mean one ({KNOWN:.0%} and more for pictures of its kind)")
    more = "--space w+ and more --steps and --tune-steps come nearer, though edits and styles will hold less well"
    if tuned is None:
        return f"{found}; {more}"
    if tuned < KNOWN:
        return f"{found}, after tuning {max(tuned, 0):.0%}; {more}"
    return f"{found}; tuning has learned the rest by heart ({tuned:.0%}), so edits and styles will hold less well"

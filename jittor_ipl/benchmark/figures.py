"""The figures of a cell: how they are called, which way is better, how tables print them."""
from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """One figure.

    better   "up", "down", or "" where neither end is good
    format   of one number; "%" prints a share as per cent, "" four significant digits
    """

    title: str
    better: str
    format: str
    meaning: str

    def show(self, value: float, deviation: float | None = None) -> str:
        """Return a number as tables print it, ± its deviation to the same place."""
        if self.format == "%":
            value, deviation, form = 100 * value, None if deviation is None else 100 * deviation, ".1f"
        else:
            form = self.format or f".{max(0, 3 - math.floor(math.log10(abs(value) or 1)))}f"
        return format(value, form) + ("" if deviation is None else f" ± {format(deviation, form)}")


FIGURES: dict[str, Figure] = {
    "judge": Figure("Judge accuracy (%)", "up", "%", "pictures that the colour judge sees in the target style"),
    "structure": Figure("Structure accuracy (%)", "up", "%",
        "the same by the judge of locally normalised greyscale, which sees no palette; it tells the styles apart by "
        "their textures and does not ask for all their shapes"),
    "kept": Figure("Attributes kept (%)", "up", "%",
        "attributes that the judge sees as in the source's picture of the same latent"),
    "kept_uncoloured": Figure("Attributes kept, colours aside (%)", "up", "%",
        "the same without the attributes that are colours of the picture, which another palette takes away"),
    "meant": Figure("Attributes meant (%)", "up", "%", "attributes that the judge sees as the latent means them"),
    "inception_score_mean": Figure("Inception Score (IS)", "up", ".3f",
        "mean over ten splits; with the demo judge the geometric mean over its attribute heads"),
    "frechet_inception_distance": Figure("FID", "down", "", "to the reference pictures that the protocol names"),
    "kernel_inception_distance_mean": Figure("KID", "down", "", "to the same references"),
    "single_image_frechet_inception_distance": Figure("SIFID", "down", "",
        "to the first ten references, averaged: features before the network's first pool, places as samples"),
    "structural_consistency_score": Figure("Structural consistency (SCS)", "up", ".3f",
        "Sobel edges, in place of HED's, against those of the source's pictures"),
    "identity_similarity": Figure("Identity similarity (ID)", "up", ".3f",
        "to the source's pictures: the cosine of ArcFace's features; with the demo judge the mean overlap "
        "(Bhattacharyya) of its attribute probabilities"),
    "learned_perceptual_image_patch_similarity": Figure("LPIPS to the source", "", ".3f",
        "with the demo judge by the maps of its blocks; nothing is best here: 0 is an unchanged picture"),
    "intra_cluster_lpips": Figure("Intra-cluster LPIPS (diversity)", "up", ".4f",
        "ten clusters around medoids; an unadapted generator has the source's, which a style may not allow: read it "
        "beside the true renders'"),
    "mean_pairwise_lpips": Figure("Mean pairwise LPIPS", "up", ".4f", "all pairs of pictures"),
    "l1_to_truth": Figure("L1 to the true render", "down", ".4f",
        "mean absolute difference, 0 to 1, of the same latent"),
    "psnr_to_truth": Figure("PSNR to the true render (dB)", "up", ".2f", "of the same latent"),
    "clip_direction_similarity": Figure("CLIP direction similarity", "up", ".4f",
        "of the change of picture and text; this CLIP may be one of those that taught"),
}
# Where ours must be better than every peer, and what is counted besides: the other figures that must hold, and the rest
# of the thesis's tables.
BEATEN_IN = ("judge", "frechet_inception_distance", "intra_cluster_lpips")
COMPARED = ("structure", "kept", "inception_score_mean", "single_image_frechet_inception_distance",
            "structural_consistency_score", "identity_similarity")
MUST_HOLD = {"judge": 0.9, "structure": 0.7, "kept": 0.8}
assert {*BEATEN_IN, *COMPARED, *MUST_HOLD} <= set(FIGURES)

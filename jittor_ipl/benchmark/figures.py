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
    "way": Figure("Way to the true render (%)", "up", "%",
        "1 - L1(picture, true render) / L1(source, true render), of the same latents: 100 is all of it"),
    "psnr": Figure("PSNR to the true render (dB)", "up", ".2f", "of the same latent, mean over the pictures"),
    "frechet_inception_distance": Figure("FID", "down", "", "to the reference pictures that the protocol names"),
    "shape": Figure("Shape judge (%)", "up", "%",
        "pictures in which the shape judge sees all that a person names the style by: pointed ears, bricks, waves"),
    "sharpness": Figure("Sharpness (%)", "", "%",
        "mean gradient magnitude over that of the true renders: below 100 is blurred, above it rough"),
    "judge": Figure("Judge accuracy (%)", "up", "%", "pictures that the colour judge sees in the target style"),
    "structure": Figure("Structure accuracy (%)", "up", "%",
        "the same by the judge of locally normalised greyscale, which sees no palette; it tells the styles apart by "
        "their textures and does not ask for all their shapes"),
    "kept": Figure("Attributes kept (%)", "up", "%",
        "attributes that the judge sees as in the source's picture of the same latent"),
    "intra_cluster_lpips": Figure("Intra-cluster LPIPS (diversity)", "up", ".4f",
        "ten clusters around medoids; an unadapted generator has the source's, which a style may not allow: read it "
        "beside the true renders'"),
    "diversity": Figure("Diversity (%)", "", "%",
        "mean pairwise LPIPS over that of the true renders: far above 100 where little is adapted"),
    "kept_uncoloured": Figure("Attributes kept, colours aside (%)", "up", "%",
        "the same without the attributes that are colours of the picture, which another palette takes away"),
    "meant": Figure("Attributes meant (%)", "up", "%", "attributes that the judge sees as the latent means them"),
    "mean_pairwise_lpips": Figure("Mean pairwise LPIPS", "up", ".4f", "all pairs of pictures"),
    "kernel_inception_distance_mean": Figure("KID", "down", "", "to the same references"),
    "single_image_frechet_inception_distance": Figure("SIFID", "down", "",
        "to the first ten references, averaged: features before the network's first pool, places as samples"),
    "inception_score_mean": Figure("Inception Score (IS)", "up", ".3f",
        "mean over ten splits; with the demo judge the geometric mean over its attribute heads"),
    "structural_consistency_score": Figure("Structural consistency (SCS)", "up", ".3f",
        "Sobel edges, in place of HED's, against those of the source's pictures"),
    "identity_similarity": Figure("Identity similarity (ID)", "up", ".3f",
        "to the source's pictures: the cosine of ArcFace's features; with the demo judge the mean overlap "
        "(Bhattacharyya) of its attribute probabilities"),
    "learned_perceptual_image_patch_similarity": Figure("LPIPS to the source", "", ".3f",
        "with the demo judge by the maps of its blocks; nothing is best here: 0 is an unchanged picture"),
    "clip_direction_similarity": Figure("CLIP direction similarity", "up", ".4f",
        "of the change of picture and text; this CLIP may be one of those that taught"),
}
# Those of the summary; the others have a table of their own below it.
FIRST = ("way", "psnr", "frechet_inception_distance", "shape", "sharpness", "judge", "structure", "kept",
         "intra_cluster_lpips", "diversity")
# Where ours must be better than every peer, what is counted besides, and what must hold in a style.
BEATEN_IN = ("way", "frechet_inception_distance", "shape")
COMPARED = ("psnr", "judge", "structure", "kept", "intra_cluster_lpips", "structural_consistency_score",
            "identity_similarity")
MUST_HOLD = {"way": 0.5, "shape": 0.7, "sharpness": 0.85, "judge": 0.95, "structure": 0.9, "kept": 0.85,
             "diversity": 0.95}
assert {*FIRST, *BEATEN_IN, *COMPARED, *MUST_HOLD} <= set(FIGURES)

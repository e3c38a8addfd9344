"""Every metric: what it compares, how many pictures it needs at least, and which way its figures are better."""
from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from jittor_ipl.errors import UserError
from jittor_ipl.metrics import clusters, cosines, frechet, inception_score, kernel, pixels
from jittor_ipl.metrics.extract import Extractor, FeatureNetwork, FeatureSet
from jittor_ipl.metrics.statistics import Statistics

Figures = dict[str, "float | None"]
SIFID_REFERENCES = 10       # the first ones, in order; every further one costs as much as the first


@dataclass(frozen=True)
class Sets:
    """What is measured: pictures, what they compare with, and the networks."""

    images: FeatureSet
    extractor: Extractor
    seed: int
    reference: FeatureSet | Statistics | None = None    # of the target domain, in no relation to `images`
    before: FeatureSet | None = None                    # pairs: the source pictures,
    after: FeatureSet | None = None                     # and those of `images` that have a partner
    prompt: np.ndarray | None = None                    # features [e] of the text,
    source_prompt: np.ndarray | None = None             # and of that of the pictures before


@dataclass(frozen=True)
class Metric:
    """One entry of --metrics."""

    compute: Callable[[Sets], Figures]      # figures under their published names
    network: str | None                     # field of the extractor that gives the features, None for pixels
    needs: str                  # "images" alone, "reference", "source" (pairs), "prompt", "prompts" (pairs, both texts)
    least: int                              # pictures needed in the set, or pairs,
    least_reference: int = 2                # and in the reference where there is one
    statistics: bool = False                # whether a file of mean and covariance can stand for the reference
    # Field of `Sets` -> features that `compute` takes from it whole, so that one pass gives them to all metrics.
    taps: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def prefetch(sets: Sets, chosen: Iterable[str]) -> None:
    """Run every network once over every set, for all that the metrics will ask of it."""
    wanted: dict[tuple[int, int], tuple[FeatureSet, FeatureNetwork, dict[str, None]]] = {}
    for metric in (METRICS[key] for key in chosen):
        for part, names in metric.taps.items():
            if isinstance(getattr(sets, part), Statistics):
                continue
            images, network = getattr(sets, part), getattr(sets.extractor, metric.network)
            wanted.setdefault((id(images), id(network)), (images, network, {}))[2].update(dict.fromkeys(names))
    for images, network, names in wanted.values():
        images.get(network, *names)


def _inception_score(sets: Sets) -> Figures:
    network = sets.extractor.inception
    logits, = sets.images.get(network, "logits")
    mean, std = inception_score.inception_score(logits, seed=sets.seed, heads=getattr(network, "heads", None))
    return {"inception_score_mean": mean, "inception_score_std": std}


def _fid(sets: Sets) -> Figures:
    images, = sets.images.get(sets.extractor.inception, "pooled")
    if isinstance(sets.reference, Statistics):
        reference = frechet.of_moments(sets.reference.mean, sets.reference.covariance)
        if reference.mean.shape != images.shape[1:]:
            raise UserError(f"{sets.reference.file} holds statistics of {len(reference.mean)} features, the network "
                            f"gives {images.shape[1]}: --inception must name the network that the file was made with")
    else:
        reference = frechet.of_features(sets.reference.get(sets.extractor.inception, "pooled")[0])
    return {"frechet_inception_distance": float(frechet.distance(frechet.of_features(images), reference))}


def _kid(sets: Sets) -> Figures:
    images, reference = (part.get(sets.extractor.inception, "pooled")[0] for part in (sets.images, sets.reference))
    mean, std = kernel.kernel_inception_distance(images, reference, seed=sets.seed)
    return {"kernel_inception_distance_mean": mean, "kernel_inception_distance_std": std}


def _sifid(sets: Sets) -> Figures:
    every = [frechet.of_moments(*part.get(sets.extractor.inception, *_PATCHES))
             for part in (sets.images, sets.reference.first(SIFID_REFERENCES))]
    found = frechet.single_image_distances(*every)
    return {"single_image_frechet_inception_distance": float(found.mean()),
            "single_image_frechet_inception_distance_std": float(found.mean(axis=0).std())}


def _intra(sets: Sets) -> Figures:
    distances = sets.images.distances(sets.extractor.lpips)
    found = clusters.to_medoids(distances, *clusters.k_medoids(distances, clusters.CLUSTERS))
    return {"intra_cluster_lpips": found.mean, "intra_cluster_lpips_std": found.std,
            "intra_cluster_lpips_all": found.every, "mean_pairwise_lpips": clusters.mean_pair(distances)}


def _intra_reference(sets: Sets) -> Figures:
    network = sets.extractor.lpips
    nearest = sets.images.cross_distances(sets.reference, network).argmin(axis=1)
    found = clusters.within(sets.images.distances(network), nearest)
    if found is None:
        raise UserError(f"intra-lpips-reference: no two of the {len(nearest)} pictures share a nearest reference; "
                        "give more pictures or fewer references")
    return {"intra_reference_lpips": found.mean, "intra_reference_lpips_std": found.std,
            "intra_reference_clusters": float(found.clusters)}


def _lpips(sets: Sets) -> Figures:
    distances = sets.after.pair_distances(sets.before, sets.extractor.lpips)
    return _mean_std("learned_perceptual_image_patch_similarity", distances)


def _identity(sets: Sets) -> Figures:
    before, after = (part.get(sets.extractor.identity, "identity")[0] for part in (sets.before, sets.after))
    return _mean_std("identity_similarity", cosines.cosines(before, after))


def _of_pixels(function: Callable[[np.ndarray, np.ndarray], np.ndarray], sets: Sets) -> np.ndarray:
    pairs = zip(sets.before.images.batches(sets.before.batch), sets.after.images.batches(sets.before.batch))
    return np.concatenate([function(before, after) for before, after in pairs])


def _psnr(sets: Sets) -> Figures:
    """Equal pictures have no finite PSNR: counted beside the mean of the others (None when there are no others)."""
    found = _of_pixels(pixels.psnr, sets)
    finite = found[np.isfinite(found)]
    figures = _mean_std("peak_signal_noise_ratio", finite) if len(finite) else {"peak_signal_noise_ratio": None}
    return {**figures, "identical_pairs": float(len(found) - len(finite))}


def _ssim(sets: Sets) -> Figures:
    return _mean_std("structural_similarity_index_measure", _of_pixels(pixels.ssim, sets))


def _structural_consistency(sets: Sets) -> Figures:
    return _mean_std("structural_consistency_score", _of_pixels(pixels.structural_consistency_score, sets))


def _clip_score(sets: Sets) -> Figures:
    features, = sets.images.get(sets.extractor.clip, "clip")
    return {"clip_score": cosines.clip_score(features, sets.prompt)}


def _clip_direction(sets: Sets) -> Figures:
    before, after = (part.get(sets.extractor.clip, "clip")[0] for part in (sets.before, sets.after))
    found = cosines.clip_directions(before, after, sets.source_prompt, sets.prompt)
    return _mean_std("clip_direction_similarity", found)


def _mean_std(name: str, values: np.ndarray) -> Figures:
    return {name: float(values.mean()), f"{name}_std": float(values.std())}


_PATCHES = ("patch-mean", "patch-covariance")
_POOLED = {"images": ("pooled",), "reference": ("pooled",)}
METRICS: dict[str, Metric] = {
    "is": Metric(_inception_score, "inception", "images", 2 * inception_score.SPLITS, taps={"images": ("logits",)}),
    "fid": Metric(_fid, "inception", "reference", least=2, taps=_POOLED, statistics=True),
    "kid": Metric(_kid, "inception", "reference", least=2, taps=_POOLED),
    # Of a large reference only the first pictures are asked, and what they give is large: no part of the one pass.
    "sifid": Metric(_sifid, "inception", "reference", least=1, least_reference=1, taps={"images": _PATCHES}),
    "intra-lpips": Metric(_intra, "lpips", "images", least=2 * clusters.CLUSTERS),
    "intra-lpips-reference": Metric(_intra_reference, "lpips", "reference", least=2, least_reference=1),
    "scs": Metric(_structural_consistency, None, "source", least=1),
    "id": Metric(_identity, "identity", "source", least=1, taps={"before": ("identity",), "after": ("identity",)}),
    "lpips": Metric(_lpips, "lpips", "source", least=1),
    "psnr": Metric(_psnr, None, "source", least=1),
    "ssim": Metric(_ssim, None, "source", least=1),
    "clip": Metric(_clip_score, "clip", "prompt", least=1, taps={"images": ("clip",)}),
    "clip-direction": Metric(_clip_direction, "clip", "prompts", least=1,
                             taps={"before": ("clip",), "after": ("clip",)}),
}
# Of all other figures the higher one is better; of the counts neither.
LOWER_IS_BETTER = ("frechet_inception_distance", "kernel_inception_distance_mean",
                   "single_image_frechet_inception_distance", "learned_perceptual_image_patch_similarity")
COUNTS = ("identical_pairs", "intra_reference_clusters")

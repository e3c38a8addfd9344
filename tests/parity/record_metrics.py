"""Record what torch-fidelity, torchmetrics, pytorch-fid, scikit-image and OpenCV compute; run in their environment.

    python tests/parity/record_metrics.py [folder]

Writes metrics.json (into tests/golden by default) for the inputs of metric_cases.py.
"""
from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path

import numpy as np
import torch

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
warnings.filterwarnings("ignore")

import cv2  # noqa: E402
import metric_cases as cases  # noqa: E402
import torchvision_models  # noqa: E402, F401  (before the libraries that import torchvision)
from pytorch_fid.fid_score import calculate_frechet_distance  # noqa: E402
from skimage.metrics import peak_signal_noise_ratio, structural_similarity  # noqa: E402
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric  # noqa: E402
from torch_fidelity.metric_isc import isc_features_to_metric  # noqa: E402
from torch_fidelity.metric_kid import kid_features_to_metric  # noqa: E402
from torchmetrics.functional.image import peak_signal_noise_ratio as tm_psnr  # noqa: E402
from torchmetrics.functional.image import structural_similarity_index_measure as tm_ssim  # noqa: E402
from torchmetrics.image.fid import _compute_fid  # noqa: E402


def frechet() -> dict[str, dict[str, float]]:
    found = {}
    for name, pair in cases.FID.items():
        first, second = (fid_features_to_statistics(torch.from_numpy(part)) for part in pair)
        moments = [torch.from_numpy(part[key]) for part in (first, second) for key in ("mu", "sigma")]
        found[name] = {"torch-fidelity": fid_statistics_to_metric(first, second, False)["frechet_inception_distance"],
                       "torchmetrics": float(_compute_fid(*moments)),
                       "pytorch-fid": float(calculate_frechet_distance(*[part.numpy() for part in moments]))}
    return found


def kernel() -> dict[str, dict[str, float]]:
    return {name: kid_features_to_metric(torch.from_numpy(a), torch.from_numpy(b), kid_subset_size=size, verbose=False)
            for name, (a, b, size) in cases.KID.items()}


def scores() -> dict[str, dict[str, float]]:
    return {name: isc_features_to_metric(torch.from_numpy(part), splits) for name, (part, splits) in cases.IS.items()}


def single_image() -> float:
    first, second = (cases.maps(seed).reshape(16, -1) for seed in (11, 12))
    return float(calculate_frechet_distance(first.mean(1), np.cov(first), second.mean(1), np.cov(second)))


def of_pixels() -> dict[str, list[float]]:
    pairs = list(zip(*cases.PICTURES))
    tensors = [[torch.from_numpy(part.transpose(2, 0, 1)[None].astype(np.float64)) for part in pair] for pair in pairs]
    return {"ssim/scikit-image": [float(structural_similarity(a, b, gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
                                                              data_range=255, channel_axis=2)) for a, b in pairs],
            # torchmetrics 1.9 averages over windows that stick out of the picture too; the whole ones are the definition's.
            "ssim/torchmetrics": [float(tm_ssim(a, b, data_range=255.0, return_full_image=True)[1][..., 5:-5, 5:-5].mean())
                                  for a, b in tensors],
            "psnr/scikit-image": [float(peak_signal_noise_ratio(a, b, data_range=255)) for a, b in pairs],
            "psnr/torchmetrics": [float(tm_psnr(a, b, data_range=255.0)) for a, b in tensors]}


def main() -> None:
    torch.set_num_threads(1)
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE.parent / "golden"
    found = {"fid": frechet(), "kid": kernel(), "is": scores(), "sifid": single_image(), "pixels": of_pixels(),
             "opencv": cv2.__version__}
    (folder / "metrics.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()

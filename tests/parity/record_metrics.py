"""Record what torch-fidelity, torchmetrics, pytorch-fid, scikit-image, OpenCV, transformers and piq compute; run in
their environment.

    python tests/parity/record_metrics.py [folder]

Writes metrics.json (into tests/golden by default) for the inputs of metric_cases.py.
"""
from __future__ import annotations

import importlib.util
import json
import sys
import warnings
from pathlib import Path

import numpy as np
import torch

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
warnings.filterwarnings("ignore")

_spec = importlib.util.spec_from_file_location("golden_fill", HERE.parent / "golden" / "fill.py")
fill = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(fill)

import cv2  # noqa: E402
import metric_cases as cases  # noqa: E402
import torchvision_models  # noqa: E402, F401  (before the libraries that import torchvision)
from piq.feature_extractors.clip import CLIP  # noqa: E402
from pytorch_fid.fid_score import calculate_frechet_distance  # noqa: E402
from skimage.metrics import peak_signal_noise_ratio, structural_similarity  # noqa: E402
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric  # noqa: E402
from torch_fidelity.metric_isc import isc_features_to_metric  # noqa: E402
from torch_fidelity.metric_kid import kid_features_to_metric  # noqa: E402
from torchmetrics.functional.image import peak_signal_noise_ratio as tm_psnr  # noqa: E402
from torchmetrics.functional.image import structural_similarity_index_measure as tm_ssim  # noqa: E402
from torchmetrics.image.fid import _compute_fid  # noqa: E402
from transformers import BitImageProcessor, CLIPImageProcessor, Dinov2Config, Dinov2Model  # noqa: E402


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
    return {"ssim/scikit-image": [float(structural_similarity(a, b, gaussian_weights=True, sigma=1.5,
                                                              use_sample_covariance=False,
                                                              data_range=255, channel_axis=2)) for a, b in pairs],
            # torchmetrics 1.9 averages over windows that stick out of the picture too; the whole ones are the
            # definition's.
            "ssim/torchmetrics": [float(tm_ssim(a, b, data_range=255.0,
                                                return_full_image=True)[1][..., 5:-5, 5:-5].mean())
                                  for a, b in tensors],
            "psnr/scikit-image": [float(peak_signal_noise_ratio(a, b, data_range=255)) for a, b in pairs],
            "psnr/torchmetrics": [float(tm_psnr(a, b, data_range=255.0)) for a, b in tensors]}


def histogram_correlations() -> dict[str, list[float]]:
    """Correlations of the competition's histograms: bins in 8-bit arithmetic, as its checker leaves NumPy to do it."""
    images = [cases.colours(seed) for seed in range(6)]
    reference, rest = images[:2], images[2:]

    def rgb(image: np.ndarray) -> np.ndarray:
        blue, green, red = (image[..., channel] // 16 for channel in (2, 1, 0))
        return cv2.calcHist([blue * 16 * 16 + green * 16 + red], [0], None, [4096], [0, 4096])

    def hsv(image: np.ndarray) -> np.ndarray:
        half, saturation, value = cv2.split(cv2.cvtColor(image, cv2.COLOR_RGB2HSV))
        hue = np.digitize(2 * half, [20, 40, 75, 155, 190, 270, 295, 315], right=True) % 8
        index = 9 * hue + 3 * np.digitize(saturation, [51, 178], right=True) + np.digitize(value, [51, 178], right=True)
        return cv2.calcHist([index.astype(np.uint8)], [0], None, [72], [0, 71])

    return {name: [cv2.compareHist((function(reference[0]) + function(reference[1])) / 2, function(image),
                                   cv2.HISTCMP_CORREL)
                   for image in rest] for name, function in (("rgb", rgb), ("hsv", hsv))}


def dino() -> list[float]:
    """The pooled feature of a picture that went through the checkpoint's own kind of processor."""
    sizes = cases.DINO
    model = Dinov2Model(Dinov2Config(hidden_size=sizes["width"], num_hidden_layers=sizes["layers"],
                                     num_attention_heads=sizes["heads"],
                                     mlp_ratio=4, image_size=sizes["grid"] * sizes["patch"])).eval()
    model.load_state_dict({name: torch.from_numpy(cases.dino_weight(name, tuple(value.shape)))
                           for name, value in model.state_dict().items()})
    processor = BitImageProcessor(size={"shortest_edge": 256}, crop_size={"height": 224, "width": 224},
                                  image_mean=[0.485, 0.456, 0.406], image_std=[0.229, 0.224, 0.225])
    with torch.no_grad():
        inputs = processor(images=list(cases.pictures(1, 300, 281, 3)), return_tensors="pt")
        return model(**inputs).pooler_output[0].tolist()


def clip_pixels() -> list[float]:
    return CLIPImageProcessor()(images=list(cases.pictures(1, 300, 281, 4)),
                                return_tensors="np")["pixel_values"].reshape(-1)[::9973].tolist()


def clip_iqa() -> list[float]:
    """The picture's feature of CLIP-IQA: no positional embedding, values of 0..255 as the checker hands them over."""
    model = CLIP(**cases.CLIP_IQA).eval()
    model.load_state_dict({name: torch.zeros(value.shape, dtype=value.dtype) if name.endswith("num_batches_tracked")
                           else torch.from_numpy(np.asarray(fill.clip(name, tuple(value.shape), 5), np.float32))
                           for name, value in model.state_dict().items()})
    mean, std = (torch.tensor(part).view(1, 3, 1, 1)
                 for part in ([0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]))
    image = torch.from_numpy(cases.pictures(1, 96, 64, 5).transpose(0, 3, 1, 2).astype(np.float32))
    with torch.no_grad():
        found = model.encode_image((image - mean) / std, pos_embedding=False)
    return (found / found.norm(dim=-1, keepdim=True))[0].tolist()


def main() -> None:
    torch.set_num_threads(1)
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE.parent / "golden"
    found = {"fid": frechet(), "kid": kernel(), "is": scores(), "sifid": single_image(), "pixels": of_pixels(),
             "histograms": histogram_correlations(), "dino": dino(), "clip-pixels": clip_pixels(),
             "clip-iqa": clip_iqa()}
    (folder / "metrics.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()

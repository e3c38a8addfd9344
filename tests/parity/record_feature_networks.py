"""Record what the reference libraries' Inception, LPIPS and face recogniser compute; run in their environment.

    python tests/parity/record_feature_networks.py [folder]

Writes features.npz (into tests/golden by default). No weights are stored: `tests/golden/fill.py` derives every tensor
from its name, so the full-width networks are the same on both sides.
"""
from __future__ import annotations

import importlib.util
import io
import sys
import warnings
from pathlib import Path

import numpy as np
import torch

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
warnings.filterwarnings("ignore")

import face_trunk  # noqa: E402
import lpips  # noqa: E402
import torchvision_models  # noqa: E402, F401  (before the libraries that import torchvision)
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3  # noqa: E402
from torchmetrics.functional.image.lpips import _LPIPS  # noqa: E402

SEED = 11
GOLDEN = HERE.parent / "golden"
_spec = importlib.util.spec_from_file_location("golden_fill", GOLDEN / "fill.py")
fill = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(fill)


def state(shapes: dict[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    """Return tensors derived from their names, counters of batch norms set to zero."""
    return {name: torch.zeros(shape, dtype=torch.long) if name.endswith("num_batches_tracked")
            else torch.from_numpy(np.asarray(fill.features(name, shape, SEED), np.float32))
            for name, shape in shapes.items()}


def summary(value: torch.Tensor) -> np.ndarray:
    """Return the L2 norm and up to 64 entries at regular steps."""
    flat = value.detach().double().numpy().reshape(-1)
    return np.concatenate([[np.linalg.norm(flat)], flat[::max(1, flat.size // 64)][:64]])


def normalised(pictures: np.ndarray) -> torch.Tensor:
    return (torch.from_numpy(pictures).float() - 128) / 127.5


def inception() -> dict[str, np.ndarray]:
    """Every feature of torch-fidelity for pictures that are enlarged, and for one of just the right size."""
    names = ("64", "192", "768", "2048", "logits_unbiased", "logits")
    original = FeatureExtractorInceptionV3.load_state_dict
    FeatureExtractorInceptionV3.load_state_dict = lambda self, _: original(
        self, state({name: tuple(value.shape) for name, value in self.state_dict().items()}))
    buffer = io.BytesIO()
    torch.save({}, buffer)
    buffer.seek(0)
    model = FeatureExtractorInceptionV3("reference", list(names), feature_extractor_weights_path=buffer)
    found = {}
    for label, size in (("small", (40, 53)), ("large", (310, 299))):
        pictures = torch.from_numpy(fill.pictures(2 if label == "small" else 1, *size, SEED))
        with torch.no_grad():
            found |= {f"inception/{label}/{name}": value.numpy() for name, value in zip(names, model(pictures))}
    return found


def sliced(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return tensors of an LPIPS module derived from the names that torchvision and the heads' own files have."""
    import re
    found = {}
    for name, value in module.state_dict().items():
        if name.startswith("scaling_layer"):
            found[name] = value
            continue
        published = re.sub(r"^net\.slice(s\.)?\d\.", "features.", name).replace("lins.", "lin", 1)
        found[name] = state({published: tuple(value.shape)})[published]
    return found


def distances() -> dict[str, np.ndarray]:
    """LPIPS of two pairs, tap by tap, and a gradient; torchmetrics' way of dividing as well."""
    found = {}
    for net in ("vgg", "alex", "squeeze"):
        model = lpips.LPIPS(net=net, pretrained=False, pnet_rand=True, verbose=False)
        model.load_state_dict(sliced(model))
        a, b = normalised(fill.pictures(2, 64, 72,
                                        SEED + 1)).requires_grad_(), normalised(fill.pictures(2, 64, 72, SEED + 2))
        total, layers = model(a, b, retPerLayer=True)
        total.sum().backward()
        found[f"lpips/{net}/layers"] = torch.cat([layer.flatten(1) for layer in layers], 1).detach().numpy()
        found[f"lpips/{net}/gradient"] = summary(a.grad)
        other = _LPIPS(pretrained=False, net=net, pnet_rand=True)
        other.load_state_dict(sliced(other))
        found[f"lpips/{net}/torchmetrics"] = other(a, b).detach().numpy().reshape(-1)
    return found


def faces() -> dict[str, np.ndarray]:
    """Unit vectors of two portraits, and the gradient of their similarity; IR-101's of one face."""
    found = {}
    model = face_trunk.Recogniser().eval()
    model.load_state_dict(state({name: tuple(value.shape) for name, value in model.state_dict().items()}))
    images = normalised(fill.pictures(2, 300, 280, SEED + 3)).requires_grad_()
    vectors = model.embed(images)
    (vectors[0] @ vectors[1]).backward()
    found |= {"arcface/embed": vectors.detach().numpy(), "arcface/gradient": summary(images.grad)}
    model = face_trunk.Recogniser(layers=100, squeeze=False, affine=False).eval()
    model.load_state_dict(state({name: tuple(value.shape) for name, value in model.state_dict().items()}))
    with torch.no_grad():
        found["arcface/ir101"] = model(normalised(fill.pictures(1, 112, 112, SEED + 4))).numpy()
    return found


def main() -> None:
    torch.set_num_threads(1)
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else GOLDEN
    np.savez_compressed(folder / "features.npz", **{name: value.astype(np.float32) for name, value in (
        inception() | distances() | faces()).items()})


if __name__ == "__main__":
    main()

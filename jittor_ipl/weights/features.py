"""The networks of the metrics from downloaded files: Inception for FID, LPIPS, the face recogniser, and DINOv2."""
from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from jittor_ipl.errors import UserError
from jittor_ipl.models.strict import load_into
from jittor_ipl.weights.network import StoredNetwork, read_network

if TYPE_CHECKING:
    from jittor_ipl.models.features.arcface import Backbone
    from jittor_ipl.models.features.dinov2 import Dinov2
    from jittor_ipl.models.features.inception import Inception
    from jittor_ipl.models.features.lpips import Lpips

_FID_FILE = "pt_inception-2015-12-05-6726825d.pth"
_BACKBONES = {"vgg": "vgg16-397923af.pth", "alex": "alexnet-owt-7be5be79.pth", "squeeze": "squeezenet1_1-b8a52dc0.pth"}


def load_inception(ref: str | os.PathLike) -> "Inception":
    """Return the Inception v3 of FID, from the weights of pytorch-fid or torch-fidelity (one and the same file).

    Raises UserError for anything else, above all for torchvision's network, whose features are other numbers.
    """
    from jittor_ipl.models.features.inception import Inception
    network = read_network(ref, kind="inception-v3")
    if network.layout.config["weights"] != "fid":
        raise UserError(f"{ref} is torchvision's Inception, trained on 1,000 classes; FID, KID and the Inception Score "
                        f"are defined with TensorFlow's of 1,008 classes ({_FID_FILE})")
    return _filled(Inception(), network, ref)


def load_lpips(refs: "str | os.PathLike | Sequence[str | os.PathLike]", net: str | None = None,
               library: str = "lpips") -> "Lpips":
    """Return LPIPS from one file that holds all of it, or from two: the heads (`vgg.pth`) and torchvision's network.

    `net` ("vgg", "alex" or "squeeze") refuses files of another network; `library` is that of `Lpips`. Raises UserError
    when a part is missing (and says which file has it) or when the parts do not belong together.
    """
    from jittor_ipl.models.features.lpips import NETS, Lpips
    refs = [refs] if isinstance(refs, (str, os.PathLike)) else list(refs)
    if net not in (None, *NETS):
        raise UserError(f"LPIPS has no network {net!r}; choose one of {', '.join(NETS)}")
    parts = [read_network(ref, kind="lpips") for ref in refs]
    found = sorted({part.layout.config["net"] for part in parts} | ({net} if net else set()))
    if len(found) != 1:
        held = ", ".join(f"{ref}: {part.layout.config['net']}" for ref, part in zip(refs, parts))
        raise UserError(f"these files do not belong to one LPIPS{f' on {net}' if net else ''} ({held})")
    kinds = {part.layout.config["part"] for part in parts}
    if not kinds & {"whole", "heads"}:
        raise UserError(f"{refs[0]} is the network below LPIPS; its learned heads are missing ({found[0]}.pth of the "
                        "lpips package)")
    if not kinds & {"whole", "backbone"}:
        raise UserError(f"{refs[0]} holds the heads of LPIPS; the network below is missing ({_BACKBONES[found[0]]} of "
                        "torchvision)")
    tensors = {name: array for part in parts for name, array in part.tensors.items()}
    model = Lpips(found[0], library)
    load_into(model, tensors, source=" and ".join(map(str, refs)))
    return model


def load_arcface(ref: str | os.PathLike) -> "Backbone":
    """Return the face recogniser at `ref`: IR-SE50 (`model_ir_se50.pth`), or an IR network such as CurricularFace's.

    Raises UserError for anything else, a MoCo ResNet included.
    """
    from jittor_ipl.models.features.arcface import Backbone
    network = read_network(ref, kind=("ir-se50", "ir-face", "moco-resnet50"))
    if network.layout.kind == "moco-resnet50":
        raise UserError(f"{ref} holds MoCo's ResNet; identity is measured with ArcFace's IR-SE50 (model_ir_se50.pth)")
    return _filled(Backbone(**network.layout.config), network, ref)


def load_dinov2(ref: str | os.PathLike) -> "Dinov2":
    """Return the DINOv2 at `ref`, a file or folder in Hugging Face's names. Raises UserError for anything else."""
    from jittor_ipl.models.features.dinov2 import Dinov2
    network = read_network(ref, kind="dinov2")
    return _filled(Dinov2(**network.layout.config), network, ref)


def _filled(model, network: StoredNetwork, ref: str | os.PathLike):
    load_into(model, network.tensors, source=str(ref))
    return model

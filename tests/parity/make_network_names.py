"""Names and shapes of published networks, taken from the programs that define them; run in the reference environment.

    python tests/parity/make_network_names.py FOLDER [pixel2style2pixel=PATH encoder4editing=PATH restyle-encoder=PATH
    StyleCLIP=PATH]

Writes FOLDER/<family>/names.json.gz: {network: {tensor: shape}}. The installed libraries give Inception, LPIPS and
MoCo's ResNet; encoders, mappers and face recognisers need checkouts of their repositories (each in a process of its
own, for all call their package `models`). Networks are made on PyTorch's "meta" device: no weights, no downloads.
"""
from __future__ import annotations

import gzip
import json
import subprocess
import sys
import types
import warnings
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parent))
warnings.filterwarnings("ignore")

REPOSITORIES = ("pixel2style2pixel", "encoder4editing", "restyle-encoder", "StyleCLIP")
Names = dict[str, list[int]]


def names(module: nn.Module, prefix: str = "") -> Names:
    return {prefix + name: list(value.shape) for name, value in module.state_dict().items()}


def installed() -> dict[str, dict[str, Names]]:
    """Return {family: {network: names}} of what the reference environment has."""
    import lpips
    import pytorch_fid.inception
    import torchvision_models
    from torchmetrics.functional.image.lpips import _LPIPS
    models = torchvision_models.models
    pytorch_fid.inception.load_state_dict_from_url = lambda *_, **__: None      # the names, not the weights
    models.Inception3.load_state_dict = lambda *_, **__: None
    nets = {"vgg": "vgg16", "alex": "alexnet", "squeeze": "squeezenet1_1"}
    with torch.device("meta"):
        distances = {f"{library} {net}": names(module) for net in nets for library, module in (
            ("lpips", lpips.LPIPS(net=net, pretrained=False, pnet_rand=True, verbose=False)),
            ("torchmetrics", _LPIPS(pretrained=False, net=net, pnet_rand=True)))}
        return {
            "inception": {"pytorch-fid": names(pytorch_fid.inception.fid_inception_v3()),
                          "torchvision": names(models.inception_v3(weights=None, init_weights=False))},
            "lpips": distances | {f"torchvision {net}": names(getattr(models, model)()) for net, model in nets.items()},
            "arcface": {"moco": names(models.resnet50(), "module.encoder_q.")}}


def checkout(repository: str) -> Iterator[tuple[str, str, nn.Module, str]]:
    """Yield (family, network, module, prefix in its checkpoints) of the repository that lies in the current folder."""
    opts = Namespace(input_nc=6 if repository == "restyle-encoder" else 3, n_styles=18, stylegan_size=1024, label_nc=0,
                     no_coarse_mapper=False, no_medium_mapper=True, no_fine_mapper=False)
    if repository == "StyleCLIP":
        from mapper import latent_mappers as m
        levels = Namespace(**{**vars(opts), "no_medium_mapper": False})
        yield "styleclip", "LevelsMapper", m.LevelsMapper(levels), "mapper."
        yield "styleclip", "LevelsMapper without medium", m.LevelsMapper(opts), "mapper."
        yield "styleclip", "SingleMapper", m.SingleMapper(opts), "mapper."
        yield "styleclip", "FullStyleSpaceMapper", m.FullStyleSpaceMapper(opts), "mapper."
        yield "styleclip", "WithoutToRGBStyleSpaceMapper", m.WithoutToRGBStyleSpaceMapper(opts), "mapper."
        return
    if repository == "restyle-encoder":
        from models.encoders import fpn_encoders, restyle_e4e_encoders, restyle_psp_encoders
        from models.encoders.model_irse import IR_101, Backbone
        for room in (restyle_psp_encoders, restyle_e4e_encoders, fpn_encoders):
            for name in (n for n in vars(room) if n.endswith("Encoder") and not n.startswith("_")):
                arguments = (18, opts) if name.startswith("ResNet") else (50, "ir_se", 18, opts)
                yield "encoders", name, getattr(room, name)(*arguments), "encoder."
        yield "arcface", "ir_se50", Backbone(112, 50, "ir_se", 0.6), ""
        yield "arcface", "ir_101", IR_101(112), ""
        return
    from models.encoders import psp_encoders as rooms
    for name in ("GradualStyleEncoder", "Encoder4Editing", "BackboneEncoderUsingLastLayerIntoW",
                 "BackboneEncoderUsingLastLayerIntoWPlus"):
        if hasattr(rooms, name):
            yield "encoders", f"{repository} {name}", getattr(rooms, name)(50, "ir_se", opts), "encoder."


def without_extensions() -> None:
    """Stand in for the CUDA extensions, and for downloads of ImageNet weights."""
    import torchvision_models
    resnet34 = torchvision_models.models.resnet34
    for holder in (torchvision_models.models, sys.modules["torchvision.models.resnet"]):
        holder.resnet34 = lambda pretrained=False: resnet34()
    op = types.ModuleType("models.stylegan2.op")
    op.FusedLeakyReLU = op.fused_leaky_relu = op.upfirdn2d = None
    sys.modules["models.stylegan2.op"] = op


def main() -> None:
    if sys.argv[1] == "--checkout":
        without_extensions()
        sys.path.insert(0, ".")
        with torch.device("meta"):
            found = [(family, network, names(module, prefix))
                     for family, network, module, prefix in checkout(sys.argv[2])]
        print("\n" + json.dumps(found))
        return
    folder, paths = Path(sys.argv[1]), dict(argument.split("=", 1) for argument in sys.argv[2:])
    assert set(paths) <= set(REPOSITORIES), f"repositories are {REPOSITORIES}"
    families = installed()
    for repository, path in paths.items():
        done = subprocess.run([sys.executable, str(Path(__file__).resolve()), "--checkout", repository], cwd=path,
                              capture_output=True, text=True, check=True)
        for family, network, tensors in json.loads(done.stdout.splitlines()[-1]):
            families.setdefault(family, {})[network] = tensors
    for family, networks in families.items():
        (folder / family).mkdir(parents=True, exist_ok=True)
        text = json.dumps(networks, separators=(",", ":")).encode()
        (folder / family / "names.json.gz").write_bytes(gzip.compress(text, mtime=0))


if __name__ == "__main__":
    main()

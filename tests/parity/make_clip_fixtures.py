"""Write tiny CLIPs with the libraries that people have theirs from, and what those libraries compute with them.

    python tests/parity/make_clip_fixtures.py FOLDER [--seed N]

Run in the environment of requirements-parity.txt. One set of weights goes into every format of the vision transformer,
so that the tensors of all files must agree. Weights are multiples of small powers of two: exact in float16, and small
when packed (`--pack FILE.tar.xz` packs FOLDER, which is how tests/fixtures/clip/files.tar.xz is made).
"""
from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import pickle
import tarfile
import zlib
from pathlib import Path

import numpy as np
import torch
import transformers
from safetensors.torch import save_file

# OpenCLIP imports torchvision, whose compiled part does not load beside a PyTorch build for another device. Nothing
# here uses its operators, so their names are enough.
for operator in ("nms", "qnms"):
    try:
        torch.library.define(f"torchvision::{operator}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    except RuntimeError:        # it did load
        pass
import open_clip  # noqa: E402

RESOLUTION, PATCH, CONTEXT, VOCAB, EMBED = 16, 8, 12, 64, 16
TRACED = "traced"        # archives with OpenAI's own code inside: made and read, never kept
VISION, TEXT = dict(width=64, layers=1), dict(width=32, layers=2)
TOKENS = torch.tensor([[62, 5, 6, 7, 63, 0, 0, 0, 0, 0, 0, 0], [62, 9, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63],
                       [62, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 63]])


def draw(name: str, shape: tuple[int, ...], seed: int) -> torch.Tensor:
    """Odd multiples of 1/8 in [-1, 1] times a power of two that suits the tensor; a function of name and seed alone."""
    rng = np.random.RandomState(zlib.crc32(name.encode()) ^ seed)
    values = torch.from_numpy((2 * rng.randint(-4, 4, shape) + 1).astype(np.float32) / 8)
    if name.endswith("running_var"):
        return 1 + values.abs() / 2
    if name.endswith("weight") and len(shape) == 1:                # norms
        return 1 + values / 8
    fan_in = int(np.prod(shape[1:])) if len(shape) > 1 else 64
    return values * 2.0 ** -round(np.log2(max(1, fan_in)) / 2 - 0.5) if len(shape) > 1 else values / 8


def fill(model: torch.nn.Module, seed: int) -> torch.nn.Module:
    """Give a module its weights, drawn by name."""
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if tensor.dtype.is_floating_point and name != "logit_scale":
                tensor.copy_(draw(name.removeprefix("text."), tuple(tensor.shape), seed))
    return model.eval()


def openai_module():
    """OpenAI's `clip.model`, without its package, which asks for a part of setuptools that is gone."""
    home = Path(importlib.util.find_spec("clip").submodule_search_locations[0])
    spec = importlib.util.spec_from_file_location("openai_clip_model", home / "model.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class OpenAI(openai_module().CLIP):
    """OpenAI's network with the three numbers that its archives carry beside the weights."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)
        self.context_length = None
        self.vocab_size = None
        for name, value in (("input_resolution", arguments[1]), ("context_length", CONTEXT), ("vocab_size", VOCAB)):
            delattr(self, name) if hasattr(self, name) else None
            self.register_buffer(name, torch.tensor(value))

    def build_attention_mask(self) -> torch.Tensor:
        return torch.full((CONTEXT, CONTEXT), float("-inf")).triu_(1)


class Branch(torch.nn.Module):
    """A tree of modules that holds a state dictionary under its names, and computes nothing.

    A TorchScript archive contains the source of what was traced. Archives of this one can be kept: the source is this.
    """

    def __init__(self, state: dict[str, torch.Tensor]) -> None:
        super().__init__()
        inner: dict[str, dict[str, torch.Tensor]] = {}
        for name, value in state.items():
            head, _, rest = name.partition(".")
            if rest:
                inner.setdefault(head, {})[rest] = value
            elif value.dtype.is_floating_point and "running" not in head:
                self.register_parameter(head, torch.nn.Parameter(value))
            else:
                self.register_buffer(head, value)
        for name, part in inner.items():
            self.add_module(name, Branch(part))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + 1


def openai(resolution: int, layers: object, width: int, patch: int | None, seed: int) -> torch.nn.Module:
    return fill(OpenAI(EMBED, resolution, layers, width, patch, CONTEXT, VOCAB, TEXT["width"], 1, TEXT["layers"]), seed)


def record(model: torch.nn.Module, resolution: int, seed: int, tokens: torch.Tensor = TOKENS) -> dict[str, np.ndarray]:
    """What a network computes: features of images and texts, and a gradient with respect to the images."""
    rng = np.random.RandomState(seed)
    images = torch.from_numpy(rng.randint(-16, 16,
                                          (2, 3, resolution, resolution)).astype(np.float32) / 8).requires_grad_()
    of_images = getattr(model, "get_image_features", getattr(model, "encode_image", None))
    of_texts = getattr(model, "get_text_features", getattr(model, "encode_text", None))
    features = of_images(images)
    cotangent = torch.from_numpy(rng.randint(-8, 8, tuple(features.shape)).astype(np.float32) / 8)
    (gradient,) = torch.autograd.grad((features * cotangent).sum(), images)
    with torch.no_grad():
        texts = of_texts(tokens)
    return {key: value.detach().numpy() for key, value in dict(
        images=images, tokens=tokens, cotangent=cotangent, image_features=features, text_features=texts,
        gradient=gradient).items()}


def write_openai(folder: Path, seed: int) -> dict[str, torch.Tensor]:
    """TorchScript archives in half precision, state dictionaries, and the pickle that JCLIP's conversion makes of
    one.
    """
    (folder / TRACED).mkdir(exist_ok=True)
    vit = openai(RESOLUTION, VISION["layers"], VISION["width"], PATCH, seed)
    resnet = openai(32, (1, 2, 1, 1), 2, None, seed)
    weights = vit.state_dict()
    for name, model, resolution in (("openai_vit", vit, RESOLUTION), ("openai_resnet", resnet, 32)):
        np.savez(folder / f"{name}.npz", **record(model, resolution, seed))
        inputs = torch.zeros(1, 3, resolution, resolution), TOKENS[:1]
        traced = torch.jit.trace(model, inputs, check_trace=False)
        torch.jit.save(traced.half(), folder / TRACED / f"{name}.pt")
        torch.jit.save(torch.jit.trace(Branch(model.half().state_dict()), torch.zeros(1)), folder / f"{name}.pt")
        if name == "openai_vit":
            torch.save(model.half().state_dict(), folder / "openai_state.pt")
        model.float()
    state = torch.jit.load(folder / "openai_vit.pt").state_dict()       # JCLIP's README, line by line
    for name in state.keys():
        state[name] = state[name].float().cpu()
    data = pickle.dumps(state, 4)                                       # jt.save: the pickle, its SHA-1, a mark
    (folder / "jclip.pkl").write_bytes(data + hashlib.sha1(data).digest() + b"HCAJSLHD")
    torch.save({"epoch": 1, "name": "x", "state_dict": {f"module.{k}": v.float() for k, v in weights.items() if v.ndim}
                | {"module.logit_scale": weights["logit_scale"].float()}, "optimizer": {}}, folder / "trained.pt")
    return {name: value.float() for name, value in weights.items()}


def write_huggingface(folder: Path, weights: dict[str, torch.Tensor], seed: int) -> None:
    """A folder with one safetensors file; one with sharded .bin files, gelu and a first-of-many end token; the
    halves.
    """
    tiny = dict(projection_dim=EMBED, text_config=dict(
        projection_dim=EMBED, hidden_size=TEXT["width"], intermediate_size=4 * TEXT["width"],
        num_hidden_layers=TEXT["layers"], num_attention_heads=2,
        vocab_size=VOCAB, max_position_embeddings=CONTEXT, eos_token_id=2, bos_token_id=62, pad_token_id=1),
        vision_config=dict(projection_dim=EMBED, hidden_size=VISION["width"], intermediate_size=4 * VISION["width"],
                           num_hidden_layers=VISION["layers"], num_attention_heads=4, image_size=RESOLUTION,
                           patch_size=PATCH))
    model = transformers.CLIPModel(transformers.CLIPConfig(**tiny)).eval()
    load_openai_weights(model, weights)
    np.savez(folder / "huggingface.npz", **record(model, RESOLUTION, seed))
    model.save_pretrained(folder / "huggingface")
    transformers.CLIPImageProcessor(image_mean=[0.5, 0.25, 0.125],
                                    image_std=[0.5, 0.5, 0.25]).save_pretrained(folder / "huggingface")
    for part in ("text_config", "vision_config"):
        tiny[part] |= dict(hidden_act="gelu", layer_norm_eps=1e-3)
    tiny["text_config"]["eos_token_id"] = 7
    gelu = transformers.CLIPModel(transformers.CLIPConfig(**tiny)).eval()
    gelu.load_state_dict(model.state_dict())
    with_end = TOKENS.clone()       # 7, the end token here, stands inside the first and the last text
    with_end[1, 2] = 7
    np.savez(folder / "huggingface_gelu.npz", **record(gelu, RESOLUTION, seed, with_end))
    gelu.save_pretrained(folder / "huggingface_gelu", safe_serialization=False, max_shard_size="100KB")
    for name, kind in (("text", transformers.CLIPTextModelWithProjection),
                       ("vision", transformers.CLIPVisionModelWithProjection)):
        half = kind(getattr(model.config, f"{name}_config")).eval()
        half.load_state_dict({k: v for k, v in model.state_dict().items() if k in half.state_dict()})
        half.save_pretrained(folder / f"huggingface_{name}")


def load_openai_weights(model: transformers.CLIPModel, weights: dict[str, torch.Tensor]) -> None:
    """Give Hugging Face's network OpenAI's weights the way its own conversion script does: attribute by attribute."""
    def copy_norm(theirs, name):
        theirs.load_state_dict({part: weights[f"{name}.{part}"] for part in ("weight", "bias")})

    def copy_blocks(layers, prefix):
        for i, layer in enumerate(layers):
            at = f"{prefix}.{i}."
            packed = zip(weights[at + "attn.in_proj_weight"].chunk(3), weights[at + "attn.in_proj_bias"].chunk(3))
            for projection, (weight, bias) in zip((layer.self_attn.q_proj, layer.self_attn.k_proj,
                                                   layer.self_attn.v_proj), packed):
                projection.load_state_dict(dict(weight=weight, bias=bias))
            for theirs, name in ((layer.self_attn.out_proj, "attn.out_proj"), (layer.layer_norm1, "ln_1"),
                                 (layer.layer_norm2, "ln_2"), (layer.mlp.fc1, "mlp.c_fc"),
                                 (layer.mlp.fc2, "mlp.c_proj")):
                copy_norm(theirs, at + name)

    text, vision = model.text_model, model.vision_model
    with torch.no_grad():
        for theirs, value in ((text.embeddings.token_embedding.weight, weights["token_embedding.weight"]),
                              (text.embeddings.position_embedding.weight, weights["positional_embedding"]),
                              (model.text_projection.weight, weights["text_projection"].T),
                              (vision.embeddings.class_embedding, weights["visual.class_embedding"]),
                              (vision.embeddings.patch_embedding.weight, weights["visual.conv1.weight"]),
                              (vision.embeddings.position_embedding.weight, weights["visual.positional_embedding"]),
                              (model.visual_projection.weight, weights["visual.proj"].T),
                              (model.logit_scale, weights["logit_scale"])):
            theirs.copy_(value)
    copy_norm(text.final_layer_norm, "ln_final")
    copy_norm(vision.pre_layrnorm, "visual.ln_pre")
    copy_norm(vision.post_layernorm, "visual.ln_post")
    copy_blocks(text.encoder.layers, "transformer.resblocks")
    copy_blocks(vision.encoder.layers, "visual.transformer.resblocks")


def write_open_clip(folder: Path, seed: int) -> None:
    """Folders as OpenCLIP publishes them: gelu; quick_gelu with a `text.` tower; another MLP width; a file without
    config.
    """
    vision = dict(image_size=RESOLUTION, patch_size=PATCH, head_width=16, **VISION)
    text = dict(context_length=CONTEXT, vocab_size=VOCAB, heads=2, **TEXT)
    cases = {
        "open_clip": (dict(), dict(), dict()),
        "open_clip_custom": (dict(quick_gelu=True, custom_text=True), dict(), dict()),
        "open_clip_narrow": (dict(), dict(mlp_ratio=1.5), dict(mlp_ratio=0.75)),
        "open_clip_resnet": (dict(), dict(layers=[1, 2, 1, 1], width=2, patch_size=None, image_size=32, head_width=16),
                             dict()),
    }
    for name, (top, more_vision, more_text) in cases.items():
        config = dict(embed_dim=EMBED, vision_cfg=vision | more_vision, text_cfg=text | more_text, **top)
        build = dict(embed_dim=EMBED, vision_cfg=config["vision_cfg"], text_cfg=config["text_cfg"],
                     quick_gelu=top.get("quick_gelu", False))
        model = fill((open_clip.CustomTextCLIP if "custom_text" in top else open_clip.CLIP)(**build), seed)
        np.savez(folder / f"{name}.npz", **record(model, config["vision_cfg"]["image_size"], seed))
        (folder / name).mkdir(exist_ok=True)
        (folder / name / "open_clip_config.json").write_text(json.dumps(dict(
            model_cfg=config, preprocess_cfg=dict(mean=[0.5, 0.5, 0.5], std=[0.5, 0.5, 0.25]))))
        if name == "open_clip":
            save_file(model.state_dict(), folder / name / "open_clip_model.safetensors")
        else:
            torch.save(model.state_dict(), folder / name / "open_clip_pytorch_model.bin")


RELATIVES = ("RN50", "RN50x64-quickgelu", "ViT-S-32", "ViT-B-32", "ViT-B-32-quickgelu", "ViT-B-16-plus-240",
             "ViT-L-14-336", "ViT-H-14",
             "ViT-g-14", "ViT-bigG-14", "ViT-e-14", "ViT-M-16-alt", "ViT-L-14-CLIPA", "ViT-H-14-worldwide",
             "coca_ViT-B-32", "ViT-B-16-SigLIP",
             "convnext_base", "EVA02-B-16", "MobileCLIP-B")


def relatives() -> dict[str, dict]:
    """Names and shapes of some of OpenCLIP's published models, of every kind whose text tower needs no download."""
    found = {}
    for name in RELATIVES:
        config = open_clip.get_model_config(name)
        plain = open_clip.CustomTextCLIP if config.get("custom_text") else open_clip.CLIP
        kind = open_clip.CoCa if "multimodal_cfg" in config else plain
        build = {key: value for key, value in config.items() if key not in ("custom_text",)}
        with torch.device("meta"):
            model = kind(**build)
        shapes = {key: list(value.shape) for key, value in model.state_dict().items()}
        transformer = getattr(model.visual, "transformer", None)
        heads = [] if transformer is None else [transformer.resblocks[0].attn.num_heads]
        found[name] = dict(config=config, shapes=shapes, vision_heads=heads)
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pack", type=Path)
    parser.add_argument("--relatives", type=Path,
                        help="write names and shapes of OpenCLIP's models there and nothing else")
    options = parser.parse_args()
    torch.manual_seed(0)
    if options.relatives:
        options.relatives.write_text(json.dumps(relatives()))
        return
    options.folder.mkdir(parents=True, exist_ok=True)
    weights = write_openai(options.folder, options.seed)
    write_huggingface(options.folder, weights, options.seed)
    write_open_clip(options.folder, options.seed)
    if options.pack:
        with tarfile.open(options.pack, "w:xz", preset=9) as archive:
            for path in sorted(options.folder.rglob("*")):
                if path.is_file() and path.parent.name != TRACED:
                    archive.add(path, path.relative_to(options.folder).as_posix(), filter=_anonymous)


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.mtime = member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


if __name__ == "__main__":
    main()

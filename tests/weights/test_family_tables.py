"""Every table of tensor names against its network: ours built small, others' by the names recorded of them."""
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from fixture_files import unpack
from network_names import FIXTURES, recorded

from jittor_ipl.models.clip.config import ClipConfig
from jittor_ipl.models.clip.model import Clip
from jittor_ipl.models.features.arcface import Backbone
from jittor_ipl.models.features.dinov2 import Dinov2
from jittor_ipl.models.features.inception import Inception
from jittor_ipl.models.features.lpips import Lpips
from jittor_ipl.models.mappers import make_mapper
from jittor_ipl.models.strict import compare, named_tensors
from jittor_ipl.models.stylegan2.config import GeneratorConfig, resolutions
from jittor_ipl.models.stylegan2.generator import Generator
from jittor_ipl.models.stylegan2.style_space import style_space
from jittor_ipl.runtime.backend import nn
from jittor_ipl.weights.containers.read import read_tensors
from jittor_ipl.weights.families.clip import huggingface
from jittor_ipl.weights.families.family import Hints
from jittor_ipl.weights.families.registry import MODULES, belonging, identify
from jittor_ipl.weights.network import read_network

TEXT = dict(embed_dim=16, context_length=12, vocab_size=64, transformer_width=32, transformer_heads=2,
            transformer_layers=2)
RESNET = dict(**TEXT, image_resolution=32, vision_layers=(1, 2, 1, 1), vision_width=8, vision_heads=4)


def generator(size: int) -> Generator:
    channels = {r: max(4, 64 // r) for r in resolutions(size)}
    return Generator(GeneratorConfig(size, style_dim=8, n_mlp=3, channels=channels))


OURS: dict[str, tuple[str, Callable[[], nn.Module]]] = {
    "StyleGAN2 8 px": ("stylegan2", lambda: generator(8)), "StyleGAN2 64 px": ("stylegan2", lambda: generator(64)),
    "CLIP ViT": ("clip", lambda: Clip(ClipConfig(**TEXT, image_resolution=32, vision_layers=3, vision_width=64,
                                                 vision_patch_size=8, vision_mlp=96, transformer_mlp=40))),
    "CLIP ResNet": ("clip", lambda: Clip(ClipConfig(**RESNET))),
    "CLIP ResNet with group norm": ("clip", lambda: Clip(ClipConfig(**RESNET, norm="group"))),
    "IPL's mapper": ("prompt-mapper", lambda: make_mapper("ipl", style_dim=24, n_ctx=4, ctx_dim=16)),
    "mapper of levels": ("prompt-mapper", lambda: make_mapper("levels", style_dim=24, n_ctx=6, ctx_dim=16)),
    **{version: ("prompt-mapper", lambda version=version: make_mapper(version, style_dim=16, n_ctx=4, ctx_dim=16))
       for version in ("transformer_v1", "transformer_v2", "transformer_v3")},
    "IR-SE50": ("ir-se50", lambda: Backbone(50, True, width=4, input_size=32, features=8)),
    "IR-100 without affine": ("ir-face", lambda: Backbone(100, False, width=4, input_size=32, features=8,
                                                          affine=False)),
    "Inception": ("inception-v3", Inception), "LPIPS vgg": ("lpips", lambda: Lpips("vgg")),
    "LPIPS alex": ("lpips", lambda: Lpips("alex")), "LPIPS squeeze": ("lpips", lambda: Lpips("squeeze")),
    "DINOv2": ("dinov2", lambda: Dinov2(width=16, layers=3, heads=2, hidden=24, patch=4, grid=5))}
# No network here runs these: their tables are held against what the programs that have them recorded.
RECORDED = {"arcface": "moco-resnet50", "encoders": "inversion-encoder", "styleclip": "styleclip-mapper"}
FILES = {"stylegan2/nvidia_ada.pkl": "stylegan2", "stylegan2/nvidia_tf.pkl": "stylegan2",
         "stylegan2/rosinality.pt": "stylegan2",
         "stylegan2/paddlegan.pdparams": "stylegan2", "prompt_mapper/transformer.pt": "prompt-mapper"}
DIFFUSION = {"unet": "unet", "vae": "vae", "text_encoder": "text-encoder"}
# What has no names of its own, or says in its metadata what it is and is loaded by a loader that checks the names.
NAMELESS = {"latents", "style-directions", "style-statistics", "delta", "judge", "tuned-generator", "style-step",
            "compact-encoder"}


def shapes_of(network: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(var.shape) for name, var in named_tensors(network).items()}


@pytest.mark.parametrize("name", OURS)
def test_a_network_s_tensors_are_those_of_its_table(name: str) -> None:
    kind, build = OURS[name]
    shapes = shapes_of(build())
    layout = identify(shapes, kind=kind).layout
    assert layout.kind == kind and {k: tuple(v) or (1,) for k, v in layout.expected.items()} == shapes


def test_hugging_face_s_names_of_a_clip_are_ours_turned_back() -> None:
    ours = shapes_of(OURS["CLIP ViT"][1]())
    theirs = huggingface.their_shapes(ours)
    layout = identify(theirs, kind="clip").layout
    assert layout.expected == theirs and huggingface.our_shapes(theirs) == ours


@pytest.mark.parametrize("size", [8, 64])
def test_the_style_space_lists_the_generator_s_layers(size: int) -> None:
    network = generator(size)
    shapes = shapes_of(network)
    layers = style_space(size, channels=network.config.channels)
    end = ".conv.modulation.bias"
    assert {layer.name: layer.channels for layer in layers} == {
        name.removesuffix(end): shape[0] for name, shape in shapes.items() if name.endswith(end)}


@pytest.mark.parametrize("family, network", [(family, network) for family in RECORDED for network in recorded(family)])
def test_recorded_names_are_those_of_the_table(family: str, network: str) -> None:
    shapes = recorded(family)[network]
    layout = identify(shapes).layout
    assert layout.kind == RECORDED[family] or family == "arcface"
    assert not compare(layout.expected, (), {k: v for k, v in shapes.items() if k in layout.expected})
    assert not compare(layout.expected, layout.optional, shapes)


@pytest.mark.parametrize("file", FILES)
def test_a_library_s_file_has_the_names_of_the_table(file: str) -> None:
    tensors, info = read_tensors(FIXTURES / file)
    shapes, extras = dict(tensors.shapes), {name: array.shape for name, array in info.extras.items()}
    layout = identify(shapes, Hints(extras=extras)).layout
    assert layout.kind == FILES[file] and set(layout.expected) - set(layout.extras) <= set(shapes)
    assert not compare(layout.expected, layout.optional, belonging(shapes, layout, extras))


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory) -> Path:
    return unpack(tmp_path_factory.mktemp("tables"), "diffusion", "lora")


@pytest.mark.parametrize("part", DIFFUSION)
def test_a_pipeline_s_parts_have_the_names_of_their_tables(pipeline: Path, part: str) -> None:
    network = read_network(pipeline / "pipeline" / part, kind=DIFFUSION[part])
    shapes = {name: array.shape for name, array in network.tensors.items()}
    assert {name: tuple(shape) for name, shape in network.layout.expected.items()} == shapes


def test_every_kind_with_names_is_held() -> None:
    held = {kind for kind, _ in OURS.values()} | set(RECORDED.values()) | set(FILES.values()) | set(DIFFUSION.values())
    assert held | NAMELESS | {"image-encoder", "lora"} == set(MODULES)

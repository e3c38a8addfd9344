"""CLIP (Radford et al. 2021) with OpenAI's names: image and text towers, preprocessing, logits, initialisation."""
from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from jittor_ipl.models.clip.tensors import MEAN, STD, infer_config, initial_value
from jittor_ipl.models.clip.text import TextTower
from jittor_ipl.models.clip.vision import ModifiedResNet, VisionTransformer
from jittor_ipl.models.strict import load_into, named_tensors
from jittor_ipl.ops.norms import unit
from jittor_ipl.ops.resize import resize
from jittor_ipl.runtime.backend import jt, nn

# What OpenAI's archives carry beside the weights, and batch norm's training counter.
NOT_WEIGHTS = ("input_resolution", "context_length", "vocab_size")


class Clip(TextTower):
    """Image and text towers that meet in one feature space.

    embed_dim               width of the shared space
    image_resolution        side of the square the image tower sees
    vision_layers           number of transformer blocks, or four block counts for the ResNet tower
    vision_width            transformer width, or the ResNet's stem width
    vision_patch_size       side of a patch (None for the ResNet)
    context_length          longest text, start and end token included
    vocab_size              number of token ids; the highest one is the end token
    transformer_width, transformer_heads, transformer_layers    the text transformer
    norm                    "batch" (stored statistics, frozen) or "group" (trains from scratch); ResNet only
    vision_heads            attention heads of the image tower, one per 64 channels when None
    vision_mlp, transformer_mlp    hidden channels of the MLPs, four times the width when None
    activation              "quick_gelu" (OpenAI) or "gelu" (most of OpenCLIP); no checkpoint tells it by its weights
    eps                     of the layer norms
    end_token               id whose place holds a text's feature; the highest id of the text when None (OpenAI)
    image_mean, image_std   of the training images in [0, 1], per channel; OpenAI's when None

    Parameters start at zero: call `initialise` or build with `from_tensors`.
    """

    def __init__(self, *, embed_dim: int, image_resolution: int, vision_layers: int | tuple[int, int, int, int],
                 vision_width: int, vision_patch_size: int | None = None, context_length: int = 77, vocab_size: int = 49408,
                 transformer_width: int = 512, transformer_heads: int = 8, transformer_layers: int = 12,
                 norm: str = "batch", vision_heads: int | None = None, vision_mlp: int | None = None,
                 transformer_mlp: int | None = None, activation: str = "quick_gelu", eps: float = 1e-5,
                 end_token: int | None = None, image_mean: Sequence[float] | None = None,
                 image_std: Sequence[float] | None = None) -> None:
        super().__init__(embed_dim=embed_dim, context_length=context_length, vocab_size=vocab_size, width=transformer_width,
                         heads=transformer_heads, layers=transformer_layers, mlp=transformer_mlp, activation=activation,
                         eps=eps, end_token=end_token)
        self.is_resnet = not isinstance(vision_layers, int)
        layers = tuple(vision_layers) if self.is_resnet else vision_layers
        heads = vision_heads or max(1, vision_width * (32 if self.is_resnet else 1) // 64)
        self._config = dict(
            embed_dim=embed_dim, image_resolution=image_resolution, vision_layers=layers, vision_width=vision_width,
            vision_patch_size=vision_patch_size, context_length=context_length, vocab_size=vocab_size,
            transformer_width=transformer_width, transformer_heads=transformer_heads,
            transformer_layers=transformer_layers, norm=norm, vision_heads=heads, vision_mlp=vision_mlp,
            transformer_mlp=transformer_mlp, activation=activation, eps=eps, end_token=end_token,
            image_mean=_channels(image_mean), image_std=_channels(image_std))
        self.image_resolution, self.embed_dim = image_resolution, embed_dim
        if self.is_resnet:
            self.visual = ModifiedResNet(image_resolution, vision_width, layers, heads, embed_dim, norm)
        else:
            self.visual = VisionTransformer(image_resolution, vision_patch_size, vision_width, layers, heads, embed_dim,
                                            vision_mlp, activation, eps)
        self.logit_scale = jt.array(np.array([math.log(1 / 0.07)], np.float32))

    def config(self) -> dict:
        """The constructor's numbers, ready for JSON."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in self._config.items()}

    def preprocess(self, images, antialias: bool = False):
        """Images [B, 3, H, W] in [-1, 1] -> normalised [B, 3, R, R]; the shorter side becomes R, then the centre is cut out.

        Bicubic without antialias is what IPL and StyleGAN-NADA compute on tensors; `antialias=True` is what CLIP's own
        pipeline does with image files. Differentiable.
        """
        assert images.ndim == 4 and images.shape[1] == 3, f"images must be [B, 3, H, W], got {tuple(images.shape)}"
        side, (height, width) = self.image_resolution, images.shape[2:]
        if (height, width) != (side, side):
            short = min(height, width)
            images = resize(images, (int(side * height / short), int(side * width / short)), "bicubic", antialias)
            top, left = (round((n - side) / 2) for n in images.shape[2:])
            if (top, left) != (0, 0) or tuple(images.shape[2:]) != (side, side):
                images = images[:, :, top:top + side, left:left + side]
        mean, std = (value.reshape(1, 3, 1, 1) for value in self.normalisation())
        return images * jt.array(0.5 / std) + jt.array((0.5 - mean) / std)        # ((x + 1) / 2 - mean) / std

    def normalisation(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation, float32 [3] each, that images in [0, 1] are normalised with."""
        mean, std = self._config["image_mean"], self._config["image_std"]
        return MEAN if mean is None else np.float32(mean), STD if std is None else np.float32(std)

    def encode_image(self, images):
        """Features [B, embed_dim] (not normalised) of images [B, 3, R, R] that went through `preprocess`."""
        return self.visual(images)

    def image_features(self, images, antialias: bool = False):
        """Features [B, embed_dim] (not normalised) of images [B, 3, H, W] in [-1, 1].

        On a ResNet model these are also the texture features of StyleGAN-NADA's texture loss.
        """
        return self.encode_image(self.preprocess(images, antialias))

    def scale(self):
        """The logits' factor exp(logit_scale) [1], at most 100 as in CLIP's training (section 2.5)."""
        return jt.minimum(self.logit_scale, math.log(100.0)).exp()

    def execute(self, images, tokens):
        """Logits [B, N] of preprocessed images against texts, and their transpose."""
        image, text = unit(self.encode_image(images)), unit(self.encode_text(tokens))
        logits = nn.matmul_transpose(image, text) * self.scale()
        return logits, logits.transpose(0, 1)

    def initialise(self, rng: np.random.Generator) -> "Clip":
        """Draw every parameter as OpenAI's `initialize_parameters` (over PyTorch's defaults) does; returns self."""
        shapes = {name: tuple(var.shape) for name, var in sorted(named_tensors(self).items())}
        values = {}
        for name, shape in shapes.items():
            weight = name[:-len("bias")] + "weight" if name.endswith("bias") else name
            fan_in = math.prod(shapes.get(weight, shape)[1:])
            values[name] = initial_value(name, shape, fan_in, self._config, rng)
        load_into(self, values, source="initialisation")
        return self

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, np.ndarray], *, source: str = "CLIP weights", **known) -> "Clip":
        """Build the model that `tensors` (OpenAI's keys, any float type) describe; `known` constructor numbers win.

        Raises UserError (from the strict loader) when a tensor is missing, unknown or of another shape.
        """
        tensors = {k: np.asarray(v) for k, v in tensors.items()
                   if k not in NOT_WEIGHTS and not k.endswith("num_batches_tracked")}
        model = cls(**{**infer_config({k: v.shape for k, v in tensors.items()}, source), **known})
        tensors = {k: np.asarray(v, np.float32).reshape(1) if k == "logit_scale" else np.asarray(v, np.float32)
                   for k, v in tensors.items()}
        load_into(model, tensors, source=source)
        return model


def _channels(values: Sequence[float] | None) -> tuple[float, ...] | None:
    assert values is None or len(values) == 3, f"one number per colour channel is expected, got {values}"
    return None if values is None else tuple(map(float, values))

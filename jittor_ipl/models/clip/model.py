"""CLIP (Radford et al. 2021) with OpenAI's names: text tower, preprocessing of images, logits, initial values."""
from __future__ import annotations

import math
import re

import numpy as np

from jittor_ipl.models.clip.config import ClipConfig, TextConfig
from jittor_ipl.models.clip.vision import ModifiedResNet, VisionTransformer
from jittor_ipl.models.layers import LayerNorm
from jittor_ipl.models.strict import load_into, named_tensors
from jittor_ipl.models.transformer import Transformer
from jittor_ipl.ops.norms import unit
from jittor_ipl.ops.resize import resize
from jittor_ipl.runtime.backend import jt, nn
from jittor_ipl.runtime.bootstrap import require_device

Tokens = "np.ndarray | jt.Var"      # whole numbers [N, L], or [L] for one text


class Embedding(nn.Module):
    """Rows of `weight` [vocab_size, width] by token id."""

    def __init__(self, vocab_size: int, width: int):
        self.weight = jt.zeros([vocab_size, width])

    def execute(self, tokens: np.ndarray) -> jt.Var:
        """Map ids [N, L] to [N, L, width]."""
        rows = self.weight[jt.array(tokens.reshape(-1).astype(np.int32))]
        return rows.reshape(*tokens.shape, self.weight.shape[1])


class TextTower(nn.Module):
    """CLIP's text half: token ids, or learned vectors in place of context tokens, to one feature per text.

    In OpenAI's checkpoints these tensors lie at the root, beside `visual.*`; `Clip` therefore inherits from it.
    Attention is causal and a text's feature is read at its end token, so nothing behind the last end token of a batch
    can reach a feature: those positions are cut off before the transformer (10 in place of 77 for a usual prompt).
    `hidden_states` is the other way to read it, and needs no projection.
    """

    def __init__(self, config: ClipConfig | TextConfig):
        width, layers, heads = config.transformer_width, config.transformer_layers, config.transformer_heads
        self.settings, self.context_length, self.vocab_size = config, config.context_length, config.vocab_size
        self.positional_embedding = jt.zeros([config.context_length, width])
        self.text_projection = jt.zeros([width, config.embed_dim]) if config.embed_dim else None
        self.transformer = Transformer(width, layers, heads, config.transformer_mlp, config.activation, config.eps)
        self.token_embedding = Embedding(config.vocab_size, width)
        self.ln_final = LayerNorm(width, config.eps)

    def encode_text(self, tokens: Tokens) -> jt.Var:
        """Return features [N, embed_dim], not normalised, of token ids [N, L <= context_length]."""
        ids = self._checked(tokens)
        ends = self._ends(ids)
        ids = ids[:, :ends.max() + 1]
        return self._encode(self.token_embedding(ids), ends)

    def hidden_states(self, tokens: Tokens) -> jt.Var:
        """Return the normalised states [N, L, width] of all places of token ids [N, L <= context_length].

        They are what Stable Diffusion listens to (CLIPTextModel's last_hidden_state); pad tokens have states as well.
        """
        return self.ln_final(self._transformed(self.token_embedding(self._checked(tokens))))

    def encode_prompts(self, context: jt.Var, tokens: Tokens) -> jt.Var:
        """Return features [B, embed_dim], not normalised, of prompts whose context words are given vectors.

        context [B, n_ctx, width] replaces the embeddings of tokens 1..n_ctx of `tokens` [1 or B, L], the ids of
        "X X X X <class>" with n_ctx placeholders (CoOp; IPL section 3.2). Differentiable in `context`.
        """
        batch, n_ctx, width = context.shape
        ids = self._checked(tokens)
        assert len(ids) in (1, batch), f"{len(ids)} token rows for {batch} contexts"
        ends = self._ends(ids)
        assert ends.min() > n_ctx, f"the end token at {ends.min()} lies inside the {n_ctx} context places"
        embedded = self.token_embedding(ids[:, :ends.max() + 1])                    # [1 or B, L, width]
        assert embedded.shape[2] == width, f"context vectors of width {width} for a tower of width {embedded.shape[2]}"
        if len(ids) == 1:
            embedded = embedded.broadcast([batch, embedded.shape[1], width])
            ends = np.repeat(ends, batch)
        return self._encode(jt.concat([embedded[:, :1], context, embedded[:, 1 + n_ctx:]], dim=1), ends)

    def _checked(self, tokens: Tokens) -> np.ndarray:
        """Return token ids of any kind as whole numbers [N, L]."""
        ids = np.asarray(tokens.numpy() if isinstance(tokens, jt.Var) else tokens)
        ids = ids[None] if ids.ndim == 1 else ids
        length, size = self.context_length, self.vocab_size
        assert ids.ndim == 2 and ids.dtype.kind in "iu", f"token ids are integers [N, L], got {ids.dtype} {ids.shape}"
        assert ids.shape[1] <= length, f"{ids.shape[1]} tokens for a context of {length}"
        assert 0 <= ids.min() and ids.max() < size, f"token ids {ids.min()}..{ids.max()} of a vocabulary of {size}"
        return ids

    def _ends(self, ids: np.ndarray) -> np.ndarray:
        """Return where each row's feature is read: its first end token, or the first of its highest id (OpenAI)."""
        end = self.settings.end_token
        if end is None:
            return ids.argmax(axis=1)
        found = ids == end
        assert found.any(axis=1).all(), f"a text without its end token {end}"
        return found.argmax(axis=1)

    def _encode(self, x: jt.Var, ends: np.ndarray) -> jt.Var:
        """Transform embedded tokens [N, L, width] and project the vector at each row's end token."""
        batch, length, width = x.shape
        rows = jt.array((np.arange(batch) * length + ends).astype(np.int32))
        x = self._transformed(x).reshape(batch * length, width)[rows]
        return jt.matmul(self.ln_final(x), self.text_projection)

    def _transformed(self, x: jt.Var) -> jt.Var:
        """Transform embedded tokens [N, L, width]; each place sees itself and those before it."""
        length = x.shape[1]
        mask = jt.array(np.triu(np.full((length, length), -np.inf, np.float32), 1))
        return self.transformer(x + self.positional_embedding[:length], mask)

    def initialise(self, rng: np.random.Generator) -> TextTower:
        """Draw every parameter as OpenAI's `initialize_parameters` (over PyTorch's defaults) does; returns self."""
        shapes = {name: tuple(var.shape) for name, var in sorted(named_tensors(self).items())}
        values = {}
        for name, shape in shapes.items():
            weight = name[:-len("bias")] + "weight" if name.endswith("bias") else name      # a bias is drawn like it
            fan_in = math.prod(shapes.get(weight, shape)[1:])
            values[name] = _initial_value(name, shape, fan_in, self.settings, rng)
        load_into(self, values, source="initialisation")
        return self


class Clip(TextTower):
    """Image and text towers that meet in one feature space; parameters start at zero, `initialise` draws them.

    known_tokens   int32 [n], the token ids that have an embedding; None when all have
    """

    def __init__(self, config: ClipConfig, known_tokens: np.ndarray | None = None):
        super().__init__(config)
        self.known_tokens, self.is_resnet = known_tokens, config.is_resnet
        self.visual = (ModifiedResNet if config.is_resnet else VisionTransformer)(config)
        self.logit_scale = jt.array(np.array([math.log(1 / 0.07)], np.float32))

    def config(self) -> dict:
        """Return the numbers of its `ClipConfig`, ready for JSON."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in vars(self.settings).items()}

    @property
    def dtype(self) -> str:
        """The type of weights and features, "float32"; it, `float` and `to` are what users of OpenAI's CLIP write."""
        return self.visual.conv1.weight.dtype

    def float(self) -> Clip:
        """Return the model, which is float32 already."""
        return self

    def to(self, device: object) -> Clip:
        """Return the model; raises UserError unless `device` ("cpu", "cuda:0") is the one this process computes on."""
        require_device(device)
        return self

    def preprocess(self, images: jt.Var, antialias: bool = False) -> jt.Var:
        """Return images [B, 3, H, W] in [-1, 1] normalised, [B, 3, R, R]: the shorter side becomes R, the centre stays.

        Bicubic without antialias is what IPL and StyleGAN-NADA compute on tensors; `antialias=True` is what CLIP's own
        pipeline does with image files. Differentiable.
        """
        assert images.ndim == 4 and images.shape[1] == 3, f"images must be [B, 3, H, W], got {tuple(images.shape)}"
        side, (height, width) = self.settings.image_resolution, images.shape[2:]
        if (height, width) != (side, side):
            short = min(height, width)
            images = resize(images, (int(side * height / short), int(side * width / short)), "bicubic", antialias)
            top, left = (round((n - side) / 2) for n in images.shape[2:])
            if (top, left) != (0, 0) or tuple(images.shape[2:]) != (side, side):
                images = images[:, :, top:top + side, left:left + side]
        mean, std = (value.reshape(1, 3, 1, 1) for value in self.settings.normalisation())
        return images * jt.array(0.5 / std) + jt.array((0.5 - mean) / std)        # ((x + 1) / 2 - mean) / std

    def encode_image(self, images: jt.Var) -> jt.Var:
        """Return features [B, embed_dim], not normalised, of images [B, 3, R, R] that went through `preprocess`."""
        return self.visual(images)

    def image_features(self, images: jt.Var, antialias: bool = False) -> jt.Var:
        """Return features [B, embed_dim], not normalised, of images [B, 3, H, W] in [-1, 1].

        On a ResNet model these are also the texture features of StyleGAN-NADA's texture loss.
        """
        return self.encode_image(self.preprocess(images, antialias))

    def scale(self) -> jt.Var:
        """Return the logits' factor exp(logit_scale) [1], at most 100 as in CLIP's training (section 2.5)."""
        return jt.minimum(self.logit_scale, math.log(100.0)).exp()

    def execute(self, images: jt.Var, tokens: Tokens) -> tuple[jt.Var, jt.Var]:
        """Return the logits [B, N] of preprocessed images against texts, and their transpose."""
        image, text = unit(self.encode_image(images)), unit(self.encode_text(tokens))
        logits = nn.matmul_transpose(image, text) * self.scale()
        return logits, logits.transpose(0, 1)


def _initial_value(name: str, shape: tuple[int, ...], fan_in: int, config: ClipConfig | TextConfig,
                   rng: np.random.Generator) -> np.ndarray:
    """Draw one tensor; `fan_in` is the number of inputs of the layer that it belongs to."""
    if name == "logit_scale":
        return np.full(shape, math.log(1 / 0.07), np.float32)
    if re.search(r"(^|\.)(ln_\w+|bn\d|downsample\.1)\.\w+$", name):
        residual_end = re.match(r"visual\.layer\d\.\d+\.bn3\.weight", name)       # every residual branch starts at zero
        return np.full(shape, float(name.endswith(("weight", "running_var")) and not residual_end), np.float32)
    if name.endswith(("in_proj_bias", "out_proj.bias")):
        return np.zeros(shape, np.float32)
    std = _normal_std(name, shape, config)
    if std is not None:
        return rng.standard_normal(shape, np.float32) * np.float32(std)
    if name.endswith("in_proj_weight"):                                           # Xavier over the packed matrix
        bound = math.sqrt(6 / (shape[0] + shape[1]))
    else:                                                                         # PyTorch's default
        bound = 1 / math.sqrt(fan_in)
    return rng.uniform(-bound, bound, shape).astype(np.float32)


def _normal_std(name: str, shape: tuple[int, ...], config: ClipConfig | TextConfig) -> float | None:
    """Return the standard deviation of a normally drawn tensor, None for those that keep PyTorch's uniform default."""
    width, layers = config.transformer_width, config.transformer_layers
    vision = getattr(config, "vision_width", width)         # a text tower alone has none
    deviations = {r"visual\.(class_embedding|positional_embedding|proj)": vision ** -0.5,
                  r"visual\.attnpool\.(positional_embedding|[kqvc]_proj\.weight)": shape[-1] ** -0.5,
                  r"token_embedding\.weight": 0.02, r"positional_embedding": 0.01, r"text_projection": width ** -0.5,
                  r"transformer\..*in_proj_weight": width ** -0.5, r"transformer\..*c_fc\.weight": (2 * width) ** -0.5,
                  r"transformer\..*weight": width ** -0.5 * (2 * layers) ** -0.5}
    return next((std for pattern, std in deviations.items() if re.fullmatch(pattern, name)), None)

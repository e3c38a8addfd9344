"""CLIP's text half: token ids, or learned vectors in place of context tokens, to one feature per text.

In OpenAI's checkpoints these tensors lie at the root, beside `visual.*`; `Clip` therefore inherits from `TextTower`.
Attention is causal and a text's feature is read at its end token, so nothing behind the last end token of a batch can
reach a feature: those positions are cut off before the transformer (10 positions instead of 77 for a usual prompt).
"""
from __future__ import annotations

import numpy as np

from jittor_ipl.models.transformer import LayerNorm, Transformer
from jittor_ipl.runtime.backend import jt, nn


class Embedding(nn.Module):
    """Rows of `weight` [vocab_size, width] by token id."""

    def __init__(self, vocab_size: int, width: int) -> None:
        self.weight = jt.zeros([vocab_size, width])

    def execute(self, tokens: np.ndarray):
        rows = self.weight[jt.array(tokens.reshape(-1).astype(np.int32))]
        return rows.reshape(*tokens.shape, self.weight.shape[1])


def _ids(tokens) -> np.ndarray:
    """Token ids of any kind as an int array [N, L]."""
    ids = np.asarray(tokens.numpy() if isinstance(tokens, jt.Var) else tokens)
    ids = ids[None] if ids.ndim == 1 else ids
    assert ids.ndim == 2 and ids.dtype.kind in "iu", f"token ids must be integers [N, L], got {ids.dtype} {ids.shape}"
    return ids


class TextTower(nn.Module):
    """The text transformer with its embeddings, projection and end-token pooling."""

    def __init__(self, *, embed_dim: int, context_length: int, vocab_size: int, width: int, heads: int, layers: int,
                 mlp: int | None = None, activation: str = "quick_gelu", eps: float = 1e-5,
                 end_token: int | None = None) -> None:
        self.context_length, self.vocab_size, self.end_token = context_length, vocab_size, end_token
        self.positional_embedding = jt.zeros([context_length, width])
        self.text_projection = jt.zeros([width, embed_dim])
        self.transformer = Transformer(width, layers, heads, mlp, activation, eps)
        self.token_embedding = Embedding(vocab_size, width)
        self.ln_final = LayerNorm(width, eps)

    def encode_text(self, tokens):
        """Token ids [N, L <= context_length] -> features [N, embed_dim], not normalised."""
        ids = self._checked(tokens)
        ends = self._ends(ids)
        ids = ids[:, :ends.max() + 1]
        return self._encode(self.token_embedding(ids), ends)

    def encode_prompts(self, context, tokens):
        """Features of prompts whose context words are given vectors (CoOp; IPL section 3.2).

        context [B, n_ctx, width] replaces the embeddings of tokens 1..n_ctx of `tokens` [1 or B, L], the ids of
        "X X X X <class>" with n_ctx placeholders -> [B, embed_dim], not normalised. Differentiable in `context`.
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

    def _checked(self, tokens) -> np.ndarray:
        ids = _ids(tokens)
        assert ids.shape[1] <= self.context_length, f"{ids.shape[1]} tokens for a context of {self.context_length}"
        assert 0 <= ids.min() and ids.max() < self.vocab_size, f"token ids {ids.min()}..{ids.max()} outside the vocabulary"
        return ids

    def _ends(self, ids: np.ndarray) -> np.ndarray:
        """Where each row's feature is read: the first `end_token`, or without one the first of the highest id (OpenAI)."""
        if self.end_token is None:
            return ids.argmax(axis=1)
        found = ids == self.end_token
        assert found.any(axis=1).all(), f"a text without its end token {self.end_token}"
        return found.argmax(axis=1)

    def _encode(self, x, ends: np.ndarray):
        """Transform embedded tokens [N, L, width] and project the vector at each row's end token."""
        batch, length, width = x.shape
        mask = jt.array(np.triu(np.full((length, length), -np.inf, np.float32), 1))
        x = self.transformer(x + self.positional_embedding[:length], mask)
        rows = jt.array((np.arange(batch) * length + ends).astype(np.int32))
        return jt.matmul(self.ln_final(x.reshape(batch * length, width)[rows]), self.text_projection)

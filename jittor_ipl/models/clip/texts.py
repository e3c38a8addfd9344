"""What a CLIP makes of texts: plain features, and a class name's in the 79 templates."""
from __future__ import annotations

from collections.abc import Sequence

from jittor_ipl.models.clip.model import Clip
from jittor_ipl.ops.norms import unit
from jittor_ipl.runtime.backend import jt
from jittor_ipl.text.tokenizer import fill_templates, tokenize

BATCH = 128      # texts encoded at a time


def encode_texts(clip: Clip, texts: Sequence[str]) -> jt.Var:
    """Return the features [N, d] of `texts`, not normalised, outside any gradient."""
    with jt.no_grad():
        parts = [clip.encode_text(tokenize(list(texts[i:i + BATCH]), clip.context_length))
                 for i in range(0, len(texts), BATCH)]
        return constant(jt.concat(parts, 0))


def template_features(clip: Clip, class_name: str) -> jt.Var:
    """Return the unit features [79, d] of a class name in the 79 templates (Radford et al. 2021, section 3.1.4)."""
    return constant(unit(encode_texts(clip, fill_templates(class_name))))


def constant(value: jt.Var) -> jt.Var:
    """Compute a value now, cut off from any graph, and return it."""
    value = value.stop_grad()
    value.sync()
    return value

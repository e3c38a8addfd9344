"""What each picture shows, in words: a CLIP's answers in the slots of a description."""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jittor_ipl.adaptation.directions import encode_images, encode_texts
from jittor_ipl.models.clip.model import Clip
from jittor_ipl.ops.norms import unit
from jittor_ipl.text.descriptions import Description


def captions(clips: Sequence[Clip], description: Description, images: np.ndarray) -> list[str]:
    """Return a description of every image [N, 3, H, W] in [-1, 1]; several CLIPs vote with their probabilities."""
    chances = {slot.name: np.zeros((len(images), len(slot.answers))) for slot in description.slots}
    for clip in clips:
        seen, scale = encode_images(clip, images).numpy(), float(clip.logit_scale.exp().item())
        for slot in description.slots:
            texts = unit(encode_texts(clip, slot.texts())).numpy()
            logits = scale * seen @ texts.T
            odds = np.exp(logits - logits.max(axis=1, keepdims=True))
            chances[slot.name] += odds / odds.sum(axis=1, keepdims=True)
    chosen = {slot.name: np.argmax(chances[slot.name], axis=1) for slot in description.slots}
    return [description.filled({slot.name: slot.answers[chosen[slot.name][index]] for slot in description.slots})
            for index in range(len(images))]

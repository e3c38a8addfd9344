"""What adaptation minimises: pure functions from features to a scalar [1].

Features are [B, d] as CLIP gives them, not normalised, unless a name says `unit_`; text directions are [1 or B, d] of
unit length. IPL: Guo et al., CVPR 2023. NADA: Gal et al., StyleGAN-NADA, SIGGRAPH 2022.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from jittor_ipl.ops.norms import cross_entropy, log_softmax, mean, unit
from jittor_ipl.ops.pool import average_pool
from jittor_ipl.runtime.backend import jt

# Shortest image direction that is stretched to unit length. Two equal generators give a direction of 0: the original
# formula is then 0/0. Real directions between unit features are far longer.
SHORTEST = 1e-3


def direction(source: jt.Var, target: jt.Var, floor: float | jt.Var = 0.0) -> jt.Var:
    """Return `(t - s) / max(|t - s|, floor)` [B, d] between the unit vectors of `source` and `target` [B, d].

    Below `floor` the direction keeps its length, so the gradient stays bounded when the two agree; with floor 0 it is
    always of unit length (NADA, section 4.1) except below `SHORTEST`. A floor for each row: [B or 1, 1].
    """
    return _stretched(unit(target) - unit(source), floor)


def _stretched(difference: jt.Var, floor: float | jt.Var) -> jt.Var:
    squared = (difference * difference).sum(-1, keepdims=True)
    if isinstance(floor, jt.Var):
        return difference / jt.sqrt(jt.maximum(squared, jt.maximum(floor * floor, SHORTEST ** 2)))
    return difference / jt.sqrt(jt.maximum(squared, max(floor, SHORTEST) ** 2))


def directional(source: jt.Var, target: jt.Var, text_direction: jt.Var, floor: float | jt.Var = 0.0) -> jt.Var:
    """Return the mean of 1 - cos between image and text directions (NADA eq. 3, IPL eq. 7); `floor` as in `direction`.

    source, target [B, d]: image features; text_direction [1 or B, d], unit length. With a floor above 0 the cosine is
    scaled by the direction's length, which rewards moving as well as aiming.
    """
    return mean(1.0 - (direction(source, target, floor) * text_direction).sum(-1))


def mean_direction(source: jt.Var, target: jt.Var, text_direction: jt.Var, floor: float = 0.0) -> jt.Var:
    """Return 1 - cos between the mean change of the images and the mean text direction.

    The first part of SVL's loss on moments (Jeon et al. 2023, arXiv 2308.10554). Arguments as in `directional`, `floor`
    for the mean change. Images may go apart as long as they go there together, which `directional` asks of each.
    """
    change = (unit(target) - unit(source)).sum(0, keepdims=True) / float(source.shape[0])
    return 1.0 - (_stretched(change, floor) * unit(text_direction.sum(0, keepdims=True))).sum()


def text_direction(source: jt.Var, target: jt.Var) -> jt.Var:
    """Return unit vectors [B, d] from `source` to `target` text features [B, d], each normalised first (IPL eq. 6)."""
    return unit(unit(target) - unit(source), eps=1e-8)


def contrastive(images: jt.Var, texts: jt.Var, scale: jt.Var | float) -> jt.Var:
    """Return CLIP's symmetric cross-entropy of matching pairs `images[i]`, `texts[i]` [B, d] (IPL's code for eq. 4).

    `scale` is exp(logit_scale). Row i must find column i and column i row i.
    """
    logits = jt.matmul(unit(images), unit(texts).transpose(1, 0)) * scale
    truth = jt.array(np.arange(images.shape[0], dtype=np.int32))
    return (cross_entropy(logits, truth) + cross_entropy(logits.transpose(1, 0), truth)) * 0.5


def domain(texts: jt.Var, anchor: jt.Var) -> jt.Var:
    """Return the mean of 1 - cos between prompt features [B, d] and one anchor [1, d], any length (IPL eq. 5)."""
    return mean(1.0 - (unit(texts) * unit(anchor)).sum(-1))


def prompt_list(texts: jt.Var, listed: jt.Var) -> jt.Var:
    """Return the mean of 1 - cos between prompt features [B, d] and the mean unit feature of a list of prompts [n, d].

    The loss on prompts of the user's own in Ni's thesis on IPL (2024); the list's mean is not of unit length, which the
    cosine does not notice.
    """
    return domain(texts, unit(listed).sum(0, keepdims=True) / float(listed.shape[0]))


def mapper_objective(terms: Mapping[str, jt.Var], lambda_domain: float, lambda_source: float,
                     lambda_prompts: float = 0.0, replace_domain: bool = False) -> jt.Var:
    """Return stage 1's sum of contrastive + lambda_domain (domain + lambda_source source + lambda_prompts prompts).

    IPL eq. 5 and 6; the last term is the thesis's third version (0.2 there). `replace_domain` leaves the domain term
    out, which with lambda_prompts 1 is its second version. terms: name -> scalar; "prompts" may be absent at weight 0.
    """
    pull = lambda_source * terms["source"]
    pull = pull if replace_domain else terms["domain"] + pull
    pull = pull + lambda_prompts * terms["prompts"] if lambda_prompts else pull
    return terms["contrastive"] + lambda_domain * pull


def global_similarity(images: jt.Var, texts: jt.Var, scale: jt.Var | float) -> jt.Var:
    """Return the mean of 1 - logit / 100 between images [B, d] and texts [n, d] (NADA, section 4.1).

    `scale` is exp(logit_scale).
    """
    logits = jt.matmul(unit(images), unit(texts).transpose(1, 0)) * scale
    return mean(1.0 - logits / 100.0)


def manifold(source: jt.Var, target: jt.Var, text_source: jt.Var, text_target: jt.Var) -> jt.Var:
    """Return the mean |cos(source_i, target_i) - cos(text_source, text_target)| (NADA's code): images turn as texts do.

    source, target [B, d]: image features; text_source, text_target [1, d]: one class each.
    """
    images = jt.clamp((unit(source) * unit(target)).sum(-1), -1.0, 1.0)
    texts = (unit(text_source) * unit(text_target)).sum(-1).stop_grad()
    return mean(jt.abs(images - texts))


def variations(source: jt.Var, target: jt.Var, answers: Sequence[tuple[jt.Var, jt.Var]],
               scale: jt.Var | float) -> jt.Var:
    """Return how far the answers to questions change with adaptation: the mean KL divergence over questions and images.

    source, target [B, d]: image features; answers: for each question the unit features [n, d] of its answers in words
    of the source class and of the target class; `scale` is exp(logit_scale). An image's answer is the softmax over a
    question's texts. Related to SVL's semantic variations (text varies around the class while the class changes).
    """
    total = 0.0
    for before, after in answers:
        was = log_softmax(jt.matmul(unit(source), before.transpose(1, 0)) * scale).stop_grad()     # [B, n]
        now = log_softmax(jt.matmul(unit(target), after.transpose(1, 0)) * scale)
        total = total + mean((jt.exp(was) * (was - now)).sum(-1))
    return total / float(len(answers))


def naming(images: jt.Var, names: jt.Var, scale: jt.Var | float) -> jt.Var:
    """Return the mean cross-entropy in nats of naming images [B, d] as the first of `names` [n, d], not another.

    What CLIP itself was trained to do (Radford et al. 2021, section 2.3), `scale` being its exp(logit_scale): unlike a
    direction, which asks for ever more, it is content with an image that could be nothing else.
    """
    logits = jt.matmul(unit(images), unit(names).transpose(1, 0)) * scale
    return cross_entropy(logits, jt.array(np.zeros(images.shape[0], np.int32)))


def covariance(directions: jt.Var, texts: jt.Var) -> jt.Var:
    """Return the squared Frobenius distance of the covariances of image directions [B, d] and text directions [K, d].

    The second part of SVL's loss on moments; `mean_direction` is the first. One direction for all images makes them
    alike; this keeps them apart as far as the texts are, and no further. B must be 2 or more.
    """
    apart = _covariance(directions) - _covariance(texts)
    return (apart * apart).sum()


def _covariance(rows: jt.Var) -> jt.Var:
    count = float(rows.shape[0])
    centred = rows - rows.sum(0, keepdims=True) / count
    return jt.matmul(centred.transpose(1, 0), centred) / count


def consolidation(now: Mapping[str, jt.Var], before: Mapping[str, jt.Var], information: Mapping[str, jt.Var]) -> jt.Var:
    """Return the sum of information * (now - before)^2 over all tensors (EWC, Kirkpatrick et al. 2017).

    All three: name -> Var of the same shapes. With `information` from `adaptation.consolidation` it is about the mean
    squared change of a pixel, in images from -1 to 1.
    """
    total = 0.0
    for name, weight in information.items():
        change = now[name] - before[name]
        total = total + mean(weight * change * change) * float(change.numel())
    return total


def texture(source: jt.Var, target: jt.Var) -> jt.Var:
    """Return the mean squared difference of a ResNet CLIP's features [B, d], not normalised (NADA's code)."""
    difference = target - source
    return mean(difference * difference)


def patch(source: jt.Var, target: jt.Var, part_directions: jt.Var, floor: float = 0.0) -> jt.Var:
    """Return the mean of (1 - cos) * softmax(cos) between the directions of patches and of body parts (NADA's code).

    source, target [P, d]: features of the same crops of both images; part_directions [n, d]: unit length, one per part.
    """
    cosine = jt.matmul(direction(source, target, floor), part_directions.transpose(1, 0))      # [P, n]
    return mean((1.0 - cosine) * jt.nn.softmax(cosine, dim=1))


STRUCTURE_SIZE = 128   # px; larger images are averaged down to it before their contours are compared


def structure(source: jt.Var, target: jt.Var, window: int = 5, constant: float = 3e-2) -> jt.Var:
    """Return 1 - the mean local correlation of luminance between images [B, 3, H, W] in [-1, 1].

    The structure term of SSIM (Wang et al. 2004, eq. 10) over `window` x `window` places. Contours of the source have
    to stay; where the source is flat anything may appear, because `constant` outweighs its variance there.
    """
    kernel = jt.array(np.full((1, 1, window, window), 1.0 / window ** 2, np.float32))

    def local(x):
        return jt.nn.conv2d(x, kernel)
    s, t = _luminance(source), _luminance(target)
    mean_s, mean_t = local(s), local(t)
    variance_s = jt.maximum(local(s * s) - mean_s * mean_s, 0.0)
    variance_t = jt.maximum(local(t * t) - mean_t * mean_t, 0.0)
    common = local(s * t) - mean_s * mean_t
    return mean(1.0 - (common + constant) / (jt.sqrt(variance_s * variance_t + 1e-12) + constant))


def _luminance(images: jt.Var) -> jt.Var:
    """Rec. 601 luma [B, 1, h, w] of images [B, 3, H, W], averaged down to at most STRUCTURE_SIZE."""
    luma = images[:, :1] * 0.299 + images[:, 1:2] * 0.587 + images[:, 2:] * 0.114
    by = max(1, images.shape[2] // STRUCTURE_SIZE)
    return average_pool(luma, by, by) if by > 1 else luma


def regression(images: jt.Var, wanted: jt.Var, edges: float = .5, coarse: float = 1.0) -> jt.Var:
    """Return how far images [B, 3, H, W] are from those that are wanted: mean absolute differences.

    To those of the values the differences between neighbouring pixels are added with weight `edges`, and, with weight
    `coarse`, the same of both at a quarter of the side.
    """
    loss = _difference(images, wanted, edges)
    if not coarse or images.shape[2] < 8:
        return loss
    return loss + coarse * _difference(average_pool(images, 4, 4), average_pool(wanted, 4, 4), edges)


def _difference(images: jt.Var, wanted: jt.Var, edges: float) -> jt.Var:
    apart = images - wanted
    loss = mean(jt.abs(apart))
    if not edges:
        return loss
    down, right = apart[:, :, 1:] - apart[:, :, :-1], apart[:, :, :, 1:] - apart[:, :, :, :-1]
    return loss + edges * (mean(jt.abs(down)) + mean(jt.abs(right)))


def out_of_range(images: jt.Var) -> jt.Var:
    """Return the mean squared excess of pixel values beyond [-1, 1]: what a picture file would cut off."""
    excess = jt.maximum(jt.abs(images) - 1.0, 0.0)
    return mean(excess * excess)


# ---- Editing (StyleCLIP: Patashnik et al. 2021; identity: Richardson et al. 2021) ------------------------------------

def clip_distance(images: jt.Var, texts: jt.Var) -> jt.Var:
    """Return the mean of 1 - cos between image features [B, d] and text features [1 or B, d]: StyleCLIP's D_CLIP.

    The published 1 - logit / 100 with OpenAI's logit scale, which is 100 in all their models.
    """
    return mean(1.0 - (unit(images) * unit(texts)).sum(-1))


def identity(before: jt.Var, now: jt.Var) -> jt.Var:
    """Return the mean of 1 - cos between a face recogniser's unit vectors [B, d] of two sets of the same faces."""
    return mean(1.0 - (before * now).sum(-1))


def squared_length(changes: Sequence[jt.Var]) -> jt.Var:
    """Return the sum of squares of changes of codes, of any shapes (StyleCLIP, section 4)."""
    return sum((change * change).sum() for change in changes)


def mean_square(changes: Sequence[jt.Var]) -> jt.Var:
    """Return the sum of the mean squares of changes, of any shapes: one of W+ codes or images, one of each layer of S.

    StyleCLIP's code, for its mappers.
    """
    return sum(mean(change * change) for change in changes)

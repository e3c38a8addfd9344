"""The losses of the official code, forward and gradient to the target image, on recorded images and tiny CLIPs."""
import golden
import pytest

from jittor_ipl import losses
from jittor_ipl.adaptation import listeners, views
from jittor_ipl.models.clip import texts
from jittor_ipl.runtime.backend import jt


@pytest.fixture(scope="module")
def world():
    record = golden.Reference("losses")
    clip = golden.clip("vit")
    return record, clip, listeners.listen(clip, 1.0, "photo", "disney", parts=True)


def test_template_features_and_direction(world):
    record, clip, one = world
    for name, text in (("templates_source", "photo"), ("templates_target", "disney")):
        record.check(name, texts.template_features(clip, text), 1e-4)
    record.check("text_direction", one.direction, 1e-4)


def loss_of(name, record, clip, one, source, target):
    if name == "texture":
        resnet = golden.clip("rn")
        return losses.texture(resnet.image_features(source), resnet.image_features(target))
    if name == "patch_directional":
        size = int(record["patch_size"])
        source, target = (views.patches(x, record["patch_centers"], size) for x in (source, target))
    before, after = clip.image_features(source), clip.image_features(target)
    return {"directional_text": lambda: losses.directional(before, after, one.direction),
            "global": lambda: losses.global_similarity(after, one.global_text, one.scale),
            "manifold": lambda: losses.manifold(before, after, one.source_text, one.target_text),
            "patch_directional": lambda: losses.patch(before, after, one.part_directions)}[name]()


@pytest.mark.parametrize("name", ["directional_text", "global", "manifold", "texture", "patch_directional"])
def test_loss_and_gradient(world, name):
    record, clip, one = world
    source, target = jt.array(record["src"]), jt.array(record["dst"])
    loss = loss_of(name, record, clip, one, source, target)
    record.check(name, loss, 1e-4)
    record.check(f"{name}/grad_dst", jt.grad(loss, target), 1e-4)

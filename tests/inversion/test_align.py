"""Faces cut out of photographs: the published procedure, every kind of picture, every kind of mistake."""
from __future__ import annotations

import importlib.util
import json

import numpy as np
import published
import pytest
from PIL import Image

from jittor_ipl.cli import main
from jittor_ipl.errors import UserError
from jittor_ipl.images.quads import cut_square, gaussian
from jittor_ipl.inversion import detect
from jittor_ipl.inversion.align import aligned
from jittor_ipl.inversion.landmarks import Landmarks, by_hand, landmarks_of, read_landmarks

SCIPY = importlib.util.find_spec("scipy") is not None
TOLERANCE = 0 if SCIPY else 1       # of 255; the matrix in the reference's place sums in another order


def picture(width: int, height: int, seed: int = 0) -> np.ndarray:
    """Return smooth waves with noise, uint8 [height, width, 3]."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width][..., None] / 40
    waves = np.sin(x * rng.uniform(0.5, 3, 3) + y * rng.uniform(0.5, 3, 3) + rng.uniform(0, 6, 3))
    return np.clip(127 + 90 * waves + rng.normal(0, 12, (height, width, 3)), 0, 255).astype(np.uint8)


def face(x: float, y: float, scale: float, turn: float = 0.0, seed: int = 0) -> np.ndarray:
    """Return 68 whole-numbered points around eyes and mouth `scale` apart, turned by `turn` radians."""
    points = np.random.default_rng(seed).normal(0, 0.3, (68, 2))
    points[36:42] += [-0.5, 0]
    points[42:48] += [0.5, 0]
    points[[48, 54]] = [-0.4, 1.1], [0.45, 1.05]
    rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    return np.rint(points @ rotation * scale + [x, y])


@pytest.mark.parametrize("place", [
    dict(x=150, y=130, scale=40), dict(x=150, y=130, scale=40, turn=0.6), dict(x=40, y=60, scale=50),
    dict(x=280, y=230, scale=60, turn=-0.4), dict(x=150, y=120, scale=130), dict(x=150, y=120, scale=9, turn=3.0)])
@pytest.mark.parametrize("size, transform", [(64, 64), (64, 256), (32, 32)])
def test_the_published_procedure(place, size, transform):
    pixels, points = picture(300, 250), face(**place)
    marks = landmarks_of(points)
    np.testing.assert_allclose(marks.quad(), published.square(points), atol=1e-9)
    ours, outside = cut_square(pixels, marks.quad(), size, transform)
    theirs = published.align(pixels, points, size, transform)
    assert np.abs(ours.astype(int) - theirs).max() <= TOLERANCE and 0 <= outside <= 1
    plain = cut_square(pixels, marks.quad(), size, transform, padding=False)[0]
    assert np.abs(plain.astype(int) - published.align(pixels, points, size, transform, False)).max() == 0


@pytest.mark.parametrize("height, width, sigma", [(40, 50, 1.3), (90, 70, 5.1), (17, 9, 7.7), (5, 6, 0.1)])
def test_the_gaussian_is_scipys(height, width, sigma):
    image = picture(width, height).astype(np.float32)
    ours = gaussian(image, sigma)
    np.testing.assert_array_equal(ours, gaussian(image, sigma))
    exact = np.einsum("hi,wj,ijc->hwc", published.matrix(height, sigma), published.matrix(width, sigma), image)
    assert ours.dtype == np.float32 and np.abs(ours - exact).max() < 1e-4
    if SCIPY:
        np.testing.assert_array_equal(ours, published.blurred(image, sigma))


def test_how_much_lies_outside():
    quad = np.array([[-50, 0], [-50, 99], [49, 99], [49, 0]]) - 0.5
    assert cut_square(picture(100, 100), quad, 32)[1] == pytest.approx(0.5, abs=0.02)
    assert cut_square(picture(100, 100), quad + [50, 0], 32)[1] == 0


def test_an_upright_square_is_the_picture_itself():
    """The corner of the first pixel is at -0.5, -0.5."""
    pixels = picture(64, 64)
    quad = np.array([[0, 0], [0, 64], [64, 64], [64, 0]]) - 0.5
    np.testing.assert_array_equal(cut_square(pixels, quad, 64, padding=False)[0], pixels)


# ---- landmarks ------------------------------------------------------------------------------------------------------

def test_five_points_and_hands_say_the_same():
    five = np.array([[100, 90], [160, 95], [131, 120], [108, 150], [150, 152]], float)
    marks = landmarks_of(five)
    hand = by_hand("100,90,160,95", "108,150,150,152")
    assert hand == by_hand("100,90,160,95", "129,151")
    np.testing.assert_array_equal(marks.quad(), hand.quad())
    # The square turns with the face.
    turned = landmarks_of(five[:, ::-1] * [-1, 1] + [300, 0])
    np.testing.assert_allclose(turned.quad(), marks.quad()[:, ::-1] * [-1, 1] + [300, 0])


@pytest.mark.parametrize("content", [
    lambda points: points, lambda points: {"landmarks": points}, lambda points: {"photo.png": points},
    lambda points: {"photo.png": {"face_landmarks": points}}, lambda points: {"other.png": [[0, 0]] * 5} | {
        "photo.png": points},
    lambda points: {"photo.png": {"eyes": points[:2], "mouth": [129, 151]}}])
def test_landmark_files(tmp_path, content):
    points = [[100, 90], [160, 95], [131, 120], [108, 150], [150, 152]]
    Image.fromarray(picture(300, 250)).save(tmp_path / "photo.png")
    (tmp_path / "marks.json").write_text(json.dumps(content(points)))
    one = aligned(tmp_path / "photo.png", 64, landmarks=read_landmarks(tmp_path / "marks.json"))
    np.testing.assert_array_equal(one.quad, landmarks_of(np.array(points)).quad())
    assert one.found_by == "given" and one.face is None and one.pixels.shape == (64, 64, 3)


@pytest.mark.parametrize("text, words", [
    ("[[1, 2]]", "1 x 2 numbers are no landmarks"), ("{}", "names no picture"), ("[[1,", "not JSON"),
    ('{"photo.png": "here"}', "'photo.png': these are no landmarks"), ('{"photo.png": {"nose": 1}}', "no landmarks"),
    ('{"photo.png": [[1, 2], [3]]}', "no landmarks"), ("[[1, 2], [3, 4], [5, 6], [7, 8], [NaN, 9]]", "no finite"),
    ('{"photo.png": {"eyes": [[1, 2], [3, 1e999]], "mouth": [1, 1]}}', "no finite number"),
    ('{"phot.png": [[1, 2], [9, 2], [3, 3], [4, 9], [6, 9]]}', "does not name 'photo.png'.*did you mean 'phot.png'")])
def test_landmark_files_that_are_none(tmp_path, text, words):
    Image.fromarray(picture(30, 25)).save(tmp_path / "photo.png")
    (tmp_path / "marks.json").write_text(text)
    with pytest.raises(UserError, match=words):
        aligned(tmp_path / "photo.png", 64, landmarks=read_landmarks(tmp_path / "marks.json"))


@pytest.mark.parametrize("eyes, mouth, words", [
    ("10,10,30,10", "20,300", "the mouth at 20,300 is outside the picture of 60 x 50 pixels"),
    ("30,10,10,10", "20,30", "are swapped, seen from the mouth"), ("10,10,30,10", "50,10", "lie on one line"),
    ("10,10,10,10", "20,30", "lie on one line or on one another"), ("10,10,30", "20,30", "--eyes '10,10,30': give x,y"),
    ("10,10,30,10", "20", "--mouth '20': give x,y of the middle"), ("10,ten,30,10", "20,30", "--eyes '10,ten,30,10'"),
    ("10,10,30,inf", "20,30", "--eyes")])
def test_places_that_are_none(tmp_path, eyes, mouth, words):
    Image.fromarray(picture(60, 50)).save(tmp_path / "photo.png")
    with pytest.raises(UserError, match=words):
        aligned(tmp_path / "photo.png", 64, landmarks=by_hand(eyes, mouth))


# ---- pictures -------------------------------------------------------------------------------------------------------

MARKS = Landmarks((20.0, 20.0), (40.0, 20.0), (30.0, 40.0))


def test_a_picture_turned_by_exif(tmp_path):
    upright = picture(60, 80)
    exif = Image.Exif()
    exif[0x0112] = 6        # the camera was held on its side: turn clockwise
    Image.fromarray(np.rot90(upright)).save(tmp_path / "turned.png", exif=exif)
    Image.fromarray(upright).save(tmp_path / "plain.png")
    turned, plain = (aligned(tmp_path / f"{name}.png", 32, landmarks=MARKS) for name in ("turned", "plain"))
    np.testing.assert_array_equal(turned.pixels, plain.pixels)
    assert "turned upright as its EXIF data says" in turned.remarks and len(plain.remarks) < len(turned.remarks)


def test_grey_transparent_and_animated_pictures(tmp_path):
    pixels = picture(60, 80)
    grey = pixels[..., 0]
    Image.fromarray(grey).save(tmp_path / "grey.png")
    Image.fromarray(np.dstack([pixels, np.full_like(grey, 0)])).save(tmp_path / "clear.png")
    frames = [Image.fromarray(picture(60, 80, seed)) for seed in range(3)]
    for name in ("moving.png", "moving.webp"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], lossless=True)
    one = {name: aligned(tmp_path / name, 32, landmarks=MARKS) for name in
           ("grey.png", "clear.png", "moving.png", "moving.webp")}
    assert (one["grey.png"].pixels == one["grey.png"].pixels[..., :1]).all()
    assert (one["clear.png"].pixels == 255).all() and "its transparent parts are white" in one["clear.png"].remarks
    for name in ("moving.png", "moving.webp"):
        assert "the first picture of an animation" in one[name].remarks, name
        np.testing.assert_array_equal(one[name].pixels, cut_square(np.asarray(frames[0]), MARKS.quad(), 32)[0])


def test_tiny_pictures(tmp_path):
    Image.fromarray(picture(4, 3)).save(tmp_path / "tiny.png")
    one = aligned(tmp_path / "tiny.png", 64, landmarks=by_hand("1,1,2.5,1", "1.7,2.6"))
    assert one.pixels.shape == (64, 64, 3) and any("enlarged" in remark for remark in one.remarks)
    assert any("outside of the picture and is mirrored" in remark for remark in one.remarks)
    black = aligned(tmp_path / "tiny.png", 64, landmarks=one.landmarks, padding=False)
    assert any("outside of the picture and is black" in remark for remark in black.remarks)


@pytest.mark.parametrize("content, words", [
    (b"GIF89a" + bytes(40), "a GIF, not a PNG"), (b"", "an empty file"), (b"\x89PNG\r\n\x1a\n\0\0", "damaged PNG"),
    (b"\xff\xd8\xff\xe0\0\x10JFIF", "a damaged JPEG")])
def test_damaged_files(tmp_path, content, words):
    (tmp_path / "bad.png").write_bytes(content)
    with pytest.raises(UserError, match=f"bad.png.*{words}"):
        aligned(tmp_path / "bad.png", 64, landmarks=MARKS)


@pytest.mark.parametrize("sizes, words", [((8, None), "aligned pictures of 8 px; 16 to 4096 px"),
                                          ((256, 128), "cannot be sampled at 128 px; choose one in 256..4096"),
                                          ((256, 9999), "cannot be sampled at 9999 px")])
def test_sizes(tmp_path, sizes, words):
    with pytest.raises(UserError, match=words):
        aligned(tmp_path / "photo.png", sizes[0], transform_size=sizes[1], landmarks=MARKS)


# ---- faces that dlib finds, without dlib ----------------------------------------------------------------------------

def found(monkeypatch, *boxes):
    marks = landmarks_of(np.array([[20, 20], [40, 20], [30, 30], [22, 40], [38, 40]]))
    monkeypatch.setattr("jittor_ipl.inversion.align.find_faces", lambda pixels, predictor: [
        detect.Face(box, marks) for box in boxes])


def test_the_largest_of_several_faces(tmp_path, monkeypatch):
    Image.fromarray(picture(60, 80)).save(tmp_path / "two.png")
    found(monkeypatch, (10, 10, 50, 50), (0, 60, 12, 72))
    one = aligned(tmp_path / "two.png", 32)
    assert one.face.box == (10, 10, 50, 50) and [other.box for other in one.others] == [(0, 60, 12, 72)]
    assert "2 faces; this is the one of 40 x 40 px at 10,10, not 12 x 12 px at 0,60" in one.remarks
    assert aligned(tmp_path / "two.png", 32, face=2).face.box == (0, 60, 12, 72)
    with pytest.raises(UserError, match="there is no face 3; 2 found: 1: 40 x 40 px at 10,10, 2: 12 x 12 px at 0,60"):
        aligned(tmp_path / "two.png", 32, face=3)


def test_no_face(tmp_path, monkeypatch):
    Image.fromarray(picture(60, 80)).save(tmp_path / "none.png")
    found(monkeypatch)
    with pytest.raises(UserError, match="none.png: no face was found; if there is one, give its place with --eyes"):
        aligned(tmp_path / "none.png", 32)


def test_boxes_of_the_enlarged_picture_place_faces_and_do_not_count_them():
    face_, closer, false = (10, 10, 50, 50), (14, 12, 50, 50), (80, 80, 99, 99)
    assert detect.refined([face_], [false, closer]) == [closer]
    assert detect.refined([face_], [false]) == [face_] and detect.refined([face_], []) == [face_]
    assert detect.refined([], [false]) == [false] and detect.refined([], []) == []


def test_without_dlib_or_its_file(tmp_path, monkeypatch):
    Image.fromarray(picture(60, 80)).save(tmp_path / "photo.png")
    monkeypatch.setitem(__import__("sys").modules, "dlib", None)
    with pytest.raises(UserError, match="dlib.* is not installed: pip install -r requirements-faces.txt; or give its"):
        aligned(tmp_path / "photo.png", 32)
    monkeypatch.delenv(detect.VARIABLE, raising=False)
    monkeypatch.setattr(detect, "_places", lambda: [])
    with pytest.raises(UserError, match="is missing: apt-get install libdlib-data.*or name it with --predictor"):
        detect.predictor_file()
    monkeypatch.setenv(detect.VARIABLE, "/nowhere.dat")
    with pytest.raises(UserError, match="there is no file '/nowhere.dat'"):
        detect.predictor_file()


# ---- the command ----------------------------------------------------------------------------------------------------

def test_the_command(tmp_path, capsys):
    for name in ("a.png", "b.png"):
        Image.fromarray(picture(300, 250)).save(tmp_path / name)
    (tmp_path / "marks.json").write_text(json.dumps({"a.png": face(150, 130, 40).tolist()}))
    out = tmp_path / "out"
    arguments = ["align", str(tmp_path / "a.png"), "--output", str(out), "--size", "64"]
    assert main([*arguments, "--landmarks", str(tmp_path / "marks.json")]) == 0
    expected = cut_square(picture(300, 250), landmarks_of(face(150, 130, 40)).quad(), 64)[0]
    np.testing.assert_array_equal(np.asarray(Image.open(out / "a.png")), expected)
    # Its record is a landmarks file itself, and further pictures join it.
    assert main(["align", str(tmp_path / "b.png"), "--output", str(out), "--size", "64", "--eyes", "130,130,170,130",
                 "--mouth", "150,175"]) == 0
    again = ["align", str(tmp_path / "a.png"), str(tmp_path / "b.png"), "--output", str(tmp_path / "again"), "--size",
             "64", "--landmarks", str(out / "aligned.json")]
    assert main(again) == 0 and sorted(read_landmarks(out / "aligned.json")) == ["a.png", "b.png"]
    for name in ("a.png", "b.png"):
        assert (tmp_path / "again" / name).read_bytes() == (out / name).read_bytes()
    capsys.readouterr()


@pytest.mark.parametrize("arguments, words", [
    (["a.png", "--eyes", "1,2,3,4"], "--eyes and --mouth belong together"),
    (["a.png", "b.png", "--eyes", "1,2,3,4", "--mouth", "1,2"], "are of one picture"),
    (["a.png", "--eyes", "1,2,3,4", "--mouth", "1,2", "--landmarks", "x.json"], "not both"),
    (["a.png", "sub/a.png"], "are both called 'a'"), (["a.png", "--size", "5000"], "16 to 4096 px"),
    (["none.png", "--eyes", "1,2,3,4", "--mouth", "1,2"], "cannot read the picture 'none.png'")])
def test_mistakes_of_the_command(tmp_path, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(tmp_path)
    assert main(["align", *arguments]) == 2
    assert words in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_one_bad_picture_of_several(tmp_path, capsys):
    Image.fromarray(picture(300, 250)).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"GIF89a")
    (tmp_path / "marks.json").write_text(json.dumps(face(150, 130, 40).tolist()))
    assert main(["align", str(tmp_path), "--output", str(tmp_path / "out"), "--landmarks",
                 str(tmp_path / "marks.json")]) == 2
    told = capsys.readouterr().err
    assert "b.png: a GIF" in told and "1 of 2 pictures were not aligned: b.png" in told
    assert (tmp_path / "out" / "a.png").is_file() and not (tmp_path / "out" / "b.png").exists()

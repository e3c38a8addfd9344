"""Pictures in and out: the uint8 rule, every kind of file people have, and the sheets."""
from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from jittor_ipl.errors import UserError
from jittor_ipl.images import (contact_sheet, encode_png, from_uint8, grid, list_images, load_image, save_png, to_uint8)

RNG = np.random.RandomState(0)
PIXELS = RNG.randint(0, 256, (6, 8, 3), dtype=np.uint8)


def test_uint8_follows_the_stylegan_rule():
    values = np.float32([-2, -1, -1 + 1 / 127.5, -1e-6, 0, 1e-6, 0.999, 1, 2]).reshape(1, 1, -1).repeat(3, axis=0)
    assert to_uint8(values)[0, :, 0].tolist() == [0, 0, 1, 127, 128, 128, 255, 255, 255]


def test_every_byte_survives_the_way_through_floats():
    pixels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=-1)
    images = from_uint8(pixels)
    assert images.shape == (1, 3, 16, 16) and images.min() == -1 and images.max() == 1
    assert (to_uint8(images) == pixels).all() and (to_uint8(images[0]) == pixels[0]).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_none_is_not_hidden_in_a_picture(value, tmp_path):
    image = np.zeros((3, 4, 4), np.float32)
    image[1, 2, 3] = value
    with pytest.raises(ValueError, match="NaN or infinity"):
        save_png(tmp_path / "x.png", image)
    assert not list(tmp_path.iterdir())


def test_png_bytes_are_reproducible_and_carry_text(tmp_path):
    text = {"seed": "3", "prompt": "é 中"}
    first = encode_png(PIXELS, text)
    assert first == encode_png(PIXELS.copy(), dict(reversed(text.items()))) and b"tIME" not in first
    save_png(tmp_path / "new" / "x.png", from_uint8(PIXELS), text)
    assert (tmp_path / "new" / "x.png").read_bytes() == first
    with Image.open(tmp_path / "new" / "x.png") as picture:
        assert picture.text == text
    assert (load_image(tmp_path / "new" / "x.png") == PIXELS).all()


def test_a_picture_that_cannot_be_written_leaves_nothing(tmp_path):
    (tmp_path / "x.png").mkdir()
    with pytest.raises(UserError, match="cannot write"):
        save_png(tmp_path / "x.png", PIXELS)
    assert [path.name for path in tmp_path.iterdir()] == ["x.png"]


def write(path, mode: str, values: np.ndarray, **options):
    Image.fromarray(values, mode).save(path, **options) if mode else Image.fromarray(values).save(path, **options)
    return path


def test_kinds_of_png(tmp_path):
    grey = PIXELS[..., 0]
    white = np.full((6, 8, 1), 0, np.uint8)
    sixteen = (grey.astype(np.uint16) * 257)
    palette = Image.fromarray(PIXELS).quantize(16)
    palette.save(tmp_path / "p.png")
    Image.fromarray(grey > 127).save(tmp_path / "1.png")
    assert (load_image(write(tmp_path / "l.png", "L", grey)) == grey[..., None]).all()
    assert (load_image(write(tmp_path / "i16.png", None, sixteen)) == grey[..., None]).all()
    assert (load_image(tmp_path / "p.png") == np.asarray(palette.convert("RGB"))).all()
    assert (load_image(tmp_path / "1.png") == np.where(grey > 127, 255, 0)[..., None]).all()
    assert (load_image(write(tmp_path / "a.png", "RGBA", np.concatenate([PIXELS, white], -1))) == 255).all()
    assert (load_image(write(tmp_path / "la.png", "LA", np.dstack([grey, np.full_like(grey, 255)]))) == grey[..., None]).all()


def test_transparency_of_palettes_becomes_white(tmp_path):
    picture = Image.fromarray(np.zeros((4, 4), np.uint8), "P")
    picture.putpalette([10, 20, 30] + [0] * 765)
    picture.save(tmp_path / "x.png", transparency=0)
    assert (load_image(tmp_path / "x.png") == 255).all()


def test_cmyk_and_webp(tmp_path):
    Image.new("CMYK", (4, 4), (0, 255, 255, 0)).save(tmp_path / "x.jpg")
    assert load_image(tmp_path / "x.jpg").shape == (4, 4, 3) and load_image(tmp_path / "x.jpg")[0, 0, 0] > 200
    assert (load_image(write(tmp_path / "x.webp", "RGB", PIXELS, lossless=True)) == PIXELS).all()


def test_exif_orientation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: the file's rows are the picture's columns
    path = write(tmp_path / "x.png", "RGB", PIXELS, exif=exif)
    assert (load_image(path) == np.rot90(PIXELS, -1)).all()


def test_what_is_no_picture_is_refused(tmp_path):
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).save(buffer, "BMP")
    good = encode_png(RNG.randint(0, 256, (64, 64, 3), dtype=np.uint8))
    files = {"bmp.png": buffer.getvalue(), "empty.png": b"", "text.jpg": b"hello", "cut.png": good[:2000], "svg.png": b"<svg/>",
             "chunk.png": good[:40] + b"\xff" * 20 + good[60:]}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(UserError) as caught:
            load_image(tmp_path / name)
        assert name in str(caught.value) and "\n" not in str(caught.value)
    for path in (tmp_path, tmp_path / "none.png"):
        with pytest.raises(UserError, match="cannot be read"):
            load_image(path)


def test_too_many_pixels_are_refused_before_decoding(tmp_path):
    write(tmp_path / "x.png", "RGB", PIXELS)
    with pytest.raises(UserError, match="8 x 6 pixels; at most 40"):
        load_image(tmp_path / "x.png", max_pixels=40)
    for side in (9_999, 15_000):  # Pillow warns at the first and refuses the second
        Image.new("1", (side, side)).save(tmp_path / "big.png")
        with pytest.raises(UserError, match="at most 50000000 are read"):
            load_image(tmp_path / "big.png")


def test_a_grid_is_filled_row_by_row():
    tiles = [np.full((2, 3, 3), value, np.uint8) for value in (1, 2, 3)]
    sheet = grid(tiles, columns=2, pad=1, background=9)
    assert sheet.shape == (7, 9, 3)
    assert (sheet[1, 1, 0], sheet[1, 5, 0], sheet[4, 1, 0], sheet[4, 5, 0], sheet[0, 0, 0]) == (1, 2, 3, 9, 9)


def test_a_contact_sheet_has_labels_beside_its_rows():
    tiles = [np.full((32, 32, 3), 50, np.uint8)] * 3
    sheet = contact_sheet([("photo", tiles), ("anime painting", tiles[:2])])
    margin = sheet.shape[1] - (3 * 34 + 2)
    assert sheet.shape[0] == 2 * 34 + 2 and margin > 40
    assert sheet[2:34, :margin].min() < 100 and sheet[36:68, :margin].min() < 100 and (sheet[36:68, margin + 70:] == 255).all()


def test_the_pictures_of_a_folder(tmp_path):
    for name in ("b.PNG", "a.jpg", "c.txt"):
        (tmp_path / name).write_bytes(b"")
    assert [path.name for path in list_images(tmp_path)] == ["a.jpg", "b.PNG"]
    (tmp_path / "empty").mkdir()
    for folder, message in ((tmp_path / "empty", "no picture"), (tmp_path / "none", "is not a folder")):
        with pytest.raises(UserError, match=message):
            list_images(folder)

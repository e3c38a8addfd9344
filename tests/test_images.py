"""Pictures in and out: the uint8 rule, every kind of file people have, and the sheets."""
from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from jittor_ipl.errors import UserError
from jittor_ipl.images.files import encode_png, list_images, load_image, save_png
from jittor_ipl.images.pixels import from_uint8, to_uint8
from jittor_ipl.images.sheets import captioned, contact_sheet, encode_sheet, grid

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
    assert (load_image(write(tmp_path / "la.png", "LA",
                             np.dstack([grey, np.full_like(grey, 255)]))) == grey[..., None]).all()


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
    files = {"bmp.png": buffer.getvalue(), "empty.png": b"", "text.jpg": b"hello", "cut.png": good[:2000],
             "svg.png": b"<svg/>",
             "chunk.png": good[:40] + b"\xff" * 20 + good[60:]}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(UserError) as caught:
            load_image(tmp_path / name)
        assert name in str(caught.value) and "\n" not in str(caught.value)
    for path in (tmp_path, tmp_path / "none.png"):
        with pytest.raises(UserError, match="cannot read the picture"):
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
    assert sheet[2:34, :margin].min() < 100 and sheet[36:68, :margin].min() < 100
    assert (sheet[36:68, margin + 70:] == 255).all()


def test_headings_stand_over_their_columns_and_fit():
    tiles = [np.full((32, 32, 3), value, np.uint8) for value in (50, 60)]
    plain = contact_sheet([("before", tiles), ("+2", tiles[:1])])
    sheet = contact_sheet([("before", tiles), ("+2", tiles[:1])], headings=["a", "a-very-long-name"])
    over, margin = sheet.shape[0] - plain.shape[0], plain.shape[1] - (2 * 34 + 2)
    assert sheet.shape[1] == plain.shape[1] and np.array_equal(sheet[over:], plain)
    assert (sheet[:over, :margin] == 255).all()
    first, second = (np.flatnonzero(sheet[:over, start:start + 32].min((0, 2)) < 200)
                     for start in (margin + 2, margin + 36))
    assert 2 < np.ptp(first) < 12 and abs(first.mean() - 16) < 3 and 20 < np.ptp(second) < 32
    alone = contact_sheet([("before", tiles)], headings=["a"])
    assert (alone[:over, margin + 36:] == 255).all(), "fewer headings than columns"


def test_captions_stand_under_their_tiles_and_fit():
    tiles = [np.full((64, 64, 3), value, np.uint8) for value in (50, 60, 70)]
    sheet = captioned([("photo", tiles[0]), ("04-pixar-character", tiles[1]), ("", tiles[2])], 2)
    row = 64 + 9 + 4        # tile, text, what is left above and below it
    assert sheet.shape == (2 * (row + 2) + 2, 2 * 66 + 2, 3)
    assert (sheet[2:66, 2:66] == 50).all() and (sheet[2:66, 68:132] == 60).all()
    dark = (sheet[66:2 + row].min((0, 2)) < 200).nonzero()[0]
    first, second = dark[dark < 66], dark[dark >= 68]
    assert 10 < np.ptp(first) < 40 and abs(first.mean() - 34) < 4, "as large as asked, in the middle"
    assert 50 < np.ptp(second) < 64, "smaller, so that it fits"
    assert (sheet[row + 4 + 64:] == 255).all()


def test_the_pictures_of_a_folder(tmp_path):
    for name in ("b.PNG", "a.jpg", "c.txt", "._a.jpg", ".hidden.png"):
        (tmp_path / name).write_bytes(b"")
    assert [path.name for path in list_images(tmp_path)] == ["a.jpg", "b.PNG"]


def test_a_folder_without_pictures_is_told_with_what_it_holds(tmp_path):
    for name in ("empty", "classes/cat", "bitmaps"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "bitmaps/a.bmp").write_bytes(b"BM")
    for folder, message in (("empty", "no picture.* it is empty"), ("none", "is not a folder"),
                            ("classes", "it holds the folders 'cat'; name one"),
                            ("bitmaps", "'a.bmp'; convert them to PNG")):
        with pytest.raises(UserError, match=message):
            list_images(tmp_path / folder)


# ---- what pixels become, in numbers -----------------------------------------------------------------------------
def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def raw_png(pixels: np.ndarray, colour: int, *chunks: bytes) -> bytes:
    """A PNG of big-endian 16-bit values [H, W, C], which Pillow cannot write in colour."""
    height, width = pixels.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(chunks) + chunk(b"IDAT",
                                                                                    zlib.compress(
                                                                                        rows)) + chunk(b"IEND", b"")


DEEP = np.random.RandomState(1).randint(0, 65536, (16, 16, 4))
DEEP[0, :4, :] = [[0], [65535], [255], [256]]


def test_16_bit_grey_is_scaled_to_the_nearest_8_bit_value(tmp_path):
    (tmp_path / "x.png").write_bytes(raw_png(DEEP[..., :1], 0))
    assert (load_image(tmp_path / "x.png") == np.floor(DEEP[..., :1] / 65535 * 255 + 0.5)).all()
    (tmp_path / "x.png").write_bytes(raw_png(DEEP[..., :1], 0, chunk(b"tRNS", struct.pack(">H", DEEP[3, 3, 0]))))
    assert (load_image(tmp_path / "x.png")[3, 3] == 255).all() and (load_image(tmp_path / "x.png")[0, 0] == 0).all()


@pytest.mark.parametrize("colour, channels", [(2, 3), (4, 2), (6, 4)], ids=["rgb", "grey-alpha", "rgba"])
def test_other_16_bit_pictures_keep_their_high_byte(tmp_path, colour, channels):
    (tmp_path / "x.png").write_bytes(raw_png(DEEP[..., :channels], colour))
    values = (DEEP[..., :channels] >> 8).astype(np.float64)
    over_white = values[..., :3] if colour == 2 else 255 + (values[..., :-1] - 255) * values[..., -1:] / 255
    assert np.abs(load_image(tmp_path / "x.png") - over_white).max() <= 1


def test_alpha_lies_over_white(tmp_path):
    alpha = np.arange(48, dtype=np.uint8).reshape(6, 8, 1) * 5
    expected = 255 + (PIXELS.astype(np.float64) - 255) * alpha / 255
    for name, options in (("x.png", {}), ("x.webp", dict(lossless=True, exact=True))):
        Image.fromarray(np.concatenate([PIXELS, alpha], -1), "RGBA").save(tmp_path / name, **options)
        assert np.abs(load_image(tmp_path / name) - expected).max() <= 1
    Image.fromarray(np.concatenate([PIXELS[..., :1], alpha], -1), "LA").save(tmp_path / "la.png")
    assert np.abs(load_image(tmp_path / "la.png") - expected[..., :1]).max() <= 1


@pytest.mark.parametrize("mode, values, transparent, expected", [
    ("L", [[7, 9]], 7, [[[255] * 3, [9] * 3]]), ("RGB", [[[1, 2, 3], [1, 2, 4]]], (1, 2, 3), [[[255] * 3, [1, 2, 4]]]),
    ("1", [[0, 255]], 0, [[[255] * 3, [255] * 3]])])
def test_a_colour_named_transparent_becomes_white(tmp_path, mode, values, transparent, expected):
    picture = Image.fromarray(np.array(values, np.uint8)).convert(mode)
    picture.save(tmp_path / "x.png", transparency=transparent)
    assert load_image(tmp_path / "x.png").tolist() == expected


def test_a_palette_with_half_transparent_entries(tmp_path):
    picture = Image.fromarray(np.array([[0, 1, 2]], np.uint8), "P")
    picture.putpalette([10, 20, 30, 100, 100, 100, 0, 0, 0] + [0] * 759)
    picture.save(tmp_path / "x.png", transparency=bytes([0, 128, 255]))
    found = load_image(tmp_path / "x.png")[0]
    assert (found[0] == 255).all() and np.abs(found[1].astype(int) - 177).max() <= 1 and (found[2] == 0).all()


INKS = np.zeros((16, 16, 4), np.uint8) + np.array([200, 40, 10, 30], np.uint8)
AS_RGB = (255 - INKS[0, 0, :3].astype(float)) * (255 - 30) / 255


def without_segments(data: bytes, marker: int) -> bytes:
    """A JPEG without its APP segments of this number."""
    while (at := data.find(bytes([0xFF, marker]))) >= 0:
        data = data[:at] + data[at + 2 + int.from_bytes(data[at + 2:at + 4], "big"):]
    return data


def test_cmyk_with_and_without_adobes_mark(tmp_path):
    """Adobe writes inks inverted and says so; a file without its mark means what it says."""
    for inks, marked in ((INKS, True), (255 - INKS, False)):
        buffer = io.BytesIO()
        Image.fromarray(inks, "CMYK").save(buffer, "JPEG", quality=100, icc_profile=b"no profile")
        data = buffer.getvalue() if marked else without_segments(buffer.getvalue(), 0xEE)
        assert (b"Adobe" in data) == marked
        for name, content in (("profile.jpg", data), ("bare.jpg", without_segments(data, 0xE2))):
            (tmp_path / name).write_bytes(content)
            assert np.abs(load_image(tmp_path / name)[8, 8] - AS_RGB).max() <= 3, (name, marked)


def test_ycck_is_cmyk_with_its_first_three_inks_coded_as_colour(tmp_path):
    """Pillow writes no YCCK: so its CMYK, inks coded by hand, with Adobe's transform set to 2.

    The coder takes 255 minus the stored (inverted) inks for red, green and blue, which are the inks themselves.
    """
    coded = np.asarray(Image.fromarray(INKS[..., :3]).convert("YCbCr"))
    buffer = io.BytesIO()
    Image.fromarray(np.dstack([255 - coded, INKS[..., 3]]), "CMYK").save(buffer, "JPEG", quality=100)
    data = bytearray(buffer.getvalue())
    data[data.index(b"Adobe") + 11] = 2
    (tmp_path / "x.jpg").write_bytes(data)
    assert np.abs(load_image(tmp_path / "x.jpg")[8, 8] - AS_RGB).max() <= 4


@pytest.mark.parametrize("kind", ["png", "jpg", "webp"])
@pytest.mark.parametrize("orientation, upright", list(enumerate([
    lambda p: p, lambda p: p[:, ::-1], lambda p: p[::-1, ::-1], lambda p: p[::-1], lambda p: p.swapaxes(0, 1),
    lambda p: np.rot90(p, -1), lambda p: p[::-1, ::-1].swapaxes(0, 1), lambda p: np.rot90(p)], start=1)))
def test_every_orientation(tmp_path, kind, orientation, upright):
    blocks = np.kron(np.array([[0, 90, 180], [30, 250, 120]], np.uint8),
                     np.ones((16, 16), np.uint8))[..., None].repeat(3, -1)
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = dict(jpg=dict(quality=100), webp=dict(lossless=True), png={})[kind]
    Image.fromarray(blocks).save(tmp_path / f"x.{kind}", exif=exif, **options)
    found = load_image(tmp_path / f"x.{kind}")
    assert found.shape == upright(blocks).shape and np.abs(found.astype(int) - upright(blocks)).max() <= 2


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_means_upright(tmp_path, value):
    exif = Image.Exif()
    exif[0x0112] = value
    assert (load_image(write(tmp_path / "x.png", "RGB", PIXELS, exif=exif)) == PIXELS).all()


def test_damaged_exif_does_not_cost_the_picture(tmp_path):
    data = encode_png(PIXELS)
    for exif in (b"", b"II*\0", b"MM\0*\xff\xff\xff\xff", b"nonsense" * 9, b"II*\0\x08\0\0\0\xff\xff" + bytes(40)):
        (tmp_path / "x.png").write_bytes(data[:33] + chunk(b"eXIf", exif) + data[33:])
        assert (load_image(tmp_path / "x.png") == PIXELS).all()


def test_of_an_animation_the_first_picture_counts(tmp_path):
    frames = [Image.fromarray(np.full((8, 8, 3), value, np.uint8)) for value in (10, 100, 200)]
    for name, options in (("x.png", {}), ("x.webp", dict(lossless=True))):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], **options)
        assert (load_image(tmp_path / name) == 10).all()
    frames[0].save(tmp_path / "x.png", save_all=True, append_images=frames[1:], default_image=True)
    assert (load_image(tmp_path / "x.png") == 10).all()


def test_colour_profiles_are_not_applied(tmp_path):
    from PIL import ImageCms
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    for name, options in (("x.png", {}), ("x.webp", dict(lossless=True))):
        assert (load_image(write(tmp_path / name, "RGB", PIXELS, icc_profile=profile, **options)) == PIXELS).all()


def test_interlaced_and_small_bit_depths(tmp_path):
    for depth, levels in ((1, 2), (2, 4), (4, 16)):
        values = (np.arange(21).reshape(3, 7) % levels).astype(np.uint8)
        rows = b"".join(b"\0" + np.packbits(np.unpackbits(row[:, None], axis=1)[:, -depth:].reshape(-1)).tobytes()
                        for row in values)
        header = struct.pack(">IIBBBBB", 7, 3, depth, 0, 0, 0, 0)
        (tmp_path / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
                                         + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))
        assert (load_image(tmp_path / "x.png") == (values * (255 // (levels - 1)))[..., None]).all()
    for size in ((1, 1), (2, 3), (5, 5), (9, 17)):
        pixels = RNG.randint(0, 256, (*size, 3), dtype=np.uint8)
        (tmp_path / "x.png").write_bytes(interlaced(pixels))
        assert (load_image(tmp_path / "x.png") == pixels).all()


def interlaced(pixels: np.ndarray) -> bytes:
    """An Adam7 PNG, which Pillow reads but does not write."""
    rows = b""
    for left, top, across, down in ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
                                    (0, 1, 1, 2)):
        part = pixels[top::down, left::across]
        rows += b"".join(b"\0" + row.tobytes() for row in part) if part.size else b""
    header = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 8, 2, 0, 0, 1)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_every_flipped_bit_of_a_png_is_an_error_or_changes_nothing(tmp_path):
    data = encode_png(PIXELS, {"seed": "3"})
    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        (tmp_path / "x.png").write_bytes(damaged)
        try:
            assert (load_image(tmp_path / "x.png") == PIXELS).all(), bit
        except UserError:
            pass


def test_a_sheet_of_few_colours_keeps_them_all(tmp_path):
    pixels = np.arange(200, dtype=np.uint8).repeat(3).reshape(10, 20, 3)
    (tmp_path / "sheet.png").write_bytes(encode_sheet(pixels))
    assert np.array_equal(load_image(tmp_path / "sheet.png"), pixels)


@pytest.mark.parametrize("suffix, kind", [(".webp", "WEBP"), (".WebP", "WEBP"), (".png", "PNG"), (".jpg", "PNG"),
                                          ("", "PNG")])
def test_a_sheet_is_webp_by_its_files_ending_and_png_otherwise(suffix, kind):
    with Image.open(io.BytesIO(encode_sheet(np.zeros((8, 8, 3), np.uint8), suffix))) as sheet:
        assert sheet.format == kind

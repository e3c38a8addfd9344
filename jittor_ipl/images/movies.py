"""Moving pictures: GIF, animated PNG and WebP by Pillow, MP4 and WebM by ffmpeg where imageio-ffmpeg is installed."""
from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from jittor_ipl.disk.atomic import staged, write_bytes
from jittor_ipl.errors import UserError

PILLOW, FFMPEG = (".gif", ".png", ".webp"), (".mp4", ".webm")
SUFFIXES = (*PILLOW, *FFMPEG)
MOST_FPS = 50               # a GIF counts in hundredths of a second, and viewers slow down what is shorter than two
_CODECS = {".mp4": "libx264", ".webm": "libvpx-vp9"}
_PALETTE_PIXELS = 1 << 18   # that the palette of a GIF is chosen from
_MOST_SPREAD = 8            # levels between the darkest and the lightest place of the pattern below


def write_movie(path: str | Path, frames: Sequence[np.ndarray], fps: float = 24.0) -> Path:
    """Write equal frames, uint8 [H, W, 3], as a movie that repeats for ever; the ending says which kind.

    The same frames give the same GIF, PNG and WebP again. Raises `UserError` for another ending, a rate that the format
    has not, and for .mp4 and .webm without imageio-ffmpeg; nothing half-written stays.
    """
    path = Path(path)
    check_movie(path, fps)
    assert len(frames) and all(frame.shape == frames[0].shape and frame.dtype == np.uint8 for frame in frames)
    if path.suffix.lower() in FFMPEG:
        return _by_ffmpeg(path, frames, fps)
    return write_bytes(path, encode_movie(frames, path.suffix.lower(), fps))


def check_movie(path: str | Path, fps: float) -> None:
    """Raise `UserError` where `write_movie` could not write: before an hour of drawing, not after."""
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise UserError(f"{path}: a movie's name ends in one of {', '.join(SUFFIXES)}")
    if not 1 <= fps <= (MOST_FPS if suffix == ".gif" else 120):
        raise UserError(f"{fps:g} frames a second: choose 1 to {MOST_FPS if suffix == '.gif' else 120} for {suffix}")
    if suffix in FFMPEG:
        _ffmpeg()


def encode_movie(frames: Sequence[np.ndarray], suffix: str, fps: float) -> bytes:
    """Return the bytes of a GIF, an animated PNG or a WebP."""
    lasting, buffer = round(1000 / fps), io.BytesIO()
    if suffix == ".gif":
        lasting = max(10 * round(100 / fps), 20)
        pictures = with_one_palette(frames)
    else:
        pictures = [Image.fromarray(frame) for frame in frames]
    first, *rest = pictures
    kinds = {".gif": dict(format="GIF", optimize=False, disposal=1), ".png": dict(format="PNG", compress_level=6),
             ".webp": dict(format="WEBP", quality=90, method=4)}
    first.save(buffer, save_all=True, append_images=rest, duration=lasting, loop=0, **kinds[suffix])
    return buffer.getvalue()


def with_one_palette(frames: Sequence[np.ndarray]) -> list[Image.Image]:
    """Return frames in the 256 colours that suit all of them best.

    A palette for each frame would flicker, and dithering by spreading errors crawls when the picture moves; without
    any, skies fall into bands. A faint fixed pattern, the same in every frame, does neither (Bayer 1973).
    """
    every = max(1, len(frames) * frames[0].shape[0] * frames[0].shape[1] // _PALETTE_PIXELS)
    pixels = np.concatenate([frame.reshape(-1, 3)[i % every::every] for i, frame in enumerate(frames)])
    sample = Image.fromarray(pixels[None])
    palette = sample.quantize(256, Image.Quantize.MEDIANCUT, kmeans=2)
    # Colours that lie d levels apart miss by d / sqrt(12): half of d breaks up bands and is hard to see, nothing is
    # added where every colour is there.
    nearest = np.asarray(sample.quantize(palette=palette, dither=Image.Dither.NONE).convert("RGB"))[0]
    spread = min(_MOST_SPREAD, np.sqrt(3 * ((nearest - pixels.astype(float))**2).mean()))
    height, width, _ = frames[0].shape
    pattern = np.tile(_bayer(8) * spread, (-(-height // 8), -(-width // 8)))[:height, :width, None]
    return [Image.fromarray(np.clip(np.round(frame + pattern), 0, 255).astype(np.uint8)).quantize(
        palette=palette, dither=Image.Dither.NONE) for frame in frames]


def _bayer(side: int) -> np.ndarray:
    """Return the ordered pattern [side, side], a power of two, with values between -0.5 and 0.5 and mean 0."""
    pattern = np.zeros((1, 1))
    while len(pattern) < side:
        pattern = np.block([[4 * pattern, 4 * pattern + 2], [4 * pattern + 3, 4 * pattern + 1]])
    return (pattern + .5) / side**2 - .5


def _by_ffmpeg(path: Path, frames: Sequence[np.ndarray], fps: float) -> Path:
    """Write an MP4 (H.264) or WebM (VP9); frames of odd sides get a last row or column twice, which both need."""
    ffmpeg, (height, width, _) = _ffmpeg(), frames[0].shape
    size = width + width % 2, height + height % 2
    with staged(path) as temporary:
        # ffmpeg goes by the name's ending, the staged file has none of its own
        options = ["-f", path.suffix[1:].lower(), "-threads", "1"]
        writer = ffmpeg.write_frames(str(temporary), size, fps=fps, codec=_CODECS[path.suffix.lower()], quality=8,
                                     pix_fmt_out="yuv420p", macro_block_size=2, ffmpeg_log_level="error",
                                     output_params=options)
        writer.send(None)
        try:
            for frame in frames:
                padded = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
                writer.send(np.ascontiguousarray(padded))
        except OSError as error:
            reason = " ".join(str(error).split())[-200:]
            raise UserError(f"{path}: ffmpeg does not write this movie ({reason}); write a .gif or .webp") from error
        finally:
            writer.close()
    return path


def _ffmpeg():
    try:
        import imageio_ffmpeg
    except ImportError:
        raise UserError(".mp4 and .webm need ffmpeg: pip install -r requirements-video.txt, or write a .gif, .webp or "
                        ".png, which need nothing more") from None
    return imageio_ffmpeg


def enlarged(frame: np.ndarray, side: int) -> np.ndarray:
    """Return a frame uint8 [H, W, 3] whose shorter side has at least `side` pixels; larger ones as they are."""
    height, width, _ = frame.shape
    if min(height, width) >= side:
        return frame
    scale = side / min(height, width)
    size = round(width * scale), round(height * scale)
    return np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BICUBIC))

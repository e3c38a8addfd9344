"""Movies: palettes without flicker, every format read back, and frames that begin and end where they should."""
from __future__ import annotations

import importlib.util
import io
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageSequence

from jittor_ipl import cli
from jittor_ipl.editing.codes import faces_of_seeds
from jittor_ipl.editing.drawing import draw
from jittor_ipl.editing.fast import save_step
from jittor_ipl.editing.movie import eased, mixed, there_and_back, together, walk_frames, weight_frames
from jittor_ipl.errors import UserError
from jittor_ipl.images.movies import encode_movie, enlarged, with_one_palette, write_movie
from jittor_ipl.weights.generator import load_generator, save_generator


def sky(count: int = 3) -> list[np.ndarray]:
    """Smooth pictures with a moving square: what bands and flickers first."""
    ramp = np.linspace(40, 220, 64)[:, None, None] * np.ones((1, 64, 1)) * np.array([.5, .7, 1])
    frames = []
    for i in range(count):
        frame = ramp.copy()
        frame[20:30, 10 + 4 * i:20 + 4 * i] = (200, 40, 40)
        frames.append(frame.round().astype(np.uint8))
    return frames


def read(data: bytes) -> list[np.ndarray]:
    return [np.array(frame.convert("RGB")) for frame in ImageSequence.Iterator(Image.open(io.BytesIO(data)))]


@pytest.mark.parametrize("suffix, limit", [(".gif", 8), (".png", 0), (".webp", 30)])
def test_every_frame_comes_back(suffix, limit):
    data = encode_movie(sky(), suffix, 20)
    assert data == encode_movie(sky(), suffix, 20)
    back = read(data)
    error = max(np.abs(a.astype(int) - b).mean() for a, b in zip(back, sky()))
    print(f"{suffix}: {len(data)} bytes, mean error {error:.2f} levels")
    assert len(back) == 3 and error <= limit / 4
    picture = Image.open(io.BytesIO(data))
    assert picture.info.get("loop") == 0 and (suffix == ".webp" or picture.info["duration"] == 50)


def test_what_stands_still_keeps_its_colours():
    frames = [np.array(frame.convert("RGB")) for frame in with_one_palette(sky())]
    still = np.ones((64, 64), bool)
    still[20:30, 10:30] = False
    assert all(np.array_equal(frame[still], frames[0][still]) for frame in frames)


def test_bands_are_broken_up():
    """The mean of 8 x 8 pixels follows the ramp more closely than one palette colour could."""
    frame = np.array(with_one_palette(sky(1))[0].convert("RGB")).astype(float)
    means, true = (x.reshape(8, 8, 8, 8, 3).mean((1, 3))[:, 5:] for x in (frame, sky(1)[0].astype(float)))
    print(f"largest error of a mean {np.abs(means - true).max():.2f} levels")
    assert np.abs(means - true).max() < 2.5


def test_mistakes_are_told(tmp_path, monkeypatch):
    for name, fps, told in (("a.avi", 24, "ends in one of"), ("a.gif", 60, "choose 1 to 50"), ("a.gif", 0, "choose")):
        with pytest.raises(UserError, match=told):
            write_movie(tmp_path / name, sky(), fps)
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(UserError, match="requirements-video.txt"):
        write_movie(tmp_path / "a.mp4", sky())
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(importlib.util.find_spec("imageio_ffmpeg") is None, reason="pip install -r requirements-video.txt")
@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_ffmpeg_writes_odd_sizes(tmp_path, suffix):
    import imageio_ffmpeg
    path = write_movie(tmp_path / f"a{suffix}", [frame[:63, :61] for frame in sky(6)], 12)
    reader = imageio_ffmpeg.read_frames(str(path))
    facts = next(reader)
    frames = [np.frombuffer(frame, np.uint8).reshape(64, 62, 3) for frame in reader]
    assert facts["fps"] == pytest.approx(12) and len(frames) == 6
    assert np.abs(frames[0][:63, :61].astype(int) - sky(1)[0][:63, :61]).mean() < 6


def test_times_and_ways_back():
    assert eased(4) == pytest.approx([0, .1464466, .5, .8535534]) and eased(1) == [0]
    assert there_and_back([1, 2, 3]) == [1, 2, 3, 2] and there_and_back([1]) == [1]
    assert together([np.zeros((2, 3, 3), np.uint8)] * 5).shape == (4, 9, 3)
    assert enlarged(np.zeros((8, 16, 3), np.uint8), 16).shape == (16, 32, 3)
    odd = np.float32([.1, .7, -3])
    assert np.array_equal(mixed(odd, odd, .3), odd) and mixed(np.float32([0]), np.float32([1]), .25).tolist() == [.25]


def test_walks_pass_through_the_faces(generator):
    faces = faces_of_seeds(generator, [0, 1, 2])
    still = list(draw(generator, faces.styles))
    frames = list(walk_frames(faces, 2))
    assert len(frames) == 6 and all(np.array_equal(frames[2 * i], still[i]) for i in range(3))
    once = list(walk_frames(faces, 2, closed=False))
    assert len(once) == 5 and np.array_equal(once[-1], still[2])
    fine = list(walk_frames(faces, 1, "fine"))
    assert np.array_equal(fine[0], still[0]) and not np.array_equal(fine[1], still[1])
    with pytest.raises(UserError, match="two faces"):
        list(walk_frames(faces.take([0]), 2))


def test_weights_pass_through_the_generators(generator, networks):
    other = generator.copy()
    other.put({name: value.numpy() * 1.1 for name, value in other.trainable().items() if name.startswith("convs")})
    faces = faces_of_seeds(generator, [0, 1])
    frames = list(weight_frames(faces, [generator, other], 2))
    assert len(frames) == 4 and np.array_equal(frames[0], together(list(draw(generator, faces.styles))))
    assert np.array_equal(frames[2], together(list(draw(other, faces.in_generator(other)))))
    save_generator(other, networks / "other.safetensors")
    with pytest.raises(UserError, match="other layers"):
        list(weight_frames(faces, [generator, load_generator("demo:generator")], 2))


def call(networks: Path, *more: str) -> int:
    return cli.main(["edit", "movie", "--weights", str(networks / "generator.safetensors"), "--frames", "2", *more])


def test_the_command(networks, generator, tmp_path, capsys):
    deltas = tuple(np.ones(code.shape[1], np.float32) for code in faces_of_seeds(generator, [0]).styles)
    save_step(tmp_path / "d.safetensors", generator, deltas, {"prompt": "x"})
    for number, (more, frames) in enumerate([
            (["--seeds", "0-1"], 4), (["--seeds", "0-1", "--levels", "coarse", "--once"], 3),
            (["--seeds", "0", "--direction", str(tmp_path / "d.safetensors"), "--from", "-1", "--to", "1"], 4),
            (["--seeds", "0", "--through", str(networks / "generator.safetensors")], 4)]):
        path = tmp_path / f"{number}.png"
        assert call(networks, *more, "--output", str(path), "--side", "16") == 0, capsys.readouterr().err
        found = read(path.read_bytes())
        assert found[0].shape[0] == 16 and f"{frames} frames" in capsys.readouterr().out


@pytest.mark.parametrize("words, told", [
    (["--output", "a.mov"], "ends in one of"), (["--fps", "0.1"], "choose 1 to"),
    (["--seeds", "0"], "two faces or more"),
    (["--through", "demo:generator"], "other layers"),
    (["--direction", "a", "--mapper", "b"], "give one of them"), (["--direction", "nowhere.safetensors"], "nowhere"),
])
def test_mistakes_of_the_command(networks, tmp_path, monkeypatch, capsys, words, told):
    monkeypatch.chdir(tmp_path)
    assert call(networks, *words) == 2
    assert told in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_is_told_before_the_work(networks, tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("")

    def frames(*_):
        yield np.zeros((16, 16, 3), np.uint8)
        raise AssertionError("the walk went on")
    monkeypatch.setattr("jittor_ipl.editing.movie.walk_frames", frames)
    assert call(networks, "--seeds", "0-1", "--output", str(tmp_path / "file" / "a.gif")) == 2
    assert "file" in capsys.readouterr().err

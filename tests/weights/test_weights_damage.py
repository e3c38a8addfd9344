"""Every cut and every flipped bit of a small file of each container: an error or the true tensors, where one can tell.

zip archives (PyTorch's, TorchScript's, .npz) and Jittor's pickles carry checksums, so nothing passes unnoticed. The
others carry none. There a flipped bit among the numbers changes that one number and nothing else; elsewhere it is an
error or changes what a pickle says (a name, a stride), which only the strict check of names and shapes, or the SHA-256
of converted files, can notice. In safetensors even that cannot be: its header leaves no room for a second meaning.
"""
from __future__ import annotations

import numpy as np
import pytest
from small_files import UNCHECKED, small_files

from jittor_ipl.errors import UserError
from jittor_ipl.weights.containers.read import read_tensors

FILES = small_files()


def tensors_of(data: bytes) -> dict[str, np.ndarray] | None:
    """Return the tensors, None when the file is refused; any other error passes through and fails the test."""
    try:
        tensors, info = read_tensors(data)
        return {**tensors, **info.extras}
    except UserError as error:
        assert "\n" not in str(error) and len(str(error)) < 2000
        return None


def same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> bool:
    return looks_same(found, expected) and all(found[name].tobytes() == expected[name].tobytes() for name in expected)


def looks_same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> bool:
    return {name: (array.shape, array.dtype) for name, array in found.items()} == \
        {name: (array.shape, array.dtype) for name, array in expected.items()}


def flips(data: bytes):
    """Yield (byte, damaged data) for every bit."""
    for byte in range(len(data)):
        for bit in range(8):
            yield byte, data[:byte] + bytes([data[byte] ^ 1 << bit]) + data[byte + 1:]


def numbers_at(data: bytes, expected: dict[str, np.ndarray]) -> dict[int, str]:
    """Return byte -> tensor for the bytes of numbers that stand in the file as they are."""
    places = {}
    for name, array in expected.items():
        raw = array.tobytes()
        if len(raw) >= 8 and data.count(raw) == 1:
            places |= {data.index(raw) + index: name for index in range(len(raw))}
    return places


@pytest.mark.parametrize("container", FILES)
def test_cut_at_every_byte(container: str) -> None:
    data, expected = FILES[container], tensors_of(FILES[container])
    assert expected
    for length in range(len(data)):
        found = tensors_of(data[:length])
        # Without its checksum Jittor's file is a whole plain pickle, with the true tensors.
        assert found is None or (container == "jittor" and length == len(data) - 28 and same(found, expected)), \
            f"cut at {length} of {len(data)} was accepted"


@pytest.mark.parametrize("container", [name for name in FILES if name not in UNCHECKED])
def test_every_flipped_bit_is_noticed(container: str) -> None:
    expected = tensors_of(FILES[container])
    for byte, damaged in flips(FILES[container]):
        found = tensors_of(damaged)
        assert found is None or same(found, expected), f"a flip in byte {byte} passed unnoticed"


@pytest.mark.parametrize("container", UNCHECKED)
def test_a_flipped_number_is_only_that_number(container: str) -> None:
    data, expected = FILES[container], tensors_of(FILES[container])
    places = numbers_at(data, expected)
    assert places or container in ("pickle-0", "pickle-2", "pdparams")      # there numbers are written as text
    for byte, damaged in flips(data):
        found = tensors_of(damaged)
        if found is None:
            assert byte not in places, f"a flipped number in byte {byte} was refused"
        elif byte in places:
            assert looks_same(found, expected)
            assert all(found[name].tobytes() == expected[name].tobytes() for name in expected if name != places[byte])
            assert (found[places[byte]] != expected[places[byte]]).sum() <= 1
        elif container == "safetensors":
            assert same(found, expected) or not looks_same(found, expected) or _in_truth_value(found, expected)


def _in_truth_value(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> bool:
    """Booleans are too few bytes to be found in the file by their value."""
    return all(found[name].tobytes() == expected[name].tobytes() for name in expected if expected[name].dtype != bool)

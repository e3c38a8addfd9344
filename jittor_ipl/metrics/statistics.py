"""Statistics files of FID: mean and covariance of features in an `.npz`, as pytorch-fid, clean-fid and TTUR do it."""
from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jittor_ipl.disk.integrity import file_sha256
from jittor_ipl.errors import UserError

SUFFIX = ".npz"
MAX_BYTES = 1 << 28         # of both arrays unpacked; 2048 features in float64 take 32 MiB


@dataclass(frozen=True)
class Statistics:
    """What such a file tells of a set of pictures: `mean` [d] and `covariance` [d, d], float64; not the pictures."""

    file: str
    sha256: str
    mean: np.ndarray
    covariance: np.ndarray


def read_statistics(path: str | Path) -> Statistics:
    """Read the arrays `mu` [d] and `sigma` [d, d]; UserError for another file, other shapes or impossible values."""
    path = Path(path)
    try:
        with zipfile.ZipFile(path) as archive:
            sizes = {entry.filename.removesuffix(".npy"): entry.file_size for entry in archive.infolist()}
        if not {"mu", "sigma"} <= set(sizes):
            names = ", ".join(sorted(sizes)[:8]) or "nothing"
            raise UserError(f"{path}: holds {names}; FID's statistics are the arrays mu and sigma")
        if sizes["mu"] + sizes["sigma"] > MAX_BYTES:
            raise UserError(f"{path}: mu and sigma unpack to {(sizes['mu'] + sizes['sigma']) >> 20} MiB; "
                            f"at most {MAX_BYTES >> 20} are read")
        with np.load(path, allow_pickle=False) as arrays:
            mean, covariance = (np.asarray(arrays[name], np.float64) for name in ("mu", "sigma"))
    except UserError:
        raise
    except (zipfile.BadZipFile, ValueError, EOFError, KeyError, NotImplementedError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:100]
        raise UserError(f"{path}: no statistics file that can be read ({reason})") from error
    if mean.ndim != 1 or len(mean) == 0 or covariance.shape != (len(mean), len(mean)):
        raise UserError(f"{path}: mu {list(mean.shape)} and sigma {list(covariance.shape)} are no mean and covariance")
    if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
        raise UserError(f"{path}: mu or sigma contains NaN or infinity")
    if np.abs(covariance - covariance.T).max() > 1e-6 * np.abs(covariance).max() or covariance.diagonal().min() < 0:
        raise UserError(f"{path}: sigma is no covariance: not symmetric, or a variance below 0")
    return Statistics(path.name, file_sha256(path), mean, covariance)

"""What the machine offers to Jittor: compiler, Python's headers, oneDNN. Nothing here imports Jittor."""
from __future__ import annotations

import functools
import importlib.metadata
import json
import os
import shutil
import site
import subprocess
import sys
import sysconfig
from pathlib import Path

from jittor_ipl.errors import UserError
from jittor_ipl.runtime import packages

PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"
ONEDNN_FIX = packages.cure(*packages.ONEDNN)
COMPILER_FIX = "apt-get install g++"
HEADERS_FIX = f"apt-get install {PYTHON}-dev"


def jittor_home() -> Path:
    """Return the folder that holds `.cache/jittor`: JITTOR_HOME, else what Jittor remembered from it, else HOME."""
    if "JITTOR_HOME" in os.environ:
        return Path(os.environ["JITTOR_HOME"]).absolute()
    remembered = Path.home() / ".cache" / "jittor" / "config.json"
    if remembered.is_file():
        return Path(json.loads(remembered.read_text()).get("JITTOR_HOME", str(Path.home())))
    return Path.home()


def compiler() -> str | None:
    """Return the path of the C++ compiler (the variable cc_path, else g++), or None."""
    return shutil.which(os.environ.get("cc_path") or "g++")


@functools.cache
def compiler_version(path: str) -> str:
    """Return the first line of `g++ --version`."""
    return subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout.splitlines()[0]


def python_config() -> Path | None:
    """Return the `python3-config` script that Jittor should ask for include folders, or None when there is none."""
    beside = f"/usr/bin/{PYTHON}-config", f"/usr/local/bin/{PYTHON}-config"
    named = [os.environ["python_config_path"]] if "python_config_path" in os.environ else []
    candidates = [*named, sys.executable + "-config", *beside, f"{sys.base_prefix}/bin/{PYTHON}-config",
                  f"{sysconfig.get_config_var('BINDIR')}/{PYTHON}-config"]
    return next((Path(path) for path in candidates if Path(path).is_file()), None)


def python_headers() -> Path | None:
    """Return the folder with Python.h that `python3-config` names, or None."""
    config = python_config()
    if config is None:
        return None
    answer = subprocess.run([str(config), "--includes"], capture_output=True, text=True, check=False).stdout
    folders = [Path(flag[2:]) for flag in answer.split() if flag.startswith("-I")]
    return next((folder for folder in folders if (folder / "Python.h").is_file()), None)


def onednn() -> tuple[Path, Path]:
    """Return the folders of libmkldnn.so and of dnnl.hpp from the PyPI packages; raises `UserError` when missing."""
    library = folder_with("libmkldnn.so", packages.ONEDNN[0], "lib")
    include = folder_with("dnnl.hpp", packages.ONEDNN[1], "include")
    if library is None or include is None:
        raise UserError(f"oneDNN, Jittor's CPU library, is missing; run: {ONEDNN_FIX}")
    return library, include


def folder_with(name: str, package: str, folder: str) -> Path | None:
    """Return the folder that has file `name`, by the record of the installed `package`, or `folder` of this Python."""
    candidates = [Path(prefix) / folder for prefix in (sys.prefix, site.getuserbase())]
    try:
        files = importlib.metadata.files(package) or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    recorded = [Path(str(file.locate())).resolve().parent for file in files if file.name == name]
    return next((path for path in recorded + candidates if (path / name).is_file()), None)


def require() -> None:
    """Raise `UserError` with the command that mends it when this machine cannot compile Jittor."""
    if compiler() is None:
        raise UserError(f"no C++ compiler found; Jittor compiles its kernels with g++; run: {COMPILER_FIX}")
    if python_headers() is None:
        raise UserError(f"the headers of {PYTHON} are missing; Jittor is compiled against them; run: {HEADERS_FIX}")
    onednn()

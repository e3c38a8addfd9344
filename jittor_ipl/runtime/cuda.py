"""A CUDA home in which Jittor 1.3.11 finds all that it asks for, of CUDA 11 to 13 and cuDNN 8 or 9.

Jittor takes the folder above nvcc's for the CUDA home, and wants there cuBLAS, cuRAND, cuFFT, cuSPARSE and cuDNN under
names without a version, cuDNN 8's parts, and headers as they were before CUDA 13. The home is a folder of links to the
system's toolkit and to the `nvidia-*` packages of this Python, with the few files that bridge the rest; neither those
nor the installed Jittor are changed. docs/gpu.md tells what of this has been seen on a GPU. Jittor is not imported.
"""
from __future__ import annotations

import ctypes
import functools
import hashlib
import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from jittor_ipl.errors import UserError
from jittor_ipl.runtime import system

# The version in the file name of each library, by the major version of CUDA; cuDNN has its own.
LIBRARIES = {11: {"cudart": "11.0", "cublas": "11", "cublasLt": "11", "curand": "10", "cufft": "10", "cusparse": "11"},
             12: {"cudart": "12", "cublas": "12", "cublasLt": "12", "curand": "10", "cufft": "11", "cusparse": "12"},
             13: {"cudart": "13", "cublas": "13", "cublasLt": "13", "curand": "10", "cufft": "12", "cusparse": "12"}}
# Loaded first where they lie: cuSPARSE and cuDNN ask for them by name.
HELPERS = {11: {}, 12: {"nvJitLink": "12", "nvrtc": "12"}, 13: {"nvJitLink": "13", "nvrtc": "13"}}
CUDNN = ("9", "8")
CUDNN_8_PARTS = ("ops_infer", "cnn_infer", "ops_train", "cnn_train")
# The newest g++ that nvcc takes, from this version of CUDA on.
NEWEST_GXX = (((11, 0), 9), ((11, 1), 10), ((11, 5), 11), ((12, 0), 12), ((12, 4), 13), ((12, 8), 14), ((13, 0), 15))
PACKAGES = {11: "nvidia-cublas-cu11 nvidia-curand-cu11 nvidia-cufft-cu11 nvidia-cusparse-cu11 nvidia-cudnn-cu11",
            12: "nvidia-cublas-cu12 nvidia-curand-cu12 nvidia-cufft-cu12 nvidia-cusparse-cu12 nvidia-cudnn-cu12",
            13: "-r requirements-gpu.txt"}
DRIVER_FIX = "install the NVIDIA driver, or choose the CPU (--device cpu)"
NVCC_FIX = ("install NVIDIA's CUDA toolkit 11 to 13, or pip install -r requirements-gpu.txt, or name an nvcc in the "
            "variable nvcc_path")

# cuDNN 9 no longer has the recurrent networks that Jittor links to; nothing here uses them.
CUDNN_9_HEADER = """#pragma once
#include "{header}"
#define IPL_GONE(name) \\
    template <class... A> static inline cudnnStatus_t name(A...) {{ return CUDNN_STATUS_NOT_SUPPORTED; }}
{names}
"""
GONE_IN_CUDNN_9 = ("cudnnSetRNNDescriptor_v6", "cudnnGetRNNParamsSize", "cudnnGetRNNWorkspaceSize",
                   "cudnnGetRNNTrainingReserveSize", "cudnnGetRNNLinLayerMatrixParams",
                   "cudnnGetRNNLinLayerBiasParams", "cudnnRNNForwardInference", "cudnnRNNForwardTraining",
                   "cudnnRNNBackwardData", "cudnnRNNBackwardWeights")
# Jittor names one real architecture; the second -code lets a newer GPU's driver compile for itself.
NVCC = """#!/bin/sh
for word; do
    shift
    case "$word" in
    -std=c++14) word={standard} ;;
    -arch=compute_*) set -- "$@" "-code=${{word#-arch=}}" ;;
    esac
    set -- "$@" "$word"
done
exec "{nvcc}" "$@"
"""


@dataclass(frozen=True)
class Toolkit:
    """A CUDA compiler: `nvcc` itself, the folder `root` that it belongs to, its version (major, minor)."""

    nvcc: Path
    root: Path
    version: tuple[int, int]


def gpu_driver() -> str | None:
    """Return None when the CUDA driver sees at least one GPU, else the reason in words."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "no NVIDIA driver (libcuda.so.1)"
    count = ctypes.c_int()
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)) or not count.value:
        return "the NVIDIA driver sees no GPU"
    return None


def require() -> None:
    """Raise `UserError` in one line, with what mends it, when Jittor cannot compute on a GPU here."""
    reason = gpu_driver()
    if reason:
        raise UserError(f"the device cuda was asked for, but {reason}; {DRIVER_FIX}")
    parts(toolkit())


@functools.cache
def toolkit() -> Toolkit:
    """Return the compiler that the variable nvcc_path names, else PATH, else /usr/local/cuda, else the packages have.

    A script that stands for another nvcc, as Debian's does, is followed. Raises `UserError` for none, or for one that
    Jittor cannot use.
    """
    asked = os.environ.get("nvcc_path")
    found = next((path for name in ([asked] if asked else ["nvcc", "/usr/local/cuda/bin/nvcc", *_packaged_nvcc()])
                  if (path := shutil.which(name))), None)
    if found is None:
        raise UserError(f"nvcc, the CUDA compiler, is missing{f' at nvcc_path={asked}' if asked else ''}; {NVCC_FIX}")
    command = [found, "--dryrun", "-c", "-x", "cu", os.devnull, "-o", os.devnull]
    text = _output([found, "--version"]) + _output(command)
    version, folder = re.search(r"release (\d+)\.(\d+)", text), re.search(r"^#\$ _HERE_=(.+)$", text, re.MULTILINE)
    if version is None or folder is None:
        raise UserError(f"nvcc at {found} does not run: {' '.join(text.split())[:200]}; {NVCC_FIX}")
    major, minor = int(version[1]), int(version[2])
    if major not in LIBRARIES:
        raise UserError(f"nvcc at {found} is of CUDA {major}.{minor}; 11, 12 and 13 are known; {NVCC_FIX}")
    here = Path(folder[1]).resolve()
    _require_host_compiler((major, minor))
    return Toolkit(here / "nvcc", here.parent, (major, minor))


def _output(command: list[str]) -> str:
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    except OSError as error:
        return str(error)
    return done.stdout


def _packaged_nvcc() -> list[str]:
    return [str(folder / "bin" / "nvcc") for folder in _package_folders(13) if (folder / "bin" / "nvcc").is_file()]


def _require_host_compiler(version: tuple[int, int]) -> None:
    compiler = system.compiler()
    found = re.search(r"(\d+)\.\d+\.\d+", system.compiler_version(compiler)) if compiler else None
    newest = max(gxx for since, gxx in NEWEST_GXX if version >= since)
    if found and int(found[1]) > newest:
        raise UserError(f"CUDA {version[0]}.{version[1]} takes g++ up to {newest}, and {compiler} is {found[0]}; run: "
                        f"apt-get install g++-{newest}, and set cc_path=g++-{newest}")


def _package_folders(major: int) -> Iterator[Path]:
    """Yield the folders of the installed `nvidia-*` packages of this CUDA, cuDNN's among them."""
    for entry in map(Path, dict.fromkeys(sys.path)):
        named = sorted((entry / "nvidia").glob("*/")) if (entry / "nvidia").is_dir() else []
        for folder in named:
            together = re.fullmatch(r"cu(\d+)", folder.name)     # since CUDA 13 all but cuDNN lie in one folder
            if together and int(together[1]) != major:
                continue
            if folder.name == "cudnn" and not _is_installed(f"nvidia-cudnn-cu{major}"):
                continue
            yield folder


def _is_installed(package: str) -> bool:
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def header_folders(kit: Toolkit) -> list[Path]:
    """Return where the headers of CUDA and its libraries lie, the toolkit's own first."""
    candidates = [kit.root / "include", kit.root / "targets" / "x86_64-linux" / "include",
                  *(folder / "include" for folder in _package_folders(kit.version[0]))]
    return [folder for folder in dict.fromkeys(candidates) if folder.is_dir()]


def _library_folders(kit: Toolkit) -> list[Path]:
    own = [kit.root / name for name in ("lib64", "lib", "targets/x86_64-linux/lib")]
    systems = [Path("/usr/lib/x86_64-linux-gnu"), Path("/usr/lib64"), Path("/usr/lib")]
    candidates = [*own, *(folder / "lib" for folder in _package_folders(kit.version[0])), *systems]
    return [folder for folder in dict.fromkeys(candidates) if folder.is_dir()]


def parts(kit: Toolkit) -> dict[str, Path]:
    """Return the library of every name that the home needs, in the order in which they can be loaded.

    Raises `UserError` that names what is missing and the command that installs it.
    """
    folders, major = _library_folders(kit), kit.version[0]

    def find(name: str, *versions: str) -> Path | None:
        files = [folder / f"lib{name}.so.{version}" for version in versions for folder in folders]
        return next((file for file in files if file.is_file()), None)

    helpers = {name: find(name, version) for name, version in HELPERS[major].items()}
    needed = {name: find(name, version) for name, version in LIBRARIES[major].items()}
    needed["cudnn"] = find("cudnn", *_cudnn_versions(kit))
    headers = {name: f"{name}.h" for name in ("cublas", "curand", "cufft", "cusparse", "cudnn")}
    missing = [f"lib{name}.so" for name, file in needed.items() if file is None]
    missing += [header for header in headers.values() if _header(kit, header) is None]
    if missing:
        raise UserError(f"CUDA {major}.{kit.version[1]} at {kit.root} lacks {', '.join(missing)}; run: pip install "
                        f"{PACKAGES[major]}")
    return {name: file for name, file in {**helpers, **needed}.items() if file is not None}


def _header(kit: Toolkit, name: str) -> Path | None:
    folders = [*header_folders(kit), Path("/usr/include"), Path("/usr/include/x86_64-linux-gnu")]
    return next((folder / name for folder in folders if (folder / name).is_file()), None)


def _cudnn_versions(kit: Toolkit) -> tuple[str, ...]:
    """Return which versions of cuDNN's library may be taken, the newest first: that of its header, where that says one.

    A toolkit with cuDNN 8 often stands beside the cuDNN 9 that PyTorch installs.
    """
    header = _header(kit, "cudnn_version.h")
    text = header.read_text(errors="replace") if header else ""
    told = re.search(r"^#define CUDNN_MAJOR (\d+)", text, re.MULTILINE)
    return tuple(version for version in CUDNN if told is None or version == told[1])


def assemble() -> Path:
    """Return the CUDA home, made in Jittor's cache unless it is there; raises `UserError` as `toolkit` and `parts` do.

    Its name holds a hash of all that it is made of: another toolkit or package gets another home.
    """
    kit = toolkit()
    files = plan(kit, parts(kit))
    text = "\n".join(f"{name}: {what}" for name, what in sorted(files.items()))
    key = hashlib.sha256(text.encode()).hexdigest()[:12]
    home = system.jittor_home() / ".cache" / "jittor" / "ipl_cuda" / f"{kit.version[0]}.{kit.version[1]}-{key}"
    if not home.is_dir():
        home.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=home.parent, prefix="part-") as partial:
            whole = Path(partial) / "home"
            _write(files, whole)
            try:
                whole.rename(home)
            except OSError:
                if not home.is_dir():       # another process was faster, or the disk refused
                    raise
    return home


def plan(kit: Toolkit, libraries: dict[str, Path]) -> dict[str, Path | str]:
    """Return what the home consists of: name in it -> the file to link to, or the text to write."""
    files: dict[str, Path | str] = {}
    for folder in header_folders(kit):
        files = {**{f"include/{entry.name}": entry for entry in sorted(folder.iterdir())}, **files}
    for name, file in libraries.items():
        files[f"lib64/lib{name}.so"] = file
        files[f"lib64/{file.name}"] = file
    standard = "-std=c++17" if kit.version[0] >= 13 else "-std=c++14"
    files["bin/nvcc"] = NVCC.format(nvcc=kit.nvcc, standard=standard)
    files["nvvm"] = kit.root / "nvvm"
    if kit.version[0] >= 13:
        files["include/helper_cuda.h"] = _helper_header()
    cudnn, header = libraries["cudnn"], _header(kit, "cudnn.h")
    for part in CUDNN_8_PARTS:
        own = cudnn.with_name(f"libcudnn_{part}.so.8")
        files[f"lib64/libcudnn_{part}.so"] = own if cudnn.name.endswith(".8") else ""
    if cudnn.name.endswith(".9"):
        gone = "\n".join(f"IPL_GONE({name})" for name in GONE_IN_CUDNN_9)
        files["include/cudnn.h"] = CUDNN_9_HEADER.format(header=header, names=gone)
    return files


def _helper_header() -> str:
    """Return Jittor's helper_cuda.h without two fields that cudaDeviceProp lost in CUDA 13."""
    jittor = importlib.util.find_spec("jittor")
    if jittor is None or jittor.origin is None:
        raise UserError("jittor is not installed: pip install -r requirements.txt")
    text = (Path(jittor.origin).parent / "extern" / "cuda" / "inc" / "helper_cuda.h").read_text()
    text = text.replace("deviceProp.computeMode == cudaComputeModeProhibited", "false")
    text = text.replace("deviceProp.computeMode != cudaComputeModeProhibited", "true")
    return text.replace("deviceProp.clockRate", "1")


def _write(files: dict[str, Path | str], home: Path) -> None:
    for name, what in files.items():
        target = home / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(what, Path):
            target.symlink_to(what)
        elif name.startswith("lib64/"):     # a library of nothing: Jittor loads it, and asks no more of it
            subprocess.run([system.compiler() or "g++", "-shared", "-x", "c++", os.devnull, "-o", str(target)],
                           check=True)
        else:
            target.write_text(what)
    (home / "bin" / "nvcc").chmod(0o755)


def load(libraries: dict[str, Path]) -> None:
    """Load the libraries from where they lie, so that each finds those beside it; raises `UserError`."""
    for name, file in libraries.items():
        try:
            ctypes.CDLL(str(file), ctypes.RTLD_GLOBAL | os.RTLD_NOW)
        except OSError as error:
            raise UserError(f"lib{name} does not load, {file}: {error}; run: pip install --force-reinstall the package "
                            "that it is of, or install the toolkit anew") from error

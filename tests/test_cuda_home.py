"""The CUDA home: which toolkit and libraries it is made of, what it holds, and what is said where something is missing.

The toolkits are folders of empty files and an nvcc that answers two questions, so that all versions are tried anywhere.
"""
from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from jittor_ipl import cli
from jittor_ipl.errors import UserError
from jittor_ipl.runtime import cuda, doctor, system

ROOT = Path(__file__).resolve().parent.parent
HEADERS = ("cublas_v2.h", "cublas.h", "curand.h", "cufft.h", "cusparse.h", "cuda_runtime.h")
ANSWERS = """#!/bin/sh
here=$(cd "$(dirname "$0")" && pwd)
case "$*" in
--version) echo "Cuda compilation tools, release {version}, V{version}.1" ;;
--dryrun*) echo "#\\$ _HERE_=$here" >&2 ;;
*) printf '%s\\n' "$@" ;;
esac
"""


def fill(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_text(f"{folder.name}/{name}")


def make_toolkit(root: Path, version: str) -> Path:
    """Lay a toolkit without cuDNN out in `root`; return its nvcc."""
    fill(root / "include", *HEADERS)
    names = cuda.LIBRARIES[int(version.partition(".")[0])]
    fill(root / "lib64", *(f"lib{name}.so.{number}" for name, number in names.items()))
    (root / "nvvm").mkdir()
    nvcc = root / "bin" / "nvcc"
    fill(root / "bin", "nvcc")
    nvcc.write_text(ANSWERS.format(version=version))
    nvcc.chmod(0o755)
    return nvcc


def make_cudnn(site: Path, cuda_major: int, version: str) -> None:
    """Lay the package nvidia-cudnn-cu<major> out in `site`."""
    parts = [f"libcudnn_{part}.so.8" for part in cuda.CUDNN_8_PARTS] if version == "8" else []
    fill(site / "nvidia" / "cudnn" / "lib", f"libcudnn.so.{version}", *parts)
    fill(site / "nvidia" / "cudnn" / "include", "cudnn.h")
    record = site / f"nvidia_cudnn_cu{cuda_major}-{version}.0.dist-info"
    record.mkdir()
    metadata = ("Metadata-Version: 2.1", f"Name: nvidia-cudnn-cu{cuda_major}", f"Version: {version}.0", "")
    (record / "METADATA").write_text("\n".join(metadata))


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine with nothing of CUDA on it, an old g++, and a home of its own; `use` names an nvcc."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("JITTOR_HOME", raising=False)
    monkeypatch.delenv("nvcc_path", raising=False)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path / "site")])
    monkeypatch.setattr(system, "compiler_version", lambda path: "g++ (Debian) 9.3.0")
    real = cuda._library_folders
    monkeypatch.setattr(cuda, "_library_folders",
                        lambda kit: [folder for folder in real(kit) if tmp_path in folder.parents])
    folders = cuda._package_folders
    monkeypatch.setattr(cuda, "_package_folders",
                        lambda major: [folder for folder in folders(major) if tmp_path in folder.parents])
    cuda.toolkit.cache_clear()
    yield tmp_path
    cuda.toolkit.cache_clear()


def use(monkeypatch, nvcc: Path) -> None:
    monkeypatch.setenv("nvcc_path", str(nvcc))


@pytest.mark.parametrize("version,cudnn", [("11.8", "8"), ("11.2", "9"), ("12.2", "8"), ("12.9", "9"), ("13.0", "9")])
def test_a_home_is_assembled(machine, monkeypatch, version, cudnn):
    major = int(version.partition(".")[0])
    nvcc = make_toolkit(machine / "cuda toolkit", version)
    make_cudnn(machine / "site", major, cudnn)
    use(monkeypatch, nvcc)
    home = cuda.assemble()
    assert home == cuda.assemble() and home.is_relative_to(machine / ".cache" / "jittor")
    for name in (*cuda.LIBRARIES[major], "cudnn", *(f"cudnn_{part}" for part in cuda.CUDNN_8_PARTS)):
        assert (home / "lib64" / f"lib{name}.so").is_file(), name
    assert (home / "lib64" / "libcufft.so").resolve().name == f"libcufft.so.{cuda.LIBRARIES[major]['cufft']}"
    stub = home / "lib64" / "libcudnn_cnn_train.so"
    assert stub.is_symlink() == (cudnn == "8") and (cudnn == "8" or stub.read_bytes()[:4] == b"\x7fELF")
    header = (home / "include" / "cudnn.h").read_text()
    assert (header == "include/cudnn.h") == (cudnn == "8") and ("cudnnRNNForwardTraining" in header) == (cudnn == "9")
    assert (home / "include" / "cuda_runtime.h").is_file() and (home / "nvvm").is_dir()
    assert (home / "include" / "helper_cuda.h").is_file() == (major == 13)
    said = subprocess.run([home / "bin" / "nvcc", "-std=c++14", "-arch=compute_90", "-DNAME=\"a b\""], text=True,
                          capture_output=True, check=True).stdout.splitlines()
    assert said == ["-std=c++17" if major == 13 else "-std=c++14", "-code=compute_90", "-arch=compute_90",
                    "-DNAME=\"a b\""]


def test_another_library_is_another_home(machine, monkeypatch):
    use(monkeypatch, make_toolkit(machine / "cuda", "12.2"))
    make_cudnn(machine / "site", 12, "8")
    first = cuda.assemble()
    fill(machine / "cuda" / "lib64", "libcudnn.so.9")
    fill(machine / "cuda" / "include", "cudnn.h")
    assert cuda.assemble() != first


def test_a_script_in_place_of_nvcc_is_followed(machine, monkeypatch):
    nvcc = make_toolkit(machine / "cuda", "12.2")
    script = machine / "nvcc"
    script.write_text(f'#!/bin/sh\nexec "{nvcc}" "$@"\n')
    script.chmod(0o755)
    use(monkeypatch, script)
    kit = cuda.toolkit()
    assert (kit.nvcc, kit.root, kit.version) == (nvcc, machine / "cuda", (12, 2))


@pytest.mark.parametrize("lack,said", [
    ("lib64/libcufft.so.11", r"CUDA 12\.2 at .* lacks libcufft\.so; run: pip install nvidia-cublas-cu12"),
    ("include/cusparse.h", r"lacks cusparse\.h; run: pip install"),
    ("lib64/libcudart.so.12", r"lacks libcudart\.so; run: pip install")])
def test_what_is_missing_is_one_line(machine, monkeypatch, lack, said):
    use(monkeypatch, make_toolkit(machine / "cuda", "12.2"))
    make_cudnn(machine / "site", 12, "9")
    (machine / "cuda" / lack).unlink()
    with pytest.raises(UserError, match=said) as raised:
        cuda.assemble()
    assert "\n" not in str(raised.value) and not (machine / ".cache").exists()


def test_cudnn_of_another_cuda_is_none(machine, monkeypatch):
    use(monkeypatch, make_toolkit(machine / "cuda", "13.0"))
    make_cudnn(machine / "site", 12, "9")
    with pytest.raises(UserError, match=r"lacks libcudnn\.so, cudnn\.h; run: pip install -r requirements-gpu\.txt"):
        cuda.assemble()


def test_the_library_of_cudnn_is_that_of_its_header(machine, monkeypatch):
    use(monkeypatch, make_toolkit(machine / "cuda", "12.2"))
    fill(machine / "cuda" / "lib64", "libcudnn.so.8")
    fill(machine / "cuda" / "include", "cudnn.h")
    (machine / "cuda" / "include" / "cudnn_version.h").write_text("#define CUDNN_MAJOR 8\n#define CUDNN_MINOR 9\n")
    make_cudnn(machine / "site", 12, "9")
    kit = cuda.toolkit()
    assert cuda.parts(kit)["cudnn"] == machine / "cuda" / "lib64" / "libcudnn.so.8"
    (machine / "cuda" / "include" / "cudnn_version.h").write_text("#define CUDNN_MAJOR 7\n")
    with pytest.raises(UserError, match=r"lacks libcudnn\.so; run:"):
        cuda.parts(kit)


@pytest.mark.parametrize("version,said", [("10.2", "is of CUDA 10.2; 11, 12 and 13 are known"),
                                          ("14.0", "is of CUDA 14.0; 11, 12 and 13 are known")])
def test_an_unknown_cuda_is_one_line(machine, monkeypatch, version, said):
    nvcc = make_toolkit(machine / "cuda", "12.2")
    nvcc.write_text(ANSWERS.format(version=version))
    use(monkeypatch, nvcc)
    with pytest.raises(UserError, match=said):
        cuda.toolkit()


@pytest.mark.parametrize("version,gxx,fine", [("11.8", "11.4.0", True), ("11.8", "12.2.0", False),
                                              ("12.2", "13.1.0", False), ("13.0", "15.1.0", True)])
def test_a_compiler_that_is_too_new_is_one_line(machine, monkeypatch, version, gxx, fine):
    use(monkeypatch, make_toolkit(machine / "cuda", version))
    monkeypatch.setattr(system, "compiler_version", lambda path: f"g++ (Debian {gxx}-14) {gxx}")
    if fine:
        cuda.toolkit()
        return
    with pytest.raises(UserError, match=rf"takes g\+\+ up to \d+, and .*{gxx}; run: apt-get install g\+\+-\d+"):
        cuda.toolkit()


def test_no_nvcc_is_one_line(machine, monkeypatch):
    use(monkeypatch, machine / "nowhere" / "nvcc")
    with pytest.raises(UserError, match="nvcc, the CUDA compiler, is missing at nvcc_path=.*requirements-gpu.txt"):
        cuda.toolkit()


def test_an_nvcc_that_does_not_run_is_one_line(machine, monkeypatch):
    fill(machine / "bin", "nvcc")
    (machine / "bin" / "nvcc").chmod(0o755)
    use(monkeypatch, machine / "bin" / "nvcc")
    with pytest.raises(UserError, match="does not run"):
        cuda.toolkit()


def test_a_library_that_does_not_load_is_one_line(tmp_path):
    (tmp_path / "libcublas.so.12").write_text("no library")
    with pytest.raises(UserError, match="libcublas does not load, .*libcublas.so.12"):
        cuda.load({"cublas": tmp_path / "libcublas.so.12"})


# --- what a user sees ------------------------------------------------------------------------------------------------

@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(cuda, "gpu_driver", lambda: "no NVIDIA driver (libcuda.so.1)")


@pytest.mark.parametrize("how", ["option", "variable"])
def test_a_gpu_that_is_not_there_is_one_line_before_anything_is_made(no_gpu, monkeypatch, tmp_path, capsys, how):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JITTOR_IPL_DEVICE", "cuda" if how == "variable" else "cpu")
    words = ["generate", "--weights", "demo:generator", "--seeds", "0", "--output", "pictures",
             *(["--device", "cuda"] if how == "option" else [])]
    assert cli.main(words) == 2
    said = capsys.readouterr()
    assert re.fullmatch(r"error: the device cuda was asked for, but no NVIDIA driver .*--device cpu\)\n", said.err)
    assert said.out == "" and not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_knows_the_device(name, no_gpu, monkeypatch, capsys):
    monkeypatch.setenv("JITTOR_IPL_DEVICE", "cpu")
    command = cli.command_named(name)
    leaves = [command] if not hasattr(command, "commands") else list(command.commands.values())
    assert all("--device" in [opt for param in leaf.params for opt in param.opts] for leaf in leaves)
    assert cli.main([name, "--device", "gpu"]) == 2
    assert "'gpu' is not one of 'cpu', 'cuda'" in capsys.readouterr().err


def test_the_variable_wins_over_nothing_and_the_option_over_the_variable(no_gpu, monkeypatch, capsys):
    monkeypatch.setenv("JITTOR_IPL_DEVICE", "cuda")
    assert cli.main(["doctor", "--quiet", "--device", "cpu"]) == 0, capsys.readouterr()
    assert os.environ["JITTOR_IPL_DEVICE"] == "cpu"


def test_the_doctor_tells_of_driver_toolkit_and_cudnn(machine, no_gpu, monkeypatch):
    use(monkeypatch, make_toolkit(machine / "cuda", "12.2"))
    make_cudnn(machine / "site", 12, "9")
    monkeypatch.delenv("JITTOR_IPL_DEVICE", raising=False)

    def check():
        return next(check for check in doctor.run_checks() if check.name == "CUDA")

    seen = f"CUDA 12.2 and cuDNN 9 at {machine / 'cuda'}"
    assert check() == doctor.Check("CUDA", True, f"no NVIDIA driver (libcuda.so.1); {seen}; the CPU is used",
                                   cuda.DRIVER_FIX)
    monkeypatch.setenv("JITTOR_IPL_DEVICE", "cuda")
    assert not check().ok
    monkeypatch.setattr(cuda, "gpu_driver", lambda: None)
    assert check().ok and check().detail == f"driver ready, {seen}"
    shutil.rmtree(machine / "site")
    assert not check().ok and check().fix.startswith("run: pip install nvidia-cublas-cu12")
    cuda.toolkit.cache_clear()
    nvcc = machine / "cuda" / "bin" / "nvcc"
    nvcc.write_text(ANSWERS.format(version="10.2"))
    assert check() == doctor.Check("CUDA", False, f"driver ready, nvcc at {nvcc} is of CUDA 10.2; 11, 12 and 13 are "
                                   "known", cuda.NVCC_FIX)


def test_an_nvcc_without_its_libraries_does_not_harm_the_cpu(tmp_path):
    """Jittor alone takes an nvcc on PATH for a wish, and ends when libcudart is not beside it."""
    nvcc = tmp_path / "nvcc"
    nvcc.write_text("#!/bin/sh\necho release 13.0, V13.0.88\n")
    nvcc.chmod(0o755)
    done = subprocess.run([sys.executable, "-c", "from jittor_ipl.runtime.backend import jt; print(jt.ones(2).sum())"],
                          cwd=ROOT, env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
                          capture_output=True, text=True)
    assert done.returncode == 0 and "2." in done.stdout, done.stderr

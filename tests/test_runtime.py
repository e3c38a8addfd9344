"""The runtime: seeded streams, what importing Jittor leaves behind, honest arithmetic, the doctor."""
from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import pytest

from jittor_ipl import cli
from jittor_ipl.errors import UserError
from jittor_ipl.runtime import bootstrap, device, doctor, environment, memory, packages, streams, system, threads

ROOT = Path(__file__).resolve().parent.parent


def python(code: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False,
                          env={**os.environ, "PYTHONPATH": str(ROOT), **environment})


# --- streams ---------------------------------------------------------------------------------------------------------

def test_a_stream_is_a_pure_function_of_its_four_keys():
    first = streams.rng(2, "z", 3, 4).standard_normal(8)
    assert np.array_equal(first, streams.rng(2, "z", 3, 4).standard_normal(8))
    for other in ((3, "z", 3, 4), (2, "noise", 3, 4), (2, "z", 4, 4), (2, "z", 3, 5), (2, "z", 34, 0)):
        assert not np.array_equal(first, streams.rng(*other).standard_normal(8))


def test_recorded_draws():
    """These numbers must never change: they decide the pictures of released seeds."""
    assert np.allclose(streams.rng(1, "z", 2, 3).standard_normal(3), [0.83019664, 0.59468917, -1.18710396], atol=1e-8)
    assert np.allclose(streams.z_from_seeds([3], 4)[0], [1.7886285, 0.43650985, 0.09649747, -1.8634927], atol=1e-7)


def test_user_seeds_follow_the_stylegan_convention():
    want = np.random.RandomState(85).randn(1, 512)[0].astype(np.float32)
    assert np.array_equal(streams.z_from_seeds([85], 512)[0], want)


def test_parse_seeds():
    assert streams.parse_seeds("0,1,5-10") == [0, 1, 5, 6, 7, 8, 9, 10]
    assert streams.parse_seeds(" 4294967295 ") == [2**32 - 1]
    assert streams.parse_seeds(7) == [7]


@pytest.mark.parametrize("text", ["", "a", "1-", "-1", "9-3", "1-2-3", "4294967296", "0-2000000", "1,,2", "1.5"])
def test_bad_seeds_are_refused_in_one_line(text):
    with pytest.raises(UserError) as raised:
        streams.parse_seeds(text)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("seed", [-1, 2**32, 1.5, True, "1"])
def test_bad_seed_numbers(seed):
    with pytest.raises(UserError):
        streams.z_from_seeds([seed], 4)


# --- what importing Jittor leaves behind -----------------------------------------------------------------------------

SNAPSHOT = """
import json, multiprocessing, os, random, resource, signal, ssl, sys
import numpy as np
def snapshot():
    status = open("/proc/self/status").read()
    caught = int(status.split("SigCgt:")[1].split()[0], 16) & 0x7fffffff  # above are the C library's own
    return dict(recursion=sys.getrecursionlimit(), stack=resource.getrlimit(resource.RLIMIT_STACK), caught=caught,
                https=ssl._create_default_https_context.__name__, hook=repr(sys.excepthook), exit=repr(sys.exit),
                random=hash(random.getstate()), numpy=np.random.get_state()[1].tolist(),
                start=multiprocessing.get_start_method(allow_none=True), workers=len(multiprocessing.active_children()),
                environment={k: v for k, v in os.environ.items() if k not in ("cc_path", "cache_name")},
                denormal=float(np.float32(1e-38) * np.float32(1e-3)))
random.seed(1); np.random.seed(1)
before = snapshot()
from jittor_ipl.runtime.backend import jt
(jt.array([1e-38]) * 1e-3 + jt.exp(jt.ones(64))).numpy()
after = snapshot()
print(json.dumps([key for key in before if before[key] != after[key]]))
"""


def test_importing_jittor_leaves_the_process_as_it_was():
    done = python(SNAPSHOT)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == []


def test_a_warm_import_starts_no_processes():
    assert python("from jittor_ipl.runtime.backend import jt").returncode == 0      # compiles, where nothing did so yet
    done = python("import sys, multiprocessing.pool as pool\n"
                  "pool.Pool.__init__ = lambda *_, **__: sys.exit('a pool was started')\n"
                  "from jittor_ipl.runtime.backend import jt; print(jt.array([2.0]).sum().item())")
    assert (done.returncode, done.stdout) == (0, "2.0\n"), done.stderr


def test_jittor_alone_does_change_the_process():
    """Why the bootstrap restores: the bare import switches certificate checks off and takes Ctrl-C over."""
    link = ("from jittor_ipl.runtime import bootstrap; bootstrap.link_onednn(); "
            "os.environ.update(bootstrap.environment.settings('cpu'))")
    done = python(SNAPSHOT.replace("from jittor_ipl.runtime.backend import jt", f"{link}; import jittor as jt"))
    assert done.returncode == 0, done.stderr
    assert {"https", "recursion", "stack", "caught", "random", "numpy"} <= set(json.loads(done.stdout))


def test_light_modules_do_not_import_jittor():
    modules = "errors runtime.streams runtime.doctor runtime.device runtime.system runtime.bootstrap".split()
    code = "import sys, " + ", ".join(f"jittor_ipl.{name}" for name in modules)
    done = python(code + "; sys.exit('jittor' in sys.modules or 'jittor_utils' in sys.modules)")
    assert done.returncode == 0, done.stderr


# --- threads that wait -----------------------------------------------------------------------------------------------

DOORS = {"training and pictures": "from jittor_ipl.runtime.backend import jt",
         "the record of a set": "from jittor_ipl.runtime import device; device.fingerprint()",
         "a worker process": "import multiprocessing as m\n"
                             "from jittor_ipl.runtime import device\n"
                             "if __name__ == '__main__': m.set_start_method('spawn'); p = m.Process("
                             "target=device.fingerprint); p.start(); p.join(); assert p.exitcode == 0"}


def spins(code: str, **environment: str) -> list[str]:
    """Return what every process of `code` that loads libgomp takes from GOMP_SPINCOUNT; libgomp itself shows it."""
    kept = {name: "" for name in threads.USERS_CHOICE if name in os.environ}
    code = "import os\n" + "".join(f"del os.environ[{name!r}]\n" for name in kept if name not in environment) + code
    done = python(code, OMP_DISPLAY_ENV="verbose", **environment)
    assert done.returncode == 0, done.stderr
    return [line.partition("=")[2].strip(" '") for line in done.stderr.splitlines() if "GOMP_SPINCOUNT" in line]


@pytest.mark.parametrize("door", DOORS)
def test_waiting_threads_sleep_whatever_loads_the_openmp_library(door):
    assert spins(DOORS[door]) == [threads.SPINS]


def test_the_users_choice_for_waiting_threads_wins():
    door = DOORS["training and pictures"]
    assert spins(door, GOMP_SPINCOUNT="12345") == ["12345"]
    assert int(spins(door, OMP_WAIT_POLICY="active")[0]) > 10**6


def test_numpy_does_not_load_the_openmp_library():
    done = python("import numpy, PIL._imaging; print('libgomp.so' in open('/proc/self/maps').read())")
    assert done.stdout == "False\n"


def test_waiting_changes_no_bit():
    code = ("import hashlib, numpy as np\n"
            "from jittor_ipl.runtime.backend import jt\n"
            "from jittor_ipl.ops.conv import conv2d\n"
            "random = np.random.RandomState(0)\n"
            "x, w = (jt.array(random.randn(*s).astype(np.float32)) for s in ((4, 32, 32, 32), (32, 32, 3, 3)))\n"
            "y = conv2d(x, w, padding=1)\n"
            "print([hashlib.sha256(v.numpy().tobytes()).hexdigest() for v in (y, *jt.grad((y * y).sum(), [x, w]))])")
    found = {python(code, GOMP_SPINCOUNT=count).stdout for count in (threads.SPINS, "300000")}
    assert len(found) == 1 and "[" in found.pop()


# --- packages and variables that change results ----------------------------------------------------------------------

def test_pins_are_those_of_the_requirements():
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    pinned = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    assert packages.PINS.items() <= pinned.items()
    packages.require()
    assert packages.deviations() == []


MAKE = ("import sys, numpy; numpy.__version__ = '2.2.6'\n"
        "from jittor_ipl.cli import main\nsys.exit(main(sys.argv[1:]))")


def test_a_numpy_that_jittor_cannot_read_stops_everything_before_it_begins(tmp_path):
    for command in (["generate", "--network", "demo:generator", "--seeds", "0", "--outdir", str(tmp_path / "out")],
                    ["adapt", "--style", "disney", "--output", str(tmp_path / "run")]):
        done = subprocess.run([sys.executable, "-c", MAKE, *command], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
        assert all(part in done.stderr for part in ("numpy 2.2.6", "1.26.4", "pip install numpy==1.26.4"))
    assert not list(tmp_path.iterdir())
    done = subprocess.run([sys.executable, "-c", MAKE, "doctor"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and "FAULT packages    numpy 2.2.6" in done.stdout


def test_a_numpy_that_does_not_load_is_one_line(tmp_path):
    """One of another Python, which PYTHONPATH brings in, or half of one."""
    (tmp_path / "numpy").mkdir()
    (tmp_path / "numpy" / "__init__.py").write_text("raise ImportError('PLEASE READ THIS\\nfor advice')")
    for command in (["doctor"], ["generate", "--network", "demo:generator", "--seeds", "0"]):
        done = subprocess.run([sys.executable, "-m", "jittor_ipl", *command], cwd=ROOT, capture_output=True, text=True,
                              env={**os.environ, "PYTHONPATH": str(tmp_path)})
        assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
        assert str(tmp_path / "numpy") in done.stderr and "unset PYTHONPATH" in done.stderr


@pytest.mark.parametrize("name,version", [("jittor", "1.3.10.0"), ("jittor", "1.4.0"), ("onednn-cpu-gomp", "2023.1.0"),
                                          ("onednn-devel-cpu-gomp", "2024.2.0")])
def test_another_jittor_or_onednn_is_refused(monkeypatch, name, version):
    versions = {**packages.PINS, name: version}
    monkeypatch.setattr(packages, "found_version", versions.get)
    with pytest.raises(UserError, match=f"{version}.*{packages.PINS[name]}.*pip install {name}=="):
        packages.require()


def test_the_doctor_says_what_another_pillow_changes(monkeypatch):
    monkeypatch.setattr(packages, "found_version", {**packages.PINS, "pillow": "11.0.0"}.get)
    check = next(check for check in doctor.run_checks() if check.name == "packages")
    assert check.ok and check.detail == "pillow 11.0.0 in place of 12.3.0: the pixels of resized pictures may differ"


def test_an_array_that_does_not_come_back_is_told():
    class Garbage:
        __version__ = "1.3.11.0"

        def array(self, sent):
            return self

        def numpy(self):
            return np.zeros(3)

    with pytest.raises(UserError, match="do not come back.*pip install numpy==1.26.4 jittor==1.3.11.0"):
        packages.require_whole_arrays(Garbage())


NOT_JITTORS = set("ASCEND_TOOLKIT_HOME CONDA_PREFIX CUDA_VISIBLE_DEVICES HOME JPY_PARENT_PID LD_LIBRARY_PATH "
                  "OMPI_COMM_WORLD_RANK OMPI_COMM_WORLD_SIZE PATH TERM".split())
# Read by programs beside the package that this project does not start.
OTHER_PROGRAMS = set("EXPORT_ALL class_home dumpbin_path name rerun warmup".split())


def test_every_variable_that_jittor_reads_is_known():
    in_python = re.compile(r"""(?:environ(?:\.get|\.setdefault)?[\[(]\s*|getenv\(\s*|env_or_\w*find\(\s*)["'](\w+)"""
                           r"""|["'](\w+)["'] in os\.environ""")
    in_cpp = re.compile(r"""DEFINE_FLAG(?:_WITH_SETTER)?\s*\(\s*[\w<>: ]+,\s*(\w+)|getenv\(\s*\\?"(\w+)""")
    found = set()
    for root in (Path(importlib.util.find_spec(name).origin).parent for name in ("jittor", "jittor_utils")):
        for path in (path for kind in ("py", "cc", "h", "cu") for path in root.rglob(f"*.{kind}")):
            if not {"test", "demo"} & set(path.relative_to(root).parts):
                pattern = in_python if path.suffix == ".py" else in_cpp
                found |= {name for names in pattern.findall(path.read_text(errors="replace")) for name in names if name}
    found = {name for name in found if not name.startswith(environment.MACROS)} - OTHER_PROGRAMS - NOT_JITTORS
    assert len(found) > 100
    assert found == environment.SWITCHES | set(environment.HONOURED)


def test_jittors_own_switches_change_nothing_and_are_named_in_one_line():
    code = ("import os, numpy as np\n"
            "from jittor_ipl.runtime.backend import jt\n"
            "x = jt.array(np.linspace(-3, 3, 64).astype(np.float32))\n"
            "print(jt.grad(jt.exp(x).sum(), x).numpy().tobytes().hex(), jt.compiler.cache_path)")
    plain = python(code)
    hostile = dict(use_cuda="1", device_id="7", debug="1", use_mkl="0", auto_mixed_precision_level="5",
                   no_grad="1", lazy_execution="0", cc_flags="-DNONSENSE", kernel_flags="-Ofast",
                   cache_name="elsewhere", JT_SYNC="1", auto_convert_64_to_32="0",
                   JT_SAVE_MEM="1", gdb_attach="1", hipcc_path="/bin/true")
    done = python(code, **hostile)
    assert (done.returncode, done.stdout) == (0, plain.stdout), done.stderr
    assert plain.stderr == "" and done.stderr.count("\n") == 1
    assert all(f"{name}={value}" in done.stderr for name, value in hostile.items())


# --- honest arithmetic -----------------------------------------------------------------------------------------------

def test_nan_and_denormals_survive_kernels():
    from jittor_ipl.runtime.backend import jt
    values = jt.array(np.array([np.nan, 1, np.inf, -np.inf] * 16, np.float32))
    assert np.array_equal((values != values).numpy(), [True, False, False, False] * 16)
    assert np.array_equal(jt.exp(values).numpy()[1:4], np.exp(np.float32([1, np.inf, -np.inf])))
    tiny = (jt.array(np.full(64, 1e-38, np.float32)) * jt.array(np.full(64, 1e-3, np.float32))).numpy()
    assert (tiny > 0).all()
    assert np.float32(1e-38) * np.float32(1e-3) > 0  # NumPy in the same process


def test_vector_exponential_is_close():
    from jittor_ipl.runtime.backend import jt
    x = np.linspace(-80, 80, 100_001).astype(np.float32)
    exact = np.exp(x.astype(np.float64))
    assert np.abs(jt.exp(jt.array(x)).numpy() / exact - 1).max() < 5e-7


def test_kernels_use_the_precompiled_header():
    from jittor_ipl.runtime.backend import jt
    flags = jt.flags.cc_flags
    assert "-Ofast" not in flags and "-ffast-math" not in flags
    if jt.compiler.cc_type == "g++":
        header = Path(flags.split('-include "')[1].split('"')[0])
        assert header.is_file() and header.with_suffix(".h.gch").is_file()


PROGRESS = """
import ctypes
from jittor_ipl.runtime.backend import jt
library = ctypes.CDLL("libstdc++.so.6")
cerr = ctypes.c_void_p.in_dll(library, "_ZSt4cerr")
put = library["_ZStlsISt11char_traitsIcEERSt13basic_ostreamIcT_ES5_PKc"]
def write(*texts):
    for text in texts:
        put(ctypes.byref(cerr), text.encode())
write("a fault", " of another kind", "\\n")
for count in ("29", "4"):
    write("\\n")
    for step in "123":
        write("Compiling Operators(", step, "/", count, ")", " used: ", " 2.3", "s eta: ", "   4", "s \\r")
    write("\\n")
write("Compiling", " something else", "\\n", "\\n", "the end", "\\n")
"""


def test_progress_of_the_compiler_is_one_line():
    source = Path(importlib.util.find_spec("jittor").origin).parent / "src" / "parallel_compiler.cc"
    assert 'std::cerr << "Compiling Operators("' in source.read_text()
    done = python(PROGRESS)
    assert done.returncode == 0 and done.stdout == ""
    assert done.stderr.splitlines() == [
        "a fault of another kind", "preparing 29 kernels, compiled once per machine ...",
        "preparing 4 kernels, compiled once per machine ...", "Compiling something else", "the end"]


# --- memory ----------------------------------------------------------------------------------------------------------

LIMITED = """
import resource, numpy as np
from pathlib import Path
from jittor_ipl.errors import UserError
from jittor_ipl.ops.conv import conv2d
from jittor_ipl.runtime.backend import jt
from jittor_ipl.runtime.memory import lack_as_user_error
def conv(side):
    images = jt.array(np.ones((1, 16, side, side), np.float32))
    return conv2d(images, jt.array(np.ones((16, 16, 3, 3), np.float32)), padding=1)
def elementwise(side):
    return jt.ones((side, side, 16)) * jt.array([2.0])
def array(side):
    return jt.array(np.ones((side, side, 16), np.float32))
{kind}(32).sync(True)
mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (mapped + {spare} * 2**20,) * 2)
try:
    with lack_as_user_error("the test", "make it smaller"):
        {kind}(2048).sync(True)
except UserError as error:
    print(error)
"""


@pytest.mark.parametrize("kind,spare", [("conv", 300), ("conv", 600), ("elementwise", 100), ("array", 100)])
def test_a_lack_of_memory_is_one_line(kind, spare):
    done = python(LIMITED.format(kind=kind, spare=spare), OMP_NUM_THREADS="1")
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert re.fullmatch(r"out of memory while making the test: it needs \d+ MiB beside the [\d.]+ [MG]iB in use, and "
                        r"ulimit -v allows [\d.]+ [MG]iB; make it smaller\n", done.stdout), done.stdout


def test_few_freed_blocks_are_kept():
    """Jittor alone keeps every block that fits no later one: all of them here, 864 MiB."""
    code = ("import resource\nfrom jittor_ipl.runtime.backend import jt\njt.ones((1 << 24,)).sync(True)\n"
            "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
            "for mib in range(64, 136, 8): jt.ones((mib << 18,)).sync(True)\n"
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)")
    grown = int(python(code).stdout) >> 10
    print(f"{grown} MiB at once, in blocks of 64 to 128 MiB")
    assert grown < 512


def test_a_block_larger_than_the_machine_is_refused_before_the_system_kills():
    code = ("from jittor_ipl.runtime.backend import jt\nfrom jittor_ipl.runtime.memory import lack_of_memory\n"
            "try: jt.ones((1 << 24, 1 << 20)).sync(True)\nexcept RuntimeError as error: print(lack_of_memory(error))")
    assert python(code).stdout.startswith("it needs 65536.0 GiB beside the ")


JITTORS_PAGE = """\x1b[38;5;1m[f 1128 21:50:49.624107 32 executor.cc:686]
Execute fused operator(6/9) failed.
[OP TYPE]: mkl_conv
[Input]: float32[8,64,512,512,], float32[64,64,3,3,],
[Output]: float32[8,64,512,512,], int8[2,],
[Reason]: could not create a memory object\x1b[m"""


@pytest.mark.parametrize("error,needs", [
    (RuntimeError(JITTORS_PAGE), "512 MiB beside"), (RuntimeError("std::bad_alloc"), "more than"),
    (RuntimeError("CUDA error at a.cc:1 code=2( cudaErrorMemoryAllocation ) cudaMalloc"), "more than"),
    (MemoryError(), "more than"), (RuntimeError("out of memory: 3221225472 bytes"), "3.0 GiB beside")])
def test_what_says_that_memory_is_short(error, needs, capsys):
    assert memory.lack_of_memory(error).startswith(f"it needs {needs} the ")
    with pytest.raises(UserError, match="while making pictures: it needs .*; lower --batch"):
        with memory.lack_as_user_error("pictures", "lower --batch"):
            raise error

    @click.command()
    def command():
        raise error

    assert cli.run(command, "test", []) == 2
    assert re.fullmatch(r"error: out of memory: it needs .*\n", capsys.readouterr().err)


def test_other_errors_are_no_lack_of_memory():
    error = RuntimeError("Run cmd failed: g++ -O3 a.cc\nreturn -1. This might be an overcommit issue or out of memory.")
    assert memory.lack_of_memory(error) is None
    with pytest.raises(RuntimeError, match="Run cmd failed"):
        with memory.lack_as_user_error("pictures", "lower --batch"):
            raise error


# --- the machine -----------------------------------------------------------------------------------------------------

def test_missing_compiler_is_one_line(tmp_path, monkeypatch):
    monkeypatch.delenv("cc_path", raising=False)  # Jittor leaves it behind
    done = python("from jittor_ipl.runtime.bootstrap import import_jittor\nfrom jittor_ipl.errors import UserError\n"
                  "try: import_jittor()\nexcept UserError as e: print(e)", PATH=str(tmp_path))
    assert "apt-get install g++" in done.stdout and done.stdout.count("\n") == 1


def test_missing_onednn_is_one_line(monkeypatch):
    monkeypatch.setattr(system, "folder_with", lambda *_: None)
    with pytest.raises(UserError, match="pip install onednn-cpu-gomp==2021.2.0"):
        system.onednn()


def test_missing_headers_are_one_line(monkeypatch):
    monkeypatch.setattr(system, "python_headers", lambda: None)
    with pytest.raises(UserError, match="apt-get install python3"):
        system.require()


def test_an_unknown_device_is_one_line(monkeypatch):
    monkeypatch.setenv("JITTOR_IPL_DEVICE", "gpu")
    with pytest.raises(UserError, match="choose cpu or cuda"):
        bootstrap.requested_device()


def test_onednn_is_linked_under_any_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("JITTOR_HOME", raising=False)
    for _ in range(2):
        folder = bootstrap.link_onednn()
        assert folder.is_relative_to(tmp_path)
        assert (folder / "lib" / "libmkldnn.so").is_file() and (folder / "include" / "dnnl.hpp").is_file()
    (folder / "lib").unlink()
    (folder / "lib").symlink_to(tmp_path / "gone")  # an environment that was deleted
    assert (bootstrap.link_onednn() / "lib" / "libmkldnn.so").is_file()


def test_unwritable_home_is_one_line(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HOME", str(tmp_path / "file"))
    monkeypatch.delenv("JITTOR_HOME", raising=False)
    with pytest.raises(UserError, match="cannot write Jittor's cache"):
        bootstrap.link_onednn()


def test_doctor_reports_in_a_fixed_order():
    checks = doctor.run_checks()
    assert [check.name for check in checks] == ["python", "packages", "variables", "compiler", "python headers",
                                                "oneDNN", "CUDA", "cache folder", "disk space", "CLIP vocabulary",
                                                "jclip", "jtorch"]
    assert all(check.detail and "\n" not in check.detail for check in checks)
    assert all(check.fix for check in checks if not check.ok)


def test_doctor_names_what_is_missing(monkeypatch):
    monkeypatch.setattr(system, "compiler", lambda: None)
    monkeypatch.setattr(system, "folder_with", lambda *_: None)
    found = {check.name: check for check in doctor.run_checks()}
    assert not found["compiler"].ok and "apt-get" in found["compiler"].fix
    assert not found["oneDNN"].ok and "pip install" in found["oneDNN"].fix


@pytest.mark.parametrize("files,ok", [({"__init__.py": ""}, False), ({"__init__.py": "", "model.py": ""}, True)])
def test_doctor_tells_the_clipboard_tool_from_jclip(tmp_path, monkeypatch, files, ok):
    package = tmp_path / "jclip"
    package.mkdir()
    for name, text in files.items():
        (package / name).write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert next(check for check in doctor.run_checks() if check.name == "jclip").ok is ok


def test_deep_check_runs_a_kernel():
    assert doctor.run_checks(deep=True)[-1].ok


def test_fingerprint_is_stable_text():
    first = device.fingerprint()
    assert first == device.fingerprint() and all(isinstance(value, str) and value for value in first.values())
    assert first["onednn"].startswith("2.2.0") and first["device"] == "cpu"


def test_only_an_equal_machine_must_repeat_bits_and_no_gpu(monkeypatch):
    here = device.fingerprint()
    assert device.must_repeat(here) and not device.must_repeat({**here, "compiler": "another"})
    monkeypatch.setenv("JITTOR_IPL_DEVICE", "cuda")
    assert not device.must_repeat(here) and not device.must_repeat(device.fingerprint())


def test_freed_memory_stays_in_the_process():
    """Taking and freeing the same large buffers costs no page faults once the heap has grown."""
    code = ("from jittor_ipl.runtime.memory import keep_freed_memory\n"
            "import resource, numpy as np\n"
            "kept = keep_freed_memory()\n"
            "def step(): [np.ones(4_000_000, np.float32) for _ in range(3)]\n"
            "step(); before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
            "for _ in range(5): step()\n"
            "print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")}
    kept, faults = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True,
                                  check=True).stdout.split()
    if kept != "True":
        pytest.skip("the C library has no mallopt")
    print(f"page faults in five steps of 48 MB each: {faults}")
    assert int(faults) < 1000

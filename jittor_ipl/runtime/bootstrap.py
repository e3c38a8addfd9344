"""Import Jittor on a machine that has only PyPI's packages, and give the process back as it was.

Jittor wants to download oneDNN, aborts when it finds nvcc without a driver, and changes the process that imports it:
certificate checks off, recursion limit a million, global random generators reseeded, signal handlers that leave at
once on Ctrl-C. docs/jittor.md lists all of it with the tests that show it.
"""
from __future__ import annotations

import atexit
import contextlib
import multiprocessing
import os
import random
import resource
import signal
import ssl
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np

from jittor_ipl.errors import UserError, nearest
from jittor_ipl.runtime import cuda, environment, kernels, memory, packages, system
from jittor_ipl.runtime.threads import sleep_while_waiting

DEVICES = ("cpu", "cuda")


def import_jittor() -> ModuleType:
    """Import and configure Jittor, compiling its core when this machine has not done so (about 3 minutes).

    Raises `UserError` when the compiler, Python's headers, oneDNN or an asked-for GPU is missing, or when a package is
    there in a version that would give wrong results.
    """
    device = requested_device()
    system.require()
    packages.require()
    if device == "cuda":
        cuda.require()
        os.environ.setdefault("NVIDIA_TF32_OVERRIDE", "0")  # cuBLAS and cuDNN read it when they are first used
    with _process_restored(), sleep_while_waiting():
        _set_environment(device)
        link_onednn()
        if device == "cuda":
            _prepare_cuda()
        with _announced_compilation():
            jt = _imported()
        _stop_compile_workers()
    kernels.configure(jt)
    memory.keep_freed_memory()
    packages.require_whole_arrays(jt)
    if device == "cuda":
        jt.cudnn.set_algorithm_cache_size(0)    # else the fastest of this moment is taken, and the bits with it
        jt.flags.use_cuda = 1
    return jt


def _prepare_cuda() -> None:
    """Show Jittor the CUDA home, and load its libraries from where they lie."""
    from jittor_utils import install_cuda
    install_cuda.has_installation = lambda: False   # a download of Jittor's own would restart the process
    os.environ["nvcc_path"] = str(cuda.assemble() / "bin" / "nvcc")
    cuda.load(cuda.parts(cuda.toolkit()))


def _set_environment(device: str) -> None:
    """Let Jittor find this project's settings alone; say in one line which of the user's it does not see."""
    ignored = environment.ignored_switches(device)
    if ignored and multiprocessing.parent_process() is None:
        print(f"ignored, for Jittor's own switches change results: {', '.join(ignored)} "
              "(JITTOR_IPL_DEVICE=cuda asks for a GPU)", file=sys.stderr, flush=True)
    for name in environment.SWITCHES | {name for name in os.environ if name.startswith(environment.MACROS)}:
        os.environ.pop(name, None)
    os.environ.update(environment.settings(device))


def _imported() -> ModuleType:
    """Import Jittor, again when it ends the process to have the command run again.

    It does that (exit code 0, nothing done, nothing said) when it built its compile helper anew although a build was
    loaded already: after a killed compilation, or when two processes start in an empty cache. The loaded helper is of
    the same source and serves.
    """
    for _ in range(3):
        try:
            import jittor
            return jittor
        except SystemExit as ended:
            if ended.code not in (0, None):
                raise
        for name in [name for name in sys.modules if name.partition(".")[0] == "jittor"]:
            del sys.modules[name]
    raise UserError("Jittor's cache changed while it was read: run the command again")


def requested_device() -> str:
    """Return "cpu" or "cuda" as the variable JITTOR_IPL_DEVICE asks (default cpu); raises `UserError` otherwise."""
    device = os.environ.get("JITTOR_IPL_DEVICE", "cpu") or "cpu"
    if device not in DEVICES:
        raise UserError(f"JITTOR_IPL_DEVICE={device!r} is not known; choose cpu or cuda{nearest(device, DEVICES)}")
    return device


def require_device(name: object) -> None:
    """Raise UserError unless `name` ("cpu", "cuda", "cuda:0", None for any) is the device of this process."""
    wanted, ours = str(name).partition(":")[0], requested_device()
    if name is not None and wanted not in DEVICES:
        raise UserError(f"there is no device {str(name)[:40]!r}; choose cpu or cuda{nearest(wanted, DEVICES)}")
    if name is not None and wanted != ours:
        raise UserError(f"device {str(name)[:40]!r} was asked for, but Jittor computes on {ours} in this process; set "
                        f"JITTOR_IPL_DEVICE={wanted} before Python starts, or leave the device out")


def link_onednn() -> Path:
    """Put the oneDNN of the PyPI packages where Jittor looks for its download; return that folder."""
    library, include = system.onednn()
    home = system.jittor_home() / ".cache" / "jittor" / "mkl" / "dnnl_lnx_2.2.0_cpu_gomp"
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write Jittor's cache {home}: {error.strerror}; "
                        "set HOME to a writable folder") from error
    for name, target in (("lib", library), ("include", include)):
        link = home / name
        if link.is_dir() and not link.is_symlink():  # a copy that Jittor downloaded itself
            continue
        if not link.exists() or link.resolve() != target.resolve():
            partial = link.with_name(f"{name}.{os.getpid()}")
            partial.symlink_to(target)
            partial.replace(link)
    return home


@contextlib.contextmanager
def _announced_compilation() -> Iterator[None]:
    """Say on stderr that the core is being compiled, when it is; a warm import stays silent, and without processes.

    Jittor starts a process for every three gigabytes of memory to look whether the core's files are compiled. In a
    worker, where processes are spawned, each would import the program anew, longer than the look itself; and Jittor
    ends the process, exit code 1, when one of them dies by a signal.
    """
    import jittor_utils
    if any(Path(jittor_utils.cache_path).glob("jittor_core*.so")):
        in_processes, jittor_utils.run_cmds = jittor_utils.run_cmds, _run_in_turn
        try:
            yield
        finally:
            jittor_utils.run_cmds = in_processes
        return
    print("compiling Jittor's core, about 3 minutes, once per machine ...", file=sys.stderr, flush=True)
    start = time.monotonic()
    yield
    print(f"Jittor's core is ready after {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)


def _run_in_turn(commands: list[str], cache_path: str, jittor_path: str, msg: str = "") -> None:
    """Do what `jittor_utils.run_cmds` does in this process: compile what is not in the cache."""
    import jittor_utils
    for command in commands:
        jittor_utils.do_compile([command, cache_path, jittor_path])


def _stop_compile_workers() -> None:
    """End the worker processes that Jittor's import leaves behind; a later compilation starts new ones."""
    import jittor_utils
    if jittor_utils.pool_size:
        atexit.unregister(jittor_utils.pool_cleanup)
        jittor_utils.pool_cleanup()
        jittor_utils.pool_size = 0


@contextlib.contextmanager
def _process_restored() -> Iterator[None]:
    """Undo what the import changes outside Jittor; entries that it adds to `sys.path` stay, its modules need them."""
    variables, recursion = dict(os.environ), sys.getrecursionlimit()
    stack, https = resource.getrlimit(resource.RLIMIT_STACK), ssl._create_default_https_context
    python_random, numpy_random = random.getstate(), np.random.get_state()
    exit_, hook, flags = sys.exit, sys.excepthook, sys.getdlopenflags()
    start_method = multiprocessing.get_start_method(allow_none=True)
    handlers = {number: handler for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}
                if (handler := signal.getsignal(number)) is not None}
    try:
        yield
    finally:
        # Jittor's own compile commands read these two again, so they stay.
        variables |= {name: os.environ[name] for name in ("cc_path", "cache_name") if name in os.environ}
        os.environ.clear()
        # A macro that came back would be compiled into the kernels alone, not into the core.
        os.environ.update({k: v for k, v in variables.items() if not k.startswith(environment.MACROS)})
        sys.setrecursionlimit(recursion)
        resource.setrlimit(resource.RLIMIT_STACK, stack)
        ssl._create_default_https_context = https
        random.setstate(python_random)
        np.random.set_state(numpy_random)
        sys.exit, sys.excepthook = exit_, hook
        sys.setdlopenflags(flags)
        multiprocessing.set_start_method(start_method, force=True)
        for number, handler in handlers.items():    # every one: `getsignal` does not see what Jittor sets below Python
            with contextlib.suppress(ValueError, OSError):  # outside the main thread, or reserved by the C library
                signal.signal(number, handler)

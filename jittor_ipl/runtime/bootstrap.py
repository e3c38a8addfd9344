"""Make Jittor run on a machine with only PyPI's packages (first version; widened by the runtime room's owner)."""
from __future__ import annotations

import os
import resource
import ssl
import sys
from pathlib import Path


# Jittor builds kernels with -Ofast, which turns on flush-to-zero for the whole process and makes `nan != nan` false.
# These flags keep its speed (libmvec's vector exp and tanh, vector reductions) and honest NaN, infinity and denormals;
# docs/jittor.md has the measurements.
KERNEL_FLAGS = ("-O3 -fno-math-errno -fno-trapping-math -fno-signed-zeros -fassociative-math -freciprocal-math "
                "-D__FAST_MATH__")


def import_jittor():
    """Import Jittor with oneDNN from the PyPI packages and restore the process state that the import changes."""
    os.environ.update(FIX_TORCH_ERROR="0", log_silent="1", use_mpi="0")
    os.environ.setdefault("nvcc_path", "")
    os.environ.pop("SKEY", None)
    home = Path.home() / ".cache" / "jittor" / "mkl" / "dnnl_lnx_2.2.0_cpu_gomp"
    home.mkdir(parents=True, exist_ok=True)
    for name in ("lib", "include"):
        link, target = home / name, Path(sys.prefix) / name
        if not link.exists():
            link.unlink(missing_ok=True)
            link.symlink_to(target)
    import numpy as np
    recursion, stack = sys.getrecursionlimit(), resource.getrlimit(resource.RLIMIT_STACK)
    https, state = ssl._create_default_https_context, np.random.get_state()
    import jittor as jt
    sys.setrecursionlimit(recursion)
    resource.setrlimit(resource.RLIMIT_STACK, stack)
    ssl._create_default_https_context = https
    np.random.set_state(state)
    jt.flags.cc_flags = jt.flags.cc_flags.replace("-Ofast", KERNEL_FLAGS)
    return jt

"""Make Jittor run on a machine with only PyPI's packages (first version; widened by the runtime room's owner)."""
from __future__ import annotations

import os
import resource
import ssl
import sys
from pathlib import Path

from . import kernels


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
    kernels.configure(jt)
    return jt

"""What `inspect` and `convert` do, from parsed arguments to an exit code; neither imports Jittor."""
from __future__ import annotations

import json
import sys
from argparse import Namespace


def inspect(arguments: Namespace) -> int:
    """Print what a weight file or folder is; 0 when it is sound, 1 with problems, 2 when it cannot be read."""
    from jittor_ipl.weights.inspect import inspect as look
    from jittor_ipl.weights.inspect_text import render
    inspection = look(arguments.path, arguments.container)
    if arguments.json:
        print(json.dumps(inspection.to_dict(), indent=2))
    else:
        print(render(inspection, every=arguments.all, keys=arguments.keys))
    sys.stdout.flush()
    for report in inspection.networks:
        if report.error:
            print(f"error: {report.error}", file=sys.stderr)
    return inspection.exit_code


def convert(arguments: Namespace) -> int:
    """Write a weight file or folder anew, and say where each network went and what was left out; 1 when one was refused."""
    from jittor_ipl.weights.convert import Options, Refused
    from jittor_ipl.weights.convert import convert as write
    options = Options(arguments.dialect, arguments.format, arguments.dtype, arguments.name, arguments.overwrite, arguments.container)
    refused = False
    for done in write(arguments.path, arguments.to, options):
        if isinstance(done, Refused):
            refused = True
            print(f"not converted: {done.label}: {done.reason}", file=sys.stderr)
            continue
        print(f"{done.layout.kind} ({done.layout.dialect}) -> {done.path}: {done.tensors} tensors, SHA-256 {done.sha256}")
        if done.left_out:
            shown = ", ".join(ascii(name)[1:-1] for name in done.left_out[:12]) + (", ..." if len(done.left_out) > 12 else "")
            print(f"  not converted: {shown}")
        sys.stdout.flush()
    return int(refused)

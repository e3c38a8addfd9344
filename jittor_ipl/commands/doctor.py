"""`doctor`: what is found on this machine."""
from __future__ import annotations

import time

import click

from jittor_ipl.commands.options import Command

EXAMPLES = """  python -m jittor_ipl doctor
  python -m jittor_ipl doctor --deep
  python -m jittor_ipl doctor --warm"""


@click.command(cls=Command, examples=EXAMPLES, needs_device=False)
@click.option("--deep", is_flag=True, help="Also compile and run a kernel; prepares Jittor (minutes when new).")
@click.option("--warm", is_flag=True, help="Also compile the kernels of all commands ahead: minutes, once per machine.")
@click.option("--quiet", is_flag=True, help="Print faults only.")
def command(deep: bool, warm: bool, quiet: bool) -> int:
    """Look at this machine and say what mends each fault. 1 when there is one."""
    from jittor_ipl.runtime.doctor import run_checks
    checks = run_checks(deep)
    for check in checks:
        if check.ok and quiet:
            continue
        print(f"{'ok   ' if check.ok else 'FAULT'} {check.name:<11} {check.detail}")
        if not check.ok:
            print(f"      mend it: {check.fix}")
    if not all(check.ok for check in checks):
        return 1
    if warm:
        from jittor_ipl.commands.warming import warm as compile_ahead
        began = time.monotonic()
        print(f"ok    kernels     of {compile_ahead()} tasks, in {time.monotonic() - began:.0f} s")
    return 0

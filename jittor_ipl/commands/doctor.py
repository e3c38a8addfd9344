"""`doctor`: what is found on this machine."""
from __future__ import annotations

import click

from jittor_ipl.commands.options import Command

EXAMPLES = """  python -m jittor_ipl doctor
  python -m jittor_ipl doctor --deep"""


@click.command(cls=Command, examples=EXAMPLES, needs_device=False)
@click.option("--deep", is_flag=True, help="Also compile and run a kernel; prepares Jittor (minutes when new).")
@click.option("--quiet", is_flag=True, help="Print faults only.")
def command(deep: bool, quiet: bool) -> int:
    """Look at this machine and say what mends each fault. 1 when there is one."""
    from jittor_ipl.runtime.doctor import run_checks
    checks = run_checks(deep)
    for check in checks:
        if check.ok and quiet:
            continue
        print(f"{'ok   ' if check.ok else 'FAULT'} {check.name:<11} {check.detail}")
        if not check.ok:
            print(f"      mend it: {check.fix}")
    return int(not all(check.ok for check in checks))

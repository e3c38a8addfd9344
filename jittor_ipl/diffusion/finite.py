"""Where the first value arose that is not finite; looked for when there is one, so that a good run pays nothing."""
from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from jittor_ipl.errors import UserError

if TYPE_CHECKING:
    from jittor_ipl.runtime.backend import jt, nn


def finite(network: nn.Module, name: str, run: Callable[[], jt.Var], when: str = "") -> np.ndarray:
    """Return what `run` computes with `network`; UserError that names the block for a value that is not finite.

    The network computes again then, every module looked at as it ends: innermost first, so a convolution is named and
    not the block around it. `name` is the network's, `when` is added to it ("at timestep 981").
    """
    values = run().numpy()
    if np.isfinite(values).all():
        return values
    where = first_not_finite(network, run)
    raise UserError(f"the {name} gives values that are not finite{f' {when}' if when else ''}, first in "
                    f"{where or 'its output'}: its weights are damaged, or a training diverged")


def first_not_finite(network: nn.Module, run: Callable[[], object]) -> str | None:
    """Return the name of the first module of `network` that `run` leaves with a value that is not finite, if any."""
    from jittor_ipl.diffusion.attention_control import replaced
    found: list[str] = []
    names = {id(module): name for name, module in network.named_modules() if name and "execute" not in vars(module)}
    modules = [module for _, module in network.named_modules() if id(module) in names]

    def watched(module: nn.Module) -> Callable:
        def execute(*inputs, **options):
            output = type(module).execute(module, *inputs, **options)
            first = output[0] if isinstance(output, tuple) else output
            if not found and not np.isfinite(first.numpy()).all():
                found.append(names[id(module)])
            return output
        return execute

    with replaced(modules, "execute", watched):
        run()
    return found[0] if found else None

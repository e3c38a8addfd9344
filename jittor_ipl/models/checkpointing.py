"""Gradient checkpointing: a block's intermediate results are computed again for its gradient, not kept until then."""
from __future__ import annotations

from jittor_ipl.models.strict import named_tensors
from jittor_ipl.runtime.backend import jt, nn


def checkpointed(block: nn.Module, *inputs: jt.Var) -> jt.Var:
    """Return `block(*inputs)`, one Var, keeping the inputs alone for the gradient (Chen et al. 2016).

    The gradients of the inputs, of what trains in the block and of its LoRA are those without, within rounding: Jittor
    fuses other operators where a block ends. The block is computed twice.
    """
    return block(*inputs) if jt.flags.no_grad else _Checkpointed(block, len(inputs))(*inputs, *trained(block))


def trained(block: nn.Module) -> list[jt.Var]:
    """Return the tensors of a block that are no constants of the graph, those of its LoRA last."""
    found = list(named_tensors(block).values())
    for module in block.modules():
        lora = getattr(module, "_lora", None)       # of `models.lora`: a branch, or several by their number
        for branch in lora.values() if isinstance(lora, dict) else [lora] if lora else []:
            found += [branch.down, branch.up]
    return [var for var in found if not var.is_stop_grad()]


class _Checkpointed(jt.Function):
    """Jittor computes when it must: without the two `sync`, all blocks would be computed again before any gradient."""

    def __init__(self, block: nn.Module, count: int):
        self.block, self.count = block, count

    def execute(self, *inputs_and_trained):
        self.inputs = inputs_and_trained[:self.count]
        self.constant = [x.is_stop_grad() for x in self.inputs]     # asked now: Jittor makes them constants afterwards
        with jt.no_grad():
            output = self.block(*self.inputs)
        return output.start_grad()

    def grad(self, g):
        g = g.detach().stop_grad()
        g.sync()
        inputs = [x.detach().stop_grad() if constant else x.detach() for x, constant in zip(self.inputs, self.constant)]
        wanted = [x for x, constant in zip(inputs, self.constant) if not constant] + trained(self.block)
        grads = jt.grad((self.block(*inputs) * g).sum(), wanted)
        jt.sync(grads)
        found = iter([grad.detach() for grad in grads])
        return [None if constant else next(found) for constant in self.constant] + list(found)

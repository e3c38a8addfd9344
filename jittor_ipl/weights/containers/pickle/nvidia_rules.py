"""NVIDIA's StyleGAN pickles: what they may name beside plain containers, and the networks taken out of them as names.

Two kinds exist. The PyTorch ones (stylegan2-ada-pytorch, stylegan3) hold persistent objects: a dictionary with the text
of a Python module, a class name and the object's state. The TensorFlow ones (stylegan2, stylegan2-ada) hold `Network`
objects: again a module's text, and a list of named arrays. The texts are never compiled, run or even looked at: only
the state is kept. How their tensors lie in the pickle is told in `plain`.
"""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jittor_ipl.weights.containers.limits import refuse, shown
from jittor_ipl.weights.containers.nested import Named, walk
from jittor_ipl.weights.containers.pickle.numpy_rules import ArrayStub
from jittor_ipl.weights.containers.pickle.objects import Buildable, OrderedDictStub, Record, Rule
from jittor_ipl.weights.containers.pickle.torch_rules import TensorRef

_MAX_TEXT, _MAX_LIST = 200, 32
_WORK = 20_000_000          # characters of names that one file may take; a snapshot of StyleGAN2 takes about 500,000
# Classes that other projects' discriminators are made of: kept as inert records, so that the generator beside them can
# be recognised (StyleGAN-XL's, which is then refused by its name).
_INERT = ("torch.nn.modules.", "pg_modules.", "feature_networks.", "timm.")


class Persistent(Buildable):
    """An object of `torch_utils.persistence`: its class name and state; the module text is dropped unread."""

    def __init__(self, meta: Any) -> None:
        if not isinstance(meta, dict) or meta.get("type") != "class" or not isinstance(meta.get("state"), dict):
            refuse("a persistent object without state")
        if not isinstance(meta.get("class_name"), str):
            refuse("a persistent object without class name")
        self.class_name, self.state = meta["class_name"], meta["state"]


class TfNetwork(Buildable):
    """A `dnnlib.tflib.network.Network`: its state; the module text is dropped unread."""

    def __init__(self) -> None:
        self.state: dict[str, Any] = {"variables": []}

    def build(self, state: Any) -> None:
        """Take name, static_kwargs, components and variables; raises UnsafeWeightsError for anything else."""
        if not isinstance(state, dict) or not isinstance(state.get("variables"), list):
            refuse("a TensorFlow network without variables")
        kept = ("name", "build_func_name", "static_kwargs", "components", "variables")
        self.state = {key: state.get(key) for key in kept}


class FlatNetwork(dict):
    """A network's tensors under dotted names (a dictionary), and in `plain` the numbers and texts found beside them."""

    def __init__(self, tensors: Mapping[str, Any], plain: Mapping[str, Any]) -> None:
        super().__init__(tensors)
        self.plain = dict(plain)


NVIDIA_RULES: dict[tuple[str, str], Rule] = {
    ("torch_utils.persistence", "_reconstruct_persistent_obj"): Rule(call=Persistent),
    ("dnnlib.tflib.network", "Network"): Rule(new=TfNetwork),
    ("dnnlib.util", "EasyDict"): Rule(call=OrderedDictStub, new=OrderedDictStub),
}


def find_inert_rule(module: str) -> Rule | None:
    """Return the rule of any class in the packages whose objects may be there and are not looked at."""
    return Rule(new=Record) if module.startswith(_INERT) else None


def networks_as_names(root: Any) -> Any:
    """Return a pickle's object with every network in it as a `FlatNetwork`; anything else passes unchanged.

    A TensorFlow snapshot (G, D, Gs) becomes a dictionary of its parts. Raises UnsafeWeightsError for a network that is
    nested without end or has two tensors of one name.
    """
    if isinstance(root, tuple) and len(root) == 3 and all(isinstance(part, TfNetwork) for part in root):
        root = dict(zip(("G", "D", "Gs"), root))
    gather = _Gatherer()
    return {key: gather(value) for key, value in root.items()} if isinstance(root, dict) else gather(root)


class _Gatherer:
    """Turns networks into names, each once, and pays for every name of one file.

    Without that objects which contain one another in many ways would multiply for ever.
    """

    def __init__(self) -> None:
        self._work = _WORK
        self._made: dict[int, FlatNetwork] = {}

    def __call__(self, value: Any) -> Any:
        """Return a network as a `FlatNetwork`, anything else as it is."""
        if not isinstance(value, (Persistent, TfNetwork)):
            return value
        if id(value) not in self._made:
            names = _persistent_names(value) if isinstance(value, Persistent) else _tf_names(value)
            self._made[id(value)] = self._network(names)
        return self._made[id(value)]

    def _network(self, names: Named) -> FlatNetwork:
        """Divide names into tensors and plain values; everything else is left out."""
        tensors: dict[str, Any] = {}
        plain: dict[str, Any] = {}
        for name, value in names:
            self._work -= 16 + len(name)
            if self._work < 0:
                refuse("a network that is nested without end")
            if not isinstance(value, (TensorRef, ArrayStub)):
                plain |= {name: value} if _is_plain(value) else {}
            elif name in tensors:
                refuse(f"two tensors of the name {shown(name)}")
            else:
                tensors[name] = value
        return FlatNetwork(tensors, plain)


def _is_plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return len(value) <= _MAX_LIST and all(isinstance(part, (int, float)) for part in value)
    return isinstance(value, (type(None), bool, int, float)) or isinstance(value, str) and len(value) <= _MAX_TEXT


def _persistent_names(network: Persistent) -> Named:
    """Yield parameters, buffers and plain attributes of a module and its children under dotted names."""
    def names(module: Persistent, prefix: str) -> Named:
        yield f"{prefix}class_name", module.class_name
        yield from ((f"{prefix}{name}", ... if isinstance(value, Persistent) else _number(value))
                    for name, value in _entries(module.state) if not name.startswith("_"))
        for kind in ("_parameters", "_buffers", "_modules"):
            yield from ((f"{prefix}{name}", ... if value is None else value)
                        for name, value in _entries(module.state.get(kind)))
    return walk(network, names, ".")


def _tf_names(network: TfNetwork) -> Named:
    """Yield variables and keyword arguments of a network and its components under names with slashes."""
    def names(part: TfNetwork, prefix: str) -> Named:
        yield f"{prefix}build_func_name", part.state.get("build_func_name")
        yield from ((f"{prefix}{name}", _number(value)) for name, value in _entries(part.state.get("static_kwargs")))
        for pair in part.state["variables"]:
            if not isinstance(pair, (tuple, list)) or len(pair) != 2 or not isinstance(pair[0], str):
                refuse("a TensorFlow variable that is no pair of name and array")
            yield f"{prefix}{pair[0]}", pair[1]
        yield from ((f"{prefix}{name}", child) for name, child in _entries(part.state.get("components")))
    return walk(network, names, "/")


def _entries(members: Any) -> list[tuple[str, Any]]:
    """Return the entries of a dictionary of names ([] for None)."""
    if members is None:
        return []
    if not isinstance(members, dict) or not all(isinstance(name, str) and len(name) <= _MAX_TEXT for name in members):
        refuse("a network whose parts are no dictionary of names")
    return list(members.items())


def _number(value: Any) -> Any:
    """Return an attribute as a plain number where it is a NumPy scalar: no attribute of a module is a tensor."""
    if isinstance(value, ArrayStub) and value.lazy is not None and value.lazy.shape == ():
        return value.lazy.load().item()
    return None if isinstance(value, (TensorRef, ArrayStub)) else value

"""Make tests/fixtures/stylegan2/nvidia_* with NVIDIA's own code; run in the reference environment.

    python tests/parity/make_stylegan2_nvidia_fixtures.py --repository PATH [--out DIR]

PATH is your checkout of stylegan2-ada-pytorch. A tiny generator with random weights is pickled by its own persistence,
except that the modules' texts are replaced by a line of ours: no code of theirs goes into the fixture. The same weights
are written as a TensorFlow pickle by the published mapping, which `legacy.py` of the checkout must read back.
"""
from __future__ import annotations

import argparse
import pickle
import sys
import types
from pathlib import Path

import numpy as np
import torch

OUT = Path(__file__).resolve().parents[1] / "fixtures" / "stylegan2"
SOURCE_TEXT = "raise SystemExit('the text of a module in a weight file is never run')\n"
SHAPE = {"z_dim": 16, "c_dim": 0, "w_dim": 16, "img_resolution": 16, "img_channels": 3}
CLAMP = 1.5     # far below the usual 256, so that it is felt


def generator() -> torch.nn.Module:
    """Return their generator with random weights everywhere: noise strengths, biases, the mean w."""
    import dnnlib
    from training import networks
    torch.manual_seed(0)
    net = networks.Generator(**SHAPE, mapping_kwargs=dnnlib.EasyDict(num_layers=3), synthesis_kwargs=dnnlib.EasyDict(
        channel_base=128, channel_max=12, conv_clamp=CLAMP, num_fp16_res=1)).eval().requires_grad_(False)
    for name, tensor in [*net.named_parameters(), *net.named_buffers()]:
        if name.endswith(("noise_strength", "bias", "w_avg")):
            scale = 20 if name.startswith("mapping.fc") else 0.3       # those are multiplied by 0.01
            tensor += scale * torch.randn(tensor.shape)
    return net


def without_texts(net: torch.nn.Module) -> None:
    """Replace the module texts that pickling would embed."""
    for module in net.modules():
        if hasattr(type(module), "_orig_module_src"):
            type(module)._orig_module_src = SOURCE_TEXT


def images(net: torch.nn.Module, z: np.ndarray) -> dict[str, np.ndarray]:
    """Return w and the pictures of z in every mode, in float32 throughout."""
    z = torch.from_numpy(z)
    ws, cut = net.mapping(z, None), net.mapping(z, None, truncation_psi=0.5)

    def draw(w, noise):
        return net.synthesis(w, noise_mode=noise, force_fp32=True).numpy()

    mixed = torch.cat([ws[:1, :3], ws[1:, 3:]], 1)
    return {"z": z.numpy(), "w": ws[:, 0].numpy(), "const": draw(ws, "const"), "none": draw(ws, "none"),
            "truncated": draw(cut, "const"), "mixed": draw(mixed, "const")}


def tensorflow_variables(net: torch.nn.Module) -> tuple[list, list, list]:
    """Return the variables of G, its mapping and its synthesis as TensorFlow keeps them (the inverse of legacy.py)."""
    state = {name: tensor.numpy() for name, tensor in net.state_dict().items()}
    mapping = [(f"Dense{i}/{part}", np.ascontiguousarray(state[f"mapping.fc{i}.{part}"].T))
               for i in range(3) for part in ("weight", "bias")]
    synthesis, number = [("4x4/Const/const", state["synthesis.b4.const"][None])], 0
    for r in (4, 8, 16):
        for layer, scope in (("conv0", "Conv0_up"), ("conv1", "Conv" if r == 4 else "Conv1"), ("torgb", "ToRGB")):
            theirs, scope = f"synthesis.b{r}.{layer}.", f"{r}x{r}/{scope}/"
            if theirs + "weight" not in state:
                continue
            weight = state[theirs + "weight"].transpose(2, 3, 1, 0)
            synthesis += [(scope + "weight", np.ascontiguousarray(weight[::-1, ::-1] if layer == "conv0" else weight)),
                          (scope + "mod_weight", np.ascontiguousarray(state[theirs + "affine.weight"].T)),
                          (scope + "mod_bias", state[theirs + "affine.bias"] - 1),
                          (scope + "bias", state[theirs + "bias"])]
            if layer != "torgb":
                synthesis += [(scope + "noise_strength", np.float32(state[theirs + "noise_strength"])),
                              (f"noise{number}", state[theirs + "noise_const"][None, None])]
                number += 1
    return [("lod", np.float32(0)), ("dlatent_avg", state["mapping.w_avg"])], mapping, synthesis


def tensorflow_pickle(net: torch.nn.Module, path: Path) -> None:
    """Write (G, D, Gs) as dnnlib.tflib does: objects of `dnnlib.tflib.network.Network` with their state."""
    module = types.ModuleType("dnnlib.tflib.network")
    Network = type("Network", (), {"__module__": module.__name__})
    module.Network = Network
    sys.modules |= {"dnnlib.tflib": types.ModuleType("dnnlib.tflib"), module.__name__: module}

    def network(name: str, function: str, variables: list, kwargs: dict, components: dict) -> object:
        made = Network()
        made.__dict__ = {"version": 4, "name": name, "static_kwargs": kwargs, "components": components,
                         "build_module_src": SOURCE_TEXT, "build_func_name": function, "variables": variables}
        return made

    own, mapping, synthesis = tensorflow_variables(net)
    kwargs = {"num_channels": 3, "resolution": 16, "label_size": 0, "latent_size": 16, "dlatent_size": 16,
              "fmap_base": 64,
              "fmap_max": 12, "mapping_layers": 3, "conv_clamp": CLAMP, "num_fp16_res": 1}
    parts = {"synthesis": network("G_synthesis", "G_synthesis", synthesis, kwargs, {}),
             "mapping": network("G_mapping", "G_mapping", mapping, {**kwargs, "dlatent_broadcast": 6}, {})}
    nets = [network(name, "G_main", own, kwargs, parts) for name in ("G", "D", "Gs")]
    path.write_bytes(pickle.dumps(tuple(nets), 4))


def read_back(path: Path) -> torch.nn.Module:
    """Return the generator that legacy.py makes of the TensorFlow pickle."""
    def fake(*_, **__):
        return lambda function: function

    sys.modules.setdefault("click", types.SimpleNamespace(command=fake, option=fake))
    import legacy
    with path.open("rb") as file:
        return legacy.convert_tf_generator(legacy._LegacyUnpickler(file).load()[2])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repository", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    sys.path.insert(0, str(arguments.repository))
    arguments.out.mkdir(parents=True, exist_ok=True)
    net = generator()
    made = images(net, np.random.RandomState(7).randn(2, 16).astype(np.float32))
    np.savez_compressed(arguments.out / "nvidia_images.npz", **made)
    tensorflow_pickle(net, arguments.out / "nvidia_tf.pkl")
    again = images(read_back(arguments.out / "nvidia_tf.pkl"), made["z"])
    print("legacy.py on the TensorFlow pickle:", max(float(abs(again[key] - made[key]).max()) for key in made))
    without_texts(net)
    (arguments.out / "nvidia_ada.pkl").write_bytes(pickle.dumps({"G_ema": net,
                                                                 "training_set_kwargs": {"resolution": 16}}))


if __name__ == "__main__":
    main()

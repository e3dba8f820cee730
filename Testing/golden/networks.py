"""Golden files of networks: weights made from names, outputs compared.

A kind of file is a row (`Kind`) in the dictionary KINDS of a file network_<family>.py beside this
one; the longest key that begins the golden file's name wins. Everything else is read from the file:
names, shapes, seed, gain, overrides, image size, inputs, outputs and their noise.
"""

from __future__ import annotations

import ast
import importlib
import json
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from golden import inputs
from golden.comparison import Comparison, compare
from RegRefineLib.networks.base import RegistrationNetwork

NOISE_FACTOR = 8.0  # a different order of summation may be this often worse than the noise stated
FLOOR = 5e-5  # of the output's standard deviation, where the stated noise is smaller


@dataclass(frozen=True)
class Golden:
    """A golden file: its arrays, its meta, and what is derived from both."""

    data: Mapping[str, np.ndarray]
    meta: Mapping[str, Any]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Image size (D, H, W)."""
        return tuple(self.meta["shape"])

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Official name -> shape of every filled parameter and buffer."""
        names, shapes = self.data["param_names"], json.loads(str(self.data["param_shapes"]))
        return {str(n): tuple(s) for n, s in zip(names, shapes, strict=True)}

    @property
    def outputs(self) -> list[str]:
        """Names of the stored outputs, without `out_` and endings of sampled ones."""
        endings = ("_index", "_values", "_shape", "_stats")
        whole = {k.removeprefix("out_") for k in self.data if k.startswith("out_")}
        sampled = {n.removesuffix("_values") for n in whole if n.endswith("_values")}
        return sorted({n for n in whole if not n.endswith(endings)} | sampled)


def fields(network: Any, moving: Tensor, fixed: Tensor, golden: Golden) -> dict[str, Tensor]:
    """Return what the network's own `fields` gives: the usual source of outputs."""
    return dict(network.fields(moving, fixed))


@dataclass(frozen=True)
class Kind:
    """How one kind of golden network file is read.

    Attributes:
        target: "module:Class" relative to RegRefineLib, as in the registry.
        options: constructor options, derived from the golden file.
        outputs: the outputs by golden name; those with a leading batch axis of 1 lose it.
        skipped: outputs that are checked elsewhere, or by nobody, each with its reason.
        more: comparisons of another kind, such as of losses.
    """

    target: str
    options: Callable[[Golden], dict[str, Any]] = lambda golden: {}
    outputs: Callable[[Any, Tensor, Tensor, Golden], dict[str, Tensor]] = fields
    skipped: Mapping[str, str] = field(default_factory=dict)
    more: Callable[[Any, Tensor, Tensor, Golden], list[Comparison]] | None = None


@cache
def kinds() -> dict[str, Kind]:
    """Return every row of every network_<family>.py beside this file."""
    found: dict[str, Kind] = {}
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        if module.name.startswith("network_"):
            found.update(importlib.import_module(f"golden.{module.name}").KINDS)
    return found


def kind_of(name: str) -> Kind | None:
    """Return the row whose key begins `name`; the longest wins."""
    keys = [key for key in kinds() if name.startswith(key)]
    return kinds()[max(keys, key=len)] if keys else None


def covers(name: str) -> bool:
    """Return whether a row of this kind exists."""
    return kind_of(name) is not None


def check(data: Mapping[str, np.ndarray], meta: Mapping[str, Any]) -> list[Comparison]:
    """Return the comparisons of one file: weights, inputs, then every output."""
    golden = Golden(data, meta)
    kind = kind_of(meta["name"])
    if kind is None:
        raise ValueError(f"no row for {meta['name']}")
    state, comparisons = weights(golden)
    network = build(kind, golden, state)
    moving, fixed, more = images(golden)
    with torch.no_grad():
        found = kind.outputs(network, moving, fixed, golden)
        comparisons += kind.more(network, moving, fixed, golden) if kind.more else []
    comparisons += more
    for name in golden.outputs:
        if name in kind.skipped:
            continue
        if name not in found:
            comparisons.append(Comparison(f"{name}: not computed", float("inf"), 1.0))
            continue
        comparisons += compare_output(golden, name, found[name])
    return comparisons


def weights(golden: Golden) -> tuple[dict[str, Tensor], list[Comparison]]:
    """Return the state under official names and the proof that it was filled by the rule."""
    meta, state, sums, firsts = golden.meta, {}, [], []
    for name, shape in golden.shapes.items():
        values = inputs.golden_tensor(name, shape, meta["seed"], meta["gain"], meta["overrides"])
        sums.append(values.sum(dtype=np.float64))
        firsts.append(values.ravel()[0])
        state[name] = torch.from_numpy(np.ascontiguousarray(values))
    return state, [
        compare("param_sum", sums, golden.data["param_sum"], 1e-3),
        compare("param_first", firsts, golden.data["param_first"], 1e-6),
    ]


def build(kind: Kind, golden: Golden, state: dict[str, Tensor]) -> nn.Module:
    """Return the network with the given weights, in evaluation mode.

    Raises:
        ValueError: a name or shape differs from the official one.
    """
    module, _, name = kind.target.partition(":")
    cls = getattr(importlib.import_module(f"RegRefineLib.{module}"), name)
    network = cls(**kind.options(golden))
    rename = cls.rename if issubclass(cls, RegistrationNetwork) else dict  # dict: of a block
    state = rename(state)
    try:
        missing, unexpected = network.load_state_dict(state, strict=False)
    except RuntimeError as error:  # a shape differs; say it on one line
        raise ValueError(" ".join(str(error).split())) from error
    unfilled = {str(n) for n, *_ in golden.meta.get("not_filled", [])}
    unfilled |= set(rename({n: torch.zeros(0) for n in unfilled}))
    missing = sorted(set(missing) - unfilled)
    if missing or unexpected:
        raise ValueError(f"names differ: missing {missing[:4]}, unknown {list(unexpected)[:4]}")
    return network.eval()


def images(golden: Golden) -> tuple[Tensor, Tensor, list[Comparison]]:
    """Return moving and fixed (1, 1, D, H, W), made anew, and the comparison with those stored."""
    call = ast.parse(golden.meta["input_function"].split(";")[0].strip(), mode="eval").body
    if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name)):
        raise ValueError(f"input_function: {golden.meta['input_function']!r} is not a call")
    options = {k.arg: ast.literal_eval(k.value) for k in call.keywords if k.arg}
    pair = getattr(inputs, call.func.id)(golden.meta["seed"], golden.shape, **options)
    comparisons = []
    for name, image in zip(("moving", "fixed"), pair, strict=True):
        if f"in_{name}" in golden.data:
            wanted, found = golden.data[f"in_{name}"], image
        else:
            wanted = golden.data[f"in_{name}_values"]
            found = image.ravel()[golden.data["in_index"]]
        comparisons.append(compare(f"in_{name}", found, wanted, 1e-5))
    moving, fixed = (torch.from_numpy(np.ascontiguousarray(i))[None, None] for i in pair)
    return moving, fixed, comparisons


def compare_output(golden: Golden, name: str, tensor: Tensor) -> list[Comparison]:
    """Return the comparisons of one output, stored whole or as samples with statistics."""
    found = tensor.detach().double().cpu().numpy()
    whole = golden.data.get(f"out_{name}")
    rank = whole.ndim if whole is not None else len(golden.data[f"out_{name}_shape"])
    if found.ndim == rank + 1 and found.shape[0] == 1:
        found = found[0]
    limit = tolerance(golden, name)
    if whole is not None:
        return [compare(name, found, whole, limit)]
    shape = tuple(int(n) for n in golden.data[f"out_{name}_shape"])
    if found.shape != shape:
        return [Comparison(f"{name}: shape {found.shape} not {shape}", float("inf"), limit)]
    flat = found.reshape(shape[0], -1)
    stats = np.stack([flat.mean(1), flat.std(1), flat.min(1), flat.max(1)], axis=1)
    samples = flat[:, golden.data[f"out_{name}_index"]]
    return [
        compare(name, samples, golden.data[f"out_{name}_values"], limit),
        compare(f"{name} stats", stats, golden.data[f"out_{name}_stats"], limit),
    ]


def tolerance(golden: Golden, name: str) -> float:
    """Return how far an output may be: some times the stated noise, at least FLOOR of its size."""
    runs = golden.meta.get("noise_max_abs", {}).values()
    noise = [float(run[name]) for run in runs if isinstance(run, dict) and name in run]
    deviation = golden.meta.get("outputs", {}).get(name, {}).get("std")
    if deviation is None:
        whole = golden.data.get(f"out_{name}", golden.data.get(f"out_{name}_values"))
        deviation = np.std(np.asarray(whole, dtype=np.float64))
    return max(NOISE_FACTOR * max(noise, default=0.0), FLOOR * float(np.max(deviation)))


def first_difference(path: str | Path, limit: float = 1e-4) -> list[str]:
    """Return the blocks of a golden file whose mean or deviation differs, in order of the call.

    For finding a fault by hand: `python -c "from golden.networks import *; print(first_...)"`.
    """
    with np.load(path, allow_pickle=False) as archive:
        data = {name: archive[name] for name in archive.files}
    golden = Golden(data, json.loads(str(data.pop("meta"))))
    kind = kind_of(golden.meta["name"])
    if kind is None:
        raise ValueError(f"no row for {golden.meta['name']}")
    network = build(kind, golden, weights(golden)[0])
    seen: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, arguments: Any, output: Any) -> None:
            if isinstance(output, Tensor):
                seen.setdefault(name, output.double())

        return hook

    for name, module in network.named_modules():
        module.register_forward_hook(keep(name))
    moving, fixed, _ = images(golden)
    with torch.no_grad():
        kind.outputs(network, moving, fixed, golden)
    lines = []
    for i, name in enumerate(str(n) for n in data["ck_names"]):
        if name not in seen:
            continue
        gap = abs(float(seen[name].mean()) - data["ck_mean"][i])
        spread = abs(float(seen[name].std(correction=0)) - data["ck_std"][i])
        if not max(gap, spread) <= limit:
            lines.append(f"{name}: mean off by {gap:.3g}, deviation by {spread:.3g}")
    return lines

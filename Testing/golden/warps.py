"""Check warps, compositions, integration and resizing against the published programs' numbers.

Tolerances: 1e-5 (intensities lie in [0, 1], fields in voxels), or, where the file says that the
program's result moves further when its field moves by 1e-6 voxel or its arithmetic becomes float64,
twice that. Label maps may differ in one voxel of ten thousand, and in one: a position half-way
between two voxels falls to either by rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from RegRefineLib.networks.blocks.velocity import exponential, rescale
from RegRefineLib.networks.lapwarp import _enlarge
from RegRefineLib.ops.warp import compose, integrate, resize, warp

from . import inputs
from .comparison import Comparison, compare

Arrays = dict[str, np.ndarray]
FLOOR, NOISE_TIMES, LABELS_DIFFER = 1e-5, 2.0, 1e-4


def covers(name: str) -> bool:
    return name.startswith("warps")


def check(data: Arrays, meta: dict[str, Any]) -> list[Comparison]:
    given = _inputs(data, meta)
    comparisons = []
    for key in sorted(data):
        if not key.startswith("out_") or key.endswith(("_index", "_shape", "_stats")):
            continue
        name = key.removeprefix("out_").removesuffix("_values")
        rule = _rule(name)
        if rule is None:
            comparisons.append(Comparison(f"{name}: nothing to compare with", np.inf, 1.0))
            continue
        found = rule(given)[0].detach().numpy()
        comparisons.append(_compare(name, found, data, meta))
    return comparisons


def _compare(name: str, found: np.ndarray, data: Arrays, meta: dict[str, Any]) -> Comparison:
    wanted = data.get(f"out_{name}")
    if wanted is None:
        wanted = data[f"out_{name}_values"]
        found = found.reshape(found.shape[0], -1)[:, data[f"out_{name}_index"]]
    if "label" in name:
        if found.shape != wanted.shape:
            return compare(name, found, wanted, 0.0)
        allowed = max(1.0, LABELS_DIFFER * wanted.size)
        return Comparison(f"{name} voxels", float((found != wanted).sum()), allowed)
    noises = meta.get("noise_max_q99_mean", {}).values()
    noise = max((kind[name][0] for kind in noises if name in kind), default=0.0)
    return compare(name, found, wanted, max(FLOOR, NOISE_TIMES * noise))


def _inputs(data: Arrays, meta: dict[str, Any]) -> dict[str, Tensor]:
    """Return the inputs (1, C, D, H, W), made anew where the file does not hold them whole."""
    seed, shape = meta["seed"], tuple(meta["shape"])
    generator = np.random.default_rng([seed, 5])
    made: dict[str, Callable[[], np.ndarray]] = {
        "image": lambda: inputs.golden_pair(seed, shape, noise=0.2)[0],
        "labels": lambda: inputs.golden_labels(seed, "l", shape, 4),
        "u": lambda: inputs.golden_field(seed, "u", shape, 1.5),
        "w": lambda: inputs.golden_field(seed, "w", shape, 1.2),
        "velocity": lambda: inputs.golden_field(seed, "v", shape, 2.0),
        "gradient_weights": lambda: generator.standard_normal((1, *shape)).astype(np.float32),
    }
    found = {}
    for name, make in made.items():
        array = data[f"in_{name}"] if f"in_{name}" in data else make()
        array = array if array.ndim == 4 else array[None]
        found[name] = torch.from_numpy(array.astype(np.float32))[None]
    return found


Given = dict[str, Tensor]
Rule = Callable[[Given], Tensor]


def _warp(
    image: str = "image", mode: str = "linear", padding: str = "zeros", convention: str = "exact"
) -> Rule:
    return lambda g: warp(g[image], g["u"], mode=mode, padding=padding, convention=convention)


def _still(convention: str) -> Rule:
    return lambda g: warp(g["image"], torch.zeros_like(g["u"]), convention=convention)


def _reverse(g: Given) -> Tensor:
    """XMorpher's way back: minus the field moved by itself."""
    back = -warp(g["u"], g["u"], convention="half-voxel")
    return warp(g["image"], back, convention="half-voxel")


def _gradient(padding: str = "zeros", convention: str = "exact") -> Rule:
    def rule(g: Given) -> Tensor:
        u = g["u"].clone().requires_grad_()
        warped = warp(g["image"], u, padding=padding, convention=convention)
        return torch.autograd.grad((warped * g["gradient_weights"]).sum(), u)[0]

    return rule


def _normalised(displacement: Tensor) -> Tensor:
    sizes = displacement.new_tensor(displacement.shape[2:]).view(1, 3, 1, 1, 1)
    return displacement / ((sizes - 1) / 2)


RULES: dict[str, Rule] = {
    "voxelmorph_linear": _warp(),
    "voxelmorph_nearest_labels": _warp("labels", "nearest"),
    "dmr_linear": _warp(convention="half-voxel"),
    "xmorpher_linear": _warp(convention="half-voxel"),
    "xmorpher_reverse": _reverse,
    "xmorpher_nearest_labels": _warp("labels", "nearest", convention="half-voxel"),
    "dmr_zero_field": _still("half-voxel"),
    "regttr_optimisation_warp": _warp(convention="reg-ttr"),
    "regttr_optimisation_warp_zero_field": _still("reg-ttr"),
    "icon_border": _warp(padding="border"),
    "icon_zero": _warp(),
    "icon_composition_displacement_voxels": lambda g: compose(g["u"], g["w"]),
    "fouriernet_linear": _warp(),
    "fouriernet_diffeomorphic_normalised": lambda g: _normalised(
        integrate(g["velocity"], 7, padding="border")
    ),
    "monai_warp_border": _warp(padding="border"),
    "monai_warp_zeros": _warp(),
    "monai_dvf2ddf_7": lambda g: integrate(g["velocity"], 7),
    "rdp_compose_u_then_w": lambda g: compose(g["u"], g["w"], padding="zeros"),
    "voxelmorph_resize_half": lambda g: rescale(g["velocity"], 0.5),
    "voxelmorph_resize_double": lambda g: rescale(g["velocity"], 2),
    "voxelmorph_resize_half_int7_double": lambda g: exponential(
        rescale(g["velocity"], 0.5), 7, enlarge=2
    ),
    "rdp_up": lambda g: rescale(g["u"], 2),
    "memwarp_up_221": lambda g: _enlarge(g["u"]),
    "prplusplus_official_warp": _warp(convention="half-voxel"),
    "prplusplus_official_warp_border": _warp(padding="border", convention="half-voxel"),
    "l2r_label_warp_order0": _warp("labels", "nearest", "cut"),
    "scipy_order1": _warp(padding="cut"),
    "gradient_field_voxelmorph_linear": _gradient(),
    "gradient_field_regttr_optimisation_warp": _gradient(convention="reg-ttr"),
    "gradient_field_monai_warp_border": _gradient(padding="border"),
}


def _rule(name: str) -> Rule | None:
    """Return what the name stands for; numbers at its end are steps or sizes."""
    if name in RULES:
        return RULES[name]
    words, _, last = name.rpartition("_")
    if words in ("voxelmorph_vecint", "monai_dvf2ddf"):
        return lambda g: integrate(g["velocity"], int(last))
    if words.startswith("resize_align_corners_false_to"):
        shape = tuple(int(n) for n in name.split("_")[-3:])
        return lambda g: resize(g["u"], shape)
    return None

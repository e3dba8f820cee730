"""Check the ConvexAdam start and refinement against the published program's numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from golden.comparison import Comparison, compare
from golden.networks import Golden, images
from RegRefineLib.geometry import Geometry
from RegRefineLib.ops import dense_search as discrete
from RegRefineLib.ops import mind
from RegRefineLib.pair import Pair, ignore
from RegRefineLib.refine.convexadam_adam import refine
from RegRefineLib.starts.convexadam import predict, search
from RegRefineLib.starts.settings import ConvexAdam

Arrays = dict[str, np.ndarray]
DIRECTIONS = ("fixed_to_moving", "moving_to_fixed")
# Adam amplifies rounding: (largest, 99th percentile, mean) may be so many times what the file
# says a change of the input in its last bit does, and never need be less than the floor.
AMPLIFIED, FLOOR = 3.0, (2e-4, 5e-5, 1e-5)


def covers(name: str) -> bool:
    return name.startswith("convexadam")


def check(data: Arrays, meta: dict[str, Any]) -> list[Comparison]:
    golden = Golden(data, meta)
    moving, fixed, comparisons = images(golden)
    pair = Pair(fixed, moving, Geometry(golden.shape, np.eye(4)))
    found = {**_discrete(pair, meta["config"]), **_complete(pair, golden)}
    for name in golden.outputs:
        if name not in found:
            comparisons.append(Comparison(f"{name}: not computed", np.inf, 1.0))
        else:
            comparisons += _compare_output(name, found[name], golden)
    return comparisons


def _discrete(pair: Pair, config: dict[str, Any]) -> dict[str, np.ndarray]:
    """Return every stage of the discrete search, as arrays by the golden names."""
    spacing = config["grid_sp"]
    maps = {
        name: mind.features(getattr(pair, name), config["mind_r"], config["mind_d"])
        for name in ("fixed", "moving")
    }
    found = {f"mind_{name}": m[0] for name, m in maps.items()}
    fixed, moving = (discrete.pool(maps[name], spacing) for name in ("fixed", "moving"))
    fields = []
    for direction, a, b in zip(DIRECTIONS, (fixed, moving), (moving, fixed), strict=True):
        costs = discrete.correlate(a, b, config["disp_hw"])
        least, chosen = costs.cheapest()
        fields.append(discrete.coupled_convex(costs))
        found[f"ssd_min_{direction}"] = least[None]
        found[f"argmin_displacement_{direction}"] = chosen[0]
        found[f"coupled_convex_{direction}"] = fields[-1][0]
    forward, backward = discrete.inverse_consistent(*fields, released=True)
    found["inverse_consistent_coarse_cells"] = forward[0]
    found["inverse_consistent_coarse_cells_backward"] = backward[0]
    return {name: value.numpy() for name, value in found.items()}


def _complete(pair: Pair, golden: Golden) -> dict[str, np.ndarray]:
    """Return the fields of the start and of the runs named in the file."""
    config = golden.meta["config"]
    features = {"mind_radius": config["mind_r"], "mind_dilation": config["mind_d"]}
    discrete_stage = {**features, "recipe": "released", "spacing": config["grid_sp"]}
    discrete_stage["reach"] = config["disp_hw"]
    start = predict(pair, discrete_stage, ignore)
    found = {"convex_full_field": start[0].numpy()}
    for name in (n for n in golden.outputs if n.startswith("field_")):
        settings: dict[str, Any] = {
            **features,
            "recipe": "released",
            "spacing": config["grid_sp_adam"],
            "smoothness": 0.0 if name == "field_no_adam" else config["lambda_weight"],
        }
        for word in name.split("_"):
            for key, setting in (("niter", "steps"), ("smooth", "smoothing")):
                if word.startswith(key):
                    settings[setting] = int(word.removeprefix(key))
        begin = start
        if "ic_false" in name:
            begin = search(pair, ConvexAdam(**discrete_stage, inverse_consistent=False), ignore)
        found[name] = refine(pair, begin, settings, ignore).displacement[0].numpy()
    return found


def _compare_output(name: str, found: np.ndarray, golden: Golden) -> list[Comparison]:
    """Return the comparisons of one output, stored whole or as samples with statistics."""
    data, more = golden.data, []
    noise = golden.meta.get("noise_max_abs", {}).get("input_perturbed_max_q99_mean", {}).get(name)
    allowed = [max(f, AMPLIFIED * n) for f, n in zip(FLOOR, noise or FLOOR, strict=True)]
    if f"out_{name}" in data:
        wanted = data[f"out_{name}"]
    else:
        wanted, shape = data[f"out_{name}_values"], tuple(data[f"out_{name}_shape"])
        if found.shape != shape:
            return [Comparison(f"{name}: shape {found.shape} not {shape}", np.inf, 1.0)]
        flat = found.reshape(shape[0], -1).astype(np.float64)
        stats = np.stack([flat.mean(1), flat.std(1), flat.min(1), flat.max(1)], axis=1)
        more = [compare(f"{name} stats", stats, data[f"out_{name}_stats"], allowed[0])]
        found = flat[:, data[f"out_{name}_index"]]
    if noise is None:
        return [compare(name, found, wanted, 2e-5 if "ssd" in name else 1e-4), *more]
    difference = np.abs(found.astype(np.float64) - wanted)
    metrics = (difference.max(), np.quantile(difference, 0.99), difference.mean())
    return more + [
        Comparison(f"{name} {figure}", float(value), limit)
        for figure, value, limit in zip(("largest", "99 %", "mean"), metrics, allowed, strict=True)
    ]

"""Check Reg-TTR's runs against the published program's numbers.

A file holds one run or several. A run is found by its outputs: out_<run>_losses (also loss,
history) and out_<run>_field (also displacement, refined), whole or as _index and _values; its
settings by meta["runs"][<run>] (a dictionary, or a list of them with a name), else meta["config"],
else meta itself. Inputs are in_moving, in_fixed and, for a start, in_<run>_start or in_start; each
may also be in_<run>_...; what is not stored is made by meta's input function.

Losses may differ by 1e-5 of themselves. Adam turns rounding in gradients that vanish into whole
steps, so that fields are compared by the mean and the 99th percentile of their differences, and
single voxels may be off by up to 0.15.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from golden import inputs
from golden.comparison import Comparison, compare
from RegRefineLib.geometry import Geometry
from RegRefineLib.pair import Pair, ignore
from RegRefineLib.presets import PRESETS
from RegRefineLib.refine.reg_ttr import refine

Arrays = Mapping[str, np.ndarray]
LOSSES, LARGEST, NINETY_NINE, MEAN = 1e-5, 0.15, 5e-3, 1e-4
FIELD_NAMES = ("field", "displacement", "refined", "flow", "refined_field", "u")
LOSS_NAMES = ("losses", "loss", "history", "loss_history", "total_losses", "loss_total")
# our setting <- the names by which a file may call it
SETTINGS = {
    "learning_rate": ("learning_rate", "lr"),
    "steps": ("steps", "iterations", "niter", "n_iter", "iters", "max_iter", "num_iter"),
    "grid_sp": ("grid_sp", "grid_sp_adam", "grid"),
    "ncc_weight": ("ncc_weight", "lambda_ncc", "l1"),
    "ssim_weight": ("ssim_weight", "lambda_ssim", "l2"),
    "smooth_weight": ("smooth_weight", "lambda_smooth", "lambda_weight", "l3"),
}
PUBLISHED_RATE = {"acdc": 0.025, "cardiac": 0.025}


def covers(name: str) -> bool:
    return name.startswith(("reg_ttr", "regttr"))


def check(data: Arrays, meta: Mapping[str, Any]) -> list[Comparison]:
    names = runs(data)
    if not names:
        raise ValueError(f"no run found among {', '.join(sorted(data))}; meta has {sorted(meta)}")
    return [c for name in names for c in check_run(data, meta, name)]


def runs(data: Arrays) -> list[str]:
    """Return the names of the runs, "" for one without a name."""
    endings = "|".join(sorted((*FIELD_NAMES, *LOSS_NAMES), key=len, reverse=True))
    pattern = re.compile(rf"out_(?:(.+)_)?(?:{endings})(?:_values)?")
    found = (pattern.fullmatch(key) for key in data)
    return sorted({match[1] or "" for match in found if match})


def check_run(data: Arrays, meta: Mapping[str, Any], name: str) -> list[Comparison]:
    described = description(meta, name)
    moving, fixed, comparisons = images(data, described, name)
    shape = tuple(moving.shape)
    pair = Pair(tensor(fixed), tensor(moving), Geometry(shape, np.eye(4)))
    given = start(data, described, name)
    begin = pair.zero() if given is None else torch.from_numpy(given.astype(np.float32))[None]
    found = refine(pair, begin, settings(described, name), ignore)
    title = name or "run"
    losses = first(data, [f"out_{prefix(name)}{end}" for end in LOSS_NAMES])
    if losses is not None:
        wanted = np.asarray(losses, dtype=np.float64)
        wanted = wanted if wanted.ndim == 1 else wanted[:, -1]
        ours = np.array([step["total"] for step in found.history])
        comparisons.append(
            compare(f"{title} losses, relative", ours / padded(wanted, ours), ours / ours, LOSSES)
            if len(ours) == len(wanted)
            else Comparison(f"{title}: {len(ours)} steps, not {len(wanted)}", np.inf, LOSSES)
        )
    return comparisons + field_comparisons(data, name, title, found.displacement[0].numpy())


def padded(wanted: np.ndarray, ours: np.ndarray) -> np.ndarray:
    return wanted if wanted.shape == ours.shape else np.ones_like(ours)


def field_comparisons(data: Arrays, name: str, title: str, found: np.ndarray) -> list[Comparison]:
    for end in FIELD_NAMES:
        key = f"out_{prefix(name)}{end}"
        if key in data:
            ours, wanted = found, np.asarray(data[key]).reshape(found.shape)
        elif f"{key}_values" in data:
            ours = found.reshape(3, -1)[:, data[f"{key}_index"]]
            wanted = data[f"{key}_values"]
        else:
            continue
        gap = np.abs(ours.astype(np.float64) - wanted)
        return [
            Comparison(f"{title} {end} mean", float(gap.mean()), MEAN),
            Comparison(f"{title} {end} 99 %", float(np.quantile(gap, 0.99)), NINETY_NINE),
            Comparison(f"{title} {end} largest", float(gap.max()), LARGEST),
        ]
    return []


def description(meta: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return what meta says of the run, over what it says of all."""
    listed = meta.get("runs") or meta.get("configs") or {}
    if isinstance(listed, list):
        listed = {str(run.get("name", n)): run for n, run in enumerate(listed)}
    own = listed.get(name, {}) if isinstance(listed, dict) else {}
    config = meta.get("config", {})
    config = config.get(name, config) if isinstance(config, dict) else {}
    return flat({**meta, **config, **own})


def flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values with those of inner settings, config, args and weights beside them."""
    result = dict(values)
    for key in ("config", "settings", "args", "weights"):
        if isinstance(values.get(key), Mapping):
            result |= values[key]
    return result


def settings(described: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = dict(PRESETS["reg-ttr-released"].values["settings"])
    for word, rate in PUBLISHED_RATE.items():
        if word in name.lower():
            found["learning_rate"] = rate
    for setting, names in SETTINGS.items():
        value = next((described[n] for n in names if n in described), None)
        if isinstance(value, (int, float)):
            found[setting] = value
    return found


def images(
    data: Arrays, described: Mapping[str, Any], name: str
) -> tuple[np.ndarray, np.ndarray, list[Comparison]]:
    """Return moving and fixed (k, j, i), and how far stored samples are from those made anew."""
    stored = [
        first(data, [f"in_{prefix(name)}{side}", f"in_{side}"]) for side in ("moving", "fixed")
    ]
    if stored[0] is not None and stored[1] is not None:
        return squeezed(stored[0]), squeezed(stored[1]), []
    call = re.match(r"(\w+)\(seed, shape(.*?)\)", str(described.get("input_function", "")))
    if call is None or "shape" not in described:
        raise ValueError(f"run {name!r}: no images, and no input function with seed and shape")
    options = dict(re.findall(r"(\w+)=([\d.]+)", call[2])) or {}
    bare = [float(v) for v in re.findall(r",\s*([\d.]+)(?=\s*(?:,|$))", call[2])]
    make = getattr(inputs, call[1])
    values = {key: float(value) for key, value in options.items()}
    moving, fixed = make(described["seed"], tuple(described["shape"]), *bare, **values)
    comparisons = []
    for side, image in (("moving", moving), ("fixed", fixed)):
        for key in (f"in_{prefix(name)}{side}", f"in_{side}"):
            index = data.get(f"{key}_index", data.get("in_index"))
            if f"{key}_values" in data and index is not None:
                samples = np.asarray(data[f"{key}_values"]).ravel()
                comparisons.append(compare(key, image.ravel()[index], samples, 1e-6))
    return moving, fixed, comparisons


def start(data: Arrays, described: Mapping[str, Any], name: str) -> np.ndarray | None:
    """Return the start field (3, k, j, i) in voxels, or None for zero."""
    ends = ("start", "start_field", "init", "initial", "u_init", "field", "u")
    own = [f"in_{prefix(name)}{end}" for end in ends] if name else []
    found = first(data, own)
    if found is None and (not name or re.search("start|init|field", name)):
        found = None if "zero" in name else first(data, [f"in_{end}" for end in ends])
    if found is not None:
        return np.asarray(found).reshape(3, *np.asarray(found).shape[-3:])
    text = " ".join(str(described.get(k, "")) for k in ("start", "start_function", "init"))
    call = re.search(r"golden_field\(seed, ['\"](\w+)['\"], shape, ([\d.]+)\)", text)
    if call is None:
        return None
    shape = tuple(described["shape"])
    return np.asarray(inputs.golden_field(described["seed"], call[1], shape, float(call[2])))


def prefix(name: str) -> str:
    return f"{name}_" if name else ""


def first(data: Arrays, keys: list[str]) -> np.ndarray | None:
    return next((data[key] for key in keys if key in data), None)


def squeezed(image: np.ndarray) -> np.ndarray:
    return np.asarray(image).reshape(np.asarray(image).shape[-3:])


def tensor(image: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(image, dtype=np.float32))[None, None]

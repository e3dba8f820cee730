"""Check similarities, regularisers and MIND features against the published programs' numbers.

Tolerances. A value may differ by 1e-5 of itself plus twice the noise that the file states: how far
the program's own float32 result lies from its float64 one, and how far it moves when its input
changes in the last bit. Gradients: 1e-5 of the largest component; those of NCC and SSIM lose
digits to cancellation in the published programs (up to 0.7 % of the largest component where windows
are flat), so they may differ by three times what dense.py measures of it on the file's images.
MIND features, which lie in (0, 1]: 1e-5.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from RegRefineLib.losses.dice import soft_dice_loss
from RegRefineLib.losses.global_ncc import global_ncc
from RegRefineLib.losses.inverse_consistency import (
    gradient_inverse_consistency,
    inverse_consistency,
)
from RegRefineLib.losses.lncc import lncc
from RegRefineLib.losses.mean_squares import mean_squares
from RegRefineLib.losses.mind import mind
from RegRefineLib.losses.ncc import local_ncc, multi_window_ncc
from RegRefineLib.losses.smoothness import gradient_l1, gradient_l2
from RegRefineLib.losses.ssim import ssim_loss
from RegRefineLib.metrics import jacobian
from RegRefineLib.ops.mind import features
from RegRefineLib.ops.warp import warp

from . import dense, inputs
from .comparison import Comparison, compare

Arrays = dict[str, np.ndarray]
RELATIVE, NOISE_TIMES, FLOOR = 1e-5, 2.0, 1e-8
GRADIENT_NOISE_TIMES, FEATURES = 3.0, 1e-5
ICON_WEIGHT, ICON_SIGMA = 1.5, 5.0


def covers(name: str) -> bool:
    return name.startswith("losses")


def check(data: Arrays, meta: dict[str, Any]) -> list[Comparison]:
    case = Case(data, meta)
    comparisons = case.check_inputs()
    for name, wanted in zip(data["names"].tolist(), data["values"].tolist(), strict=True):
        noise = max(meta.get("noise_abs", {}).get(name, {}).values(), default=0.0)
        tolerance = RELATIVE * abs(wanted) + NOISE_TIMES * noise + FLOOR
        found = lookup(VALUES, name)
        if found is None:
            comparisons.append(Comparison(f"{name}: nothing to compare with", np.inf, tolerance))
        else:
            comparisons.append(compare(name, float(found(case)), wanted, tolerance))
    for key in sorted(data):
        if key.startswith("out_grad_"):
            comparisons.append(check_gradient(case, key.removeprefix("out_grad_"), data[key]))
        elif key.startswith("out_mindssc") and key.endswith("_values"):
            comparisons += check_features(case, key.removesuffix("_values"), data)
    return comparisons


@dataclass(frozen=True)
class Case:
    """The inputs of one file, made anew where the file does not hold them."""

    data: Arrays
    meta: dict[str, Any]

    @property
    def shape(self) -> tuple[int, int, int]:
        return tuple(self.meta["shape"])

    @cached_property
    def images(self) -> dict[str, Tensor]:
        """moving and fixed, (1, 1, D, H, W)."""
        call = re.match(r"(\w+)\(seed, shape(?:, ([\d.]+))?", self.meta["input_function"])
        if call is None:
            raise ValueError(f"input_function: cannot read {self.meta['input_function']!r}")
        extra = [float(call[2])] if call[2] else []
        pair = getattr(inputs, call[1])(self.meta["seed"], self.shape, *extra)
        made = dict(zip(("moving", "fixed"), pair, strict=True))
        return {
            name: torch.from_numpy(self.data.get(f"in_{name}", image))[None, None]
            for name, image in made.items()
        }

    @property
    def fixed(self) -> Tensor:
        return self.images["fixed"]

    @property
    def moving(self) -> Tensor:
        return self.images["moving"]

    def field(self, tag: str, std: float) -> Tensor:
        """A smooth displacement (1, 3, D, H, W) in voxels."""
        array = inputs.golden_field(self.meta["seed"], tag, self.shape, std)
        return torch.from_numpy(array)[None]

    def labels(self, tag: str, count: int) -> Tensor:
        array = inputs.golden_labels(self.meta["seed"], tag, self.shape, count)
        return torch.from_numpy(array.astype(np.int64))[None, None]

    @cached_property
    def mask(self) -> Tensor:
        return (self.labels("mask", 2) > 0).float()

    @cached_property
    def displacement(self) -> Tensor:
        return self.field("u", 1.0)

    @cached_property
    def maps(self) -> tuple[Tensor, Tensor]:
        """The displacements of phi_AB and phi_BA."""
        return self.field("uab", 0.8), self.field("uba", 0.8)

    @cached_property
    def noise(self) -> Tensor:
        generator = np.random.default_rng([self.meta["seed"], 8])
        return torch.from_numpy(generator.standard_normal((1, 3, *self.shape)).astype(np.float32))

    def check_inputs(self) -> list[Comparison]:
        """Compare stored samples with the inputs made anew (whole arrays are used as they are)."""
        return [
            compare(f"in_{name}", self.images[name].flatten()[self.index(name)], stored, 1e-6)
            for name in ("moving", "fixed")
            if (stored := self.data.get(f"in_{name}_values")) is not None
        ]

    def index(self, name: str) -> Tensor:
        index = self.data.get(f"in_{name}_index", self.data.get("in_index"))
        return torch.from_numpy(np.asarray(index, dtype=np.int64))


def soft_dice(case: Case, **options: Any) -> Tensor:
    """Dice of labels b and the 3^3 means of the one-hot labels a, background included."""
    one_hot = F.one_hot(case.labels("a", 4)[:, 0], 5).movedim(-1, 1).float()
    probabilities = F.avg_pool3d(one_hot, 3, stride=1, padding=1)
    return soft_dice_loss(case.labels("b", 4), probabilities, background=True, **options)


def fourier_smoothness(case: Case) -> Tensor:
    """Of u in units where an axis is 2 long, each difference over the length of two voxels."""
    sizes = torch.tensor(case.shape, dtype=torch.float32).view(1, 3, 1, 1, 1)
    scales = tuple(n / 2 for n in case.shape)
    return gradient_l2(case.displacement / ((sizes - 1) / 2), scales=scales)


def icon_regulariser(case: Case, kind: str, noise: Tensor | None) -> Tensor:
    if kind == "icon":
        return inverse_consistency(*case.maps, noise=noise)
    stride = 1 if kind == "gradicon_icon" else 2
    return gradient_inverse_consistency(*case.maps, noise=noise, stride=stride)


def icon_similarity(case: Case, kind: str) -> Tensor:
    """uniGradICON's own class has zeros outside, the others continue the border."""
    padding = "zeros" if kind == "gradicon_unigradicon" else "border"
    ab, ba = case.maps
    there = lncc(case.fixed, warp(case.moving, ab, padding=padding), sigma=ICON_SIGMA)
    return there + lncc(case.moving, warp(case.fixed, ba, padding=padding), sigma=ICON_SIGMA)


def icon_magnitude(case: Case) -> Tensor:
    lengths = torch.tensor(case.shape, dtype=torch.float32).view(1, 3, 1, 1, 1) - 1
    return (case.maps[0] / lengths).square().mean()


def icon_flips(case: Case) -> float:
    determinants = jacobian.determinant(case.maps[1][0].numpy(), "backward")
    return jacobian.folds(determinants, strict=True)


Rule = tuple[str, Callable[..., Any]]
KIND = r"(gradicon_unigradicon|gradicon_icon_sparse|gradicon_icon|icon)_"

# A name's pattern and what it is; groups of the pattern come after the case.
VALUES: list[Rule] = [
    (r"ncc_multiscale_regttr", lambda c: multi_window_ncc(c.fixed, c.moving)),
    (
        r"ncc_(?:regttr|xmorpher|memwarp)_w(\d+)",
        lambda c, w: local_ncc(c.fixed, c.moving, window=int(w)),
    ),
    (
        r"ncc_(?:voxelmorph|rdp|fouriernet|corrmlp|dmr)_w(\d+)",
        lambda c, w: local_ncc(c.fixed, c.moving, window=int(w)) - 1,
    ),
    (r"ncc_global_icon", lambda c: global_ncc(c.fixed, c.moving)),
    (r"mse", lambda c: mean_squares(c.fixed, c.moving)),
    (r"ssim_regttr", lambda c: ssim_loss(c.fixed, c.moving)),
    (r"gradient_l1_\w+", lambda c: gradient_l1(c.displacement)),
    (
        r"gradient_l2_[a-z_]+?(?:_mult(\d+))?",
        lambda c, times: gradient_l2(c.displacement) * float(times or 1),
    ),
    (r"smooth_fouriernet_of_normalised_u", fourier_smoothness),
    (r"lncc_icon_sigma(\d+)", lambda c, s: lncc(c.fixed, c.moving, sigma=float(s))),
    (
        r"lncc_squared_icon_sigma(\d+)",
        lambda c, s: lncc(c.fixed, c.moving, sigma=float(s), squared=True),
    ),
    (
        r"lncc_icon_sigma(\d+)_masked",
        lambda c, s: lncc(c.fixed, c.moving, c.mask, sigma=float(s), whole_windows=True),
    ),
    (
        r"mindssc_icon_r(\d+)_d(\d+)",
        lambda c, r, d: mind(c.fixed, c.moving, radius=int(r), dilation=int(d)),
    ),
    (r"dice_loss_regttr_soft", soft_dice),
    (r"dice_loss_regttr_soft_squared", lambda c: soft_dice(c, squared=True)),
    (r"dice_loss_xmorpher_soft", lambda c: soft_dice(c, squared=True, smooth=1.0)),
    (r"dice_voxelmorph_soft", lambda c: soft_dice(c) - 1),
    (KIND + "regulariser_zero_noise", lambda c, kind: icon_regulariser(c, kind, None)),
    (KIND + "regulariser_given_noise", lambda c, kind: icon_regulariser(c, kind, c.noise)),
    (KIND + "similarity", icon_similarity),
    (KIND + "magnitude", lambda c, kind: icon_magnitude(c)),
    (KIND + "flips", lambda c, kind: icon_flips(c)),
    (
        KIND + "all",
        lambda c, kind: ICON_WEIGHT * icon_regulariser(c, kind, None) + icon_similarity(c, kind),
    ),
]

# Of the named loss, by the moving image or the displacement given to it.
GRADIENTS: list[Rule] = [
    (r"ncc_w(\d+)", lambda c, x, w: local_ncc(c.fixed, x, window=int(w))),
    (r"ssim", lambda c, x: ssim_loss(c.fixed, x)),
    (r"lncc(\d+)", lambda c, x, s: lncc(c.fixed, x, sigma=float(s))),
    (
        r"mind_r(\d+)_d(\d+)",
        lambda c, x, r, d: mind(c.fixed, x, radius=int(r), dilation=int(d)),
    ),
    (r"l1_gradient", lambda c, x: gradient_l1(x)),
    (r"l2_gradient", lambda c, x: gradient_l2(x)),
]

# Published ways that lose digits.
DENSE: list[Rule] = [
    (r"ncc_w(\d+)", lambda w: dense.ncc(int(w))),
    (r"ssim", lambda: dense.ssim),
]


def lookup(rules: list[Rule], name: str) -> Callable[..., Any] | None:
    """Return the function of the first rule whose whole pattern fits the name."""
    for pattern, function in rules:
        found = re.fullmatch(pattern, name)
        if found:
            groups = found.groups()
            return lambda *arguments: function(*arguments, *groups)
    return None


def check_gradient(case: Case, name: str, wanted: np.ndarray) -> Comparison:
    loss_name, _, of = name.partition("_wrt_")
    loss = lookup(GRADIENTS, loss_name)
    if loss is None or of not in ("moving", "field"):
        return Comparison(f"gradient {name}: nothing to compare with", np.inf, 1.0)
    source = case.moving if of == "moving" else case.displacement
    variable = source.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(case, variable), variable)
    tolerance = RELATIVE * float(np.abs(wanted).max())
    rounded = lookup(DENSE, loss_name)
    if rounded is not None:
        noise = dense.gradient_noise(rounded(), case.fixed, case.moving)
        tolerance = max(tolerance, GRADIENT_NOISE_TIMES * noise)
    return compare(f"gradient {name}", gradient[0], wanted, tolerance)


def check_features(case: Case, key: str, data: Arrays) -> list[Comparison]:
    """Compare the features of the fixed image: samples, and mean, deviation, least and largest."""
    sizes = re.search(r"_r(\d+)_d(\d+)$", key)
    if sizes is None:
        return [Comparison(f"{key}: nothing to compare with", np.inf, 1.0)]
    found = features(case.fixed, int(sizes[1]), int(sizes[2]))[0].double().numpy()
    flat = found.reshape(found.shape[0], -1)
    stats = np.stack([flat.mean(1), flat.std(1), flat.min(1), flat.max(1)], axis=1)
    name = key.removeprefix("out_")
    return [
        compare(f"{name} shape", found.shape, data[f"{key}_shape"], 0.5),
        compare(name, flat[:, data[f"{key}_index"]], data[f"{key}_values"], FEATURES),
        compare(f"{name} statistics", stats, data[f"{key}_stats"], FEATURES),
    ]

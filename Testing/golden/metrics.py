"""Metrics: every row of the table, the map of the non-diffeomorphic volume and the TREs.

What the table's names do not say (which fields, which landmarks' spacing, which classes) is read
from the sentences in the file's notes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable

import numpy as np

from RegRefineLib.metrics import jacobian, ndv, overlap, per_label, surface

from .comparison import Comparison, compare
from .metrics_case import Case

# Both sides are sums of some 1e4 numbers in double precision: only rounding is left.
DOUBLE = 1e-9
# The published program computed or returned single precision.
SINGLE = 2e-6
# NDV: single precision again, and determinants whose products partly cancel.
CANCELLED = 1e-5
# MONAI takes the rank of a quantile, 0.95 of some thousands, in single precision (to 1e-4) and
# interpolates with its fraction.
QUANTILE = 1e-4
COUNT = 0.5  # whole numbers must be equal


def covers(name: str) -> bool:
    return name == "metrics" or name.startswith("metrics_")


def check(data: dict[str, np.ndarray], meta: dict) -> list[Comparison]:
    case = Case(data, meta)
    table = (data[f"table_{name}"].tolist() for name in ("name", "spacing", "label", "value"))
    found = [_row(case, *row) for row in zip(*table, strict=True)]
    for name, values in data.items():
        if name.startswith("out_ndv_map_"):
            folded = ndv.volume_map(case.field(name.removeprefix("out_ndv_map_")))
            found.append(compare(name, folded, values, CANCELLED * _scale(values)))
    for name, interpolation in (("out_l2r_tre_cubic", "cubic"), ("out_tre_linear", "linear")):
        if name in data:
            wanted = data[name]
            found.append(compare(name, case.tre(interpolation), wanted, DOUBLE * _scale(wanted)))
    return found


def _scale(values: np.ndarray) -> float:
    return max(1.0, float(np.abs(values).max(initial=0)))


def _row(case: Case, name: str, spacing: int, label: int, wanted: float) -> Comparison:
    """Compare one row; the tolerance is relative to values above 1."""
    title = f"{name}[{spacing},{label}]"
    for pattern, tolerance, figure in FIGURES:
        match = re.fullmatch(pattern, name)
        if match:
            found = float(figure(case, spacing, label, *match.groups()))
            if found == wanted or (math.isnan(found) and math.isnan(wanted)):
                return Comparison(title, 0.0, tolerance)
            return compare(title, found, wanted, tolerance * max(1.0, abs(wanted)))
    return Comparison(f"{title}: no such figure", math.inf, DOUBLE)


def _area(case: Case, row: int, label: int, side: str) -> float:
    distances = case.elements(row, label)
    return float((distances.fixed_areas if side == "gt" else distances.warped_areas).sum())


def _overlap(case: Case, row: int, label: int, side: str, mm: str) -> float:
    shares = surface.overlap_at_tolerance(case.elements(row, label), float(mm))
    return shares[0] if side == "gt" else shares[1]


def _regttr_hd95(case: Case, row: int, _: int, unregistered: str | None) -> float:
    rule = per_label.Absence("unwarped", case.moving_labels, case.moving)
    low, high = case.said(r"classes (\d+\.\.\d+)", "1..9").split("..")
    found = case.moving if unregistered else case.warped
    labels = range(int(low), int(high) + 1)
    return overlap.mean(per_label.hd95(case.fixed, found, labels, case.spacing(row), rule))


def _l2r_hd95(case: Case, row: int, labels: range) -> dict[int, float]:
    rule = per_label.Absence("infinite", case.moving_labels)
    return per_label.hd95(case.fixed, case.warped, labels, case.spacing(row), rule)


def _l2r_dice(case: Case, labels: list[int]) -> dict[int, float]:
    return case.dice(labels, "learn2reg", case.moving_labels)


def _regttr_with_background(case: Case) -> float:
    named = " ".join(np.unique(case.data["table_name"]).tolist())
    classes = re.search(r"regttr_dice_eval_mean_(\d+)_classes", named)
    return overlap.mean(case.dice(range(int(classes.group(1)) if classes else 11), "reg-ttr"))


def _cropped(case: Case, field: str) -> np.ndarray:
    return case.determinants(field, "central-cropped")


def _stat(case: Case, field: str, program: str, statistic: str) -> float:
    scheme = {"l2r": "central-cropped", "npgradient": "gradient"}[program]
    return float(getattr(case.determinants(field, scheme), statistic)())


def _flips(case: Case, field: str, percent: str | None) -> float:
    backward = case.determinants(field, "backward")
    count = jacobian.folds(backward, strict=True)
    return 100 * count / backward.size if percent else count


def _ratio(case: Case, field: str, scheme: str, whole: bool = False) -> float:
    voxels = case.field(field)[0].size if whole else None
    return jacobian.folds_percent(case.determinants(field, scheme), voxels) / 100


def _by_label(figure: Callable[[Case, int, int], object]) -> Callable[..., object]:
    """Return a figure of (case, spacing row, label) that no name's part changes."""
    return lambda case, row, label, *_: figure(case, row, label)


def _by_field(figure: Callable[..., object]) -> Callable[..., object]:
    """Return a figure of (case, field, further parts of the name)."""
    return lambda case, row, label, *parts: figure(case, *parts)


def _surface(form: Callable, distances: Callable, *fixed: float) -> Callable[..., float]:
    """Return form(distances, number), the number fixed or in the name."""
    return lambda case, row, label, *named: form(
        distances(case, row, label), *fixed, *(float(n) for n in named)
    )


# A name's pattern; tolerance; figure(case, spacing row, label, *the pattern's groups).
FIGURES: list[tuple[str, float, Callable[..., object]]] = [
    (r"deepmind_hausdorff_p([\d.]+)", DOUBLE, _surface(surface.hausdorff, Case.elements)),
    (
        r"deepmind_mean_distance_gt_to_pred",
        DOUBLE,
        _by_label(lambda c, row, label: surface.mean_distances(c.elements(row, label))[0]),
    ),
    (
        r"deepmind_mean_distance_pred_to_gt",
        DOUBLE,
        _by_label(lambda c, row, label: surface.mean_distances(c.elements(row, label))[1]),
    ),
    (r"deepmind_surface_dice_tol([\d.]+)", DOUBLE, _surface(surface.surface_dice, Case.elements)),
    (r"deepmind_overlap_(gt|pred)_tol([\d.]+)", DOUBLE, _overlap),
    (r"deepmind_area_(gt|pred)", DOUBLE, _area),
    (
        r"deepmind_volumetric_dice",
        DOUBLE,
        _by_label(lambda c, row, label: c.dice([label], "learn2reg")[label]),
    ),
    (r"medpy_hd95", DOUBLE, _surface(surface.hausdorff_pooled, Case.border, 95)),
    (r"medpy_hd", DOUBLE, _surface(surface.hausdorff_pooled, Case.border, 100)),
    (r"medpy_assd", DOUBLE, _surface(surface.assd, Case.border)),
    (
        r"medpy_asd",
        DOUBLE,
        _by_label(lambda c, row, label: surface.mean_distances(c.border(row, label))[1]),
    ),
    (r"monai_hd95", QUANTILE, _surface(surface.hausdorff_each, Case.border, 95)),
    (r"monai_hd", SINGLE, _surface(surface.hausdorff_each, Case.border, 100)),
    (r"monai_assd", SINGLE, _surface(surface.assd, Case.border)),
    (r"monai_surface_dice_tol([\d.]+)", SINGLE, _surface(surface.surface_dice, Case.border)),
    (r"regttr_compute_HD95(_unregistered)?", DOUBLE, _regttr_hd95),
    (
        r"l2r_hd95",
        DOUBLE,
        _by_label(lambda c, row, label: _l2r_hd95(c, row, range(label, label + 1))[label]),
    ),
    (
        r"l2r_hd95_mean_labels(\d+)to(\d+)",
        DOUBLE,
        lambda c, row, _, low, high: overlap.mean(
            _l2r_hd95(c, row, range(int(low), int(high) + 1))
        ),
    ),
    (r"l2r_dice", DOUBLE, _by_label(lambda c, row, label: _l2r_dice(c, [label])[label])),
    (
        r"l2r_dice_mean",
        DOUBLE,
        _by_field(lambda c: overlap.mean(_l2r_dice(c, c.labels_in_table("l2r_dice")))),
    ),
    (
        r"regttr_dice_eval_mean_(\d+)_classes",
        SINGLE,
        _by_field(lambda c, n: overlap.mean(c.dice(range(1, int(n)), "reg-ttr"))),
    ),
    (r"regttr_dice_eval_with_background", SINGLE, _by_field(_regttr_with_background)),
    (
        r"regttr_dice_eval",
        SINGLE,
        _by_label(lambda c, row, label: c.dice([label], "reg-ttr")[label]),
    ),
    (
        r"regttr_dice_binary",
        DOUBLE,
        _by_label(lambda c, row, label: c.dice([label], "reg-ttr-organ")[label]),
    ),
    (
        r"rdp_dice_val_VOI_(\d+)",
        SINGLE,
        _by_field(lambda c, n: overlap.mean(c.dice(range(1, int(n) + 1), "reg-ttr"))),
    ),
    (
        r"corrmlp_dice",
        DOUBLE,
        _by_label(lambda c, row, label: c.dice([label], "corrmlp")[label]),
    ),
    (r"corrmlp_dice_mean", DOUBLE, _by_field(lambda c: overlap.mean(c.dice(None, "corrmlp")))),
    (r"jac_(\w+)_(l2r|npgradient)_(mean|std|min|max)", SINGLE, _by_field(_stat)),
    (
        r"jac_(\w+)_(?:regttr|l2r)_sdlogj",
        SINGLE,
        _by_field(lambda c, f: jacobian.sdlogj(_cropped(c, f))),
    ),
    (
        r"jac_(\w+)_sdlogj_without_3_clip1e-9",
        SINGLE,
        _by_field(lambda c, f: jacobian.sdlogj(_cropped(c, f), 0.0)),
    ),
    (
        r"jac_(\w+)_npgradient_sdlogj_clip1e-9",
        SINGLE,
        _by_field(lambda c, f: jacobian.sdlogj(c.determinants(f, "gradient"), 0.0)),
    ),
    (
        r"jac_(\w+)_regttr_ratio_uncropped",
        DOUBLE,
        _by_field(lambda c, f: _ratio(c, f, "central-cropped", whole=True)),
    ),
    (
        r"jac_(\w+)_ratio_cropped",
        DOUBLE,
        _by_field(lambda c, f: _ratio(c, f, "central-cropped")),
    ),
    (
        r"jac_(\w+)_npgradient_nonpositive_fraction",
        DOUBLE,
        _by_field(lambda c, f: _ratio(c, f, "gradient")),
    ),
    (
        r"jac_(\w+)_corrmlp_NJD_as_released",
        COUNT,
        _by_field(lambda c, f: jacobian.folds(c.determinants(f, "corrmlp"), strict=True)),
    ),
    (r"jac_(\w+)_forward_flips(_percent)?_icon", SINGLE, _by_field(_flips)),
    (
        r"ndv_(\w+?)_((?:volume|voxels)(?:_percent)?)(_masked)?",
        CANCELLED,
        _by_field(lambda c, f, figure, masked: getattr(c.folded(f, bool(masked)), figure)),
    ),
]

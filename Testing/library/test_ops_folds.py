"""Folds are mended where they are, and nothing else is touched."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from RegRefineLib.ops.folds import repair_folds
from RegRefineLib.ops.warp import jacobian_determinant


def smooth_field() -> torch.Tensor:
    coarse = torch.randn((1, 3, 4, 4, 4), generator=torch.Generator().manual_seed(1))
    return F.interpolate(coarse, (40, 36, 44), mode="trilinear", align_corners=True)


def with_folds(*places: tuple[int, int, int]) -> torch.Tensor:
    field = smooth_field()
    for k, j, i in places:
        field[0, 2, k, j, i] += 4.0
    return field


def test_no_fold_is_left():
    field = with_folds((20, 18, 22), (0, 3, 40), (5, 35, 10), (21, 18, 22))
    assert float(jacobian_determinant(field).min()) < 0
    assert float(jacobian_determinant(repair_folds(field)).min()) > 0


def test_a_wide_collapse_is_mended():
    field = torch.zeros((1, 3, 40, 36, 44))
    x = torch.arange(44.0)
    # a third of the volume is pressed to less than nothing, more slowly than one voxel can mend
    field[:, 2] = torch.where(x < 15, 0.0, torch.where(x < 29, -1.05 * (x - 15), -14.7))
    assert float((jacobian_determinant(field) < 0).float().mean()) > 0.25
    assert float(jacobian_determinant(repair_folds(field)).min()) > 0


def test_away_from_folds_nothing_changes():
    field = with_folds((20, 18, 22))
    mended = repair_folds(field)
    changed = (mended != field).any(dim=1)[0].nonzero()
    assert len(changed)
    assert int((changed - torch.tensor([20, 18, 22])).abs().max()) <= 10
    assert float((mended - smooth_field()).abs().max()) < 4.0


def test_a_field_without_folds_is_returned_itself():
    field = smooth_field()
    assert repair_folds(field) is field


def test_the_given_field_is_not_changed():
    field = with_folds((20, 18, 22))
    before = field.clone()
    repair_folds(field)
    assert torch.equal(field, before)

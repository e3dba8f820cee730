"""Single slices: registered in their plane, whatever axis is thin and however deep they lie."""

from __future__ import annotations

import numpy as np
import pytest
from support.small import body, parts

from RegRefineLib.errors import RegRefineError
from RegRefineLib.geometry import Geometry, Volume
from RegRefineLib.job import Extras, Job
from RegRefineLib.planar import is_slice
from RegRefineLib.registration import register

JOB = Job(preset="fast", settings={"levels": "2:10,1:5"}, inverse=True, jacobian=True)


def bend(points):
    """A displacement in the plane z = const."""
    x, y, _ = np.moveaxis(points, -1, 0)
    hill = np.exp(-(x**2 + y**2) / 150)
    return np.stack([2.5 + 2 * hill, -1.5 - 1.5 * hill, 0 * x], axis=-1)


def slice_at(depth, order=(0, 1, 2), spacing=(1.0, 1.0), size=40):
    """An axial slice of the body (R, A) at a depth; `order` lays index axes along (R, A, S)."""
    directions = np.eye(3)[:, list(order)]
    shape = tuple({0: size, 1: size, 2: 1}[axis] for axis in reversed(order))
    lengths = np.array([*spacing, 4.0])[list(order)]
    first = Geometry.from_parts(shape, lengths, directions, [0, 0, 0])
    return Geometry.from_parts(shape, lengths, directions, np.array([0, 0, depth]) - first.centre)


def flat(points):
    return points * [1, 1, 0]


@pytest.mark.parametrize(("order", "depth"), [((0, 1, 2), 5.0), ((2, 0, 1), -7.0)])
def test_two_slices_meet_in_their_plane(order, depth):
    fixed, moving = slice_at(5.0), slice_at(depth, order, (1.05, 0.95))
    points = fixed.points()
    image = Volume(body(flat(points + bend(points))).astype(np.float32), fixed)
    other = Volume(body(flat(moving.points())).astype(np.float32), moving)
    labels = (
        Volume(parts(flat(points + bend(points))), fixed),
        Volume(parts(flat(moving.points())), moving),
    )
    assert is_slice(image)
    assert is_slice(other)
    found = register(image, other, JOB, extras=Extras(*labels))
    gap = found.field.vectors - (bend(points) + np.array([0, 0, depth - 5]))
    inside = body(flat(points)) > 0.3
    assert np.linalg.norm(gap[..., :2], axis=-1)[inside].mean() < 0.6
    np.testing.assert_allclose(found.field.vectors[..., 2], depth - 5, atol=1e-4)
    assert found.field.geometry.same_grid(fixed)
    assert found.inverse.geometry.same_grid(moving)
    back = found.inverse.at(moving.points().reshape(-1, 3))
    np.testing.assert_allclose(back[:, 2], 5 - depth, atol=1e-4)
    assert found.after["dice"]["mean"] > max(0.9, found.before["dice"]["mean"])
    for volume in (found.warped, found.warped_labels, found.jacobian):
        assert volume.geometry.same_grid(fixed)
    moved = found.affine @ [0, 0, 5, 1]
    assert moved[2] == pytest.approx(depth)


def test_what_does_not_lie_in_one_plane_is_refused():
    fixed = slice_at(0.0)
    image = Volume(body(fixed.points()).astype(np.float32), fixed)
    whole = Geometry((8, 9, 10), np.diag([4.0, 4, 4, 1]))
    with pytest.raises(RegRefineError, match="moving image: a volume, and the other image is a"):
        register(image, Volume(body(whole.points()), whole), JOB)
    turned = Geometry((40, 1, 40), np.diag([1.0, 4, 1, 1]))
    with pytest.raises(RegRefineError, match="planes at an angle"):
        register(image, Volume(body(turned.points()), turned), JOB)
    labels = Volume(np.ones((3, 40, 40), np.uint8), Geometry((3, 40, 40), np.eye(4)))
    with pytest.raises(RegRefineError, match="fixed labels: not a single slice"):
        register(image, image, JOB, extras=Extras(labels, labels))

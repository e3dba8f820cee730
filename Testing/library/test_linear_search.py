"""Known linear maps of an analytic image are found again."""

import numpy as np
import pytest
from support.analytic import rotation
from support.small import RADII, grid, image_on

from RegRefineLib.errors import Stopped
from RegRefineLib.geometry import Volume
from RegRefineLib.intensity import scaled
from RegRefineLib.job import Progress
from RegRefineLib.linear.search import align, centre_of_mass

GRID = grid((20, 18, 22), (2.2, 2.2, 2.2))
POINTS = np.concatenate([np.diag(RADII), -np.diag(RADII)]) * 0.8


def turned(angles, shift, scale=(1.0, 1.0, 1.0)) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = rotation(np.array(angles)) * np.array(scale)
    matrix[:3, 3] = shift
    return matrix


def moved(matrix, points):
    return points @ matrix[:3, :3].T + matrix[:3, 3]


def error_mm(found, true) -> float:
    return float(np.linalg.norm(moved(found, POINTS) - moved(true, POINTS), axis=1).max())


CASES = {
    "rigid": (turned((0.12, -0.1, 0.2), (4, -3, 2)), "rigid"),
    "affine": (turned((0.1, 0.05, -0.1), (-2, 3, 4), (1.08, 0.94, 1.05)), "affine"),
    "rigid without positions": (turned((0.1, 0.1, -0.15), (120, -80, 60)), "centre+rigid"),
}


CONTRASTS = {
    "same": lambda a: a,
    "inverted": lambda a: a.max() - a,
    # dark tissue lies nearest to the darkness around it, as in a T2 of a brain cut out
    "inverted, cut out": lambda a: np.where(a > 0.1 * a.max(), 1.05 * a.max() - a, 0.0),
}


@pytest.mark.parametrize("contrast", CONTRASTS)
@pytest.mark.parametrize("case", CASES)
def test_a_known_map_is_found_to_a_voxel(case, contrast):
    true, kind = CASES[case]
    fixed = image_on(GRID, lambda p: moved(true, p))
    there = grid((22, 20, 21), (2.1, 2.3, 2.0), middle=tuple(0.0 * true[:3, 3]))
    if kind.startswith("centre"):
        fixed = image_on(GRID, lambda p: moved(true, p) - np.array([120, -80, 60]))
        there = grid((22, 20, 21), (2.1, 2.3, 2.0))
        moving = image_on(there)
        moving = Volume(moving.array, grid((22, 20, 21), (2.1, 2.3, 2.0), middle=(120, -80, 60)))
    else:
        moving = image_on(there)
    if contrast == "inverted" and kind.startswith("centre"):
        pytest.skip("the centre of mass of an inverted image is not its contents'")
    moving = Volume(CONTRASTS[contrast](moving.array).astype(np.float32), moving.geometry)
    assert error_mm(align(fixed, moving, kind), true) < 2.2


def test_none_is_the_identity_and_centre_joins_the_centres():
    shift = turned((0, 0, 0), (5, 2, -3))
    fixed, moving = image_on(GRID, lambda p: moved(shift, p)), image_on(GRID)
    np.testing.assert_array_equal(align(fixed, moving, "none"), np.eye(4))
    assert error_mm(align(fixed, moving, "centre"), shift) < 0.5
    gap = centre_of_mass(scaled(moving, "minmax")) - centre_of_mass(scaled(fixed, "minmax"))
    np.testing.assert_allclose(gap, (5, 2, -3), atol=0.5)


def test_steps_are_counted_to_the_end():
    told: list[Progress] = []
    align(image_on(GRID), image_on(GRID), "rigid", report=told.append)
    steps = [p.step for p in told]
    # the last stage ends when it has arrived
    assert steps == [*range(len(steps) - 1), told[0].steps - 1]


def test_a_stop_gives_the_best_so_far():
    told = []

    def stop(progress: Progress) -> None:
        told.append(progress)
        if len(told) == 5:
            raise Stopped

    found = align(image_on(GRID), image_on(GRID), "affine", report=stop)
    assert len(told) == 5
    assert np.linalg.det(found[:3, :3]) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(
    ("slices", "thick", "allowed"), [(2, 9.0, 2.0), (3, 9.0, 0.7), (20, 2.0, 0.4)]
)
def test_an_image_stays_on_itself_however_thin(slices, thick, allowed):
    image = image_on(grid((slices, 24, 26), (2.0, 2.0, thick)))
    assert error_mm(align(image, image, "affine"), np.eye(4)) < allowed


@pytest.mark.parametrize("kind", ["rigid", "affine"])
def test_shading_and_noise_move_nothing(kind):
    true = turned((0.1, -0.15, 0.2), (3, -2, 2))
    generator = np.random.default_rng(0)
    fixed = image_on(GRID, lambda p: moved(true, p))
    ramp = np.linspace(0.75, 1.25, GRID.shape[2], dtype=np.float32)
    noise = 0.02 * fixed.array.max() * generator.normal(size=GRID.shape)
    shaded = Volume((fixed.array * ramp + noise).astype(np.float32), GRID)
    assert error_mm(align(shaded, image_on(GRID), kind), true) < 0.5

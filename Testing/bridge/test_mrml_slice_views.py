"""What the slice views show of a result, on the real MRML scene."""

from __future__ import annotations

import time

import numpy as np
import pytest
from RegRefineBridge.mrml.slice_views import GRID_MODE, MODES, Views, checkerboard, difference
from support.mrml import addVolume, grid, newScene, slicer

from RegRefineLib.geometry import Volume

GRID = grid((8, 10, 12), spacing=(2.0, 2.0, 4.0))


class Clock:
    """A timer that rings when it is told to."""

    def __init__(self, callback, milliseconds):
        self.callback, self.on = callback, False

    def start(self):
        self.on = True

    def stop(self):
        self.on = False


class World:
    def __init__(self):
        self.mrml = newScene()
        ramp = np.linspace(0, 100, GRID.voxel_count).reshape(GRID.shape)
        self.fixed = addVolume(self.mrml, Volume(ramp, GRID), "fixed")
        self.moving = addVolume(self.mrml, Volume(ramp[:5, :5, :5], grid((5, 5, 5))), "moving")
        warped = addVolume(self.mrml, Volume(2 * ramp, GRID), "warped")
        jacobian = addVolume(self.mrml, Volume(np.ones_like(ramp), GRID), "jacobian")
        self.nodes = {"warpedVolume": warped, "jacobian": jacobian}
        self.composites = [
            self.mrml.AddNewNodeByClass("vtkMRMLSliceCompositeNode") for _ in range(3)
        ]
        self.clocks = []
        self.views = Views(self.mrml, self.newTimer)

    def newTimer(self, callback, milliseconds):
        self.clocks.append(Clock(callback, milliseconds))
        return self.clocks[-1]

    def show(self, mode):
        self.views.show(mode, self.fixed, self.moving, self.nodes)
        return self.shown()

    def shown(self):
        """(background, foreground, opacity), the same in all views."""
        seen = set()
        for each in self.composites:
            ids = (each.GetBackgroundVolumeID(), each.GetForegroundVolumeID())
            names = [self.mrml.GetNodeByID(i).GetName() if i else None for i in ids]
            seen.add((*names, each.GetForegroundOpacity()))
        assert len(seen) == 1
        return seen.pop()


@pytest.fixture
def world():
    return World()


def test_before_and_after_lay_the_volumes_half_over_the_fixed_one(world):
    assert world.show("before") == ("fixed", "moving", 0.5)
    assert world.show("after") == ("fixed", "warped", 0.5)
    assert world.show("jacobian") == ("fixed", "jacobian", 0.5)
    assert world.views.mode == "jacobian"


def test_flicker_goes_on_until_something_else_is_shown(world):
    world.show("flicker")
    clock = world.clocks[0]
    assert clock.on
    opacities = []
    for _ in range(4):
        clock.callback()
        opacities.append(world.shown()[2])
    assert opacities == [1.0, 0.0, 1.0, 0.0]
    world.show("after")
    assert not clock.on


def test_helpers_are_made_once_hidden_and_not_saved(world):
    assert world.show("checkerboard") == ("RegRefine checkerboard", None, 0.0)
    count = world.mrml.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode")
    world.show("checkerboard")
    assert world.mrml.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == count
    helper = slicer.util.getNode("RegRefine checkerboard")
    assert helper.GetHideFromEditors()
    assert not helper.GetSaveWithScene()


def test_leave_gives_the_views_back_and_takes_the_helpers_away(world):
    for composite in world.composites:
        composite.SetBackgroundVolumeID(world.moving.GetID())
        composite.SetForegroundOpacity(0.25)
    for mode in MODES:
        world.show(mode)
    world.views.leave()
    assert world.shown() == ("moving", None, 0.25)
    assert world.mrml.GetFirstNodeByName("RegRefine checkerboard") is None
    assert world.mrml.GetFirstNodeByName("RegRefine difference") is None
    assert world.views.mode == ""


def test_what_is_not_there_cannot_be_shown(world):
    assert world.views.available(world.fixed, world.moving, world.nodes) == set(MODES)
    assert world.views.available(world.fixed, world.moving, {}) == {"before"}
    world.mrml.RemoveNode(world.nodes["jacobian"])
    assert "jacobian" not in world.views.available(world.fixed, world.moving, world.nodes)
    with pytest.raises(ValueError, match="jacobian"):
        world.show("jacobian")


def test_the_checkerboard_alternates_in_cubes_of_equal_size():
    black = Volume(np.arange(960.0).reshape(GRID.shape), GRID)
    white = Volume(-black.array, GRID)
    board = checkerboard(black, white, square_mm=8.0).array
    left = checkerboard(black, black, square_mm=8.0).array
    same = board == left
    assert board.dtype == np.uint8
    assert same[:2, :4, :4].all()  # 8 mm: 2 voxels of 4 mm, 4 of 2 mm
    assert not same[2:4, :4, :4].any()
    assert not same[:2, 4:8, :4].any()
    assert same[2:4, 4:8, :4].all()


def test_the_difference_of_equal_volumes_is_zero_and_needs_one_grid(world):
    ramp = Volume(np.arange(960.0).reshape(GRID.shape), GRID)
    brighter = Volume(3 * ramp.array + 5, GRID)
    assert np.abs(difference(ramp, brighter).array).max() <= 1
    with pytest.raises(ValueError, match="another grid"):
        difference(ramp, Volume(ramp.array, grid((8, 10, 12))))


def addSegments(world, name):
    node = world.mrml.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    node.CreateDefaultDisplayNodes()
    return node


def looks(node):
    display = node.GetDisplayNode()
    return bool(display.GetVisibility()), bool(display.GetVisibility2DFill())


def test_segmentations_are_outlines_of_what_is_shown_and_get_their_look_back(world):
    fixed, moving, warped = (addSegments(world, name) for name in ("f", "m", "w"))
    nodes = {**world.nodes, "warpedSegmentation": warped}
    warped.GetDisplayNode().SetVisibility2DFill(False)
    before = [looks(node) for node in (fixed, moving, warped)]
    for mode in ("after", "jacobian", "checkerboard", "difference", "flicker"):
        world.views.show(mode, world.fixed, world.moving, nodes, (fixed, moving))
        assert looks(fixed) == looks(warped) == (True, False)
        assert looks(moving)[0] is False
    world.views.show("before", world.fixed, world.moving, nodes, (fixed, moving))
    assert looks(moving) == (True, False)
    assert looks(warped)[0] is False
    world.views.leave()
    assert [looks(node) for node in (fixed, moving, warped)] == before


def test_a_mode_whose_volume_was_removed_is_left(world):
    world.show("after")
    assert not world.views.leaveIfGone(world.fixed, world.moving, world.nodes)
    world.mrml.RemoveNode(world.nodes["warpedVolume"])
    assert world.views.leaveIfGone(world.fixed, world.moving, world.nodes)
    assert world.views.mode == ""


def test_the_views_are_fitted_once_for_a_pair(world):
    fitted = []
    views = Views(world.mrml, None, lambda: fitted.append(1))
    views.show("before", world.fixed, world.moving, world.nodes)
    views.show("after", world.fixed, world.moving, world.nodes)
    assert len(fitted) == 1
    other = addVolume(world.mrml, Volume(np.zeros(GRID.shape), GRID), "other")
    views.show("before", other, world.moving, world.nodes)
    assert len(fitted) == 2


def test_the_grid_that_the_transform_bends_is_shown_and_hidden_again(world):
    transform = world.mrml.AddNewNodeByClass("vtkMRMLTransformNode", "t")
    nodes = {**world.nodes, "transform": transform}
    assert GRID_MODE in world.views.available(world.fixed, world.moving, nodes)
    world.views.show(GRID_MODE, world.fixed, world.moving, nodes)
    display = transform.GetDisplayNode()
    assert display.GetVisibility()
    assert display.GetVisibility2D()
    assert display.GetVisualizationMode() == display.VIS_MODE_GRID
    world.views.leave()
    assert not display.GetVisibility2D()


def test_the_colours_of_the_jacobian_have_a_legend_while_it_is_shown(world):
    world.mrml.RegisterNodeClass(slicer.vtkMRMLColorLegendDisplayNode())
    volume = world.nodes["jacobian"]
    volume.CreateDefaultDisplayNodes()
    world.show("jacobian")
    legend = slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(volume)
    assert legend.GetVisibility()
    assert "blue squeezed" in legend.GetTitleText()
    world.show("after")
    assert not legend.GetVisibility()


def test_the_blend_is_set_in_all_views(world):
    world.show("after")
    world.views.blend(0.25)
    assert world.shown()[2] == 0.25


def test_no_view_of_a_brain_holds_the_window_up(world):
    """160 x 192 x 224 voxels; checkerboard and difference took 0.4 s of the main thread."""
    large = grid((160, 192, 224), spacing=(1.0, 1.0, 1.0))
    array = np.random.default_rng(0).random(large.shape, np.float32)
    fixed = addVolume(world.mrml, Volume(array, large), "brain")
    nodes = {"warpedVolume": addVolume(world.mrml, Volume(2 * array, large), "warped brain")}
    spent = {}
    for mode in ("before", "after", "checkerboard", "difference"):
        times = []
        for _again in range(3):
            began = time.thread_time()
            world.views.show(mode, fixed, world.moving, nodes)
            times.append(time.thread_time() - began)
        spent[mode] = min(times)
    print({mode: f"{1000 * seconds:.0f} ms" for mode, seconds in spent.items()})
    assert max(spent.values()) < 0.2


def test_voxels_that_are_no_numbers_are_black(world):
    array = np.ones(GRID.shape, np.float32)
    array[0, 0, 0], array[1:] = np.nan, 2.0
    volume = Volume(array, GRID)
    assert checkerboard(volume, volume).array[0, 0, 0] == 0
    assert checkerboard(volume, volume).array.max() == 255

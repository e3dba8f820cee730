"""Live metrics: right, seldom enough, and a stop is remembered."""

import numpy as np
import pytest
import torch
from support.small import grid, image_on, labels_on

from RegRefineLib.errors import Stopped
from RegRefineLib.job import Progress
from RegRefineLib.live_metrics import Monitor, measured
from RegRefineLib.pair import Pair

GRID = grid((10, 12, 14), (3.0, 2.0, 2.5))


def pair_of(labels: bool = True) -> Pair:
    image = torch.from_numpy(image_on(GRID).array.copy())[None, None]
    maps = torch.from_numpy(labels_on(GRID).array.copy())[None, None] if labels else None
    return Pair(image, image, GRID, fixed_labels=maps, moving_labels=maps)


def test_nothing_moved_is_perfect():
    metrics = measured(pair_of(), pair_of().zero())
    assert metrics["dice"] == 1
    assert metrics["folds_percent"] == 0
    assert metrics["largest_mm"] == 0
    assert metrics["sdlogj"] == pytest.approx(0, abs=1e-6)


def test_a_shift_is_told_in_millimetres_along_its_axis():
    for axis, spacing in ((0, 2.5), (1, 2.0), (2, 3.0)):
        shift = pair_of().zero()
        shift[:, axis] = 2
        assert measured(pair_of(), shift)["largest_mm"] == pytest.approx(2 * spacing)


def test_dice_is_that_of_labels_moved_by_nearest_neighbour():
    pair, shift = pair_of(), pair_of().zero()
    shift[:, 2] = 1
    fixed = pair.fixed_labels[0, 0].numpy()
    warped = np.zeros_like(fixed)
    warped[:, :, :-1] = fixed[:, :, 1:]
    wanted = [
        2 * ((fixed == n) & (warped == n)).sum() / ((fixed == n).sum() + (warped == n).sum())
        for n in (1, 2, 3)
    ]
    assert measured(pair, shift)["dice"] == pytest.approx(np.mean(wanted))


def test_negative_labels_are_no_structures():
    labels = pair_of().fixed_labels.clone()
    labels[labels == 0] = -1
    pair = pair_of()
    odd = Pair(pair.fixed, pair.moving, GRID, fixed_labels=labels, moving_labels=labels)
    assert measured(odd, pair.zero())["dice"] == 1


def test_a_fold_is_counted():
    fold = pair_of().zero()
    fold[0, 2, 5, 6, 7] = -5
    assert measured(pair_of(False), fold)["folds_percent"] > 0
    assert "dice" not in measured(pair_of(False), fold)


def test_steps_get_figures_the_clock_and_the_time_left():
    told = []
    monitor = Monitor(told.append)
    monitor.watch(pair_of())
    for step in range(3):
        monitor(Progress("refine", step, 3, {"total": 1.0}, displacement=pair_of().zero()))
    assert all(p.displacement is None for p in told)
    assert all(p.metrics["dice"] == 1 for p in told)
    assert told[0].elapsed_s <= told[1].elapsed_s <= told[2].elapsed_s
    assert told[0].eta_s >= 0
    assert told[2].eta_s is None


def test_figures_are_not_taken_at_every_step(monkeypatch):
    taken = []
    monkeypatch.setattr(
        "RegRefineLib.live_metrics.measured", lambda *_: taken.append(1) or {"dice": 1.0}
    )
    monitor = Monitor(lambda _: None)
    monitor.watch(pair_of())
    for step in range(50):
        monitor(Progress("refine", step, 50, displacement=pair_of().zero()))
    assert 2 <= len(taken) < 20  # the first, the last, and what half a second allows


def test_a_stop_goes_through_and_is_remembered():
    def stop(_: Progress) -> None:
        raise Stopped

    monitor = Monitor(stop)
    assert not monitor.stopped
    with pytest.raises(Stopped):
        monitor(Progress("start"))
    assert monitor.stopped

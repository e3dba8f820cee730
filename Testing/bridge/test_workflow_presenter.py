"""What the panel does, against a scene and a worker made of plain objects, and a real worker."""

from __future__ import annotations

import time

import pytest
from RegRefineBridge.process.client import WorkerClient
from RegRefineBridge.process.transports import SubprocessTransport
from RegRefineBridge.workflow.history import KEPT_ON_DISK, compare
from RegRefineBridge.workflow.interfaces import Inputs, Request
from RegRefineBridge.workflow.presenter import Presenter
from support.paths import SUPPORT
from support.presenter_fakes import FakeScene, FakeWorker

from RegRefineLib.errors import RegRefineError
from RegRefineLib.job import Job

REQUEST = Request(Inputs("fixed", "moving"), Job(), title="default")
INTO_MINE = Request(Inputs("fixed", "moving"), Job(), chosen={"transform": "mine"})


class Desk:
    """A presenter with its fakes and everything it has said."""

    def __init__(self, folder, worker=None):
        self.scene, self.worker = FakeScene(), worker or FakeWorker()
        self.states, self.published, self.folders = [], [], []
        self.root = folder
        self.presenter = Presenter(self.scene, self.worker, self._newFolder)
        self.presenter.onChanged = self.states.append
        self.presenter.onPublished = self.published.append

    def _newFolder(self):
        folder = self.root / str(len(self.folders))
        folder.mkdir()
        self.folders.append(folder)
        return folder

    @property
    def state(self):
        return self.presenter.state

    def run(self, value=1.0, request=REQUEST, **changes):
        assert self.presenter.start(request)
        self.worker.finish(value, **changes)
        while self.state.busy:  # on a machine with much else to do it takes several polls
            self.presenter.poll()


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path)


def test_what_is_missing_is_said_in_words(desk):
    assert desk.presenter.missing(Request(Inputs(), Job())) == [
        "Choose the fixed volume.",
        "Choose the moving volume.",
    ]
    assert desk.presenter.missing(REQUEST) == []


def test_a_network_without_weights_is_missing_something(desk):
    network = Request(Inputs("fixed", "moving"), Job(start="network"))
    assert "weights" in desk.presenter.missing(network)[0]
    given = Job(start="network", start_settings={"weights": "unigradicon"})
    assert desk.presenter.missing(Request(Inputs("fixed", "moving"), given)) == []
    lost = Job(start="network", start_settings={"weights": "/nowhere/w.safetensors"})
    assert "not there" in desk.presenter.missing(Request(Inputs("fixed", "moving"), lost))[0]


def test_nothing_starts_while_something_is_missing(desk):
    assert not desk.presenter.start(Request(Inputs("fixed"), Job()))
    assert desk.state.level == "error"
    assert "moving" in desk.state.message
    assert not desk.worker.running


def test_what_cannot_be_read_is_said_and_leaves_no_folder(desk):
    desk.scene.refuses = "fixed volume: no voxels"
    assert not desk.presenter.start(REQUEST)
    assert desk.state.message == "fixed volume: no voxels"
    assert not desk.folders[0].exists()
    assert not desk.state.busy


def test_a_full_disk_is_said_in_words(desk, monkeypatch):
    monkeypatch.setattr(desk.presenter, "_newFolder", lambda: desk.root / "file" / "job")
    (desk.root / "file").write_text("in the way")
    assert not desk.presenter.start(REQUEST)
    assert "cannot be written" in desk.state.message


def test_a_second_start_during_a_run_is_refused(desk):
    desk.presenter.start(REQUEST)
    with pytest.raises(RegRefineError, match="under way"):
        desk.presenter.start(REQUEST)


def test_a_run_goes_from_start_to_result(desk):
    desk.presenter.start(REQUEST)
    assert desk.state.busy
    desk.worker.tell("hello", protocol=1, pid=1)
    assert desk.state.stage == "Loading PyTorch"
    desk.worker.tell("started", folder="")
    desk.worker.progress("affine", 3, 10)
    desk.worker.progress("refine", 0, 4, loss=0.5, dice=0.6)
    desk.worker.progress("refine", 1, 4, loss=0.4, dice=0.7, folds_percent=0.1)
    assert desk.state.stage == "Refining (2 of 4)"
    assert desk.state.losses == (0.5, 0.4)
    assert desk.state.dices == (0.6, 0.7)
    assert desk.state.live["folds_percent"] == 0.1
    assert desk.state.secondsLeft == 3.0
    desk.worker.finish(2.0)
    fractions = [state.fraction for state in desk.states if state.busy]
    assert fractions == sorted(fractions)
    assert not desk.state.busy
    assert desk.scene.contents == {"transform 1": 2.0}
    assert desk.published[0].nodes == {"transform": "transform 1"}
    assert "correlation 0.500" in desk.state.message
    assert desk.state.current == 1


def test_warnings_of_the_worker_are_kept_for_the_panel(desk):
    desk.presenter.start(REQUEST)
    desk.worker.tell("warning", stage="prepare", message="they hardly overlap")
    desk.worker.progress("refine")
    assert desk.state.warnings == ("they hardly overlap",)
    desk.worker.finish()
    assert desk.state.warnings == ("they hardly overlap",)


def test_stop_asks_once_and_the_result_is_published(desk):
    desk.presenter.start(REQUEST)
    desk.presenter.stop()
    desk.presenter.stop()
    assert desk.worker.told == ["stop"]
    assert desk.state.phase == "stopping"
    desk.worker.finish(3.0, stopped=True)
    assert desk.scene.contents == {"transform 1": 3.0}
    assert "Stopped" in desk.state.message
    assert desk.presenter.shown().stopped


def test_cancel_leaves_the_scene_as_it_was(desk):
    desk.presenter.start(REQUEST)
    desk.presenter.cancel()
    desk.worker.fail("cancelled", "the run was dropped")
    assert desk.scene.contents == {}
    assert desk.state.level == "info"
    assert not desk.state.busy
    assert not desk.folders[0].exists()


@pytest.mark.parametrize("kind", ["user", "memory", "error", "crash"])
def test_a_failure_is_shown_with_its_details(desk, kind):
    desk.presenter.start(REQUEST)
    desk.worker.fail(kind, "what happened", "the last lines")
    assert (desk.state.message, desk.state.level) == ("what happened", "error")
    assert desk.state.details == "the last lines"
    assert not desk.state.busy
    assert not desk.folders[0].exists()


def test_a_result_is_dropped_when_an_input_changed_meanwhile(desk):
    desk.presenter.start(REQUEST)
    desk.scene.version += 1
    desk.worker.finish()
    assert desk.scene.contents == {}
    assert "changed" in desk.state.message
    assert desk.state.level == "warning"
    assert not desk.folders[0].exists()


def test_a_removed_input_drops_the_run(desk):
    desk.presenter.start(REQUEST)
    desk.scene.gone = True
    desk.presenter.poll()
    desk.presenter.poll()
    assert desk.worker.told == ["cancel"]
    desk.worker.fail("cancelled", "the run was dropped")
    assert "removed" in desk.state.message


def test_closing_the_scene_ends_the_run_and_forgets_the_history(desk):
    desk.run()
    desk.presenter.start(REQUEST)
    desk.presenter.sceneClosing()
    assert desk.worker.told == ["close"]
    assert not desk.state.busy
    assert len(desk.presenter.runs) == 0
    assert not any(folder.exists() for folder in desk.folders)


def test_closing_a_scene_without_a_run_keeps_the_worker_warm(desk):
    desk.run()
    desk.presenter.sceneClosing()
    assert desk.worker.told == []


def test_close_deletes_everything(desk):
    desk.run()
    desk.presenter.start(REQUEST)
    desk.presenter.close()
    assert not any(folder.exists() for folder in desk.folders)


def test_a_result_that_cannot_be_published_is_said(desk):
    desk.presenter.start(REQUEST)
    desk.scene.refuses = "transform: the fixed volume is under it"
    desk.worker.finish()
    assert desk.state.message == "transform: the fixed volume is under it"
    assert not desk.state.busy
    assert len(desk.presenter.runs) == 0


def test_a_result_worse_than_the_start_is_told(desk):
    desk.run(before={"dice": {"mean": 0.7, "1": 0.7}}, after={"dice": {"mean": 0.6, "1": 0.6}})
    assert desk.state.worse == ("dice",)
    assert desk.state.level == "warning"
    assert "Worse" in desk.state.message
    desk.run(before={"dice": {"mean": 0.7}}, after={"dice": {"mean": 0.8}})
    assert desk.state.worse == ()
    assert desk.state.level == "info"


def test_revert_without_an_earlier_run_takes_the_new_nodes_away(desk):
    desk.run(2.0)
    assert desk.presenter.revert()
    assert desk.scene.contents == {}
    assert desk.state.current == 0
    assert not desk.presenter.revert()
    assert desk.presenter.restore(1)
    assert list(desk.scene.contents.values()) == [2.0]
    assert desk.state.current == 1


def test_revert_gives_a_chosen_node_its_former_content(desk):
    desk.scene.contents["mine"] = "as it was"
    desk.run(2.0, INTO_MINE)
    assert desk.scene.contents["mine"] == 2.0
    desk.presenter.revert()
    assert desk.scene.contents["mine"] == "as it was"


def test_revert_brings_the_run_before_back(desk):
    desk.run(2.0, INTO_MINE)
    desk.run(5.0, INTO_MINE)
    assert desk.scene.contents["mine"] == 5.0
    desk.presenter.revert()
    assert desk.scene.contents["mine"] == 2.0
    assert desk.state.current == 1
    assert [run.number for run in desk.presenter.runs] == [1, 2]  # to be restored in one click
    assert desk.presenter.restore(2)
    assert desk.scene.contents["mine"] == 5.0
    desk.presenter.revert()
    desk.presenter.revert()
    assert "mine" not in desk.scene.contents or desk.scene.contents["mine"] is None
    assert desk.state.current == 0


def test_an_earlier_run_can_be_restored(desk):
    desk.run(2.0, INTO_MINE)
    desk.run(5.0, INTO_MINE)
    assert desk.presenter.restore(1)
    assert desk.scene.contents["mine"] == 2.0
    assert desk.state.current == 1
    assert len(desk.presenter.runs) == 2


def test_old_arrays_make_room_and_cannot_be_restored(desk):
    for value in range(KEPT_ON_DISK + 1):
        desk.run(float(value), INTO_MINE)
    assert len(desk.presenter.runs) == KEPT_ON_DISK + 1
    assert sum(folder.exists() for folder in desk.folders) == KEPT_ON_DISK
    assert not desk.presenter.restore(1)
    assert "room" in desk.state.message


def test_the_worker_s_inputs_are_deleted_and_its_outputs_stay(desk):
    desk.run()
    names = {path.name for path in desk.folders[0].iterdir()}
    assert "fixed.npy" not in names
    assert {"transform.npy", "result.json"} <= names


def test_two_runs_are_compared_by_settings_and_metrics(desk):
    desk.run(after={"dice": {"mean": 0.7}})
    other = Request(Inputs("fixed", "moving"), Job(settings={"steps": 40}))
    desk.run(request=other, after={"dice": {"mean": 0.8}})
    rows = compare(*desk.presenter.runs)
    assert ("settings.steps", "\N{EN DASH}", "40") in rows
    assert ("Dice overlap", "0.700", "0.800") in rows
    assert not any(name == "device" for name, _, _ in rows)


def test_an_earlier_run_makes_the_estimate(desk):
    before = desk.presenter.estimate(REQUEST)
    assert not before.measured
    desk.run(seconds={"refine": 100.0, "finish": 20.0}, peak_memory_mb=900.0, device="cpu")
    after = desk.presenter.estimate(REQUEST)
    assert after.measured
    assert after.seconds == pytest.approx(120.0)
    assert "judging by earlier runs" in after.words()


def test_what_got_worse_is_said_with_both_values(desk):
    desk.run(
        before={"dice": {"mean": 0.944}, "hd95_mm": {"mean": 2.24}},
        after={"dice": {"mean": 0.851}, "hd95_mm": {"mean": 3.41}},
    )
    arrow = "\N{RIGHTWARDS ARROW}"
    assert f"Dice overlap 0.944 {arrow} 0.851" in desk.state.message
    assert "revert" in desk.state.message


OTHER_PAIR = Request(Inputs("fixed", "third"), Job(), chosen={"transform": "transform 1"})


def test_another_moving_volume_gets_nodes_of_its_own(desk):
    """The panel keeps the last run's transform chosen; that is the first pair's."""
    desk.run(2.0)
    desk.run(5.0, OTHER_PAIR)
    assert desk.scene.contents == {"transform 1": 2.0, "transform 2": 5.0}
    same = Request(Inputs("fixed", "moving"), Job(), chosen={"transform": "transform 1"})
    desk.run(3.0, same)
    assert desk.scene.contents == {"transform 1": 3.0, "transform 2": 5.0}


def test_overwriting_something_else_is_asked_and_a_run_s_own_nodes_are_not(desk):
    desk.scene.full = {"mine"}
    assert "mine is not empty." in desk.presenter.question(INTO_MINE)
    desk.run(2.0)
    desk.scene.full = {"transform 1"}
    assert desk.presenter.question(OTHER_PAIR) == ""  # it will get a new node


def test_a_run_says_which_volumes_it_was_of(desk):
    desk.run()
    desk.run(5.0, OTHER_PAIR)
    first, second = desk.presenter.runs
    assert (first.pair, second.pair) == ("moving to fixed", "third to fixed")
    assert compare(first, second)[0][1:] == ("moving to fixed", "third to fixed")
    assert "do not compare" in compare(first, second)[0][0]
    assert "do not compare" not in compare(first, first)[0][0]


def test_a_result_half_in_the_scene_is_taken_out_when_the_run_is_cancelled(desk):
    desk.scene.contents["mine"] = "as it was"
    desk.scene.publishSteps = 1000
    desk.scene.steps = 0
    desk.presenter.start(INTO_MINE)
    steps = []
    desk.presenter._results._scene.publish, whole = None, desk.scene.__class__.publish

    def slowly(*args):
        for _ in whole(desk.scene, *args):
            steps.append(1)
            time.sleep(0.06)
            yield

    desk.presenter._results._scene.publish = slowly
    desk.worker.finish(4.0)
    while not steps:
        desk.presenter.poll()
    assert desk.scene.contents["mine"] == 4.0
    desk.presenter.cancel()
    assert desk.scene.contents["mine"] == "as it was"
    assert not desk.state.busy
    assert len(desk.presenter.runs) == 0


def test_a_listener_that_fails_leaves_the_presenter_in_order(desk):
    def fails(state):
        raise KeyError("of the listener")

    desk.presenter.start(REQUEST)
    desk.presenter.onChanged = fails
    with pytest.raises(KeyError):
        desk.worker.finish(2.0)
    for _ in range(5):
        try:
            desk.presenter.poll()
        except KeyError:
            continue
    desk.presenter.onChanged = desk.states.append
    assert not desk.state.busy
    assert desk.presenter.shown().number == 1
    desk.run(3.0)


def test_a_real_worker_runs_stops_and_is_cancelled(tmp_path):
    """The whole with a real process, whose steps are 0.02 s of sleep."""
    behaviours = str(SUPPORT / "worker_behaviours.py")
    client = WorkerClient(SubprocessTransport, arguments=(behaviours, "steps"))
    desk = Desk(tmp_path, client)

    def until(condition):
        end = time.monotonic() + 30
        while not condition():
            assert time.monotonic() < end, desk.state
            desk.presenter.poll()
            time.sleep(0.01)

    try:
        assert desk.presenter.start(REQUEST)
        until(lambda: not desk.state.busy)
        assert desk.scene.contents == {"transform 1": 60.0}
        assert desk.state.losses[-1] == pytest.approx(1 / 60)
        assert desk.presenter.start(REQUEST)
        until(lambda: desk.state.losses)
        desk.presenter.stop()
        until(lambda: not desk.state.busy)
        assert 0 < desk.scene.contents["transform 2"] < 60
        assert desk.presenter.start(REQUEST)
        until(lambda: desk.state.losses)
        desk.presenter.cancel()
        began = time.monotonic()
        until(lambda: not desk.state.busy)
        assert time.monotonic() - began < 1.5
        assert len(desk.scene.contents) == 2
    finally:
        desk.presenter.close()
    assert not any(folder.exists() for folder in desk.folders)

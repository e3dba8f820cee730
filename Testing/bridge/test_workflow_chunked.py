"""A result comes into the scene in short steps, and what is heavy is not done there at all."""

from __future__ import annotations

import numpy as np
import pytest
from RegRefineBridge.mrml import vtk_arrays as loading
from RegRefineBridge.mrml.output_nodes import Sources
from RegRefineBridge.mrml.publish import publish
from RegRefineBridge.mrml.vtk_arrays import copied, load
from RegRefineBridge.workflow import presenter as presenting
from RegRefineBridge.workflow.chunked import advance, finished
from RegRefineBridge.workflow.interfaces import Inputs, Request
from RegRefineBridge.workflow.presenter import Presenter
from support.mrml import addVolume, newScene
from support.presenter_fakes import FakeScene, FakeWorker
from support.worker_behaviours import result_of

from RegRefineLib.geometry import Geometry, Volume
from RegRefineLib.job import Job
from RegRefineLib.worker.job_folder import read_result, write_result
from RegRefineLib.worker.scene_result import prepared

REQUEST = Request(Inputs("fixed", "moving"), Job())
GRID = Geometry((12, 14, 16), np.eye(4))


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """A presenter that takes one step a poll, of a scene that loads in five."""
    monkeypatch.setattr(presenting, "SLICE_S", 0.0)
    scene, worker = FakeScene(), FakeWorker()
    scene.steps = 5
    folders = iter(tmp_path / str(n) for n in range(9))
    made = Presenter(scene, worker, lambda: next(folders))
    made.start(REQUEST)
    worker.finish(2.0)
    return made, scene


def polls(presenter):
    count = 0
    while presenter.state.busy:
        presenter.poll()
        count += 1
        assert count < 100
    return count


def test_a_result_is_published_over_several_polls(desk):
    presenter, scene = desk
    assert presenter.state.phase == "publishing"
    assert scene.contents == {}
    assert polls(presenter) == 6
    assert scene.contents == {"transform 1": 2.0}
    assert presenter.shown().number == 1


def test_stop_changes_nothing_while_a_result_is_published(desk):
    presenter, scene = desk
    presenter.stop()
    polls(presenter)
    assert scene.contents == {"transform 1": 2.0}


def test_a_run_can_be_dropped_until_the_last_step(desk, tmp_path):
    presenter, scene = desk
    presenter.poll()
    presenter.cancel()
    assert not presenter.state.busy
    assert scene.contents == {}
    assert not (tmp_path / "0").exists()
    presenter.poll()
    assert scene.contents == {}


def test_an_input_removed_while_a_result_is_published_drops_it(desk):
    presenter, scene = desk
    scene.gone = True
    polls(presenter)
    assert scene.contents == {}
    assert "removed" in presenter.state.message


def test_an_input_changed_while_a_result_is_published_drops_it(desk):
    presenter, scene = desk
    scene.version += 1
    polls(presenter)
    assert scene.contents == {}
    assert "changed" in presenter.state.message


def test_a_scene_closed_while_a_result_is_published_forgets_it(desk):
    presenter, scene = desk
    presenter.sceneClosing()
    presenter.poll()
    assert not presenter.state.busy
    assert scene.contents == {}


def test_steps_are_taken_for_a_while_and_give_their_value_at_the_end():
    def five():
        for _step in range(5):
            yield
        return "done"

    assert finished(five()) == "done"
    steps = five()
    advance(steps, 0.0)
    with pytest.raises(StopIteration) as end:
        advance(steps, 10.0)
    assert end.value.value == "done"


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.int32, np.float32, np.float64])
def test_an_array_is_copied_in_pieces_of_a_bounded_size(kind, monkeypatch):
    monkeypatch.setattr(loading, "STEP_BYTES", 1000)
    array = np.random.default_rng(0).integers(0, 100, (11, 12, 13, 3)).astype(kind)
    steps, count = copied(array, 3), 0
    while True:
        try:
            next(steps)
            count += 1
        except StopIteration as end:
            target = end.value
            break
    assert count == -(-array.nbytes // (1000 // array.itemsize * array.itemsize))
    assert (target.GetNumberOfTuples(), target.GetNumberOfComponents()) == (array.size // 3, 3)
    np.testing.assert_array_equal(loading.vtk_to_numpy(target).ravel(), array.ravel())


def test_publishing_computes_nothing_on_whole_arrays(tmp_path, monkeypatch):
    """The files give the arrays, the arrays are copied once, the nodes take what was copied."""
    scene = newScene()
    volume = Volume(np.zeros(GRID.shape, np.float32), GRID)
    result = result_of(volume, Job(), 2.0)
    object.__setattr__(result, "warped_labels", Volume(np.ones(GRID.shape, np.int32), GRID))
    write_result(tmp_path, prepared(result, lengths=True))
    from RegRefineLib import field_padding as taper
    from RegRefineLib.worker import scene_result as ready

    def refuse(*_):
        raise AssertionError("computed where the scene is")

    for module, name in ((taper, "tapered"), (taper, "needed_margin"), (ready, "prepared")):
        monkeypatch.setattr(module, name, refuse)
    monkeypatch.setattr(Geometry, "points", refuse)
    sources = Sources(addVolume(scene, volume, "fixed"), addVolume(scene, volume, "moving"))
    copies = []
    monkeypatch.setattr(loading.np, "copyto", lambda to, array: copies.append(array.nbytes))
    ready_result = read_result(tmp_path)
    loaded = finished(load(ready_result))
    nodes = publish(scene, loaded, sources, ("warpedVolume", "warpedSegmentation", "displacement"))
    assert set(nodes) == {"transform", "warpedVolume", "warpedSegmentation", "displacement"}
    whole = [
        ready_result.transform.grid.vectors,
        ready_result.warped.array,
        ready_result.warped_labels.array,
        ready_result.displacement.array,
    ]
    assert sum(copies) == sum(array.nbytes for array in whole)

"""What a run is said to need."""

from RegRefineLib.job import Job
from RegRefineLib.memory_model import bytes_per_voxel


def needed(**settings) -> float:
    return bytes_per_voxel(Job(start="none", refinement="pyramid", settings=settings))


def test_two_moving_images_and_many_features_need_more():
    assert needed(symmetric=True) == needed(symmetric="true") > needed(symmetric=False) == needed()
    assert needed(similarity="mind") > needed(similarity="mutual-information") == needed()


def test_what_was_not_measured_is_not_said():
    assert bytes_per_voxel(Job(start="network", refinement="pyramid")) is None
    assert bytes_per_voxel(Job(start="none", refinement="firework")) is None

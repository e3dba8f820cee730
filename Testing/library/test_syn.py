"""The SyN start: its process, limits and errors with a stand-in, its signs with antspyx itself."""

import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch

from RegRefineLib.errors import Cancelled, RegRefineError
from RegRefineLib.geometry import Geometry
from RegRefineLib.job import Progress
from RegRefineLib.pair import Pair, ignore
from RegRefineLib.starts import syn

SHAPE = (8, 9, 10)
SPACING = (2.0, 1.5, 1.0)  # along the array's axes
# a package that registers nothing, and says that all is 6 mm away along every axis
STAND_IN = """
    import json, pathlib
    import numpy as np

    class Image:
        def __init__(self, array, spacing=None):
            self.array, self.spacing = array, spacing
        def numpy(self):
            return self.array

    def from_numpy(array, spacing):
        return Image(array, spacing)

    def registration(fixed, moving, outprefix, **options):
        assert fixed.array.shape == moving.array.shape and len(fixed.spacing) == 3
        assert options["type_of_transform"] == "SyNOnly"
        {action}
        return {{"fwdtransforms": [outprefix + "1Warp.nii.gz"]}}

    def apply_transforms(fixed, moving, transformlist, compose):
        np.save(compose + "comptx.npy", np.full((*fixed.array.shape, 3), 6.0))
        return compose + "comptx.npy"

    def image_read(path):
        return Image(np.load(path))
"""


def pair(shape: tuple[int, int, int] = SHAPE) -> Pair:
    geometry = Geometry(shape, np.diag([*SPACING[::-1], 1.0]))
    return Pair(torch.rand(1, 1, *shape), torch.rand(1, 1, *shape), geometry)


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """Put a package named ants first, whose registration does `action`."""

    def put(action: str) -> None:
        (tmp_path / "ants.py").write_text(textwrap.dedent(STAND_IN).format(action=action))
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "ants", raising=False)
        monkeypatch.setattr(syn, "PULSE_S", 0.05)

    return put


def test_millimetres_become_voxels_of_each_axis(stand_in):
    stand_in("pass")
    events: list[Progress] = []
    found = syn.predict(pair(), {}, events.append)
    assert found.shape == (1, 3, *SHAPE)
    for axis, wanted in enumerate((3.0, 4.0, 6.0)):
        assert torch.equal(found[:, axis], torch.full((1, *SHAPE), wanted))
    assert events
    assert all(e.stage == "start" for e in events)


def test_settings_reach_the_process(stand_in):
    stand_in(
        "assert options['syn_metric'] == 'CC' and options['syn_sampling'] == 3 "
        "and options['reg_iterations'] == (5, 0) and options['mask'] is None"
    )
    syn.predict(pair(), {"metric": "cc", "sampling": "3", "iterations": "5, 0"}, ignore)


def test_a_failure_is_told_in_its_own_words(stand_in):
    stand_in("raise RuntimeError('all samples map outside')")
    with pytest.raises(RegRefineError, match="SyN failed: RuntimeError: all samples map outside"):
        syn.predict(pair(), {}, ignore)


def test_no_run_outlasts_its_limit_or_a_cancelled_one(stand_in, monkeypatch):
    stand_in("__import__('time').sleep(60)")
    begun = []
    popen = subprocess.Popen
    monkeypatch.setattr(
        subprocess, "Popen", lambda *a, **k: begun.append(popen(*a, **k)) or begun[-1]
    )

    def cancel(progress: Progress) -> None:
        raise Cancelled

    with pytest.raises(RegRefineError, match=r"not done after time_limit_s = 0\.2;"):
        syn.predict(pair(), {"time_limit_s": 0.2}, ignore)
    with pytest.raises(Cancelled):
        syn.predict(pair(), {}, cancel)
    assert [process.poll() is not None for process in begun] == [True, True]


def test_without_antspyx_the_way_to_it_is_told(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(RegRefineError, match=r"pip install 'RegRefineLib\[syn\]'"):
        syn.predict(pair(), {}, ignore)


@pytest.mark.parametrize("iterations", ["40x20", "", "40,-1", "many"])
def test_wrong_iterations_are_named(iterations):
    with pytest.raises(RegRefineError, match="whole numbers like 40,20,0"):
        syn.predict(pair(), {"iterations": iterations}, ignore)


def test_an_unknown_metric_is_named():
    with pytest.raises(RegRefineError, match="metric: mattes or cc"):
        syn.predict(pair(), {"metric": "ssim"}, ignore)


def test_antspyx_finds_a_shift_with_our_sign_and_units():
    pytest.importorskip("ants")
    shape, shift = (32, 40, 48), np.array([1.0, -2.0, 3.0])
    random = np.random.default_rng(0)
    centres, weights = random.random((60, 3)) * shape, random.standard_normal(60)
    x = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"))

    def blobs(moved: np.ndarray) -> torch.Tensor:
        image = np.zeros(shape)
        for centre, weight in zip(centres + moved, weights, strict=True):
            away = (x - centre[:, None, None, None]) ** 2
            image += weight * np.exp(-away.sum(axis=0) / (2 * 3.0**2))
        image -= image.min()
        return torch.from_numpy((image / image.max()).astype(np.float32))[None, None]

    geometry = Geometry(shape, np.diag([*SPACING[::-1], 1.0]))
    given = Pair(blobs(np.zeros(3)), blobs(shift), geometry)
    found = syn.predict(given, {"threads": 1, "iterations": "50,30,5"}, ignore)
    inner = found[0, :, 10:-10, 10:-10, 10:-10].mean(dim=(1, 2, 3)).numpy()
    assert np.allclose(inner, shift, atol=0.5)

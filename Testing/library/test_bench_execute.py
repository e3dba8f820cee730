"""A tool in a process of its own: its field in our frame, its seconds, its failures."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from support.bench_pairs import SHIFT_RAS, write_set

from RegRefineLib.bench.cases import read_cases
from RegRefineLib.bench.environments import folder, install, python_of
from RegRefineLib.bench.execute import MEASURE, execute
from RegRefineLib.bench.judge import judged, zero_field
from RegRefineLib.bench.prealigned import aligned, grid_of
from RegRefineLib.bench.runners.task import vectors_lps
from RegRefineLib.bench.tools import TOOLS, Tool
from RegRefineLib.errors import RegRefineError
from RegRefineLib.geometry import DisplacementField
from RegRefineLib.itk_lps import to_image

IMPORTS = """import numpy as np
    import SimpleITK as sitk
    fixed = sitk.ReadImage(task.fixed)
    shape = fixed.GetSize()[::-1]"""
FAKE = """
import sys
from RegRefineLib.bench.runners.task import perform, write_voxels
def register(task):
    {imports}
    with task.work():
        {work}
    return {{"fake": "1"}}
if __name__ == "__main__":
    perform(register)
"""


@pytest.fixture
def small(tmp_path):
    sets, _ = read_cases(write_set(tmp_path), tmp_path)
    case = sets["small"][0]
    return case, aligned(case, tmp_path / "pairs")


def ran(small, tmp_path, work, limit_s=60.0, **more):
    script = tmp_path / "fake.py"
    imports = IMPORTS if "np." in work or "sitk." in work else "pass"
    script.write_text(FAKE.format(imports=imports, work=work))
    tool = Tool(str(script), **more)
    return execute(tool, python_of(tool, tmp_path), *small, 1, limit_s)


def test_a_field_in_voxels_comes_back_in_our_frame(small, tmp_path):
    """The runner knows the shift in voxels along the array's axes only, as ConvexAdam does."""
    grid = grid_of(small[1]).geometry
    voxels = (grid.inverse_affine[:3, :3] @ SHIFT_RAS)[::-1]
    work = "write_voxels(np.broadcast_to(task.settings['voxels'], (*shape, 3)), task)"
    record = ran(small, tmp_path, work, settings={"voxels": voxels.tolist()})
    assert "error" not in record
    assert record["dice"] > 0.97
    assert record["largest_mm"] == pytest.approx(np.linalg.norm(SHIFT_RAS), abs=1e-3)
    assert record["folds_percent"] == 0
    assert record["versions"] == {"fake": "1"}
    assert 0 < record["work_cpu_s"] <= record["cpu_s"]
    assert record["peak_mb"] > 10


def test_a_tool_is_told_where_the_moving_image_lies_unless_it_shall_not(small, tmp_path):
    case, pair = small
    mask = tmp_path / "mask.nii"
    small = case, replace(pair, mask=mask)
    work = "raise ValueError(repr(task.moving_mask))"
    told = ran(small, tmp_path, work)
    assert str(mask) in told["error"]
    assert told["masked"]
    untold = ran(small, tmp_path, work, mask=False)
    assert "''" in untold["error"]
    assert not untold["masked"]


def test_a_turn_in_voxels_is_the_same_turn_in_millimetres(small):
    grid = grid_of(small[1]).geometry
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(0.2), -np.sin(0.2)], [np.sin(0.2), np.cos(0.2)]]
    wanted = DisplacementField.from_affine(turn, grid)
    image = to_image(grid_of(small[1]))
    voxels = wanted.to_voxels()[..., ::-1]
    lps = vectors_lps(voxels, image.GetSpacing(), image.GetDirection())
    np.testing.assert_allclose(lps * [-1, -1, 1], wanted.vectors, atol=1e-4)


def test_the_judge_adds_the_affine_part(small):
    case, pair = small
    grid = grid_of(pair).geometry
    start = judged(case, zero_field(grid), np.eye(4))
    matrix = np.eye(4)
    matrix[:3, 3] = SHIFT_RAS
    moved = judged(case, zero_field(grid), matrix)
    assert moved["dice"] > 0.97 > 0.8 > start["dice"]
    assert moved["largest_mm"] == 0
    assert moved["sdlogj"] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("work", "said"),
    [
        ("raise ValueError('too thin')", "too thin"),
        ("sys.exit(3)", "ended with 3"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "ended with 9"),
        ("pass", "no such file"),
        ("sitk.WriteImage(fixed, task.field)", "displacement field"),
        ("write_voxels(np.full((*shape, 3), np.nan), task)", "finite"),
    ],
)
def test_a_failure_is_a_record_with_its_error(work, said, small, tmp_path):
    record = ran(small, tmp_path, work)
    assert said in record["error"]
    assert "dice" not in record
    assert record["wall_s"] > 0


def test_a_run_past_the_limit_is_ended(small, tmp_path):
    record = ran(small, tmp_path, "import time; time.sleep(60)", limit_s=1)
    assert record["error"] == "ended after 1 s"
    assert record["wall_s"] < 20


def measured(tmp_path, code):
    figures_file = tmp_path / "usage.json"
    command = [sys.executable, "-I", "-S", "-c", code]
    subprocess.run(
        [sys.executable, "-I", str(MEASURE), str(figures_file), "60", *command], check=True
    )
    return json.loads(figures_file.read_text())


def test_memory_and_seconds_are_the_processes_own(tmp_path):
    ballast = np.ones(30_000_000)  # 240 MB in this process must not count
    small = measured(tmp_path, "pass")
    large = measured(
        tmp_path, "import time; x = b'1' * 150_000_000\nwhile time.process_time() < 0.5: pass"
    )
    assert ballast.any()
    assert small["peak_mb"] < 100
    assert 140 < large["peak_mb"] < 300
    assert 0.5 <= large["cpu_s"] < 3


def test_environments_are_looked_for_where_told(tmp_path, monkeypatch):
    monkeypatch.setenv("REGREFINE_PEERS", str(tmp_path))
    assert folder() == tmp_path
    assert folder("here").name == "here"
    assert python_of(TOOLS["greedy"], tmp_path) is None
    assert python_of(TOOLS["default"], tmp_path) is not None
    with pytest.raises(RegRefineError, match="nothing to install"):
        install(TOOLS["default"], tmp_path)


def test_an_environment_is_made_by_venv_and_pip_alone(tmp_path, monkeypatch):
    ran_commands = []

    def run(command, **_):
        ran_commands.append(command)
        binaries = tmp_path / "greedy" / ("Scripts" if sys.platform == "win32" else "bin")
        binaries.mkdir(parents=True, exist_ok=True)
        (binaries / ("python.exe" if sys.platform == "win32" else "python")).touch()
        return subprocess.CompletedProcess(command, 0 if len(ran_commands) < 3 else 1, "", "no net")

    monkeypatch.setattr(subprocess, "run", run)
    install(TOOLS["greedy"], tmp_path)
    assert ran_commands[0][1:3] == ["-m", "venv"]
    assert ran_commands[1][1:4] == ["-m", "pip", "install"]
    assert set(TOOLS["greedy"].packages) <= set(ran_commands[1])
    with pytest.raises(RegRefineError, match="no net"):
        install(TOOLS["greedy"], tmp_path)


def test_stacks_of_few_slices_are_padded_for_greedy_and_stay_in_place():
    import SimpleITK as sitk

    from RegRefineLib.bench.runners.run_greedy import margins_of, padded

    assert margins_of((192, 160, 7), 16) == [(0, 0), (0, 0), (4, 5)]
    image = sitk.GetImageFromArray(np.arange(24, dtype=np.float32).reshape(2, 3, 4))
    grown = padded(image, [(0, 0), (0, 0), (1, 2)])
    array = sitk.GetArrayFromImage(grown)
    assert grown.TransformIndexToPhysicalPoint((0, 0, 1)) == image.GetOrigin()
    assert array[0].tolist() == array[1].tolist()
    assert array[-1].tolist() == array[2].tolist()


def test_images_of_odd_sizes_are_made_even_for_convexadams_masks():
    from RegRefineLib.bench.runners.run_convexadam import evened

    array = np.arange(3 * 2 * 5).reshape(3, 2, 5)
    grown = evened(array)
    assert grown.shape == (4, 2, 6)
    assert np.array_equal(grown[:3, :, :5], array)
    assert np.array_equal(grown[3, :, :5], array[2])

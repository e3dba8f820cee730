"""Download of one file over HTTPS: resumed after a lost connection, never left incomplete.

A partial download is kept beside the target as `<name>.part`, with the server's tag for it, so that
parts of different versions of the file are never joined.
"""

from __future__ import annotations

import errno
import http.client
import shutil
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

import certifi

from ..errors import RegRefineError

CHUNK = 1 << 20
ATTEMPTS = 3
TIMEOUT_S = 30.0
PAUSE_S = 1.0  # before the next attempt
LOOPBACK = ("127.0.0.1", "localhost", "::1")
FULL = (errno.ENOSPC, errno.EDQUOT) if hasattr(errno, "EDQUOT") else (errno.ENOSPC,)

# called with the bytes so far and the total bytes (0: not known)
ProgressBytes = Callable[[int, int], None]


class _Cut(Exception):
    """The connection ended before the file did, or never began."""


class _NothingThere(_Cut):
    """The server has no bytes from our position on: the partial download is of another file."""


def check_address(url: str) -> None:
    """Raise RegRefineError unless an address is https, or http on this machine itself."""
    parts = urlsplit(url)
    if parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK):
        return
    raise RegRefineError(f"{url}: only https addresses are downloaded from")


class _SameScheme(urllib.request.HTTPRedirectHandler):
    """Follow redirects only within the scheme of the request."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any,
        newurl: str,
    ) -> urllib.request.Request | None:  # fmt: skip
        if urlsplit(newurl).scheme != req.type:
            fp.close()
            raise RegRefineError(
                f"{req.full_url}: the server sends us on to {newurl}, which is not {req.type}; "
                "refused"
            )
        check_address(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]


def download(
    url: str, target: Path, progress: ProgressBytes | None = None, *, pinned: bool = False
) -> None:
    """Write the file at `url` to `target`, resuming an earlier partial download.

    Args:
        pinned: the caller verifies the file by a known hash, so resuming is safe even if the server
            sends no tag.

    Raises:
        RegRefineError: the address is not https or redirects away from it, the server refuses or
            cannot be reached, the connection is cut again and again, or the disk is full. The
            partial download is kept for the next attempt.
    """
    check_address(url)
    part = target.with_name(target.name + ".part")
    for attempt in range(1, ATTEMPTS + 1):
        try:
            _go_on(url, part, progress or (lambda done, whole: None), pinned)
            break
        except _Cut as cut:
            if isinstance(cut, _NothingThere):
                part.unlink(missing_ok=True)
            if attempt == ATTEMPTS:
                raise RegRefineError(
                    f"{url}: {cut}; run it again, it goes on from {_size(part) / 1e6:.1f} MB"
                ) from cut
            time.sleep(PAUSE_S)
        except OSError as error:
            raise RegRefineError(_disk_trouble(part, error)) from error
    part.replace(target)
    _tag_file(part).unlink(missing_ok=True)


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _tag_file(part: Path) -> Path:
    return part.with_name(part.name + ".tag")


def _disk_trouble(part: Path, error: OSError) -> str:
    if error.errno in FULL:
        return f"{part.parent}: the disk is full; make room, or set REGREFINE_CACHE to elsewhere"
    return f"{part.parent}: cannot be written ({error.strerror or error})"


def _open(url: str, start: int, tag: str) -> http.client.HTTPResponse:
    """Return the response to a request for the bytes from `start` on.

    Raises:
        _Cut: nobody answers.
        RegRefineError: the server answers with an error.
    """
    headers = {"User-Agent": "RegRefine", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
        if tag:
            headers["If-Range"] = tag
    context = ssl.create_default_context(cafile=certifi.where())
    secure = urllib.request.HTTPSHandler(context=context)
    opener = urllib.request.build_opener(_SameScheme, secure)
    try:
        return opener.open(urllib.request.Request(url, headers=headers), timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise _NothingThere("the server has another file now") from error
        if 300 <= error.code < 400:  # urllib's own refusal, such as of file:
            raise RegRefineError(f"{url}: {error.reason}; refused") from error
        raise RegRefineError(
            f"{url}: the server says {error.code} {error.reason}; the file may have moved"
        ) from error
    except (urllib.error.URLError, OSError, http.client.HTTPException) as error:
        raise _Cut(f"the server cannot be reached: {getattr(error, 'reason', error)}") from error


def _go_on(url: str, part: Path, progress: ProgressBytes, pinned: bool) -> None:
    """Append what is missing to `part`; start over if the server's file has changed."""
    tag_file = _tag_file(part)
    tag = tag_file.read_text() if tag_file.is_file() else ""
    start = _size(part) if tag or pinned else 0
    with _open(url, start, tag) as response:
        if response.headers.get_content_type() == "text/html":
            raise RegRefineError(
                f"{url}: the server sent a web page instead of the file; open the address in a "
                "browser, download the file there and give its path"
            )
        span = response.headers.get("Content-Range", "")
        goes_on = response.status == 206 and span.startswith(f"bytes {start}-")
        start = start if goes_on else 0
        length = response.headers.get("Content-Length")
        whole = start + int(length) if length and length.isdigit() else 0
        if whole - start > shutil.disk_usage(part.parent).free:
            raise OSError(errno.ENOSPC, "no space left")
        etag = response.headers.get("ETag", "")
        strong = etag and not etag.startswith("W/")
        tag_file.write_text(etag if strong else response.headers.get("Last-Modified", ""))
        with part.open("ab" if goes_on else "wb") as file:
            _copy(response, file, start, whole, progress)


def _copy(
    response: http.client.HTTPResponse, file: IO[bytes], done: int, whole: int,
    progress: ProgressBytes,
) -> None:  # fmt: skip
    """Copy a response's body to a file.

    Raises:
        _Cut: it ended early.
    """
    while True:
        try:
            block = response.read(CHUNK)
        except (OSError, http.client.HTTPException) as error:
            raise _Cut(f"the connection was cut ({error or type(error).__name__})") from error
        if not block:
            break
        file.write(block)
        done += len(block)
        progress(done, whole)
    if whole and done < whole:
        raise _Cut(f"the connection was cut after {done / 1e6:.1f} of {whole / 1e6:.1f} MB")

"""Files as the disk sees them: named, present, written whole or not at all, read without noise."""

from __future__ import annotations

import errno
import os
import shutil
import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import RegRefineError

PathLike = str | os.PathLike[str]
CACHE_VARIABLE = "REGREFINE_CACHE"

_FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
_stderr_lock = threading.RLock()


def cache_folder() -> Path:
    """Return where downloads are kept: $REGREFINE_CACHE, else the user's cache folder."""
    given = os.environ.get(CACHE_VARIABLE)
    if given:
        return Path(given)
    import pooch

    return Path(pooch.os_cache("regrefine"))


def ending_of(path: PathLike, known: Sequence[str], what: str) -> str:
    """Return which of the endings `known` (with their dot, longest first) a file's name has.

    Raises:
        RegRefineError: none of them; the sentence lists them as the formats of `what`.
    """
    name = Path(path).name.lower()
    for ending in known:
        if name.endswith(ending) and name != ending:
            return ending
    raise RegRefineError(f"{path}: unknown file type; {what} is one of {', '.join(known)}")


def present(path: PathLike) -> Path:
    """Return the path of a file that is there, can be opened and is not empty.

    Raises:
        RegRefineError: it is not so.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            empty = not file.read(1)
    except FileNotFoundError as error:
        raise RegRefineError(f"{path}: there is no such file; check the name") from error
    except IsADirectoryError as error:
        raise RegRefineError(f"{path}: is a folder; name a file in it") from error
    except OSError as error:
        raise RegRefineError(f"{path}: cannot be opened ({error.strerror})") from error
    if empty:
        raise RegRefineError(f"{path}: the file is empty; export it anew")
    return path


@contextmanager
def written_aside(path: PathLike, need_bytes: int = 0) -> Iterator[Path]:
    """Give a temporary path beside `path` to write to; rename it to `path` when all went well.

    The folders above are made. Nothing is left behind when the body raises, and a file that was at
    `path` before stays as it was until the new one is whole.

    Args:
        need_bytes: the room that must be free before the body starts.

    Raises:
        RegRefineError: the folder cannot be written, the disk is full, or the like.
    """
    path = Path(path)
    aside = path.with_name(f".{uuid.uuid4().hex[:8]}.{path.name}")  # the ending stays
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "is a folder", str(path))
        if shutil.disk_usage(path.parent).free < need_bytes:
            raise OSError(errno.ENOSPC, "no space left", str(path))
        aside.touch()
        yield aside
        aside.replace(path)
    except OSError as error:
        raise RegRefineError(cannot_write(path, error)) from error
    finally:
        with suppress(OSError):
            aside.unlink(missing_ok=True)


def cannot_write(path: Path, error: OSError) -> str:
    """Return the sentence for an error of writing to `path`."""
    if error.errno in _FULL:
        return f"{path}: the disk is full; make room or write elsewhere"
    if error.errno in _FORBIDDEN:
        return f"{path}: writing to {path.parent} is not allowed; choose another folder"
    if error.errno == errno.EISDIR:
        return f"{path}: is a folder; name a file in it"
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        return f"{path}: {path.parent} is not a folder; choose another"
    return f"{path}: cannot be written ({error.strerror or error}); choose another place"


@contextmanager
def quiet() -> Iterator[None]:
    """Keep what C++ libraries print to stderr away while the body runs.

    They print besides raising, or instead of it; what matters is checked here and said in one
    sentence. Meant for the seconds of reading or writing one file, since other threads' stderr
    goes the same way.
    """
    with _stderr_lock:
        try:
            kept = os.dup(2)
        except OSError:  # no stderr at all, as in a windowed program
            yield
            return
        try:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, 2)
            os.close(nowhere)
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)

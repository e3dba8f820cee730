"""Files as the disk sees them: named, present, written whole or not at all, read without noise."""

from __future__ import annotations

import errno
import logging
import os
import re
import shutil
import tempfile
import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import RegRefineError
from .notices import notice

PathLike = str | os.PathLike[str]
CACHE_VARIABLE = "REGREFINE_CACHE"

_FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
_LONGEST_ASIDE = 200  # bytes
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
    aside = path.with_name(_aside_name(path.name))
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


def _aside_name(name: str) -> str:
    """Return a hidden name for the time of writing, with the same ending and no longer than most.

    File systems take names of 255 bytes: a long one is shortened from the front. What is not UTF-8
    is left out, since ITK ends the process over it.
    """
    clean = name.encode("utf-8", "ignore").decode("utf-8")
    while len(clean.encode("utf-8")) > _LONGEST_ASIDE:
        clean = clean[1:]
    return f".{uuid.uuid4().hex[:8]}.{clean}"


@contextmanager
def itk_name(path: PathLike) -> Iterator[str]:
    """Give a name by which ITK can open a file: its own, unless ITK cannot take that.

    ITK ends the whole process over a name that is not UTF-8, and knows some endings in small
    letters only; it gets a symbolic link then.

    Raises:
        RegRefineError: no link can be made.
    """
    path = Path(path)
    if _is_utf8(str(path)) and path.suffix == path.suffix.lower():
        yield str(path)
        return
    folder = Path(tempfile.mkdtemp(prefix="regrefine-"))
    try:
        yield str(_link(path, folder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _link(path: Path, folder: Path) -> Path:
    """Return the path of a file by a link in `folder` that ITK can open."""
    try:
        if _is_utf8(path.name) and path.suffix == path.suffix.lower():
            # to the folder, since headers name files beside themselves
            (folder / "in").symlink_to(path.parent.absolute(), target_is_directory=True)
            return folder / "in" / path.name
        clean = path.stem.encode("utf-8", "ignore").decode("utf-8")
        link = folder / f"{clean or 'file'}{path.suffix.lower()}"
        link.symlink_to(path.absolute())
        return link
    except (OSError, NotImplementedError) as error:
        raise RegRefineError(
            f"{path}: ITK cannot open a file of this name; rename it (ASCII, small letters)"
        ) from error


def _is_utf8(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


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


# of what ITK prints on standard error: what says nothing about the file, and what another part
# of this package says better
_EMPTY_WORDS = (
    "orthonormal",
    "Non uniform sampling",
    "missing slices",
    "direction cosines",
    "unsupported or empty metaData",
    "No ImagePosition",
)


class Said:
    """What C++ libraries printed on standard error while a `quiet` body ran."""

    def __init__(self) -> None:
        self.text = ""

    @property
    def warnings(self) -> list[str]:
        """The warnings of ITK, one line each, without where in its code they arose."""
        parts = re.split(r"WARNING: In [^\n]*\n", self.text)[1:]
        lines = (re.sub(r"^[\w ]+\(0x[0-9a-f]+\): |\(0x[0-9a-f]+\)", "", p.strip()) for p in parts)
        return [" ".join(line.split()) for line in lines if line]

    def pass_on(self, path: PathLike) -> None:
        """Say the warnings that mean something to whoever named the file."""
        for line in dict.fromkeys(self.warnings):
            if not any(words in line for words in _EMPTY_WORDS):
                notice(f"{path}: {line[:300]}")


@contextmanager
def quiet() -> Iterator[Said]:
    """Keep what C++ libraries print on standard error while the body runs; give it afterwards.

    They print besides raising, or instead of it. Meant for the seconds of reading or writing one
    file, since other threads' standard error goes the same way.
    """
    said = Said()
    with _stderr_lock:
        try:
            kept = os.dup(2)
        except OSError:  # no stderr at all, as in a windowed program
            yield said
            return
        with tempfile.TemporaryFile() as printed:
            try:
                os.dup2(printed.fileno(), 2)
                yield said
            finally:
                os.dup2(kept, 2)
                os.close(kept)
                printed.seek(0)
                said.text = printed.read().decode("utf-8", "replace")


@contextmanager
def quiet_pooch() -> Iterator[None]:
    """Keep pooch's log lines away while the body runs: the messages are this program's own."""
    import pooch

    logger = pooch.get_logger()
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)

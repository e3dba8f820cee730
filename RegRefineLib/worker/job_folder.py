"""The job folder: how a run travels between two processes, as plain arrays and JSON.

job.json names the grids, the job and the arrays (.npy beside it); result.json likewise. Both sides,
the program that asks (Slicer, with numpy alone) and the worker, use this file. The JSON file is
written last and in one go, so a folder that has one is complete. A result's arrays are mapped into
memory, not read, so that whoever asks can copy them piece by piece.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import RegRefineError
from ..field_padding import GridAndMatrix
from ..geometry import DisplacementField, FloatArray, Geometry, Volume
from ..io.paths import written_aside
from ..job import PROTOCOL, Extras, Job
from .scene_result import Ready

JOB_FILE = "job.json"
RESULT_FILE = "result.json"
_EXTRA_VOLUMES = ("fixed_labels", "moving_labels", "fixed_mask", "moving_mask")
_EXTRA_POINTS = ("fixed_landmarks", "moving_landmarks")
_MAPPINGS = ("transform",)
_RESULT_VOLUMES = ("warped", "warped_labels", "jacobian", "displacement")
RESULT_ARRAYS = (*_MAPPINGS, *_RESULT_VOLUMES)


@dataclass(frozen=True, eq=False)
class Handling:
    """What the worker does round `register`.

    Attributes:
        moving_to_world: 4x4 from the moving node's own coordinates to the world; None: the same.
        lengths: whether the displacement's lengths are wanted as a volume.
        fetch: names of the models that are to be downloaded first, to which the user has agreed.
    """

    moving_to_world: FloatArray | None = None
    lengths: bool = False
    fetch: tuple[str, ...] = ()


class Task(NamedTuple):
    """What a job folder holds."""

    fixed: Volume
    moving: Volume
    job: Job
    extras: Extras
    handling: Handling


def write_job(
    folder: Path,
    fixed: Volume,
    moving: Volume,
    job: Job,
    extras: Extras | None = None,
    handling: Handling | None = None,
) -> None:
    """Write all that `register` takes into `folder`, which is made if need be.

    Raises:
        RegRefineError: the folder cannot be written (a full disk, for one).
    """
    extras = extras or Extras()
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in (JOB_FILE, RESULT_FILE, "stop", "cancel", "abort"):  # of an earlier run
            (folder / name).unlink(missing_ok=True)
        record: dict[str, Any] = {"protocol": PROTOCOL, "job": job.to_json()}
        record["fixed"] = _save(folder, "fixed", fixed)
        record["moving"] = _save(folder, "moving", moving)
        for name in _EXTRA_VOLUMES:
            record[name] = _save(folder, name, getattr(extras, name))
        for name in _EXTRA_POINTS:
            record[name] = _listed(getattr(extras, name))
        if extras.initial is None or isinstance(extras.initial, DisplacementField):
            record["initial"] = _save(folder, "initial", extras.initial)
        else:
            record["initial"] = {"matrix": _listed(extras.initial)}
        record["handling"] = asdict(handling or Handling())
        _write_json(folder / JOB_FILE, record)
    except OSError as error:
        raise _unwritable(folder, error) from error


def read_job(folder: Path) -> Task:
    """Return what `write_job` wrote.

    Raises:
        RegRefineError: the folder is not there or incomplete, or of another protocol.
    """
    folder = Path(folder)
    record = _read_json(folder / JOB_FILE)
    extras: dict[str, Any] = {}
    try:
        fixed = _load(folder, record["fixed"])
        moving = _load(folder, record["moving"])
        for name in _EXTRA_VOLUMES:
            extras[name] = _load(folder, record[name]) if record[name] else None
        for name in _EXTRA_POINTS:
            extras[name] = _array(record[name])
        extras["initial"] = _load_initial(folder, record["initial"])
        given = record["handling"]
        place, fetch = _array(given["moving_to_world"]), tuple(given["fetch"])
        handling = Handling(place, given["lengths"], fetch)
        return Task(fixed, moving, Job.from_json(record["job"]), Extras(**extras), handling)
    except (OSError, KeyError, TypeError, ValueError, AttributeError, EOFError) as error:
        raise _unreadable(folder, error) from error


def write_result(folder: Path, ready: Ready) -> None:
    """Write a result into `folder`.

    Raises:
        RegRefineError: the folder cannot be written (a full disk, for one).
    """
    folder = Path(folder)
    try:
        arrays = {name: _save(folder, name, getattr(ready, name)) for name in _RESULT_VOLUMES}
        for name in _MAPPINGS:
            mapping: GridAndMatrix | None = getattr(ready, name)
            if mapping is not None:
                entry = _save(folder, name, mapping.grid)
                arrays[name] = {**entry, "matrix": _listed(mapping.matrix)}
        entries = {"arrays": arrays, "label_values": ready.label_values}
        _write_json(folder / RESULT_FILE, {**ready.record, **entries})
    except OSError as error:
        raise _unwritable(folder, error) from error


def read_result(folder: Path) -> Ready:
    """Return what `write_result` wrote, its arrays mapped from their files.

    Raises:
        RegRefineError: the folder is not there or incomplete, or of another protocol.
    """
    folder = Path(folder)
    record = _read_json(folder / RESULT_FILE)
    try:
        entries = record.pop("arrays")
        found: dict[str, Any] = dict.fromkeys(RESULT_ARRAYS)
        for name, entry in entries.items():
            found[name] = _load(folder, entry, "r") if entry else None
        for name in _MAPPINGS:
            if found[name] is not None:
                found[name] = GridAndMatrix(found[name], _array(entries[name]["matrix"]))
        values = tuple(record.pop("label_values"))
        affine = np.array(record["affine_fixed_to_moving_ras"], dtype=float)
        return Ready(**found, label_values=values, affine=affine, record=record)
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise _unreadable(folder, error) from error


def _save(folder: Path, name: str, value: Volume | DisplacementField | None) -> Any:
    if value is None:
        return None
    is_field = isinstance(value, DisplacementField)
    array = value.vectors if isinstance(value, DisplacementField) else value.array
    _write_array(folder / f"{name}.npy", array)
    kind = "field" if is_field else "volume"
    return {"kind": kind, "file": f"{name}.npy", "affine": _listed(value.geometry.affine)}


def _write_array(path: Path, array: NDArray[Any]) -> None:
    """Write a .npy file in a way that says why it cannot (numpy's own says "0 written")."""
    with path.open("wb") as file:
        header = np.lib.format.header_data_from_array_1_0(array)
        np.lib.format.write_array_header_1_0(file, header)
        file.write(array.data)


def _load(folder: Path, entry: dict[str, Any], mapped: Literal["r"] | None = None) -> Any:
    array = np.load(folder / entry["file"], mmap_mode=mapped, allow_pickle=False)
    geometry = Geometry(array.shape[:3], np.array(entry["affine"]))
    return {"field": DisplacementField, "volume": Volume}[entry["kind"]](array, geometry)


def _load_initial(folder: Path, entry: dict[str, Any] | None) -> Any:
    if entry is None:
        return None
    return np.array(entry["matrix"]) if "matrix" in entry else _load(folder, entry)


def _array(values: Any) -> FloatArray | None:
    return None if values is None else np.array(values, dtype=float)


def _listed(array: Any) -> Any:
    return None if array is None else np.asarray(array, dtype=float).tolist()


def _write_json(path: Path, record: dict[str, Any]) -> None:
    with written_aside(path) as aside:
        aside.write_text(json.dumps(record, default=_plain), encoding="ascii")


def _plain(value: Any) -> Any:
    """Return numpy's numbers and arrays, which json does not know, as Python's."""
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text(encoding="ascii"))
    except (OSError, ValueError) as error:
        raise _unreadable(path.parent, error) from error
    if not isinstance(record, dict):
        raise _unreadable(path.parent, ValueError("not a record"))
    if record.get("protocol") != PROTOCOL:
        raise RegRefineError(
            f"{path}: written by another version of RegRefine (protocol "
            f"{record.get('protocol')}, here {PROTOCOL}); start the program again"
        )
    return record


def _unwritable(folder: Path, error: OSError) -> RegRefineError:
    return RegRefineError(
        f"the folder {folder} cannot be written ({error.strerror or error}); "
        "free some space on its disk or choose another folder"
    )


def _unreadable(folder: Path, error: Exception) -> RegRefineError:
    return RegRefineError(f"the folder {folder} is incomplete or damaged ({error}); run it again")

"""Landmark files: names and points of Slicer's .mrk.json and .fcsv, and plain .csv."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..errors import RegRefineError
from ..geometry import FloatArray
from ..itk_lps import flip_points
from .notices import notice
from .paths import PathLike, ending_of, present, written_aside

ENDINGS = (".mrk.json", ".json", ".fcsv", ".csv")

_SCHEMA = (
    "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/"
    "Schema/markups-schema-v1.0.3.json#"
)
_FCSV_COLUMNS = "id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID"
_CSV_COLUMNS = ["name", "x", "y", "z"]
# what the files call the two frames; old .fcsv files number them and say nothing for RAS
_IS_LPS = {"LPS": True, "1": True, "RAS": False, "0": False, "": False}

Landmarks = tuple[list[str], FloatArray]


def read_landmarks(path: PathLike) -> Landmarks:
    """Return the names and the points (n, 3) in RAS mm of a file.

    Args:
        path: .mrk.json (one list of points), .fcsv, or .csv with the columns name,x,y,z in RAS mm,
            with or without a line that says so, or ANTs' x,y,z,t in LPS mm with one.

    Raises:
        RegRefineError: missing, damaged, of unknown kind, no points, a point that is not three
            finite numbers, coordinates of voxels or of unknown frame.
    """
    ending = ending_of(path, ENDINGS, "a landmark file")
    try:
        text = present(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise RegRefineError(f"{path}: not a text file; export the landmarks anew") from error
    read = {".fcsv": _from_fcsv, ".csv": _from_csv}.get(ending, _from_json)
    names, points = read(text, path)
    if not names:
        raise RegRefineError(f"{path}: no landmarks in this file; place some and save it again")
    return names, points


def write_landmarks(names: Sequence[str], points_ras: ArrayLike, path: PathLike) -> None:
    """Write names and points (n, 3) in RAS mm to .mrk.json, .fcsv (both LPS) or .csv (RAS).

    Raises:
        ValueError: not one name for each point.
        RegRefineError: unknown ending, unwritable folder, full disk.
    """
    points = np.asarray(points_ras, dtype=np.float64).reshape(-1, 3)
    if len(names) != len(points):
        raise ValueError(f"names: one for each of {len(points)} points, got {len(names)}")
    ending = ending_of(path, ENDINGS, "a landmark file")
    write = {".fcsv": _to_fcsv, ".csv": _to_csv}.get(ending, _to_json)
    text = write(names, points)
    with written_aside(path) as aside:
        aside.write_text(text, encoding="utf-8", newline="\n")


def _from_json(text: str, path: PathLike) -> Landmarks:
    try:
        lists = json.loads(text)["markups"]
        if len(lists) != 1:
            raise RegRefineError(
                f"{path}: {len(lists)} lists of markups; save the one wanted as a file of its own"
            )
        frame = str(lists[0].get("coordinateSystem", "LPS"))
        units = lists[0].get("coordinateUnits", "mm")
        points = lists[0].get("controlPoints", [])
        rows = [(str(p.get("label", "")), _position(p)) for p in points if not _is_preview(p)]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RegRefineError(f"{path}: not a Slicer markups file; save it anew") from error
    if units not in ("mm", ["mm", "mm", "mm"]):
        raise RegRefineError(f"{path}: coordinates in {units}; save them in mm")
    return _points(rows, frame, path)


def _is_preview(point: dict[str, Any]) -> bool:
    """Whether a point only follows the mouse."""
    return point.get("positionStatus") == "preview"


def _position(point: dict[str, Any]) -> Any:
    status = point.get("positionStatus", "defined")
    return point["position"] if status == "defined" else f"position {status}"


def _from_fcsv(text: str, path: PathLike) -> Landmarks:
    frame, columns = "", _FCSV_COLUMNS
    lines = []
    for line in text.split("\n"):
        if not line.startswith("#"):
            lines.append(line)
            continue
        key, _, value = line.lstrip("# ").partition("=")
        if key.strip() == "CoordinateSystem":
            frame = value.strip()
        elif key.strip() == "columns":
            columns = value.strip()
    where = {name.strip(): n for n, name in enumerate(columns.split(","))}
    if not {"label", "x", "y", "z"} <= set(where):
        raise RegRefineError(f"{path}: no columns label, x, y, z ({columns}); save it anew")
    rows = [
        (_cell(row, where["label"]), [_cell(row, where[axis]) for axis in "xyz"])
        for row in csv.reader(lines)
        if row
    ]
    return _points(rows, frame, path)


def _from_csv(text: str, path: PathLike) -> Landmarks:
    table = [row for row in csv.reader(io.StringIO(text)) if any(c.strip() for c in row)]
    head = [c.strip().lower() for c in table[0]] if table else []
    if head[:3] == ["x", "y", "z"]:
        return _from_ants(table, head, path)
    if head == _CSV_COLUMNS:
        table = table[1:]
    elif table and all(len(row) == 4 and _is_zero(row[3]) and _is_number(row[0]) for row in table):
        raise RegRefineError(
            f"{path}: four numbers in each line, the last one 0, and no line that names the "
            "columns: name,x,y,z (RAS mm), or x,y,z,t as ANTs writes them (LPS mm)? Add that line"
        )
    for row in table:
        if len(row) != len(_CSV_COLUMNS):
            raise RegRefineError(
                f"{path}: {','.join(row)!r} is not name,x,y,z (RAS mm); mend this line"
            )
    return _points([(row[0], row[1:]) for row in table], "RAS", path)


def _from_ants(table: list[list[str]], head: list[str], path: PathLike) -> Landmarks:
    """Return the points of a table with the columns x,y,z ... of ANTs, which counts in LPS mm."""
    notice(f"{path}: columns x,y,z without names; taken for ANTs' points in LPS mm")
    names = head.index("label") if "label" in head else head.index("name") if "name" in head else -1
    rows = [
        (row[names].strip() if 0 <= names < len(row) else str(number), row[:3])
        for number, row in enumerate(table[1:], start=1)
    ]
    return _points(rows, "LPS", path)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _is_zero(text: str) -> bool:
    return _is_number(text) and float(text) == 0


def _cell(row: list[str], index: int) -> str:
    return row[index] if index < len(row) else ""


def _points(rows: Sequence[tuple[str, Any]], frame: str, path: PathLike) -> Landmarks:
    """Return names and RAS points of rows of a name and three numbers, or say which row is bad."""
    if frame not in _IS_LPS:
        raise RegRefineError(f"{path}: coordinate system {frame}; save the points as RAS or LPS")
    points = np.zeros((len(rows), 3))
    for number, (name, position) in enumerate(rows):
        try:
            points[number] = [float(c) for c in position]
        except (TypeError, ValueError):
            points[number] = np.nan
        if not np.isfinite(points[number]).all():
            raise RegRefineError(
                f"{path}: landmark {number + 1} ({name}) is not three finite numbers: {position}"
            )
    return [name for name, _ in rows], flip_points(points) if _IS_LPS[frame] else points


def _to_json(names: Sequence[str], points: FloatArray) -> str:
    markups = {
        "type": "Fiducial",
        "coordinateSystem": "LPS",
        "coordinateUnits": "mm",
        "controlPoints": [
            {
                "id": str(number),
                "label": name,
                "position": position.tolist(),
                "selected": True,
                "locked": False,
                "visibility": True,
                "positionStatus": "defined",
            }
            for number, (name, position) in enumerate(
                zip(names, flip_points(points), strict=True), start=1
            )
        ],
    }
    return json.dumps({"@schema": _SCHEMA, "markups": [markups]}, indent=1)


def _to_fcsv(names: Sequence[str], points: FloatArray) -> str:
    text = io.StringIO()
    text.write("# Markups fiducial file version = 4.11\n# CoordinateSystem = LPS\n")
    text.write(f"# columns = {_FCSV_COLUMNS}\n")
    writer = csv.writer(text, lineterminator="\n")
    for number, (name, (x, y, z)) in enumerate(zip(names, flip_points(points), strict=True), 1):
        numbers = [repr(float(c)) for c in (x, y, z)]
        writer.writerow([number, *numbers, 0, 0, 0, 1, 1, 1, 0, _one_line(name), "", ""])
    return text.getvalue()


def _to_csv(names: Sequence[str], points: FloatArray) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_CSV_COLUMNS)
    for name, point in zip(names, points, strict=True):
        writer.writerow([_one_line(name), *(repr(float(c)) for c in point)])
    return text.getvalue()


def _one_line(name: str) -> str:
    return " ".join(name.split("\n")).replace("\r", "")

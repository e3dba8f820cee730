"""Linear transforms as text: 4x4 matrices (Greedy, c3d, NiftyReg, FLIRT) and FreeSurfer's .lta."""

from __future__ import annotations

import re

import numpy as np

from ..errors import RegRefineError
from ..geometry import FloatArray, Geometry
from .fsl import from_flirt, to_flirt
from .itk_files import regular
from .notices import notice
from .paths import PathLike, present, written_aside

# FLIRT puts two blanks behind every number, the others do not
_FLIRT_LINE = re.compile(r"^(?:\S+  ){4}\s*$", re.MULTILINE)
_LTA_VOXELS, _LTA_RAS = 0, 1
_LTA_INFO = ("volume", "voxelsize", "xras", "yras", "zras", "cras")


def text_of(path: PathLike) -> str | None:
    """Return a file's text, None where it is not text or longer than a matrix file is."""
    file = present(path)
    if file.stat().st_size > 1 << 20:
        return None
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        return None


def numbers_of(text: str) -> FloatArray | None:
    """Return the 4x4 of a text of 16 numbers, or of 12 (the last row left out); else None."""
    rows = [line.split() for line in text.splitlines() if line.split() and line[0] not in "#%"]
    if len(rows) not in (3, 4) or any(len(row) != 4 for row in rows):
        return None
    try:
        values = [[float(word) for word in row] for row in rows]
    except ValueError:
        return None
    return np.array(values if len(values) == 4 else [*values, [0, 0, 0, 1]], dtype=float)


def read_matrix(
    path: PathLike, kind: str | None, fixed: Geometry | None, moving: Geometry | None
) -> FloatArray:
    """Return the 4x4 fixed RAS mm -> moving RAS mm of a text file of 16 numbers.

    Args:
        kind: ras (Greedy, c3d, NiftyReg: just that) or flirt; None: as the text looks, which is
            said where it is not FLIRT's.
        fixed, moving: the images' grids, which flirt needs.

    Raises:
        RegRefineError: not 16 numbers, no affine matrix, singular; grids missing.
    """
    text = text_of(path) or ""
    matrix = numbers_of(text)
    if matrix is None:
        raise RegRefineError(f"{path}: not a matrix of 4 x 4 numbers; export it anew")
    if not np.allclose(matrix[3], [0, 0, 0, 1], atol=1e-6):
        raise RegRefineError(f"{path}: the last row must be 0 0 0 1, found {matrix[3].tolist()}")
    regular(matrix, path)
    if kind is None:
        kind = "flirt" if len(_FLIRT_LINE.findall(text)) >= 4 else "ras"
        if kind == "ras":
            notice(
                f"{path}: taken for a matrix in RAS mm from fixed to moving (Greedy, c3d, "
                f"NiftyReg); if it is FLIRT's, name it flirt:{path}"
            )
    if kind == "ras":
        return matrix
    if fixed is None or moving is None:
        raise RegRefineError(
            f"{path}: a FLIRT matrix counts in both images' voxel sizes; name the fixed and the "
            "moving image too (--reference or --fixed, --moving)"
        )
    return from_flirt(matrix, fixed, moving)


def write_matrix(
    matrix: FloatArray, path: PathLike, kind: str, fixed: Geometry | None, moving: Geometry | None
) -> None:
    """Write a 4x4 fixed RAS mm -> moving RAS mm as text of kind ras, flirt or lta.

    Raises:
        RegRefineError: unwritable folder, full disk; grids missing.
    """
    if kind != "ras" and (fixed is None or moving is None):
        raise RegRefineError(
            f"{path}: {kind} needs both images' grids; name them with --fixed and --moving"
        )
    text = _rows(matrix)
    if kind == "flirt" and fixed is not None and moving is not None:
        rows = to_flirt(matrix, fixed, moving)
        text = "".join("".join(f"{v:.12g}  " for v in row) + "\n" for row in rows)
    elif kind == "lta" and fixed is not None and moving is not None:
        text = _lta_text(np.linalg.inv(matrix), moving, fixed)
    with written_aside(path) as aside:
        aside.write_text(text, encoding="ascii", newline="\n")


def _rows(matrix: FloatArray) -> str:
    return "".join(" ".join(f"{float(v):.12g}" for v in row) + "\n" for row in matrix)


def read_lta(path: PathLike, fixed: Geometry | None = None) -> FloatArray:
    """Return the 4x4 fixed RAS mm -> moving RAS mm of a FreeSurfer .lta file.

    Its source is taken for the moving image, its destination for the fixed one, as
    mri_robust_register and mri_coreg write them; the other way round where `fixed` is the grid of
    its source and not of its destination.

    Raises:
        RegRefineError: damaged, several transforms, of another type than voxels or RAS.
    """
    text = text_of(path) or ""
    try:
        kind = int(_value(text, "type")[0])
        count = int(_value(text, "nxforms")[0])
        body = re.search(r"^\s*1\s+4\s+4[^\n]*\n((?:[^\n]*\n){4})", text, re.MULTILINE)
        matrix = numbers_of(body[1]) if body else None
        halves = text.split("src volume info")[1].split("dst volume info")
        source, target = [_lta_grid(half) for half in halves]
    except (IndexError, ValueError) as error:
        raise RegRefineError(f"{path}: damaged, or not an .lta file; export it anew") from error
    if matrix is None or count != 1 or kind not in (_LTA_VOXELS, _LTA_RAS):
        raise RegRefineError(
            f"{path}: an .lta of type {kind} with {count} transform(s); one of type 0 (voxels) or "
            "1 (RAS) is read: convert it with lta_convert"
        )
    if source is None or target is None:
        if kind == _LTA_VOXELS:
            raise RegRefineError(f"{path}: counts in voxels of images that it does not describe")
        return np.linalg.inv(regular(matrix, path))
    if kind == _LTA_VOXELS:
        matrix = target.affine @ matrix @ source.inverse_affine
    regular(matrix, path)
    backwards = (
        fixed is not None and fixed.same_grid(source, 0.05) and not fixed.same_grid(target, 0.05)
    )
    return matrix if backwards else np.linalg.inv(matrix)


def _value(text: str, key: str) -> list[str]:
    found = re.search(rf"^\s*{key}\s*=\s*([^\n#]*)", text, re.MULTILINE)
    if not found:
        raise ValueError(key)
    return found[1].split()


def _lta_grid(text: str) -> Geometry | None:
    """Return the grid of a volume's description; "cras" is the place of voxel size / 2.

    None where the description says that it is not valid.
    """
    if _value(text, "valid")[0] == "0":
        return None
    size, spacing, x, y, z, centre = (
        np.array([float(word) for word in _value(text, key)][:3]) for key in _LTA_INFO
    )
    axes = np.stack([x, y, z], axis=1)
    origin = centre - (axes * spacing) @ (size / 2)
    return Geometry.from_parts(size[::-1].astype(int), spacing, axes, origin)


def _lta_text(matrix: FloatArray, source: Geometry, target: Geometry) -> str:
    head = "type      = 1 # LINEAR_RAS_TO_RAS\nnxforms   = 1\nmean      = 0 0 0\nsigma     = 1\n"
    parts = [head, "1 4 4\n", _rows(matrix)]
    for name, grid in (("src", source), ("dst", target)):
        size = np.array(grid.shape[::-1])
        centre = grid.to_ras(size / 2)
        vectors = {
            "volume": size,
            "voxelsize": grid.spacing,
            "xras": grid.direction[:, 0],
            "yras": grid.direction[:, 1],
            "zras": grid.direction[:, 2],
            "cras": centre,
        }
        parts.append(f"{name} volume info\nvalid = 1  # volume info valid\nfilename = none\n")
        parts += [
            f"{key:9} = {' '.join(f'{float(v):.15g}' for v in value)}\n"
            for key, value in vectors.items()
        ]
    return "".join(parts)

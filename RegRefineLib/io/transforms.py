"""Transform files of every program, as mappings from fixed to moving points in RAS mm.

That is the direction in which ITK's files are written (resampling, Slicer's "from parent"). A
file's kind is told by what it holds; where that does not tell, KIND:FILE names it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import RegRefineError
from ..geometry import DisplacementField, FloatArray, Geometry
from ..mapping import Chain, Field, Linear, joined
from . import elastix, field_images, itk_files, matrix_files
from .images import READABLE, WRITABLE, load
from .paths import PathLike, ending_of, present

MATRIX_KINDS = ("ras", "flirt", "lta", "elastix", "itk")
KINDS = ("itk", "ras", "flirt", "fnirt", "lta", "elastix", "niftyreg", "spm", "voxels")
ITK_FILES = itk_files.ENDINGS
ENDINGS = (*READABLE, *ITK_FILES, ".lta", ".aff")
_INVERTED = re.compile(r"^(?:\[(?P<ants>.+),\s*1\s*\]|(?P<greedy>.+),\s*-1)$")
_PLAIN = re.compile(r"^\[(?P<name>.+),\s*0\s*\]$")


@dataclass(frozen=True)
class Named:
    """A transform as a command names it: [KIND:]FILE, inverted as [FILE,1] or FILE,-1."""

    path: str
    kind: str | None = None
    inverted: bool = False


@dataclass(frozen=True)
class Grids:
    """The images that a transform belongs to, as far as they are known; some kinds need them."""

    fixed: Geometry | None = None
    moving: Geometry | None = None


def named(text: str) -> Named:
    """Return what a word of the command line names; a file that is really called so goes first."""
    inverted = False
    if not Path(text).exists():
        found, plain = _INVERTED.match(text), _PLAIN.match(text)
        inverted = found is not None
        text = (found["ants"] or found["greedy"]) if found else plain["name"] if plain else text
    kind, colon, rest = text.partition(":")
    if colon and kind in KINDS and not Path(text).exists():
        return Named(rest, kind, inverted)
    return Named(text, None, inverted)


def read_chain(words: str | Sequence[str], grids: Grids | None = None) -> Chain:
    """Return transforms in the order in which fixed points pass them, as one mapping.

    That is the order in which antsApplyTransforms -t and Greedy -r name them.

    Raises:
        RegRefineError: as `read_transform`.
    """
    several = [words] if isinstance(words, str) else list(words)
    chains = []
    for word in several:
        given = named(word)
        chain = _read(given, grids or Grids())
        chains.append(chain.inverse() if given.inverted else chain)
    return joined(chains)


def read_transform(
    path: PathLike, reference: Geometry | None = None, moving: Geometry | None = None
) -> DisplacementField | FloatArray:
    """Return the mapping of a file from fixed to moving points in RAS mm: a field, or a 4x4.

    Linear transforms of any kind (affine, rigid, Euler, versor, similarity, scale ..., also
    composites of them) give a 4x4. Displacement fields are given on their own grid.

    Args:
        path: a field as image, an ITK transform file (.h5, .hdf5, .tfm, .txt, .mat), a text of 16
            numbers, FreeSurfer's .lta, elastix' TransformParameters; KIND:FILE names the kind.
        reference: the grid to put B-splines and composites on, usually the fixed image's; FSL's
            kinds need it as well.
        moving: the moving image's grid, which FSL's kinds need.

    Raises:
        RegRefineError: missing, damaged, of unknown kind, two-dimensional, singular, not finite;
            stored from moving to fixed ("modeling"); a grid is needed and missing.
    """
    chain = read_chain(str(path), Grids(reference, moving))
    matrix = chain.matrix
    if matrix is not None:
        return matrix
    if len(chain.parts) == 1 and isinstance(chain.parts[0], Field):
        return chain.parts[0].field
    if reference is None:
        raise RegRefineError(
            f"{path}: a transform without a grid of its own to be a field on; name a reference "
            "image too (the fixed image)"
        )
    return itk_files.finite(chain.on(reference), path)


def _read(given: Named, grids: Grids) -> Chain:
    path, kind = given.path, given.kind
    ending = ending_of(path, ENDINGS, "a transform that can be read") if kind is None else ""
    if kind == "lta" or ending == ".lta":
        return Chain((Linear(matrix_files.read_lta(path, grids.fixed)),))
    is_image = str(path).lower().endswith(READABLE) or Path(path).is_dir()
    if is_image and kind in (None, *field_images.KINDS):
        field = field_images.field_of(load(path), path, kind, grids.moving)
        return Chain((Field(field),))
    if kind in ("ras", "flirt"):
        matrix = matrix_files.read_matrix(path, kind, grids.fixed, grids.moving)
        return Chain((Linear(matrix),))
    text = matrix_files.text_of(present(path)) if kind in (None, "elastix") else None
    if text is not None and elastix.is_parameters(text):
        return elastix.read(path, text)
    if kind == "elastix":
        raise RegRefineError(f"{path}: not one of elastix' TransformParameters files")
    if text is not None and matrix_files.numbers_of(text) is not None:
        matrix = matrix_files.read_matrix(path, None, grids.fixed, grids.moving)
        return Chain((Linear(matrix),))
    return itk_files.read(path)


def write_field(field: DisplacementField, path: PathLike) -> None:
    """Write a field so that Slicer, ITK and SimpleITK read it as a displacement field.

    As an image of vectors to .nrrd, .mha, .nii or .nii.gz, or as a DisplacementFieldTransform (in
    double precision) to .h5, .hdf5, .tfm or .txt. NIfTI files have intent code 1007 (vector), as
    ITK's have. Its linear part, where it is known, is kept by .nrrd and .mha.

    Raises:
        RegRefineError: unknown ending, unwritable folder, full disk.
    """
    known = (*WRITABLE, *ITK_FILES[:-1])
    if ending_of(path, known, "a displacement field that can be written") in WRITABLE:
        field_images.write(field, path)
    else:
        itk_files.write_field(field, path)


def write_affine(matrix: FloatArray, path: PathLike) -> None:
    """Write a 4x4 (fixed RAS mm -> moving RAS mm) to .tfm, .txt, .mat, .h5 or .hdf5.

    Raises:
        RegRefineError: unknown ending, unwritable folder, full disk, singular matrix.
    """
    ending_of(path, ITK_FILES, "a matrix that can be written")
    itk_files.write_matrix(matrix, path)


def write_chain(chain: Chain, word: str, grids: Grids) -> None:
    """Write a mapping as the kind of file that `word` names ([KIND:]FILE).

    Raises:
        RegRefineError: a kind or ending that cannot hold it, grids missing, unwritable, full disk.
    """
    given = named(word)
    path, kind = given.path, given.kind or _kind_to_write(given.path)
    matrix = chain.matrix
    is_image = str(path).lower().endswith(WRITABLE)
    if matrix is not None and not is_image:
        itk_files.regular(np.asarray(matrix), path)
        _write_matrix(matrix, path, kind, grids)
        return
    if kind in ("ras", "flirt", "lta") and not is_image:
        raise RegRefineError(f"{path}: {kind} holds matrices alone, and this is a deformation")
    field = _field(chain, path, grids)
    if kind == "elastix":
        elastix.write_field(field, path)
    elif kind == "itk":
        write_field(field, path)
    else:
        field_images.write(field, path, kind, grids.moving)


def _kind_to_write(path: str) -> str:
    return "lta" if str(path).lower().endswith(".lta") else "itk"


def _write_matrix(matrix: FloatArray, path: str, kind: str, grids: Grids) -> None:
    if kind not in MATRIX_KINDS:
        raise RegRefineError(f"{path}: {kind} is a field's; name the file .nii.gz, and --fixed")
    if kind == "itk":
        write_affine(matrix, path)
    elif kind == "elastix":
        if grids.fixed is None:
            raise RegRefineError(f"{path}: elastix' files name the fixed grid; give --fixed")
        elastix.write_matrix(matrix, path, grids.fixed)
    else:
        matrix_files.write_matrix(matrix, path, kind, grids.fixed, grids.moving)


def _field(chain: Chain, path: str, grids: Grids) -> DisplacementField:
    grid = grids.fixed
    if grid is None:
        if len(chain.parts) == 1 and isinstance(chain.parts[0], Field):
            return chain.parts[0].field
        grid = chain.grid
    if grid is None:
        raise RegRefineError(f"{path}: a grid is needed to be a field on; name the fixed image")
    return itk_files.finite(chain.on(grid), path)

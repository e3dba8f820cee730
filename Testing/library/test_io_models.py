"""Surface models moved in place: points change, everything else stays byte for byte."""

from __future__ import annotations

import base64
import struct
import zlib

import numpy as np
import pytest
from support.command_line import run

from RegRefineLib.errors import RegRefineError, RegRefineWarning
from RegRefineLib.io.models import read_model, write_model
from RegRefineLib.io.transforms import write_affine

POINTS = np.array([[0, 0, 0], [10, 0, 0], [0, 20, 0], [0, 0, 30.5]])  # LPS
FACES = [(0, 1, 2), (0, 1, 3)]


def vtk(binary=False, space="", kind="float"):
    title = f"vtk output{' SPACE=' + space if space else ''}"
    head = f"# vtk DataFile Version 5.1\n{title}\n{'BINARY' if binary else 'ASCII'}\n"
    head += f"DATASET POLYDATA\nPOINTS 4 {kind}\n"
    tail = b"\nPOLYGONS 2 8\n3 0 1 2\n3 0 1 3\n"
    values = POINTS.astype(">f4" if kind == "float" else ">f8").tobytes()
    text = " ".join(str(v) for v in POINTS.ravel()).encode()
    return head.encode() + (values if binary else text) + tail


def vtp(form, header="UInt32", packed=False):
    values = POINTS.astype("<f4").tobytes()
    size = "<I" if header == "UInt32" else "<Q"
    if packed:
        blocks = [zlib.compress(values[:24]), zlib.compress(values[24:])]
        head = b"".join(struct.pack(size, n) for n in (2, 24, 0, *map(len, blocks)))
        text = base64.b64encode(head) + base64.b64encode(b"".join(blocks))
        raw = head + b"".join(blocks)
    else:
        raw = struct.pack(size, len(values)) + values
        text = base64.b64encode(raw)
    compressor = ' compressor="vtkZLibDataCompressor"' if packed else ""
    tag = '<DataArray type="Float32" Name="Points" NumberOfComponents="3" format='
    inner = {
        "ascii": f'{tag}"ascii">{" ".join(map(str, POINTS.ravel()))}</DataArray>'.encode(),
        "binary": f'{tag}"binary">\n'.encode() + text + b"\n</DataArray>",
        "raw": f'{tag}"appended" offset="0"/>'.encode(),
        "base64": f'{tag}"appended" offset="0"/>'.encode(),
    }[form]
    tail = {"raw": b'<AppendedData encoding="raw">_' + raw + b"</AppendedData>"}
    tail["base64"] = b'<AppendedData encoding="base64">_' + text + b"</AppendedData>"
    top = '<VTKFile type="PolyData" byte_order="LittleEndian" header_type="{}"{}><PolyData>'
    top += '<Piece NumberOfPoints="4">'
    return (
        top.format(header, compressor).encode()
        + b"<Points>"
        + inner
        + b"</Points></Piece></PolyData>"
        + tail.get(form, b"")
        + b"</VTKFile>"
    )


def stl(binary):
    corners = POINTS[np.array(FACES)]
    if binary:
        body = b"".join(struct.pack("<12fH", 0, 0, 1, *triangle.ravel(), 0) for triangle in corners)
        return b"x".ljust(80) + struct.pack("<I", 2) + body
    lines = ["solid x"]
    for triangle in corners:
        lines += ["facet normal 0 0 1", " outer loop"]
        lines += [f"  vertex {p[0]:g} {p[1]:g} {p[2]:g}" for p in triangle]
        lines += [" endloop", "endfacet"]
    return "\n".join([*lines, "endsolid x", ""]).encode()


def ply(form):
    head = f"ply\nformat {form} 1.0\ncomment SPACE=LPS\nelement vertex 4\nproperty uchar red\n"
    head += "property float x\nproperty float y\nproperty float z\nelement face 2\n"
    head += "property list uchar int vertex_indices\nend_header\n"
    if form == "ascii":
        rows = [f"7 {p[0]:g} {p[1]:g} {p[2]:g}" for p in POINTS] + ["3 0 1 2", "3 0 1 3"]
        return head.encode() + "\n".join([*rows, ""]).encode()
    order = "<" if "little" in form else ">"
    body = b"".join(struct.pack(f"{order}B3f", 7, *p) for p in POINTS)
    faces = b"".join(struct.pack(f"{order}B3i", 3, *f) for f in FACES)
    return head.encode() + body + faces


OBJ = b"# a model\nv 0 0 0\nv 10 0 0\nv 0 20 0\nv 0 0 30.5\nvt 0 0\nf 1 2 3\nf 1 2 4\n"
FILES = {
    "text.vtk": vtk(),
    "binary.vtk": vtk(binary=True),
    "double.vtk": vtk(binary=True, kind="double"),
    "text.vtp": vtp("ascii"),
    "binary.vtp": vtp("binary"),
    "packed.vtp": vtp("binary", "UInt64", packed=True),
    "raw.vtp": vtp("raw"),
    "rawpacked.vtp": vtp("raw", "UInt32", packed=True),
    "base64.vtp": vtp("base64", "UInt64"),
    "text.stl": stl(binary=False),
    "binary.stl": stl(binary=True),
    "text.ply": ply("ascii"),
    "little.ply": ply("binary_little_endian"),
    "big.ply": ply("binary_big_endian"),
    "a.obj": OBJ,
}


@pytest.mark.parametrize("name", FILES)
def test_points_are_read_in_ras_and_written_in_place(name, tmp_path):
    (tmp_path / name).write_bytes(FILES[name])
    model = read_model(tmp_path / name)
    expected = POINTS[np.array(FACES)].reshape(-1, 3) if name.endswith(".stl") else POINTS
    np.testing.assert_allclose(model.points, expected * [-1, -1, 1])
    moved = model.points * 2 + [1, 2, 3]
    write_model(model, moved, tmp_path / f"o{name}")
    again = read_model(tmp_path / f"o{name}")
    np.testing.assert_allclose(again.points, moved, rtol=1e-6)
    if name.endswith(".ply") and "text" not in name:
        assert (tmp_path / f"o{name}").read_bytes()[-26:] == FILES[name][-26:]
    if name.endswith((".vtk", ".obj")):
        tail = FILES[name][-20:]
        assert (tmp_path / f"o{name}").read_bytes().endswith(tail)


def test_a_file_that_says_ras_is_ras(tmp_path):
    (tmp_path / "a.vtk").write_bytes(vtk(space="RAS"))
    np.testing.assert_allclose(read_model(tmp_path / "a.vtk").points, POINTS)


def test_normals_are_doubted(tmp_path):
    (tmp_path / "a.obj").write_bytes(OBJ + b"vn 0 0 1\n")
    with pytest.warns(RegRefineWarning, match="normals are left"):
        read_model(tmp_path / "a.obj")


@pytest.mark.parametrize("name", [name for name in FILES if name != "a.obj"])
def test_damaged_models_are_refused(name, tmp_path):
    (tmp_path / name).write_bytes(FILES[name][: len(FILES[name]) // 3])
    with pytest.raises(RegRefineError, match=rf"{name}: (damaged|no points)"):
        read_model(tmp_path / name)


@pytest.mark.parametrize("name", ["text.vtk", "binary.vtk", "packed.vtp", "binary.stl", "big.ply"])
def test_vtk_reads_what_is_written(name, tmp_path, capsys):
    pytest.importorskip("vtk", reason="slicer-core is not installed")
    from vtk import vtkPLYReader, vtkPolyDataReader, vtkSTLReader, vtkXMLPolyDataReader
    from vtk.util.numpy_support import vtk_to_numpy

    (tmp_path / name).write_bytes(FILES[name])
    shift = np.eye(4)
    shift[:3, 3] = 1, 2, 3
    write_affine(shift, tmp_path / "shift.tfm")
    words = ("apply", tmp_path / "shift.tfm", tmp_path / name, "-o", tmp_path / f"o{name}")
    assert run(capsys, *words)[0] == 0
    kinds = {"vtk": vtkPolyDataReader, "stl": vtkSTLReader, "ply": vtkPLYReader}
    reader = kinds.get(name[-3:], vtkXMLPolyDataReader)()
    reader.SetFileName(str(tmp_path / f"o{name}"))
    reader.Update()
    got = vtk_to_numpy(reader.GetOutput().GetPoints().GetData())
    expected = POINTS + np.array([-1, -2, 3])
    assert {tuple(p) for p in got.tolist()} == {tuple(p) for p in expected.tolist()}


def test_damage_that_fuzzing_found_is_refused(tmp_path):
    packed = FILES["rawpacked.vtp"]
    where = packed.index(b">_") + 31
    broken = {
        "sum.vtp": packed[:where] + bytes([packed[where] ^ 255]) + packed[where + 1 :],
        "form.ply": FILES["little.ply"].replace(b"format", b"formal"),
    }
    for name, data in broken.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(RegRefineError, match="damaged"):
            read_model(tmp_path / name)

"""Warping images and fields by displacements; the only file that uses grid_sample.

Displacements are (N, 3, D, H, W) in voxels, component c along array axis c; the sampled position of
voxel x is x + u(x), exactly (align_corners=True in torch's words). Published programs that read
their fields otherwise are named conventions, which differ by a scale and a shift per axis.

The torch forms are the reference and what a GPU runs; float32 on a CPU goes through compiled loops
(kernels/door.py decides).
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..geometry import DisplacementField, Geometry
from ..kernels import motion, sampling
from ..kernels.door import serves
from ..memory import device_cache

# position of voxel x under displacement u, per axis of N voxels: scale(N) * (x + u) + shift or
# x + scale(N) * u; see `_positions`.
CONVENTIONS = ("exact", "reg-ttr", "half-voxel")
SLAB_PLANES = 64


def identity(shape: tuple[int, int, int], like: Tensor) -> Tensor:
    """Return the voxel coordinates (1, 3, D, H, W) of a grid, in `like`'s dtype and device."""
    axes = [torch.arange(n, dtype=like.dtype, device=like.device) for n in shape]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))[None]


def warp(
    image: Tensor,
    displacement: Tensor,
    *,
    mode: str = "linear",
    padding: str = "zeros",
    convention: str = "exact",
    quick: bool = False,
) -> Tensor:
    """Return `image` (N, C, D, H, W) sampled at x + u(x), shape (N, C, *displacement's grid).

    Args:
        displacement: (N, 3, d, h, w) in voxels; its grid's first voxel is the image's first.
        mode: linear or nearest.
        padding: zeros or border, for positions outside the image (zeros fade in over one voxel);
            cut: zero as soon as the position leaves the block of voxel centres, as in scipy's
            constant mode and hence in Learn2Reg's label warp.
        convention: exact; reg-ttr: the loss warp of the published Reg-TTR, which moves u * N/(N-1)
            (an align_corners=False identity with (N-1)/2 scaling); half-voxel: DMR, XMorpher and
            PR++, whose position (x + u) * N/(N-1) - 0.5 shifts even a zero field.
        quick: without effect; to be dropped.

    Differentiable in the displacement and, if it requires a gradient, in the image.
    """
    if convention == "reg-ttr":
        return _grid_sample(image, _published_points(image, displacement), mode, padding, False)
    if serves(image, displacement, by=(displacement,)):
        line = _line(tuple(image.shape[2:]), convention)
        return sampling.sampled(image, displacement, line, mode, padding)
    size = image.shape[2:]
    grid = identity(tuple(displacement.shape[2:]), displacement)  # type: ignore[arg-type]
    parts = []
    inside = torch.ones((), dtype=torch.bool, device=displacement.device)
    for axis in (2, 1, 0):  # grid_sample wants x first
        n = size[axis]
        x, u = grid[:, axis], displacement[:, axis]
        position = _position(x, u, n, convention)
        if padding == "cut":
            inside = inside & (position >= 0) & (position <= n - 1)
        parts.append(_scaled(position, n))
    points = torch.stack(parts, dim=-1)
    if padding == "cut":
        return _grid_sample(image, points, mode, "border") * inside[:, None]
    return _grid_sample(image, points, mode, padding)


def sample(
    image: Tensor, positions: Tensor, *, mode: str = "linear", padding: str = "zeros"
) -> Tensor:
    """Return `image` (N, C, D, H, W) at voxel positions (N, 3, d, h, w), component c on axis c."""
    if serves(image, positions, by=(positions,)):
        return sampling.sampled(image, positions, sampling.POSITIONS, mode, padding)
    points = [_scaled(positions[:, a], image.shape[2 + a]) for a in (2, 1, 0)]
    return _grid_sample(image, torch.stack(points, dim=-1), mode, padding)


def to_exact(displacement: Tensor, convention: str) -> Tensor:
    """Return the displacement that `exact` moves as `convention` moves the given one."""
    shape = tuple(displacement.shape[2:])
    grid = identity(shape, displacement)  # type: ignore[arg-type]
    if convention == "reg-ttr":
        scale = displacement.new_tensor([n / max(n - 1, 1) for n in shape])
        return displacement * scale.view(1, 3, 1, 1, 1)
    parts = [
        _position(grid[:, axis], displacement[:, axis], n, convention) - grid[:, axis]
        for axis, n in enumerate(shape)
    ]
    return torch.stack(parts, dim=1)


def _line(shape: tuple[int, ...], convention: str) -> sampling.Line:
    """Return how the compiled loops place voxels: `_position` as a scale and a shift per axis."""
    if convention == "exact":
        return sampling.EXACT
    _position(torch.zeros(()), torch.zeros(()), 2, convention)  # it names an unknown convention
    scale = [n / max(n - 1, 1) for n in shape]
    return sampling.line_of(scale, [-0.5] * 3, relative=True)


def _scaled(position: Tensor, n: int) -> Tensor:
    """Return positions on an axis of n voxels in grid_sample's -1..1.

    The quotient is formed first, so that rounding occurs once; a factor 2/(n-1) would add another.
    """
    return (position / max(n - 1, 1)).mul_(2.0).sub_(1.0)


def _published_points(image: Tensor, displacement: Tensor) -> Tensor:
    """Return the points of x + u * N/(N-1), rounded as the published programs round them.

    Adam turns the sign of a tiny gradient into a whole step, and near whole voxels that sign
    depends on the last bit of the position (ConvexAdam and Reg-TTR build their positions this way).
    """
    shape = tuple(displacement.shape[2:])
    grid = _half_voxel_grid(shape, displacement.dtype, str(displacement.device))
    scaled = [displacement[:, c] / (max(image.shape[2 + c] - 1, 1) / 2) for c in (2, 1, 0)]
    return torch.stack(scaled, dim=-1) + grid


@device_cache(2)
def _half_voxel_grid(shape: tuple[int, ...], dtype: torch.dtype, device: str) -> Tensor:
    """Return the identity (1, D, H, W, 3) in [-1, 1] of align_corners=False; made once."""
    one = torch.eye(3, 4, dtype=dtype, device=device)[None]
    return F.affine_grid(one, [1, 1, *shape], align_corners=False)


def _position(x: Tensor, u: Tensor, n: int, convention: str) -> Tensor:
    stretch = n / max(n - 1, 1)
    if convention == "exact":
        return x + u
    if convention == "half-voxel":
        return (x + u) * stretch - 0.5
    raise ValueError(f"convention: one of {', '.join(CONVENTIONS)}, got {convention!r}")


def _grid_sample(
    image: Tensor, points: Tensor, mode: str, padding: str, align_corners: bool = True
) -> Tensor:
    """grid_sample split so that all CPU threads work on a single pair (float64, published points).

    On a CPU torch runs grid_sample in parallel over the batch only; points are independent, so one
    pair's points are split into a batch over the same (expanded, not copied) image.
    """
    torch_mode = {"linear": "bilinear", "nearest": "nearest"}[mode]
    count = points.shape[1] * points.shape[2] * points.shape[3]
    threads = torch.get_num_threads()
    whole = (
        image.device.type != "cpu"
        or image.shape[0] != 1
        or image.requires_grad
        or threads == 1
        or count % threads != 0
    )
    if whole:
        return F.grid_sample(image, points, torch_mode, padding, align_corners)
    split = points.reshape(threads, 1, 1, count // threads, 3)
    sampled = F.grid_sample(
        image.expand(threads, -1, -1, -1, -1), split, torch_mode, padding, align_corners
    )
    return sampled.transpose(0, 1).reshape(1, image.shape[1], *points.shape[1:4])


def compose(
    outer: Tensor, inner: Tensor, *, padding: str = "border", quick: bool = False
) -> Tensor:
    """Return the displacement of x -> outer(inner(x)): u_inner(x) + u_outer(x + u_inner(x)).

    A field that warps with `inner` first, then with `outer`, of one shape (N, 3, D, H, W), voxels;
    `quick` is without effect.
    """
    if padding == "border" and serves(outer, inner):
        return sampling.composed(outer, inner)
    return inner + warp(outer, inner, padding=padding)


def integrate(velocity: Tensor, steps: int = 7, *, padding: str = "zeros") -> Tensor:
    """Return exp(velocity) as a displacement by scaling and squaring (Arsigny 2006), `steps` times.

    Zero padding outside is VoxelMorph's reading; velocity and result (N, 3, D, H, W) in voxels.
    """
    displacement = velocity / 2**steps
    for _ in range(steps):
        displacement = compose(displacement, displacement, padding=padding)
    return displacement


def invert(displacement: Tensor, steps: int = 50, tolerance_voxels: float = 1e-3) -> Tensor:
    """Return v with x + v(x) = the inverse of x + u(x), by a damped fixed point.

    v <- (v - u(x + v)) / 2: the undamped step would diverge where u changes by more than a voxel
    from one voxel to the next. The best iterate (least mean residual) is returned, so a field with
    folds gives the best available approximation; measure it with `inverse_error`.
    """
    best = inverse = -displacement
    least = float("inf")
    for _ in range(steps):
        residual = missed(displacement, inverse)
        mean = float(residual.abs().mean())
        if mean < least:
            least, best = mean, inverse
        if float(residual.abs().max()) < tolerance_voxels:
            break
        inverse = inverse - 0.5 * residual
    return best


def inverse_error(displacement: Tensor, inverse: Tensor) -> Tensor:
    """Return |v(x) + u(x + v(x))| (N, 1, D, H, W) in voxels: zero where v inverts u."""
    return missed(displacement, inverse).norm(dim=1, keepdim=True)


def missed(displacement: Tensor, inverse: Tensor) -> Tensor:
    """Return v(x) + u(x + v(x)) (N, 3, D, H, W) in voxels: the residual of v as inverse of u."""
    return compose(displacement, inverse)


def jacobian_determinant(displacement: Tensor) -> Tensor:
    """Return det(I + grad u) (N, 1, D, H, W); central differences, one-sided on the faces.

    Some planes at a time: the gradients alone are nine volumes.
    """
    if serves(displacement) and min(displacement.shape[2:]) > 1:
        return torch.stack([motion.determinant(u)[None] for u in displacement])
    depth = displacement.shape[2]
    parts = []
    for first in range(0, depth, SLAB_PLANES):
        last = min(depth, first + SLAB_PLANES)
        low, high = max(0, first - 1), min(depth, last + 1)
        found = _determinant(displacement[:, :, low:high])
        parts.append(found[:, :, first - low : last - low])
    return torch.cat(parts, dim=2)


def _determinant(displacement: Tensor) -> Tensor:
    gradients = torch.gradient(displacement, dim=(2, 3, 4))
    rows = [[gradients[a][:, c] + (1.0 if a == c else 0.0) for a in range(3)] for c in range(3)]
    (a, b, c), (d, e, f), (g, h, i) = rows
    return (a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g))[:, None]


def resize(displacement: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Return the displacement on a grid of `shape` filling the same block of space, in its voxels.

    Trilinear with voxel edges aligned (align_corners=False), component c scaled by new/old sizes.
    """
    old = displacement.shape[2:]
    if tuple(old) == tuple(shape):
        return displacement
    scale = torch.tensor(
        [n / o for n, o in zip(shape, old, strict=True)],
        dtype=displacement.dtype,
        device=displacement.device,
    )
    resized = F.interpolate(displacement, size=shape, mode="trilinear", align_corners=False)
    return resized * scale.view(1, 3, 1, 1, 1)


def to_millimetres(displacement: Tensor, geometry: Geometry) -> DisplacementField:
    """Return the field in RAS mm of a displacement (1, 3, D, H, W) in voxels of `geometry`.

    The only conversion from torch's voxels to RAS mm.
    """
    array = displacement[0].detach().float().cpu().numpy()
    return DisplacementField.from_voxels(np.moveaxis(array[::-1], 0, -1), geometry)


def from_millimetres(field: DisplacementField, like: Tensor | None = None) -> Tensor:
    """Return the displacement (1, 3, D, H, W) in voxels of the field's own grid."""
    array = np.moveaxis(field.to_voxels(), -1, 0)[::-1]
    tensor = torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))[None]
    return tensor if like is None else tensor.to(like)

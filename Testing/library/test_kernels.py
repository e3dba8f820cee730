"""Compiled loops and torch forms are one operation, whatever the shape, padding and threads."""

import os
import subprocess
import sys
from contextlib import contextmanager

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.paths import ROOT
from torch import Tensor

from RegRefineLib.errors import Stopped
from RegRefineLib.geometry import Geometry, Volume
from RegRefineLib.job import Job
from RegRefineLib.kernels import door
from RegRefineLib.kernels.announce import SENTENCE, about_to_compile
from RegRefineLib.losses.lncc import GaussianNCC
from RegRefineLib.losses.mutual_information import mutual_information
from RegRefineLib.losses.ncc import LocalNCC, multi_window_terms
from RegRefineLib.losses.ssim import SSIM
from RegRefineLib.losses.windowed import WindowedSimilarity
from RegRefineLib.ops import affine, filters, force, warp
from RegRefineLib.pair import Refined
from RegRefineLib.registration import register

sizes = st.tuples(*[st.integers(1, 9)] * 3)
seeds = st.integers(0, 99)
TERMS = {
    "ncc 3": [(1.0, LocalNCC(3))],
    "ncc 7": [(1.0, LocalNCC(7))],
    "gaussian ncc": [(1.0, GaussianNCC(1.5))],
    "squared gaussian ncc": [(0.5, GaussianNCC(2.2, squared=True))],
    "ssim": [(2.0, SSIM())],
    "box ssim": [(1.0, SSIM(box_width=7))],
    "reg-ttr": [*multi_window_terms(), (2.0, SSIM())],
}


@contextmanager
def plain():
    """Torch alone."""
    before = os.environ.get(door.SWITCH)
    os.environ[door.SWITCH] = "0"
    try:
        yield
    finally:
        if before is None:
            del os.environ[door.SWITCH]
        else:
            os.environ[door.SWITCH] = before


def noise(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def smooth(seed: int, *shape: int) -> Tensor:
    """An image (1, 1, ...) in [0, 1] that changes over several voxels."""
    coarse = torch.rand((1, 1, *[-(-n // 3) for n in shape]), generator=generator(seed))
    return torch.nn.functional.interpolate(coarse, shape, mode="trilinear")


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def both(operation):
    """What the compiled and the torch form give; fails where the door leads to torch twice."""
    compiled = operation()
    with plain():
        return compiled, operation()


@pytest.fixture(autouse=True)
def _numba_is_here():
    if not door.available():
        pytest.skip("numba is not installed or switched off")


@settings(deadline=None, max_examples=60)
@given(
    sizes,
    sizes,
    st.integers(1, 3),
    st.sampled_from([0.0, 0.4, 3.0, 1e4, 1e12]),
    st.sampled_from(["zeros", "border", "cut"]),
    st.sampled_from(["exact", "half-voxel"]),
    seeds,
)
def test_any_displacement_samples_what_torch_samples(
    image, grid, channels, length, padding, convention, seed
):
    volume, u = noise(seed, 1, channels, *image), length * noise(seed + 1, 1, 3, *grid)
    # linear interpolation has kinks, and a cut its edge, at whole voxels; float32 rounds there
    u = (u / 0.25).round() * 0.25 + 0.0873 if length < 100 else u.round() + 0.1
    options = {"padding": padding, "convention": convention}
    found = warp.warp(volume, u, **options)
    exact = warp.warp(volume.double(), u.double(), **options)
    torch.testing.assert_close(found.double(), exact, atol=2e-4, rtol=0)


@settings(deadline=None, max_examples=60)
@given(
    sizes,
    sizes,
    st.integers(1, 3),
    st.sampled_from([0.4, 3.0, 30.0]),
    st.sampled_from(["zeros", "border", "cut"]),
    st.sampled_from(["exact", "half-voxel"]),
    seeds,
)
def test_any_displacement_has_the_derivative_that_torch_finds(
    image, grid, channels, length, padding, convention, seed
):
    volume, weights = noise(seed, 1, channels, *image), noise(seed + 2, 1, channels, *grid)
    u = ((length * noise(seed + 1, 1, 3, *grid)) / 0.25).round() * 0.25 + 0.0873
    gradients = []
    for x in (u, u.double()):
        x.requires_grad_()
        warped = warp.warp(volume.to(x), x, padding=padding, convention=convention)
        gradients.append(torch.autograd.grad((warped * weights.to(x)).sum(), x)[0].double())
    torch.testing.assert_close(*gradients, atol=5e-4, rtol=1e-4)


@settings(deadline=None, max_examples=40)
@given(sizes, sizes, st.sampled_from(["zeros", "border", "cut"]), seeds)
def test_labels_are_the_nearest_voxels(image, grid, padding, seed):
    labels = torch.randint(0, 60000, (1, 1, *image), generator=generator(seed)).float()
    u = (3 * noise(seed, 1, 3, *grid) / 0.25).round() * 0.25 + 0.0873
    found = warp.warp(labels, u, mode="nearest", padding=padding)
    exact = warp.warp(labels.double(), u.double(), mode="nearest", padding=padding)
    assert torch.equal(found.double(), exact)


@settings(deadline=None, max_examples=30)
@given(sizes, st.floats(0.0, 4.0), seeds)
def test_a_composition_is_torchs(shape, length, seed):
    outer, inner = (length * noise(seed + n, 2, 3, *shape) for n in (0, 1))
    exact = warp.compose(outer.double(), inner.double())
    torch.testing.assert_close(warp.compose(outer, inner).double(), exact, atol=2e-4, rtol=0)


def test_strides_and_batches_are_taken():
    volume, u = noise(0, 2, 2, 5, 6, 7), noise(1, 2, 3, 7, 6, 5)
    turned = volume.transpose(-1, -3)
    torch.testing.assert_close(
        warp.warp(turned, u, padding="border").double(),
        warp.warp(turned.double(), u.double(), padding="border"),
        atol=1e-4,
        rtol=0,
    )
    one = warp.warp(volume[:1].expand(2, -1, -1, -1, -1), u)
    torch.testing.assert_close(one[1:], warp.warp(volume[:1], u[1:]))


@pytest.mark.parametrize("padding", ["zeros", "border"])
def test_what_is_not_a_number_stays_so_and_alone(padding):
    volume, u = noise(0, 1, 2, 6, 5, 6), torch.zeros(1, 3, 6, 5, 6)
    u[0, 1, 3, 2, 1] = float("nan")
    wrong = warp.warp(volume, u, padding=padding).isnan().any(dim=1)[0]
    assert wrong.nonzero().tolist() == [[3, 2, 1]]
    volume[0, 0, 2, 2, 2] = float("nan")
    wrong = warp.warp(volume, torch.full_like(u, 0.5), padding=padding)[0, 0].isnan()
    assert sorted(wrong.nonzero().tolist()) == [
        [k, j, i] for k in (1, 2) for j in (1, 2) for i in (1, 2)
    ]


@settings(deadline=None, max_examples=30)
@given(sizes, st.sampled_from([1, 3, 5, 7, 9, 11, 13, 21]), seeds)
def test_a_window_is_torchs_and_its_own_adjoint(shape, width, seed):
    x = noise(seed, 2, *shape).requires_grad_()
    weights = filters.gaussian(width / 4, width)
    y = filters.window_sum(x, weights)
    torch.testing.assert_close(
        y.double(), filters.window_sum(x.double(), weights), atol=1e-5, rtol=1e-5
    )
    (back,) = torch.autograd.grad((y * x.detach()).sum(), x)
    torch.testing.assert_close(back, y.detach(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("shape", [(9, 11, 8), (1, 12, 5), (6, 1, 1), (2, 3, 40)], ids=str)
@pytest.mark.parametrize("masked", ["none", "all", "means"])
@pytest.mark.parametrize("beyond", [True, False])
@pytest.mark.parametrize("terms", TERMS)
def test_a_windowed_similarity_is_torchs_with_its_gradient(terms, beyond, masked, shape):
    fixed, moving = smooth(0, *shape), (smooth(0, *shape) + 0.3 * smooth(1, *shape)).clamp(0, 1)
    mask = (smooth(2, *shape) > 0.4).float() if masked != "none" else None
    found = []
    for kind in (torch.float32, torch.float64):
        loss = WindowedSimilarity(
            fixed.to(kind),
            TERMS[terms],
            None if mask is None else mask.to(kind),
            whole_windows=masked == "means",
            zeros_beyond=beyond,
        )
        x = moving.to(kind).requires_grad_()
        value = loss(x)
        found.append((value.detach().double(), torch.autograd.grad(value, x)[0].double()))
    (value, gradient), (exact, exact_gradient) = found
    assert value == pytest.approx(float(exact), abs=2e-4)
    # where a window holds next to no contrast, float32 knows little of its slope
    scale = exact_gradient.abs().max()
    error = (gradient - exact_gradient).abs()
    assert error.quantile(0.95) <= 1e-2 * scale
    assert error.max() <= 0.1 * scale


@settings(deadline=None, max_examples=30)
@given(st.tuples(*[st.integers(2, 9)] * 3), st.booleans(), st.booleans(), seeds)
def test_mutual_information_is_torchs_to_the_last_count(shape, masked, normalised, seed):
    fixed, moving = noise(seed, 1, 1, *shape), noise(seed + 1, 1, 1, *shape)
    mask = torch.rand((1, 1, *shape), generator=generator(seed)).round(decimals=1)

    def once():
        x = moving.clone().requires_grad_()
        value = mutual_information(fixed, x, mask if masked else None, normalised=normalised)
        return value.detach(), torch.autograd.grad(value, x)[0]

    (value, gradient), (exact, exact_gradient) = both(once)
    assert value == exact
    assert torch.equal(gradient, exact_gradient)


def test_mutual_information_of_what_is_not_finite_is_torchs():
    fixed, moving = noise(0, 1, 1, 5, 6, 7), noise(1, 1, 1, 5, 6, 7)
    moving[0, 0, 2, 2, 2], moving[0, 0, 3, 3, 3] = float("nan"), float("inf")
    mask = torch.ones_like(fixed)
    for weights in (None, mask):
        value, exact = both(lambda w=weights: mutual_information(fixed, moving, w))
        assert value == exact
    mask[0, 0, 2, 2, 2] = mask[0, 0, 3, 3, 3] = 0
    value, exact = both(lambda: mutual_information(fixed, moving, mask))
    assert value == exact != 0
    nowhere = torch.zeros_like(mask)
    value, exact = both(lambda: mutual_information(fixed, moving, nowhere))
    assert value == exact


@settings(deadline=None, max_examples=30)
@given(sizes, st.floats(0.1, 2.0), seeds)
def test_forces_steps_and_determinants_are_torchs(shape, share, seed):
    image, slope = noise(seed, 1, 1, *shape), noise(seed + 1, 1, 1, *shape)
    metric = torch.tensor([1.0, 0.5, 0.8]).view(1, 3, 1, 1, 1)
    found, exact = both(lambda: force.compositive_force(image, slope, metric))
    torch.testing.assert_close(found, exact, atol=1e-6, rtol=1e-5)
    pushed = found
    length, exact = both(lambda: force.typical_length(pushed))
    assert length == pytest.approx(exact, rel=1e-4)
    found, exact = both(lambda: force.limited(pushed, share * length + 1e-9))
    torch.testing.assert_close(found, exact, atol=1e-5, rtol=1e-4)
    assert found.norm(dim=1).max() <= 1 + 1e-5
    if min(shape) > 1:
        u = noise(seed, 2, 3, *shape)
        found, exact = both(lambda: warp.jacobian_determinant(u))
        torch.testing.assert_close(found, exact, atol=1e-4, rtol=1e-4)


@settings(deadline=None, max_examples=40)
@given(sizes, sizes, st.booleans(), seeds)
def test_a_volume_through_a_matrix_is_torchs_with_its_derivative(image, grid, weighted, seed):
    volume, weight = noise(seed, 1, 1, *image), noise(seed + 1, 1, 1, *image).abs()
    back = noise(seed + 2, 2, *grid)
    matrix = torch.eye(3, 4).double() + 0.3 * noise(seed + 3, 3, 4).double() + 0.0137

    def once():
        m = matrix.clone().requires_grad_()
        moved, inside = affine.through_matrix(volume, weight if weighted else None, m, grid)
        total = (moved[0, 0] * back[0] + inside[0, 0] * back[1]).sum()
        return moved.detach(), inside.detach(), torch.autograd.grad(total, m)[0]

    for found, exact in zip(*both(once), strict=True):
        torch.testing.assert_close(found, exact, atol=2e-3, rtol=1e-3)


def everything(threads: int) -> list[Tensor]:
    """One result of each operation, with so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        shape = (23, 19, 37)
        image, other = smooth(0, *shape), smooth(1, *shape)
        u, mask = 2 * noise(2, 1, 3, *shape), (smooth(3, *shape) > 0.4).float()
        x, y = u.clone().requires_grad_(), other.clone().requires_grad_()
        similarity = WindowedSimilarity(image, TERMS["reg-ttr"], mask)(y)
        information = mutual_information(image, y, mask)
        (by_u,) = torch.autograd.grad(warp.warp(image, x).square().sum(), x)
        pushed = force.compositive_force(image, other, torch.ones(1, 3, 1, 1, 1))
        return [
            warp.warp(image, u, padding="border"),
            warp.warp(image, u, mode="nearest"),
            warp.compose(u, 0.1 * u),
            by_u,
            filters.window_sum(u, filters.gaussian(1.5)),
            similarity.detach(),
            information.detach(),
            *torch.autograd.grad(similarity + information, y),
            pushed,
            force.limited(pushed, 0.7 * force.typical_length(pushed)),
            warp.jacobian_determinant(u),
        ]
    finally:
        torch.set_num_threads(before)


def test_the_number_of_threads_changes_no_bit():
    one = everything(1)
    for threads in (2, 5):
        for a, b in zip(one, everything(threads), strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("image", "u"),
    [
        (torch.zeros(1, 1, 5, 5, 5).double(), torch.zeros(1, 3, 5, 5, 5).double()),
        (torch.zeros(1, 1, 5, 5, 5, requires_grad=True), torch.zeros(1, 3, 5, 5, 5)),
        (torch.zeros(1, 1, 5, 5, 5).half(), torch.zeros(1, 3, 5, 5, 5).half()),
    ],
)
def test_other_numbers_and_derivatives_by_the_image_are_left_to_torch(image, u):
    assert not door.serves(image, u, by=(u,))
    with torch.no_grad():
        assert door.serves(image, u) == (image.dtype == torch.float32)


CODE = """
import sys, torch
from RegRefineLib.ops.warp import compose
assert "numba" not in sys.modules
print(float(compose(torch.ones(1, 3, 4, 4, 4), torch.ones(1, 3, 4, 4, 4)).sum()))
print("numba" in sys.modules)
"""


def ran(code: str, **environment: str) -> str:
    """What a fresh process prints."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_numba_is_loaded_when_first_used_and_can_be_switched_off():
    assert ran(CODE).split() == ["384.0", "True"]
    assert ran(CODE, REGREFINE_NUMBA="0").split() == ["384.0", "False"]


def test_a_cache_that_cannot_be_read_or_written_is_no_error(tmp_path):
    assert ran(CODE, NUMBA_CACHE_DIR=str(tmp_path)).split()[0] == "384.0"
    files = [p for p in tmp_path.rglob("*") if p.suffix in (".nbi", ".nbc")]
    assert files
    for file in files:
        file.write_bytes(b"of another version")
    assert ran(CODE, NUMBA_CACHE_DIR=str(tmp_path)).split()[0] == "384.0"
    blocked = tmp_path / "a file, no folder"
    blocked.write_bytes(b"")
    assert ran(CODE, NUMBA_CACHE_DIR=str(blocked)).split()[0] == "384.0"


ANNOUNCED = """
import torch
from RegRefineLib.kernels.announce import compiling_announced
from RegRefineLib.ops.warp import compose
for _ in range(2):
    said = []
    with compiling_announced(said.append):
        compose(torch.ones(1, 3, 4, 4, 4), torch.ones(1, 3, 4, 4, 4))
    print(len(said))
"""


def test_a_compilation_is_announced_and_a_loop_that_is_kept_is_not(tmp_path):
    assert ran(ANNOUNCED, NUMBA_CACHE_DIR=str(tmp_path)).split() == ["1", "0"]
    assert ran(ANNOUNCED, NUMBA_CACHE_DIR=str(tmp_path)).split() == ["0", "0"]


def test_a_run_reports_once_that_loops_are_compiled(monkeypatch):
    def refine(pair, start, *_):
        about_to_compile()
        about_to_compile()
        return Refined(start)

    monkeypatch.setattr("RegRefineLib.refine.none.refine", refine)
    said = []
    image = Volume(torch.rand(8, 8, 8).numpy(), Geometry((8, 8, 8), torch.eye(4).numpy()))
    job = Job(affine="none", start="none", refinement="none")

    def report(progress):
        if progress.message:
            said.append((progress.stage, progress.message))
            raise Stopped

    register(image, image, job, report)
    assert ("refine", SENTENCE) in said
    about_to_compile()
    assert [words for _, words in said].count(SENTENCE) == 1

"""Reg-TTR against its published loop, written out densely from specs/reg-ttr.md 2.2-2.4."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from golden import dense
from support.small import bend, grid, image_on
from torch import Tensor

from RegRefineLib.errors import Cancelled, RegRefineError, Stopped
from RegRefineLib.geometry import DisplacementField
from RegRefineLib.job import Progress
from RegRefineLib.ops.warp import from_millimetres
from RegRefineLib.pair import Pair, ignore
from RegRefineLib.presets import PRESETS
from RegRefineLib.refine.reg_ttr import RegTTR, refine

SHAPE = (9, 10, 11)
RELEASED = PRESETS["reg-ttr-released"].values["settings"]
PAPER = PRESETS["reg-ttr-paper"].values["settings"]
FIXED = PRESETS["reg-ttr-mended"].values["settings"]


def pair_of(dtype: torch.dtype = torch.float64, **more) -> Pair:
    geometry = grid(SHAPE, (3.0, 3.0, 3.0))
    images = image_on(geometry, lambda p: p + bend(p, 2.5)), image_on(geometry)
    # noise, since where gradients vanish, the sign of a rounding error decides a whole step
    noise = np.random.default_rng(0)
    fixed, moving = (
        torch.from_numpy(0.8 * i.array + 0.2 * noise.random(SHAPE)).to(dtype)[None, None]
        for i in images
    )
    return Pair(fixed, moving, geometry, **more)


def smooth_start(pair: Pair, largest: float = 0.8) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    coarse = torch.randn((1, 3, 4, 4, 4), generator=generator, dtype=pair.fixed.dtype)
    field = F.interpolate(coarse, pair.shape, mode="trilinear", align_corners=True)
    return field * largest / field.abs().max()


def published_warp(image: Tensor, u: Tensor) -> Tensor:
    """2.2: an align_corners=False identity plus u / ((N - 1) / 2), zeros outside."""
    theta = torch.eye(3, 4, dtype=u.dtype)[None]
    identity = F.affine_grid(theta, [1, 1, *u.shape[2:]], align_corners=False)
    half = torch.tensor([(n - 1) / 2 for n in u.shape[2:]], dtype=u.dtype).view(1, 3, 1, 1, 1)
    points = identity + (u / half).permute(0, 2, 3, 4, 1).flip(-1)
    return F.grid_sample(image, points, mode="bilinear", align_corners=False)


def published_smoothness(u: Tensor) -> Tensor:
    axes = [(u.diff(dim=axis)).abs().mean() for axis in (2, 3, 4)]
    return sum(axes) / 3


def published(pair: Pair, start: Tensor, rate: float, grid_sp: int, steps: int = 10):
    """The field, the losses and the rates of sections 2.2 to 2.4, step by step."""
    size = [n // grid_sp for n in pair.shape]
    u = F.interpolate(start, size, mode="trilinear", align_corners=False) / grid_sp
    u = u.clone().requires_grad_()
    fixed, moving = (F.avg_pool3d(image, grid_sp) for image in (pair.fixed, pair.moving))
    adam = torch.optim.Adam([u], lr=rate, foreach=False)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(adam, "min", factor=0.5, patience=2)
    windows = [(0.5, dense.ncc(5)), (0.3, dense.ncc(9)), (0.2, dense.ncc(13))]
    best, least, waited, losses, rates = None, float("inf"), 0, [], []
    for n in range(steps):
        adam.zero_grad()
        moved = published_warp(moving, u)
        loss = sum(weight * ncc(fixed, moved) for weight, ncc in windows)
        loss = loss + 2 * dense.ssim(fixed, moved) + published_smoothness(u)
        loss.backward()
        torch.nn.utils.clip_grad_norm_([u], 1.0)
        adam.step()
        if n % 2 == 0:
            plateau.step(loss.detach())
        losses.append(loss.item())
        rates.append(adam.param_groups[0]["lr"])
        if losses[-1] < least:
            best, least, waited = u.detach().clone(), losses[-1], 0
        else:
            waited += 1
            if waited >= 3:
                break
    whole = F.interpolate(best * grid_sp, pair.shape, mode="trilinear", align_corners=False)
    return whole, losses, rates


@pytest.mark.parametrize(
    ("rate", "grid_sp", "moved", "steps"),
    [
        (0.1, 1, False, 10),
        (0.1, 1, True, 6),
        (0.025, 1, True, 4),
        (0.1, 2, True, 10),
        (2.0, 1, False, 10),
        (0.6, 2, True, 30),
    ],
    ids=["zero start", "start", "cardiac rate", "grid 2", "large steps", "grid 2, large steps"],
)
def test_released_is_the_published_loop(rate, grid_sp, moved, steps):
    pair = pair_of()
    start = smooth_start(pair) if moved else pair.zero()
    wanted, losses, _ = published(pair, start, rate, grid_sp, steps)
    settings = {**RELEASED, "learning_rate": rate, "grid_sp": grid_sp, "steps": steps}
    found = refine(pair, start, settings, ignore)
    torch.testing.assert_close(
        torch.tensor([step["total"] for step in found.history]), torch.tensor(losses)
    )
    torch.testing.assert_close(found.displacement, wanted, rtol=0, atol=1e-7)


def test_the_scheduler_acts_where_the_published_one_does():
    pair = pair_of()
    settings = {**RELEASED, "learning_rate": 3.0, "patience": 0, "steps": 14}
    wanted = published_without_early_stop(pair, 3.0, 14)
    found = refine(pair, pair.zero(), settings, ignore)
    assert min(wanted[1]) < 3.0
    torch.testing.assert_close(
        torch.tensor([step["total"] for step in found.history]), torch.tensor(wanted[0])
    )
    still = refine(pair, pair.zero(), {**settings, "plateau": False}, ignore)
    assert found.history[-1]["total"] != pytest.approx(still.history[-1]["total"], rel=1e-3)


def published_without_early_stop(pair: Pair, rate: float, steps: int):
    """Losses and rates of the published optimiser alone."""
    u = pair.zero().requires_grad_()
    adam = torch.optim.Adam([u], lr=rate, foreach=False)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(adam, factor=0.5, patience=2)
    windows = [(0.5, dense.ncc(5)), (0.3, dense.ncc(9)), (0.2, dense.ncc(13))]
    losses, rates = [], []
    for n in range(steps):
        adam.zero_grad()
        moved = published_warp(pair.moving, u)
        loss = sum(weight * ncc(pair.fixed, moved) for weight, ncc in windows)
        loss = loss + 2 * dense.ssim(pair.fixed, moved) + published_smoothness(u)
        loss.backward()
        torch.nn.utils.clip_grad_norm_([u], 1.0)
        adam.step()
        if n % 2 == 0:
            plateau.step(loss.detach())
        losses.append(loss.item())
        rates.append(adam.param_groups[0]["lr"])
    return losses, rates


def test_released_gives_back_the_field_one_step_beyond_the_best():
    pair = pair_of()
    settings = {"learning_rate": 2.0, "steps": 10}
    found = refine(pair, pair.zero(), {**RELEASED, **settings}, ignore)
    losses = [step["total"] for step in found.history]
    best = losses.index(min(losses))
    assert best < len(losses) - 1  # the losses rose, so that it makes a difference
    until = {**RELEASED, **settings, "steps": best + 1, "keep": "last"}
    torch.testing.assert_close(
        found.displacement, refine(pair, pair.zero(), until, ignore).displacement
    )


def test_it_stops_after_three_steps_without_gain():
    pair = pair_of()
    found = refine(pair, pair.zero(), {**RELEASED, "learning_rate": 2.0, "steps": 50}, ignore)
    losses = [step["total"] for step in found.history]
    assert 3 < len(losses) < 50
    assert min(losses[-3:]) >= min(losses[:-3])
    assert found.stopped_because == "no gain in 3 steps"


@pytest.mark.parametrize("rate", [0.1, 0.025])
@pytest.mark.parametrize("preset", ["reg-ttr-released", "reg-ttr-paper", "reg-ttr-mended"])
def test_no_voxel_moves_further_than_steps_times_rate(preset, rate):
    pair = pair_of(torch.float32)
    settings = {**PRESETS[preset].values["settings"], "learning_rate": rate}
    settings["smooth_weight"] = 0.1
    moved = refine(pair, pair.zero(), settings, ignore).displacement.abs().max()
    assert 2 * rate < moved <= 10 * rate * 1.05


def test_fixed_keeps_the_field_that_had_the_least_loss():
    pair = pair_of()
    found = refine(pair, pair.zero(), {**FIXED, "learning_rate": 0.5}, ignore)
    least = min(step["total"] for step in found.history)
    again = refine(pair, found.displacement, {**FIXED, "steps": 1}, ignore)
    assert again.history[0]["total"] == pytest.approx(least, rel=1e-12)
    torch.testing.assert_close(again.displacement, found.displacement)


def test_paper_is_one_window_and_diffusion():
    pair, start = pair_of(), None
    start = smooth_start(pair)
    found = refine(pair, start, {**PAPER, "steps": 1}, ignore)
    moved = F.grid_sample(pair.moving, exact_points(start), align_corners=True)
    smoothness = sum(start.diff(dim=axis).square().mean() for axis in (2, 3, 4)) / 3
    wanted = dense.ncc(9)(pair.fixed, moved) + 2 * dense.ssim(pair.fixed, moved) + smoothness
    assert found.history[0]["total"] == pytest.approx(float(wanted), rel=1e-6)
    assert not torch.equal(found.displacement, start)  # the last field is kept


def exact_points(u: Tensor) -> Tensor:
    axes = [torch.arange(n, dtype=u.dtype) for n in u.shape[2:]]
    position = torch.stack(torch.meshgrid(*axes, indexing="ij"))[None] + u
    size = torch.tensor(u.shape[2:], dtype=u.dtype).view(1, 3, 1, 1, 1)
    return (2 * position / (size - 1) - 1).permute(0, 2, 3, 4, 1).flip(-1)


def test_a_known_displacement_comes_nearer():
    geometry = grid((18, 16, 19), (2.0, 2.0, 2.0))
    fixed, moving = (
        torch.from_numpy(image.array.copy())[None, None]
        for image in (image_on(geometry, lambda p: p + bend(p, 3)), image_on(geometry))
    )
    pair = Pair(fixed, moving, geometry)
    field = DisplacementField(bend(geometry.points(), 3).astype("float32"), geometry)
    true = from_millimetres(field)
    inside = pair.fixed > 0.3
    found = refine(pair, pair.zero(), {**FIXED, "steps": 30, "smooth_weight": 0.1}, ignore)
    gap = (found.displacement - true).norm(dim=1, keepdim=True)[inside].mean()
    assert gap < 0.6 * true.norm(dim=1, keepdim=True)[inside].mean()


@pytest.mark.parametrize("grid_sp", [1, 2])
def test_the_start_is_not_changed(grid_sp):
    pair = pair_of(torch.float32)
    start = smooth_start(pair)
    before, moving = start.clone(), pair.moving.clone()
    refine(pair, start, {**RELEASED, "grid_sp": grid_sp, "steps": 3}, ignore)
    assert torch.equal(start, before)
    assert torch.equal(pair.moving, moving)
    assert not start.requires_grad


def test_no_steps_give_the_start():
    pair = pair_of(torch.float32)
    start = smooth_start(pair)
    assert torch.equal(refine(pair, start, {"steps": 0}, ignore).displacement, start)


def test_a_stop_keeps_the_best_field_so_far():
    pair = pair_of()
    settings = {**FIXED, "steps": 10}

    def stop(progress: Progress) -> None:
        if progress.step == 3:
            raise Stopped

    stopped = refine(pair, pair.zero(), settings, stop)
    assert stopped.stopped_because == "stopped by the user"
    assert len(stopped.history) == 4
    short = refine(pair, pair.zero(), {**settings, "steps": 4}, ignore)
    torch.testing.assert_close(stopped.displacement, short.displacement)


def test_a_cancelled_run_is_dropped():
    def cancel(_: Progress) -> None:
        raise Cancelled

    pair = pair_of(torch.float32)
    with pytest.raises(Cancelled):
        refine(pair, pair.zero(), {}, cancel)


def test_every_step_is_reported_with_its_loss_and_field():
    pair, told = pair_of(torch.float32), []
    refine(pair, pair.zero(), {"steps": 4}, told.append)
    assert [(p.stage, p.step, p.steps) for p in told] == [("refine", n, 4) for n in range(4)]
    for progress in told:
        terms = progress.loss
        assert terms["total"] == pytest.approx(terms["similarity"] + terms["smoothness"], rel=1e-5)
        assert progress.displacement.shape == (1, 3, *SHAPE)


def test_the_ssim_can_be_left_out():
    pair = pair_of()
    found = refine(pair, pair.zero(), {**RELEASED, "ssim_weight": 0, "steps": 1}, ignore)
    windows = [(0.5, 5), (0.3, 9), (0.2, 13)]
    moved = published_warp(pair.moving, pair.zero())
    wanted = sum(weight * float(dense.ncc(w)(pair.fixed, moved)) for weight, w in windows)
    assert found.history[0]["similarity"] == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize("name", ["lncc", "mean-squares", "mind", "mutual-information"])
def test_any_similarity_goes_down(name):
    pair = pair_of(torch.float32)
    settings = {"similarity": name, "ncc_weight": 5, "smooth_weight": 0.01, "steps": 6}
    found = refine(pair, pair.zero(), settings, ignore)
    similarities = [step["similarity"] for step in found.history]
    assert min(similarities) < similarities[0]


@pytest.mark.parametrize("which", ["fixed_mask", "moving_mask"])
def test_what_a_mask_hides_does_not_matter(which):
    mask = torch.zeros((1, 1, *SHAPE))
    mask[..., :6] = 1
    pair = pair_of(torch.float32, **{which: mask})
    other = pair.moving.clone()
    other[..., 8:] = torch.rand_like(other[..., 8:])
    changed = Pair(pair.fixed, other, pair.geometry, **{which: mask})
    settings = {"smooth_weight": 0.0, "steps": 1}
    a, b = (refine(p, p.zero(), settings, ignore).history[0] for p in (pair, changed))
    assert a["similarity"] == pytest.approx(b["similarity"], rel=1e-5)
    whole = refine(pair_of(torch.float32), pair.zero(), settings, ignore).history[0]
    assert whole["similarity"] != pytest.approx(a["similarity"], rel=1e-3)


def test_a_loss_that_is_no_number_keeps_the_best_before():
    pair = pair_of(torch.float32)
    found = refine(pair, pair.zero(), {"learning_rate": 1e38, "steps": 4}, ignore)
    assert torch.isfinite(found.displacement).all()


@pytest.mark.parametrize(
    "settings",
    [
        {"warp": "sideways"},
        {"keep": "none"},
        {"smoothness": "l3"},
        {"steps": -1},
        {"learning_rate": 0},
        {"clip": -1},
        {"patience": -2},
        {"grid_sp": 0},
        {"grid_sp": 7},
        {"windows": ""},
        {"windows": "1:1"},
        {"windows": "5:1:2"},
        {"plateau": "perhaps"},
        {"similarity": "nc"},
        {"unknown": 1},
    ],
    ids=str,
)
def test_settings_out_of_range_are_refused(settings):
    pair = pair_of(torch.float32)
    with pytest.raises(RegRefineError) as told:
        refine(pair, pair.zero(), settings, ignore)
    assert next(iter(settings)).split("_")[0] in str(told.value)


def test_settings_may_be_text():
    pair = pair_of(torch.float32)
    text = {"steps": "2", "learning_rate": "0.05", "plateau": "true", "windows": "5:1, 7:0.5"}
    assert len(refine(pair, pair.zero(), text, ignore).history) == 2
    assert RegTTR(windows="5:1, 7:0.5").window_list() == [(5, 1.0), (7, 0.5)]


@pytest.mark.parametrize("keep", ["best", "last", "after-best"])
@pytest.mark.parametrize("patience", [2, 0])
def test_losses_that_are_read_late_change_nothing(keep, patience, monkeypatch):
    pair = pair_of()
    settings = {"keep": keep, "patience": patience, "steps": 9, "learning_rate": 0.9}
    plain = refine(pair, pair.zero(), settings, ignore)
    monkeypatch.setattr("RegRefineLib.refine.reg_ttr._lag", lambda *_: 2)
    late = refine(pair, pair.zero(), settings, ignore)
    assert late.history == plain.history
    assert late.stopped_because == plain.stopped_because
    assert torch.equal(late.displacement, plain.displacement)
    assert (len(plain.history) < 9) == bool(patience)


@pytest.mark.parametrize("lag", [0, 2])
def test_a_stop_keeps_the_steps_that_were_reported(lag, monkeypatch):
    pair = pair_of()
    monkeypatch.setattr("RegRefineLib.refine.reg_ttr._lag", lambda *_: lag)

    def stop(progress):
        if progress.step == 3:
            raise Stopped

    stopped = refine(pair, pair.zero(), {"keep": "last", "steps": 9}, stop)
    whole = refine(pair, pair.zero(), {"keep": "last", "steps": 4, "patience": 0}, ignore)
    assert torch.equal(stopped.displacement, whole.displacement)

"""ConvexAdam's parts by their definitions, and the whole on images that were moved on purpose."""

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from RegRefineLib.errors import RegRefineError, Stopped
from RegRefineLib.geometry import Geometry
from RegRefineLib.job import Progress
from RegRefineLib.ops import dense_search as discrete
from RegRefineLib.ops.filters import box3
from RegRefineLib.ops.warp import CONVENTIONS, to_exact, warp
from RegRefineLib.pair import Pair, ignore
from RegRefineLib.refine.convexadam_adam import refine
from RegRefineLib.starts import convexadam
from RegRefineLib.starts.settings import RECIPES

SHAPE = (26, 31, 36)
SEARCH = {"spacing": 3, "reach": 3}


def blobs(shift: tuple[float, float, float] = (0, 0, 0), count: int = 60) -> torch.Tensor:
    """A smooth random image (1, 1, D, H, W); its content lies `shift` voxels further on."""
    random = np.random.default_rng(5)
    centres = random.random((count, 3)) * SHAPE
    x = np.stack(np.meshgrid(*[np.arange(n) for n in SHAPE], indexing="ij"))
    image = np.zeros(SHAPE)
    for centre, amplitude in zip(centres, random.standard_normal(count), strict=True):
        away = ((x - (centre + shift)[:, None, None, None]) ** 2).sum(axis=0)
        image += amplitude * np.exp(-away / (2 * 2.2**2))
    return torch.from_numpy(image.astype(np.float32))[None, None]


def pair(shift: tuple[float, float, float]) -> Pair:
    return Pair(blobs(), blobs(shift), Geometry(SHAPE, np.eye(4)))


def features(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(1, *shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(2, 3, 4, 2), (1, 3, 1, 3), (2, 1, 1, 1, 4)])
def test_box3_is_the_average_pooling_and_its_own_adjoint(shape):
    torch.manual_seed(0)
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    kernel = torch.full((1, 1, 3, 3, 3), 1 / 27, dtype=x.dtype)
    wanted = F.conv3d(x.reshape(-1, 1, *shape[-3:]), kernel, padding=1)
    assert torch.allclose(box3(x), wanted.reshape(shape))
    assert torch.autograd.gradcheck(box3, x)


def test_costs_equal_their_definition():
    fixed, moving = features(5, 4, 6, 3), features(5, 4, 6, 3, seed=1)
    costs = discrete.correlate(fixed, moving, reach=2)
    padded = F.pad(moving, (2,) * 6)
    for label, (z, y, x) in enumerate(itertools.product(range(5), repeat=3)):
        shifted = padded[:, :, z : z + 4, y : y + 6, x : x + 3]
        cost = (fixed - shifted).square().sum(1, keepdim=True)
        wanted = F.avg_pool3d(F.avg_pool3d(cost, 3, 1, 1), 3, 1, 1)
        assert torch.allclose(costs.table[label], wanted[0, 0], atol=1e-5)
        found = costs.displacement(torch.full((1, 1, 1), label))
        assert torch.allclose(found.flatten(), torch.tensor([z - 2.0, y - 2.0, x - 2.0]), atol=1e-6)


def test_costs_in_half_precision_choose_nearly_alike():
    fixed, moving = features(12, 6, 6, 6), features(12, 6, 6, 6, seed=1)
    single = discrete.correlate(fixed, moving, 2).cheapest()[0]
    half = discrete.correlate(fixed, moving, 2, dtype=torch.float16).cheapest()[0]
    assert torch.allclose(half, single, rtol=1e-3)


def test_of_equal_labels_the_first_is_chosen():
    nothing = torch.zeros(1, 3, 4, 4, 4)
    _, chosen = discrete.correlate(nothing, nothing, 1).cheapest()
    assert torch.equal(chosen, torch.full((1, 3, 4, 4, 4), -1.0))


@pytest.mark.parametrize("coefficient", [0.003, 0.3, 10.0])
def test_coupling_weighs_cost_against_distance(coefficient):
    costs = discrete.correlate(features(4, 5, 4, 6), features(4, 5, 4, 6, seed=1), reach=1)
    soft = 2 * features(3, 5, 4, 6, seed=2) - 1
    found = discrete._nearest_cheap(costs, soft, coefficient)
    labels = torch.stack([costs.displacement(torch.full((1, 1, 1), k)) for k in range(27)])
    far = (labels[:, 0] - soft).square().sum(dim=1)
    best = (costs.table + coefficient * far).argmin(dim=0)
    assert torch.equal(found, costs.displacement(best))


def test_the_search_finds_a_shift_of_whole_cells():
    fixed = features(6, 14, 15, 16)
    moving = torch.roll(fixed, (2, -1, 3), dims=(2, 3, 4))  # fixed x is at moving x + (2, -1, 3)
    found = discrete.coupled_convex(discrete.correlate(fixed, moving, reach=3))
    wanted = torch.tensor([2.0, -1.0, 3.0]).view(1, 3, 1, 1, 1)
    inner = found[:, :, 6:-6, 6:-6, 6:-6]
    assert torch.allclose(inner, wanted.expand_as(inner), atol=1e-5)


def test_inverse_fields_stay_and_others_are_drawn_together():
    shift = torch.tensor([1.5, -0.5, 2.0]).view(1, 3, 1, 1, 1).expand(1, 3, 6, 7, 8)
    u, v = discrete.inverse_consistent(shift, -shift)
    assert torch.allclose(u, shift)
    assert torch.allclose(v, -shift)
    u, v = features(3, 8, 8, 8), -features(3, 8, 8, 8, seed=1)

    def gap(a, b):
        return float((b + warp(a, b, padding="border")).abs().mean())

    assert gap(*discrete.inverse_consistent(u, v)) < gap(u, v) / 10
    released = discrete.inverse_consistent(shift, -shift, released=True)[0]
    assert float((released - shift)[..., -1].abs().max()) > 0.1  # it fades at the border


@pytest.mark.parametrize("spacing", [1, 2, 3])
@pytest.mark.parametrize("shape", [(12, 12, 12), (13, 14, 17)])
def test_cells_are_put_back_where_they_were_taken(spacing, shape):
    axes = [torch.arange(n, dtype=torch.float32) for n in shape]
    ramp = torch.stack(torch.meshgrid(*axes, indexing="ij"))[None]
    back = discrete.unpool(discrete.pool(ramp, spacing) / spacing, spacing, shape)
    assert back.shape == ramp.shape
    n = spacing // 2 + 1
    ends = [m // spacing * spacing - n for m in shape]
    inner = (slice(None), slice(None), *(slice(n, end) for end in ends))
    assert torch.allclose(back[inner], ramp[inner], atol=1e-4)
    assert torch.equal(back[:, :, -1], back[:, :, shape[0] // spacing * spacing - 1])


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_a_field_made_exact_moves_as_before(convention):
    image, u = features(2, 7, 8, 9), 3 * features(3, 7, 8, 9, seed=1) - 1.5
    exact = to_exact(u, convention)
    assert torch.allclose(warp(image, exact), warp(image, u, convention=convention), atol=1e-5)


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("shift", [(3, 0, 0), (0, -3, 0), (2, -3, 4)])
def test_start_and_refinement_find_a_shift_with_its_sign(recipe, shift):
    given = pair(shift)
    start = convexadam.predict(given, {**SEARCH, "recipe": recipe}, ignore)
    assert start.shape == (1, 3, *SHAPE)
    found = refine(given, start, {"recipe": recipe, "steps": 12}, ignore)
    inner = (slice(None), slice(None), *(slice(10, -10) for _ in SHAPE))
    wanted = torch.tensor(shift, dtype=torch.float32).view(1, 3, 1, 1, 1)
    before = (start[inner] - wanted).abs().mean()
    after = (found.displacement[inner] - wanted).abs().mean()
    assert before < 1.5
    assert after < 0.75
    assert found.displacement.shape == (1, 3, *SHAPE)


def test_without_the_sweep_the_mended_field_is_in_voxels_and_the_released_in_cells():
    given = pair((0, 0, 6))
    alone = {**SEARCH, "inverse_consistent": False}
    fixed = convexadam.predict(given, alone, ignore)
    released = convexadam.predict(given, {**alone, "recipe": "released"}, ignore)
    assert fixed.shape == (1, 3, *SHAPE)
    assert released.shape == fixed.shape
    voxels, cells = (u[0, 2].median().item() for u in (fixed, released))
    assert voxels > 2
    assert cells == pytest.approx(voxels / 3, abs=0.4)


def test_where_memory_is_short_costs_are_kept_in_half(monkeypatch):
    given = pair((3, 0, 0))
    usual = convexadam.predict(given, SEARCH, ignore)
    needed = 4 * (8 * 10 * 12) * 7**3
    monkeypatch.setattr(convexadam, "TABLE_LIMIT", needed)
    assert torch.allclose(convexadam.predict(given, SEARCH, ignore), usual, atol=0.5)
    monkeypatch.setattr("RegRefineLib.starts.settings.TABLE_LIMIT", needed // 2 - 1)
    with pytest.raises(RegRefineError, match="for one table"):
        convexadam.predict(given, SEARCH, ignore)


def test_the_refined_field_is_the_best_of_all_steps():
    given = pair((1, 0.5, 0))
    events: list[Progress] = []
    found = refine(given, given.zero(), {"steps": 6}, events.append)
    totals = [record["total"] for record in found.history]
    assert len(totals) == len(events) == 7  # the field after the last step counts too
    assert min(totals) < totals[0]
    again = refine(given, found.displacement, {"steps": 0}, ignore)
    assert torch.equal(again.displacement, found.displacement)
    assert all(e.loss["total"] == t for e, t in zip(events, totals, strict=True))


def test_a_stop_keeps_the_best_field_so_far():
    given = pair((1, 0, 0))

    def stop(progress: Progress) -> None:
        if progress.step == 3:
            raise Stopped

    found = refine(given, given.zero(), {"steps": 50}, stop)
    assert len(found.history) == 4
    assert found.stopped_because == "stopped"
    shorter = refine(given, given.zero(), {"steps": 3}, ignore)
    assert torch.equal(found.displacement, shorter.displacement)


def test_neither_inputs_nor_start_are_changed():
    given = pair((2, 0, 0))
    images, start = given.moving.clone(), torch.ones(1, 3, *SHAPE)
    refine(given, start, {"steps": 2}, ignore)
    assert torch.equal(given.moving, images)
    assert torch.equal(start, torch.ones_like(start))


def test_a_stack_of_few_slices_goes():
    shape = (3, 24, 24)
    given = Pair(features(1, *shape), features(1, *shape, seed=1), Geometry(shape, np.eye(4)))
    start = convexadam.predict(given, {"spacing": 3, "reach": 1}, ignore)
    found = refine(given, start, {"steps": 2}, ignore)
    assert torch.isfinite(found.displacement).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"recipe": "best"}, "recipe: fixed or released"),
        ({"spacing": 40}, "set spacing to 13 or less"),
        ({"spacing": 0}, "spacing: at least 1"),
        ({"reach": 1.5}, "reach: a whole number"),
        ({"spacing": 1, "reach": 40}, "GB for one table"),
        ({"step": 1}, "unknown setting 'step'"),
    ],
)
def test_wrong_search_settings_are_named(settings, message):
    with pytest.raises(RegRefineError, match=message):
        convexadam.predict(pair((0, 0, 0)), settings, ignore)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"recipe": "best"}, "recipe: fixed or released"),
        ({"smoothing": 4}, "0 or an odd width, got 4"),
        ({"smoothing": 27, "steps": 1}, "width 27 is wider than the field, 26 x 31 x 36"),
        ({"recipe": "released", "spacing": 10}, "width 3 is wider than the field"),
        ({"spacing": 40}, "set spacing to 1"),
        ({"steps": -1}, "steps: at least 0"),
        ({"learning_rate": "fast"}, "a number is needed"),
    ],
)
def test_wrong_refinement_settings_are_named(settings, message):
    given = pair((0, 0, 0))
    with pytest.raises(RegRefineError, match=message):
        refine(given, given.zero(), settings, ignore)


def test_more_smoothing_gives_a_smoother_field():
    given = pair((1, 1, 0))
    rough, smooth = (
        refine(given, given.zero(), {"steps": 4, "smoothing": k}, ignore).displacement
        for k in (0, 3)
    )
    inner = (slice(None), slice(None), *(slice(4, -4) for _ in SHAPE))
    assert smooth[inner].diff(dim=4).square().mean() < rough[inner].diff(dim=4).square().mean()


def test_outside_a_mask_the_image_shows_its_nearest_inside():
    image = features(1, 5, 6, 12)
    mask = torch.zeros_like(image)
    mask[..., :8] = 1
    found = discrete.continued(image, mask)
    assert torch.equal(found[..., :7], image[..., :7])  # the mask's rim is outside, the image's not
    assert torch.equal(found[..., 7:], image[..., 6:7].expand(-1, -1, -1, -1, 5))
    assert discrete.continued(image, None) is image
    assert torch.equal(discrete.continued(image, torch.ones_like(image)), image)
    thin = torch.zeros_like(image)
    thin[..., 3] = 1
    assert torch.equal(discrete.continued(image, thin), image[..., 3:4].expand_as(image))


def test_what_the_masks_leave_out_changes_nothing_and_where_they_are_it_shows():
    given = pair((0, 0, 3))
    mask = torch.ones_like(given.fixed)
    mask[:, :, :12] = 0

    def found(table: float, masks: dict[str, torch.Tensor]) -> list[torch.Tensor]:
        images = [
            torch.where(mask > 0, image, table * blobs().flip(2))
            for image in (given.fixed, given.moving)
        ]  # the table stands still, the body moves
        disturbed = Pair(*images, given.geometry, **masks)
        start = convexadam.predict(disturbed, SEARCH, ignore)
        return [start, refine(disturbed, given.zero(), {"steps": 3}, ignore).displacement]

    masks = {"fixed_mask": mask, "moving_mask": mask}
    for a, b, c in zip(found(5, masks), found(0, masks), found(5, {}), strict=True):
        assert torch.equal(a, b)
        assert not torch.allclose(a, c, atol=0.1)

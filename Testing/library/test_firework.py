from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from RegRefineLib.errors import RegRefineError
from RegRefineLib.networks import firework
from RegRefineLib.networks.firework import FiReworkTM, FiReworkVM
from RegRefineLib.networks.voxelmorph import VoxelMorph
from RegRefineLib.ops.warp import warp
from RegRefineLib.weights.checkpoint import save
from RegRefineLib.weights.load import build, load

SMALL = {"encoder": [4, 4], "decoder": [4, 4, 4]}
TINY = {"size": "tiny", "window": [2, 2, 2]}


def lively(network: nn.Module, head: str) -> nn.Module:
    """The network with a head whose fields are some voxels long."""
    nn.init.normal_(network.get_submodule(head).weight, std=0.3)
    return network.eval()


both = pytest.mark.parametrize("network", ["vm", "tm"], indirect=True)


@pytest.fixture
def network(request: pytest.FixtureRequest) -> nn.Module:
    torch.manual_seed(0)
    if getattr(request, "param", "vm") == "vm":
        return lively(FiReworkVM(steps=3, **SMALL), "network.flow")
    return lively(FiReworkTM(steps=3, **TINY), "network.reg_head.0")


@pytest.fixture
def images(network: nn.Module) -> tuple[Tensor, Tensor]:
    n = 32 if isinstance(network, FiReworkTM) else 16
    moving, fixed = torch.rand((2, 1, 1, n, n, n), generator=torch.Generator().manual_seed(1))
    return moving, fixed


@pytest.mark.parametrize("size", ["tiny", "small", "base"])
def test_tm_has_four_channels_more_in_three_convolutions(size: str) -> None:
    embed = {"tiny": 6, "small": 48, "base": 96}[size]
    with torch.device("meta"):
        extra = [
            sum(p.numel() for p in build(name, {"size": size}).parameters())
            for name in ("firework-tm", "transmorph")
        ]
    expected = 4 * (embed * 4**3 + 16 * 27 + embed // 2 * 27)
    assert extra[0] - extra[1] == expected
    assert size != "base" or expected == 31_488


def test_vm_has_1728_parameters_more() -> None:
    with torch.device("meta"):
        counts = [
            sum(p.numel() for p in build(name, {}).parameters())
            for name in ("firework-vm", "voxelmorph")
        ]
    assert counts[0] - counts[1] == 1_728


@both
def test_a_head_of_zeros_leaves_the_field_at_zero(
    network: nn.Module, images: tuple[Tensor, Tensor]
) -> None:
    inner = network.network
    head = inner.flow if hasattr(inner, "flow") else inner.reg_head[0]
    nn.init.zeros_(head.weight)
    with torch.no_grad():
        for field in islice(network.following(*images), 3):
            assert not bool(field.any())


@both
@torch.no_grad()
def test_one_step_is_the_first_stage(network: nn.Module, images: tuple[Tensor, Tensor]) -> None:
    moving, fixed = images
    nothing = torch.zeros(1, 3, *moving.shape[2:])
    stage = -network.network.flow_of(torch.cat([fixed, moving, moving, nothing], dim=1))
    network.steps = 1
    assert torch.equal(network(moving, fixed), stage)


@torch.no_grad()
def test_each_step_subtracts_what_the_network_says(
    network: nn.Module, images: tuple[Tensor, Tensor]
) -> None:
    moving, fixed = images
    fields = list(islice(network.following(moving, fixed), 3))
    second = torch.cat([fixed, moving, warp(moving, fields[0]), fields[0]], dim=1)
    assert torch.equal(fields[1], fields[0] - network.network.flow_of(second))
    assert torch.equal(network(moving, fixed), fields[2])
    assert float((fields[2] - fields[1]).abs().max()) > 0.01


@torch.no_grad()
def test_the_moving_image_is_interpolated_once(
    network: nn.Module, images: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[Tensor, Tensor]] = []

    def watched(image: Tensor, displacement: Tensor) -> Tensor:
        seen.append((image, displacement))
        return warp(image, displacement)

    monkeypatch.setattr(firework, "warp", watched)
    fields = list(islice(network.following(*images), 3))
    assert all(image is images[0] for image, _ in seen)
    assert [torch.equal(used, field) for (_, used), field in zip(seen, fields, strict=False)] == [
        True, True
    ]  # fmt: skip


@torch.no_grad()
def test_it_goes_on_from_any_field(network: nn.Module, images: tuple[Tensor, Tensor]) -> None:
    fields = list(islice(network.following(*images), 3))
    again = list(islice(network.following(*images, start=fields[0]), 2))
    assert torch.equal(again[1], fields[2])


def test_gradients_flow_from_the_second_stage_through_the_first() -> None:
    torch.manual_seed(0)
    network = lively(FiReworkVM(**SMALL), "network.flow")
    moving, fixed = torch.rand(2, 1, 1, 8, 8, 8)
    one, two = islice(network.following(moving, fixed), 2)
    (gradient,) = torch.autograd.grad(two.square().sum(), one)
    assert bool(gradient.any())
    assert not torch.equal(gradient, 2 * two)  # more than the path of the subtraction


@torch.no_grad()
def test_positions_stay_in_float32_where_convolutions_do_not() -> None:
    network = lively(FiReworkVM(**SMALL), "network.flow")
    moving, fixed = torch.rand(2, 1, 1, 8, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        assert network(moving, fixed).dtype == torch.float32


@torch.no_grad()
def test_a_file_says_its_options_and_steps_can_be_changed(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = lively(FiReworkVM(steps=2, **SMALL), "network.flow")
    save(tmp_path / "w", network, "firework-vm", {"steps": 2, **SMALL})
    moving, fixed = torch.rand(2, 1, 1, 8, 8, 8)
    again = load(str(tmp_path / "w")).network
    assert torch.equal(again(moving, fixed), network(moving, fixed))
    assert load(str(tmp_path / "w"), options={"steps": 7}).network.steps == 7
    bare = load(str(_bare(network, tmp_path)), "firework-vm").network
    assert bare.steps == 5


def _bare(network: nn.Module, folder: Path) -> Path:
    path = folder / "bare.pth"
    torch.save(network.state_dict(), path)
    return path


def test_it_begins_as_the_cascade_of_a_plain_network() -> None:
    torch.manual_seed(0)
    plain = lively(VoxelMorph(**SMALL), "flow")
    network = FiReworkVM(steps=2, **SMALL).eval()
    network.begin_with(plain)
    moving, fixed = torch.rand(2, 1, 1, 16, 16, 16)
    with torch.no_grad():
        first = plain(moving, fixed)
        second = first + plain(warp(moving, first), fixed)
        found = list(islice(network.following(moving, fixed), 2))
    torch.testing.assert_close(found, [first, second], atol=1e-3, rtol=0)
    assert float(first.abs().mean()) > 0.1


def test_images_in_0_to_1_give_first_features_of_about_unit_size() -> None:
    torch.manual_seed(0)
    network = FiReworkVM(encoder=[64, 4], decoder=[4, 4, 4]).network
    channels = torch.rand(1, 6, 16, 16, 16) * 0.43 + 0.3  # deviation 1/8
    channels[:, 3:] = torch.randn(1, 3, 16, 16, 16)  # a displacement in voxels
    seen = network.unet_model.encoder[0][0].main(channels)[..., 1:-1, 1:-1, 1:-1]
    assert 0.5 < float(seen.detach().std()) < 3
    brighter = channels + torch.tensor([0.2, 0.2, 0.2, 0, 0, 0]).view(1, 6, 1, 1, 1)
    shifted = network.unet_model.encoder[0][0].main(brighter)[..., 1:-1, 1:-1, 1:-1]
    torch.testing.assert_close(shifted, seen, atol=1e-3, rtol=0)  # brightness drowns nothing


def test_no_step_at_all_is_refused() -> None:
    with pytest.raises(RegRefineError, match="steps is at least 1"):
        FiReworkVM(steps=0)


@torch.no_grad()
def test_half_resolution_ends_the_network_there_and_gives_whole_fields() -> None:
    torch.manual_seed(0)
    half = lively(FiReworkVM(steps=2, **SMALL, half_resolution=True), "network.flow")
    moving, fixed = torch.rand(2, 1, 1, 16, 16, 16)
    found = half(moving, fixed)
    assert found.shape == (1, 3, 16, 16, 16)
    assert float(found.abs().max()) > 0.1
    seen = half.network.unet_model(torch.rand(1, 6, 16, 16, 16))
    assert seen.shape[2:] == (8, 8, 8)
    with torch.device("meta"):
        assert sum(p.numel() for p in FiReworkVM().parameters()) == 329_059

"""What is special to RDP, LapWarp, MemWarp, CorrMLP and uniGradICON; test_networks has the rest."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from RegRefineLib.errors import RegRefineError
from RegRefineLib.networks import memwarp
from RegRefineLib.networks.blocks.convnorm import ConvNorm, UpNorm, merge
from RegRefineLib.networks.blocks.icon_unet import TallUNet2
from RegRefineLib.networks.blocks.window_mlp import correlation, partition, unpartition
from RegRefineLib.networks.corrmlp import CorrMLP
from RegRefineLib.networks.lapwarp import LapWarp
from RegRefineLib.networks.memwarp import MemWarp
from RegRefineLib.networks.rdp import RDP
from RegRefineLib.networks.unigradicon import Composition, UniGradICON
from RegRefineLib.ops.unit_cube import voxels

SMALL = {
    RDP: {"channels": 2},
    LapWarp: {"start_channel": 2},
    MemWarp: {"start_channel": 2, "hidden": 8, "slots": 3},
    CorrMLP: {"encoder_channels": 2, "decoder_channels": 4},
}


@pytest.fixture
def no_values(monkeypatch):
    """Let networks be born with whatever lay in memory: filling millions of metrics takes long."""
    for name in ("kaiming_uniform_", "uniform_", "normal_", "zeros_", "ones_"):
        monkeypatch.setattr(nn.init, name, lambda tensor, *_, **__: tensor)


def images(*shape: int, seed: int = 0, batch: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    moving, fixed = torch.rand(2, batch, 1, *shape, generator=generator)
    return moving, fixed


def randomise(network: nn.Module, seed: int = 0) -> nn.Module:
    """Fill every figure, batch norm's included, so that nothing is zero or one."""
    torch.manual_seed(seed)
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point():
            spread = tensor.uniform_(0.5, 1.5) if "var" in name else tensor.normal_(0, 0.2)
            tensor.copy_(spread)
    return network.eval()


@pytest.mark.parametrize(
    ("network", "parameters", "entries"),
    [
        (RDP, 8_922_444, 66),
        (LapWarp, 34_601_613, 340),
        (MemWarp, 47_779_013, 356),
        (CorrMLP, 4_190_834, 386),
        (TallUNet2, 17_670_229, 47),
        (UniGradICON, 70_680_916, 188),
    ],
)
@pytest.mark.usefixtures("no_values")
def test_has_the_published_number_of_parameters(network, parameters, entries):
    built = network()
    assert sum(p.numel() for p in built.parameters()) == parameters
    assert len(built.state_dict()) == entries


@pytest.mark.parametrize("network", SMALL)
def test_options_are_read_from_the_shapes(network):
    built = network(**SMALL[network])
    shapes = {name: tuple(t.shape) for name, t in built.state_dict().items()}
    again = network(**network.infer(shapes, {}))
    assert {name: tuple(t.shape) for name, t in again.state_dict().items()} == shapes
    assert network.infer({}, {}) == {}


@pytest.mark.parametrize("network", SMALL)
def test_an_untrained_network_moves_next_to_nothing(network):
    torch.manual_seed(0)
    with torch.no_grad():
        found = network(**SMALL[network]).eval()(*images(16, 32, 16))
    assert found.shape == (1, 3, 16, 32, 16)
    if network is LapWarp:
        assert not found.any()
    elif network is not MemWarp:  # two of MemWarp's heads begin at random
        assert float(found.abs().max()) < 1e-2


def test_rdp_applies_every_increment_before_those_found_earlier_and_doubles_on_the_way():
    network = RDP(channels=2)
    for name, parameter in network.named_parameters():
        if name.startswith("defconv"):
            nn.init.zeros_(parameter)
            if name.endswith("bias"):
                nn.init.constant_(parameter, 0.01)
    with torch.no_grad():
        found = network(*images(32, 32, 32))
    # 2 passes, doubled, 2 more, doubled, 3 more, doubled, 1 more
    inside = found[:, :, 8:16, 8:16, 8:16]  # zeros come in from beyond the borders
    assert torch.allclose(inside, torch.tensor(0.31), atol=1e-4)


def test_folding_batch_norm_changes_nothing_but_rounding():
    torch.manual_seed(0)
    block = randomise(ConvNorm((3, 4), (3, 5, 1), nn.PReLU(), stride=(2, 1, 1)))
    up = randomise(UpNorm((3, 4), (2, 2, 1), nn.PReLU()))
    x = torch.randn(2, 3, 6, 7, 8)
    for folded in (block, up):
        assert torch.allclose(folded(x), nn.Sequential.forward(folded, x), atol=1e-5)


def test_sum_and_difference_need_not_be_made():
    block = randomise(ConvNorm((6, 4), (3, 3, 3), nn.PReLU()))
    a, b = torch.randn(2, 1, 3, 5, 4, 6)
    wanted = block(torch.cat([a + b, a - b], dim=1))
    assert torch.allclose(block.of_sum_and_difference(a, b), wanted, atol=1e-5)


@pytest.mark.parametrize("channels", [(3, 3), (3, 4)])
def test_parallel_branches_are_one_convolution(channels):
    branches = [randomise(ConvNorm(channels, size)) for size in ((5, 5, 3), (3, 3, 3), (1, 1, 1))]
    x = torch.randn(1, 3, 6, 7, 8)
    same = channels[0] == channels[1]
    weight, bias = merge(branches, identity=same)
    wanted = sum(branch(x) for branch in branches) + (x if same else 0)
    assert torch.allclose(F.conv3d(x, weight, bias, padding=(2, 2, 1)), wanted, atol=1e-5)


@pytest.mark.parametrize("network", [LapWarp, MemWarp])
def test_folded_networks_can_be_trained_for_a_pair(network):
    built = randomise(network(**SMALL[network]))
    built(*images(16, 16, 4)).square().sum().backward()
    without = {name for name, p in built.named_parameters() if p.grad is None}
    assert without == ({"flow.weight", "flow.bias"} if network is LapWarp else set())


def test_the_slice_axis_is_never_made_coarser():
    network = randomise(LapWarp(start_channel=2))
    found = network.fields(*images(32, 16, 5))
    assert found["flow"].shape == (1, 3, 32, 16, 5)
    assert found["flow_level2"].shape == (1, 3, 8, 4, 5)


def test_without_recall_the_flow_is_the_plain_one():
    memory = memwarp._Memory(channels=4, slots=3, hidden=8)
    for parameter in memory.get_memory_filters.mapping_feas[1].parameters():
        nn.init.zeros_(parameter)
    given, still = torch.randn(2, 1, 4, 3, 3, 3)
    flow, logits, filters = memory.eval()(given, still)
    assert not logits.any()
    assert torch.allclose(flow, memory.flow(given), atol=1e-6)
    assert torch.allclose(filters.norm(dim=1), torch.ones(3))


def test_with_sure_recall_the_flow_is_the_filters_product():
    memory = memwarp._Memory(channels=4, slots=3, hidden=8).eval()
    sure = torch.zeros(1, 3, 2, 2, 2)
    sure[:, 1] = 100.0
    filters = F.normalize(torch.randn(3, 12), dim=1)
    memory.get_memory_filters.forward = lambda still: (filters, sure)
    given = torch.randn(1, 4, 2, 2, 2)
    wanted = torch.einsum("ic,nczyx->nizyx", filters[1].view(3, 4), given)
    assert torch.allclose(memory(given, given)[0], wanted, atol=1e-5)


def test_correlation_equals_its_definition():
    a, b = torch.randn(2, 1, 4, 3, 5, 4)
    found = correlation(a, b)
    padded = F.pad(b, (1,) * 6)
    for dz, dy, dx in ((-1, -1, -1), (0, 0, 0), (-1, 0, 1), (1, 1, 0)):
        k = 9 * (dz + 1) + 3 * (dy + 1) + dx + 1
        shifted = padded[:, :, 1 + dz : 4 + dz, 1 + dy : 6 + dy, 1 + dx : 5 + dx]
        assert torch.allclose(found[:, k], (a * shifted).mean(1), atol=1e-6)


@pytest.mark.parametrize("shape", [(7, 8, 9), (3, 3, 3), (6, 1, 5)])
def test_windows_put_back_give_the_image(shape):
    x = torch.randn(2, *shape, 3)
    windows = partition(x, 3)
    assert windows.shape[2] == 27
    assert torch.equal(unpartition(windows, 3, shape), x)


def test_corrmlp_takes_moving_first():
    network = randomise(CorrMLP(**SMALL[CorrMLP]))
    moving, fixed = images(16, 16, 8)
    given = []
    network.Decoder.register_forward_pre_hook(
        lambda module, both: given.append([f[0] for f in both])
    )
    network(moving, fixed)
    assert torch.equal(given[0][0], network.Encoder(fixed)[0])
    assert torch.equal(given[0][1], network.Encoder(moving)[0])
    assert not torch.allclose(network(moving, fixed), network(fixed, moving), atol=1e-3)


def constant(value: float, size: int = 4) -> torch.Tensor:
    return torch.full((1, 3, size, size, size), value)


def test_mappings_compose_from_the_last_field_to_the_first():
    image = torch.zeros(1, 1, 4, 4, 4)
    mapping = Composition((constant(0.1), constant(0.2, size=2), constant(-0.05)))
    assert torch.allclose(mapping.on_grid(image), voxels(image) + 0.25, atol=1e-6)
    assert torch.allclose(mapping.displacement(image), torch.tensor(0.75), atol=1e-6)
    # a scaling about the origin, then a shift: not the same as the shift first
    scaling = voxels(image) * 0.5
    shift_first = Composition((scaling, constant(0.1)))
    scaling_first = Composition((constant(0.1), scaling))
    origin = torch.zeros(1, 3, 1, 1, 1)
    assert torch.allclose(shift_first(origin), torch.tensor(0.15), atol=1e-6)
    assert torch.allclose(scaling_first(origin), torch.tensor(0.1), atol=1e-6)


class FourShifts(UniGradICON):
    """uniGradICON's composition with U-Nets that are one convolution each."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = (size,) * 3
        for name, module in list(self.named_modules()):
            if isinstance(module, TallUNet2):
                self.get_submodule(name.removesuffix(".net")).net = TinyUNet()


class TinyUNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lastConv = nn.Conv3d(2, 3, 3, padding=1)

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return self.lastConv(torch.cat([a, b], dim=1)) / 10


@pytest.mark.usefixtures("no_values")
def test_unigradicon_gives_voxels_of_the_images_grid():
    network = FourShifts(size=12)
    for name, parameter in network.named_parameters():
        nn.init.constant_(parameter, 0.25 if name.endswith("bias") else 0.0)
    found = network(*images(10, 20, 15))
    # four times 0.025 of the cube, which is 11 of its voxels long, then 12 voxels become N
    wanted = torch.tensor([10.0, 20.0, 15.0]) * 0.1 * 11 / 12
    assert torch.allclose(found, wanted.view(1, 3, 1, 1, 1).expand_as(found), atol=1e-5)


@pytest.mark.usefixtures("no_values")
def test_one_direction_equals_that_of_both_in_one_batch():
    network = randomise(FourShifts(size=12))
    moving, fixed = images(12, 12, 12)
    both = network(torch.cat([moving, fixed]), torch.cat([fixed, moving]))
    assert torch.allclose(network(moving, fixed), both[:1], atol=1e-5)
    assert torch.allclose(network(fixed, moving), both[1:], atol=1e-5)
    assert both.abs().max().item() > 0.1


def test_the_icon_unet_begins_with_no_displacement_whatever_the_size():
    torch.manual_seed(0)
    network = TallUNet2().eval()
    with torch.no_grad():
        assert not network(*images(17, 19, 18)).any()
        nn.init.normal_(network.lastConv.weight)
        found = network(*images(17, 19, 18))
    assert found.shape == (1, 3, 17, 19, 18)
    assert found.any()


def test_the_published_modules_own_names_are_taken_off():
    state = {"regis_net.netPsi.net.lastConv.bias": torch.zeros(3), "identity_map": torch.zeros(1)}
    assert list(UniGradICON.rename(state)) == ["netPsi.net.lastConv.bias"]


@pytest.mark.parametrize("size", [64, [65, 70], [65, 64, 70]])
def test_a_cube_too_small_for_four_unets_is_refused(size):
    with pytest.raises(RegRefineError, match="65 or more"):
        UniGradICON(size)


@pytest.mark.parametrize("network", [LapWarp, MemWarp])
def test_training_and_evaluation_agree_where_batch_norm_does(network):
    built = randomise(network(**SMALL[network]))
    found = built(*images(16, 16, 3))
    built.train()
    for module in built.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.eval()
    assert torch.allclose(found, built(*images(16, 16, 3)), rtol=1e-4, atol=1e-4)

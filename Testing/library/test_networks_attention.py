"""What is special to XMorpher, DMR and PR++; test_networks has the rest."""

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from RegRefineLib.networks import dmr, prplusplus, prplusplus_official
from RegRefineLib.networks.blocks import cross_window
from RegRefineLib.networks.blocks.cross_window import CrossWindowAttention
from RegRefineLib.networks.dmr import DMR
from RegRefineLib.networks.prplusplus import PRPlusPlus
from RegRefineLib.networks.prplusplus_official import PRPlusPlusOfficial
from RegRefineLib.networks.xmorpher import XMorpher
from RegRefineLib.ops.warp import warp

SMALL = {"embed": 6, "depths": (1, 2), "heads": (1, 2)}


def images(*shape: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    moving, fixed = torch.rand(2, 1, 1, *shape, generator=torch.Generator().manual_seed(seed))
    return moving, fixed


@pytest.mark.parametrize(
    ("network", "parameters", "entries"),
    [
        (XMorpher, 15_093_891, 378),
        (DMR, 7_976_611, 148),  # without the four tables of positions
        (PRPlusPlus, 1_236_965, 70),
        (PRPlusPlusOfficial, 613_855, 69),
    ],
)
def test_has_the_published_number_of_parameters(network, parameters, entries):
    with torch.device("meta"):
        built = network()
    assert sum(p.numel() for p in built.parameters()) == parameters
    assert len(built.state_dict()) == entries


def attention(channels: int = 6, heads: int = 2) -> CrossWindowAttention:
    torch.manual_seed(0)
    return CrossWindowAttention(channels, heads)


def slow_attention(block: CrossWindowAttention, x: torch.Tensor, other: torch.Tensor):
    """Cross-window attention token by token, for sizes that are multiples of the window."""
    shape, c = x.shape[1:4], x.shape[4]
    result = torch.zeros_like(x)
    for here in itertools.product(*(range(n) for n in shape)):
        keys = []
        window = [p // 2 for p in here]
        for step in itertools.product((-1, 0, 1), repeat=3):
            empty = step == (1, -1, 1) and not block.complete
            for inside in itertools.product((0, 1), repeat=3):
                at = [2 * (w + s) + i for w, s, i in zip(window, step, inside, strict=True)]
                outside = any(not 0 <= p < n for p, n in zip(at, shape, strict=True))
                keys.append(torch.zeros(c) if empty or outside else other[0, at[0], at[1], at[2]])
        k, v = block.kv(torch.stack(keys)).view(216, 2, block.heads, -1).permute(1, 2, 0, 3)
        q = block.q(x[0, here[0], here[1], here[2]]).view(block.heads, 1, -1)
        weights = (q @ k.transpose(1, 2) * q.shape[-1] ** -0.5).softmax(-1)
        result[0, here[0], here[1], here[2]] = block.proj((weights @ v).flatten())
    return result


@pytest.mark.parametrize("complete", [True, False])
def test_attention_reaches_the_window_and_its_neighbours(complete, monkeypatch):
    block = attention()
    block.complete = complete
    x, other = torch.randn(2, 1, 4, 6, 4, 6)
    with torch.no_grad():
        wanted = slow_attention(block, x, other)
        assert torch.allclose(block(x, other), wanted, atol=1e-5)
        monkeypatch.setattr(cross_window, "BYTES", 1)  # one slab of windows at a time
        assert torch.allclose(block(x, other), wanted, atol=1e-5)


@pytest.mark.parametrize("shape", [(3, 5, 2), (1, 2, 7), (1, 1, 1)])
def test_odd_sizes_are_as_if_zeros_followed(shape):
    block = attention()
    x, other = torch.randn(2, 2, *shape, 6)
    with torch.no_grad():
        found = block(x, other)
        assert found.shape == x.shape
        ends = [p for n in reversed(shape) for p in (0, n % 2 if n > 1 else 0)]
        padded = block(F.pad(x, (0, 0, *ends)), F.pad(other, (0, 0, *ends)))
    d, h, w = shape
    assert torch.allclose(found, padded[:, :d, :h, :w], atol=1e-5)


def test_samples_of_a_batch_do_not_meet():
    torch.manual_seed(0)
    network = XMorpher(**SMALL).eval()
    moving, fixed = torch.rand(2, 3, 1, 13, 16, 9)
    with torch.no_grad():
        together = network(moving, fixed)
        alone = network(moving[1:2], fixed[1:2])
    assert together.shape == (3, 3, 13, 16, 9)
    assert torch.allclose(together[1:2], alone, atol=1e-5)


def test_xmorphers_options_are_read_from_the_shapes():
    built = XMorpher(**SMALL)
    shapes = {name: tuple(t.shape) for name, t in built.state_dict().items()}
    again = XMorpher(**{**XMorpher.infer(shapes, {}), "heads": (1, 2)})
    assert {name: tuple(t.shape) for name, t in again.state_dict().items()} == shapes
    assert XMorpher.infer({}, {}) == {}


@pytest.mark.parametrize(
    ("network", "options", "name"),
    [
        (XMorpher, SMALL, "warped_moving"),
        (DMR, {}, "warped"),
        (PRPlusPlusOfficial, {}, "warped"),
    ],
)
def test_as_published_the_displacement_moves_images_as_the_published_warp(network, options, name):
    torch.manual_seed(0)
    built = network(**options, released=True).eval()
    moving, fixed = images(16, 32, 16)
    with torch.no_grad():
        found = built.fields(moving, fixed)
        padding = "border" if network is PRPlusPlusOfficial else "zeros"
        moved = warp(moving, built(moving, fixed), padding=padding)
    assert torch.allclose(moved, found[name], atol=1e-4)


def test_residual_branches_are_left_out_only_while_training():
    torch.manual_seed(0)
    network = XMorpher(**SMALL, drop=0.9)
    moving, fixed = images(16, 16, 16)
    with torch.no_grad():
        assert not torch.equal(network(moving, fixed), network(moving, fixed))
        network.eval()
        assert torch.equal(network(moving, fixed), network(moving, fixed))


def test_a_deformer_is_the_mean_over_heads_of_weighted_bases(monkeypatch):
    torch.manual_seed(0)
    deformer = dmr._Deformer(8, dropout=0.1).eval()
    moving, fixed = torch.randn(2, 2, 8, 3, 4, 5)
    layer = deformer.layer_stack[0].slf_attn
    table = dmr._positions(0, 60, 8).float()
    q, k = (deformer.layer_norm(x.flatten(2).transpose(1, 2) + table) for x in (moving, fixed))
    offsets = layer.sampling_offsets(q).view(2, 60, 8, 64, 3)
    weights = layer.attention_weights(torch.cat([q, k], dim=-1)).view(2, 60, 8, 64, 1)
    wanted = (weights * offsets).sum(dim=3).mean(dim=2).transpose(1, 2).reshape(2, 3, 3, 4, 5)
    with torch.no_grad():
        assert torch.allclose(deformer(moving, fixed), wanted, atol=1e-5)
        monkeypatch.setattr(dmr, "CHUNK", 7)
        assert torch.allclose(deformer(moving, fixed), wanted, atol=1e-5)


def test_positions_are_the_usual_sines():
    table = dmr._positions(1000, 3, 6).numpy()
    for row, position in enumerate((1000, 1001, 1002)):
        for pair, rate in enumerate(10000.0 ** (-np.arange(0, 6, 2) / 6)):
            assert table[row, 2 * pair] == pytest.approx(np.sin(position * rate))
            assert table[row, 2 * pair + 1] == pytest.approx(np.cos(position * rate))


def test_dmrs_tables_of_positions_are_left_out_of_a_published_file():
    state = {"derlayer.0.position_enc.pos_table": torch.zeros(1), "derlearn.x": torch.zeros(1)}
    assert list(DMR.rename(state)) == ["derlearn.x"]


@pytest.mark.parametrize("module", [prplusplus, prplusplus_official])
def test_correlation_equals_its_definition(module):
    m, f = torch.randn(2, 2, 4, 5, 6, 3)
    found = module.correlate(m, f)
    scale = 1 / 4
    if module is prplusplus:
        m = 27 * F.avg_pool3d(m, 3, 1, 1)
        scale = 1 / 27
    around = F.pad(f, (3,) * 6)
    if module is prplusplus:
        around = 27 * F.avg_pool3d(around, 3, 1, 1)
    assert found.shape == (2, 27, 5, 6, 3)
    for channel, offset in enumerate(itertools.product((-2, 0, 2), repeat=3)):
        z, y, x = (3 + o for o in offset)
        moved = around[:, :, z : z + 5, y : y + 6, x : x + 3]
        assert torch.allclose(found[:, channel], scale * (m * moved).sum(dim=1), atol=1e-4)


def constant_flow(network: nn.Module, heads: str, values: tuple[float, float, float]) -> None:
    """Let every level find the same flow."""
    for name, parameter in network.named_parameters():
        if heads in name:
            nn.init.zeros_(parameter)
            if name.endswith("bias"):
                parameter.data.copy_(torch.tensor(values))


@pytest.mark.parametrize(("released", "times"), [(False, 16), (True, 5)])
def test_coarse_flows_are_doubled_on_the_way_unless_as_published(released, times):
    network = PRPlusPlus(released=released)
    constant_flow(network, ".flow.", (0.01, 0.0, -0.01))
    with torch.no_grad():
        found = network(*images(32, 32, 32))
    # c, doubled and c, three times; then c once more at full size
    wanted = times * torch.tensor([0.01, 0.0, -0.01]).view(1, 3, 1, 1, 1)
    inner = found[:, :, 14:-14, 14:-14, 14:-14]
    assert torch.allclose(inner, wanted.expand_as(inner), atol=1e-5)


def test_the_official_offsets_are_last_axis_first_and_grow_with_the_size():
    network = PRPlusPlusOfficial()
    constant_flow(network, ".offset_layer.", (0.0, 0.0, 0.1))
    shape = (48, 32, 32)
    with torch.no_grad():
        found = network(*images(*shape))
    wanted, n = 0.1, shape[0] // 8
    for _ in range(3):  # ends stay ends: n - 1 voxels become 2 n - 1
        wanted, n = wanted * (2 * n - 1) / (n - 1) + 0.1, 2 * n
    wanted += 0.1
    assert torch.allclose(found[:, 0, 20:-20], torch.tensor(wanted), atol=1e-3)
    assert torch.allclose(found[:, 1:], torch.zeros(1), atol=1e-4)

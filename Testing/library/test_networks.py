"""What every row of registry.NETWORKS must do."""

from __future__ import annotations

import warnings
from math import lcm
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from RegRefineLib.geometry import Geometry
from RegRefineLib.inference import load as inference
from RegRefineLib.pair import Pair, ignore
from RegRefineLib.registry import NETWORKS, find
from RegRefineLib.starts import network as start
from RegRefineLib.weights.catalogue import Preprocessing
from RegRefineLib.weights.load import Loaded, build

NARROW = {"encoder": [4, 4, 4, 4], "decoder": [4, 4, 4, 4, 4]}
# the smallest that each constructor offers; a row that is not here is tested as it comes
SMALL: dict[str, dict[str, Any]] = {
    "voxelmorph": {**NARROW, "int_steps": 2},
    "voxelmorph-strided": NARROW,
    "voxelmorph-pairwise": {"features": [4, 4, 4, 4]},
    "transmorph": {"size": "tiny", "window": [2, 2, 2]},
    "transmorph-cardiac": {"size": "tiny", "int_steps": 2},
    "fouriernet": {"start_channels": 2},
    "fouriernet-plus": {"start_channels": 2},
    "rdp": {"channels": 4},
    "lapwarp": {"start_channel": 4},
    "memwarp": {"start_channel": 4, "hidden": 8},
    "corrmlp": {"encoder_channels": 4, "decoder_channels": 4},
    "unigradicon": {"size": 66},
    "firework-vm": {**NARROW, "steps": 2},
    "firework-tm": {"size": "tiny", "window": [2, 2, 2], "steps": 1},
}
UNSEEN = {"window", "int_steps", "size"}  # options that shapes alone may not show
VXM_1 = {"encoder": [8, 32, 32, 32], "decoder": [32, 32, 32, 32, 32, 8, 8]}
VXM_X2 = {"encoder": [32, 64, 64, 64], "decoder": [64, 64, 64, 64, 64, 32, 32]}
# as the published programs count them
PARAMETERS: list[tuple[str, dict[str, Any], int]] = [
    ("voxelmorph", {}, 327_331),
    ("voxelmorph", VXM_1, 300_307),
    ("voxelmorph-strided", VXM_1, 274_387),
    ("voxelmorph-strided", {}, 301_411),
    ("voxelmorph-strided", VXM_X2, 1_197_251),
    ("voxelmorph-pairwise", {}, 105_017),
    ("transmorph", {}, 46_771_251),
    ("transmorph", {"size": "large"}, 108_343_907),
    ("transmorph", {"size": "small"}, 11_757_195),
    ("transmorph", {"size": "tiny"}, 244_527),
    ("transmorph", {"convolution_skips": False}, 46_702_131),
    ("transmorph", {"transformer_skips": False}, 41_545_779),
    ("transmorph", {"transformer_skips": False, "convolution_skips": False}, 41_476_659),
    ("transmorph-cardiac", {}, 108_165_635),
    ("transmorph-cardiac", {"size": "base"}, 46_692_019),
    ("transmorph-cardiac", {"size": "small"}, 11_707_675),
    ("transmorph-cardiac", {"size": "tiny"}, 204_911),
    ("fouriernet", {}, 4_449_974),
    ("fouriernet", {"start_channels": 8}, 1_113_766),
    ("fouriernet-plus", {}, 880_109),
    ("fouriernet-plus", {"start_channels": 8}, 220_733),
    ("firework-vm", {}, 327_331 + 1_728),
    ("firework-tm", {}, 46_771_251 + 31_488),
]
# none is a multiple of a stride; the last is a stack of 16 slices
SHAPES = [(17, 20, 23), (18, 33, 21), (35, 19, 30), (16, 27, 22)]


def small(name: str) -> nn.Module:
    torch.manual_seed(0)
    return build(name, SMALL.get(name, {}))


def sizes(network: nn.Module) -> tuple[int, int, int]:
    """The smallest sizes above 8 voxels that the network takes."""
    found = []
    for attribute in ("stride", "minimum"):
        value = getattr(network, attribute, 1)
        found.append([value] * 3 if isinstance(value, int) else list(value))
    steps, least = found
    return tuple(-(-max(n, 16) // s) * s for s, n in zip(steps, least, strict=True))  # type: ignore[return-value]


def pair_of(shape: tuple[int, int, int]) -> Pair:
    generator = torch.Generator().manual_seed(1)
    images = torch.rand((2, 1, 1, *shape), generator=generator)
    return Pair(images[0], images[1], Geometry(shape, np.eye(4)))


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_runs_learns_and_tells_moving_from_fixed(name: str) -> None:
    network = small(name).eval()
    for parameter in network.parameters():
        if not bool(parameter.any()):  # heads that begin at zero
            nn.init.normal_(parameter, std=0.1)
    shape = sizes(network)
    moving, fixed = torch.rand(2, 1, 1, *shape)
    displacement = network(moving, fixed)
    assert tuple(displacement.shape) == (1, 3, *shape)
    assert displacement.dtype == torch.float32
    displacement.square().sum().add(displacement.sum()).backward()
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    assert gradients
    assert all(bool(torch.isfinite(g).all()) for g in gradients)
    assert any(bool(g.any()) for g in gradients)
    with torch.no_grad():
        assert not torch.equal(displacement, network(fixed, moving))


@pytest.mark.parametrize("name", NETWORKS)
def test_any_image_size_goes_and_a_thin_stack_too(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = Loaded(small(name).eval(), Preprocessing(), "here")
    monkeypatch.setattr(inference, "load", lambda *_: loaded)
    for shape in SHAPES:
        found = start.predict(pair_of(shape), {"weights": "here"}, ignore)
        assert tuple(found.shape) == (1, 3, *shape)
        assert bool(torch.isfinite(found).all())
        assert not found.requires_grad


@pytest.mark.parametrize(("name", "options", "count"), PARAMETERS)
def test_a_network_has_as_many_parameters_as_the_published_one(
    name: str, options: dict[str, Any], count: int
) -> None:
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's about initialising nothing
        network = build(name, options)
    assert sum(p.numel() for p in network.parameters()) == count


@pytest.mark.parametrize("name", NETWORKS)
def test_options_are_read_from_a_files_shapes(name: str) -> None:
    kind = find("network", name)
    with torch.device("meta"):
        state = build(name, SMALL.get(name, {})).state_dict()
        shapes = {n: tuple(t.shape) for n, t in state.items()}
        shown = kind.infer(shapes, {}) if hasattr(kind, "infer") else {}
        stated = {k: v for k, v in SMALL.get(name, {}).items() if k in UNSEEN or not shown}
        again = build(name, {**shown, **stated}).state_dict()
    assert {n: tuple(t.shape) for n, t in again.items()} == shapes


@pytest.mark.parametrize("name", NETWORKS)
def test_a_stride_is_one_number_or_three(name: str) -> None:
    with torch.device("meta"):
        stride = getattr(build(name, SMALL.get(name, {})), "stride", 1)
    numbers = [stride] * 3 if isinstance(stride, int) else list(stride)
    assert len(numbers) == 3
    assert lcm(*numbers) <= 64

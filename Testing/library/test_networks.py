"""What every row of registry.NETWORKS must do."""

from __future__ import annotations

import json
import warnings
from math import lcm
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.small_networks import SMALL, small
from torch import nn

from RegRefineLib import cli
from RegRefineLib.geometry import Geometry
from RegRefineLib.inference import load as inference
from RegRefineLib.networks.base import RegistrationNetwork, TracingNetwork, autocast
from RegRefineLib.pair import Pair, ignore
from RegRefineLib.registry import NETWORKS, find
from RegRefineLib.starts import network as start
from RegRefineLib.training.recipe import Recipe
from RegRefineLib.training.state import WEIGHTS
from RegRefineLib.weights.catalogue import Preprocessing
from RegRefineLib.weights.load import Loaded, build, load

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
    shape = network.fitting((16, 16, 16))
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
def test_a_network_derives_from_the_contract(name: str) -> None:
    kind = find("network", name)
    assert issubclass(kind, RegistrationNetwork)
    hints = {n for c in kind.__mro__ if issubclass(c, RegistrationNetwork) for n in vars(c)}
    known = set(vars(RegistrationNetwork)) | set(vars(TracingNetwork))
    public = {n for n in hints if not n.startswith("_")} - known
    # what only the golden files and the network itself ask
    assert public <= {"velocity", "displacement", "low_resolution", "band_limited", "error"}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_command_trains_a_step_through_the_registry_alone(name: str, tmp_path: Path) -> None:
    options = [f"network.{n}={json.dumps(v)}" for n, v in SMALL.get(name, {}).items()]
    settings = [word for option in [*options, "steps=1", "stages=1"] for word in ("--set", option)]
    sizes = ["32", "32", "32" if "tm" in name or name == "transmorph" else "16"]
    words = ["train", str(tmp_path), "--network", name, "--shape", *sizes, "--noise"]
    assert cli.main([*words, "--device", "cpu", *settings]) == 0
    trained = load(str(tmp_path / WEIGHTS)).network
    torch.manual_seed(Recipe().seed)
    born = build(name, SMALL.get(name, {})).state_dict()
    moved = [n for n, t in trained.named_parameters() if not torch.equal(t, born[n])]
    assert moved
    pair = pair_of((32, 32, int(sizes[2])))
    with torch.no_grad():
        found = trained(pair.moving, pair.fixed)
    assert tuple(found.shape) == (1, 3, *pair.moving.shape[2:])
    assert bool(torch.isfinite(found).all())


def test_options_for_the_images_are_filled_in_and_given_ones_win() -> None:
    unet = Recipe(network="transmorph").completed((160, 192, 224))
    assert unet.options == {"window": [5, 6, 7]}
    assert unet.completed((32, 32, 32)).options == unet.options
    small = Recipe(network="firework-tm", options={"size": "tiny"}).completed((32, 64, 96))
    assert small.options == {"size": "tiny", "window": [2, 2, 3]}
    assert Recipe(network="unigradicon").completed((32, 80, 16)).options == {"size": [65, 80, 65]}
    assert Recipe(network="voxelmorph").completed((32, 32, 32)).options == {}


@pytest.mark.parametrize("name", NETWORKS)
def test_convolutions_in_bfloat16_change_little(name: str) -> None:
    network = small(name).eval()
    moving, fixed = torch.rand(2, 1, 1, *network.fitting((16, 16, 16)))
    with torch.no_grad():
        full = network(moving, fixed)
        with autocast(moving.device, "bfloat16"):
            half = network(moving, fixed)
    assert half.dtype == torch.float32
    assert float((half - full).abs().max()) <= 0.05 * float(full.abs().max()) + 1e-4


@pytest.mark.parametrize("name", NETWORKS)
def test_the_tiniest_image_goes(name: str) -> None:
    network = small(name).eval()
    image = torch.rand(1, 1, *network.fitting((1, 1, 1)))
    with torch.no_grad():
        assert bool(torch.isfinite(network(image, image)).all())


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
        shown = kind.infer(shapes, {})
        stated = {k: v for k, v in SMALL.get(name, {}).items() if k in UNSEEN or not shown}
        again = build(name, {**shown, **stated}).state_dict()
    assert {n: tuple(t.shape) for n, t in again.items()} == shapes


@pytest.mark.parametrize("name", NETWORKS)
def test_a_stride_is_one_number_or_three(name: str) -> None:
    with torch.device("meta"):
        stride = build(name, SMALL.get(name, {})).stride
    numbers = [stride] * 3 if isinstance(stride, int) else list(stride)
    assert len(numbers) == 3
    assert lcm(*numbers) <= 64

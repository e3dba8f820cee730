from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from RegRefineLib import registry
from RegRefineLib.errors import RegRefineError, Stopped
from RegRefineLib.geometry import Geometry
from RegRefineLib.inference.grid import network_grid
from RegRefineLib.job import Progress
from RegRefineLib.networks.firework import FiReworkVM
from RegRefineLib.networks.voxelmorph import VoxelMorph
from RegRefineLib.ops.warp import warp
from RegRefineLib.pair import Pair, ignore
from RegRefineLib.refine.firework import refine
from RegRefineLib.starts.network import predict
from RegRefineLib.weights.catalogue import Preprocessing
from RegRefineLib.weights.checkpoint import save

SMALL = {"encoder": [4, 4], "decoder": [4, 4, 4]}
SHAPE = (8, 12, 16)


@pytest.fixture
def network() -> FiReworkVM:
    torch.manual_seed(0)
    network = FiReworkVM(steps=2, **SMALL)
    nn.init.normal_(network.network.flow.weight, std=0.3)
    return network.eval()


@pytest.fixture
def weights(network: FiReworkVM, tmp_path: Path) -> str:
    save(tmp_path / "w", network, "firework-vm", {"steps": 2, **SMALL})
    return str(tmp_path / "w")


@pytest.fixture
def pair() -> Pair:
    images = torch.rand((2, 1, 1, *SHAPE), generator=torch.Generator().manual_seed(1))
    return Pair(images[0], images[1], Geometry(SHAPE, np.eye(4)))


def some_field() -> Tensor:
    return torch.randn((1, 3, *SHAPE), generator=torch.Generator().manual_seed(2))


ALL = {"keep": "last", "patience": "0"}


@torch.no_grad()
@pytest.mark.parametrize("given", [False, True])
def test_its_steps_are_the_network_s_own(
    network: FiReworkVM, weights: str, pair: Pair, given: bool
) -> None:
    start = some_field() if given else pair.zero()
    heard: list[Progress] = []
    settings = {"weights": weights, "steps": 3, **ALL}
    refined = refine(pair, start, settings, heard.append)
    steps = network.following(pair.moving, pair.fixed, start if given else None)
    for progress, field in zip(heard, islice(steps, 3), strict=True):
        assert torch.allclose(progress.displacement, field, atol=1e-4)
    assert torch.equal(refined.displacement, heard[-1].displacement)
    assert [p.step for p in heard] == [0, 1, 2]
    assert refined.stopped_because == "all steps done"


def test_it_stops_when_the_images_agree_no_better_and_keeps_the_best(
    weights: str, pair: Pair
) -> None:
    alike = Pair(pair.fixed, pair.fixed, pair.geometry)  # nothing can be gained
    refined = refine(alike, alike.zero(), {"weights": weights, "steps": 9, "patience": 2}, ignore)
    assert len(refined.history) == 2
    assert refined.stopped_because == "no gain in 2 steps"
    assert not bool(refined.displacement.any())


def test_the_kept_field_is_the_one_of_the_least_loss(weights: str, pair: Pair) -> None:
    heard: list[Progress] = []
    settings = {"weights": weights, "steps": 4, "patience": 0, "similarity": "mean-squares"}
    refined = refine(pair, some_field(), settings, heard.append)

    def loss(field: Tensor) -> float:
        return float((pair.fixed - warp(pair.moving, field)).square().mean())

    fields = [some_field(), *(p.displacement for p in heard)]
    assert loss(refined.displacement) == pytest.approx(min(map(loss, fields)), rel=1e-5)
    assert [r["total"] for r in refined.history] == pytest.approx(
        [loss(f) for f in fields[1:]], rel=1e-5
    )


def test_a_start_finer_than_the_network_s_grid_keeps_its_detail(
    network: FiReworkVM, pair: Pair, tmp_path: Path
) -> None:
    nn.init.zeros_(network.network.flow.weight)
    more = {"preprocessing": {"spacing_mm": 2.0}}
    save(tmp_path / "coarse", network, "firework-vm", {"steps": 2, **SMALL}, more)
    settings = {"weights": str(tmp_path / "coarse"), "steps": 1, **ALL}
    start = some_field()
    assert torch.equal(refine(pair, start, settings, ignore).displacement, start)


@torch.no_grad()
@pytest.mark.parametrize("orientation", [None, "LPS", "SAR"])
def test_a_field_goes_to_the_network_s_grid_and_back(orientation: str | None) -> None:
    affine = np.diag([1.0, 1.5, 2.0, 1.0])
    geometry = Geometry((7, 12, 9), affine)
    grid = network_grid(geometry, Preprocessing(orientation=orientation), FiReworkVM(**SMALL))
    field = torch.randn((1, 3, 7, 12, 9))
    own = grid.own(field)
    assert all(n % 4 == 0 for n in own.shape[2:])
    assert torch.allclose(grid.displacement(own), field)


def test_the_user_s_stop_keeps_the_best_so_far(weights: str, pair: Pair) -> None:
    def stop(_: Progress) -> None:
        raise Stopped

    refined = refine(pair, pair.zero(), {"weights": weights}, stop)
    assert len(refined.history) == 1
    assert refined.stopped_because == "stopped by the user"


def test_what_a_user_can_do_wrong_is_a_sentence(weights: str, pair: Pair, tmp_path: Path) -> None:
    plain = VoxelMorph(**SMALL)
    save(tmp_path / "plain", plain, "voxelmorph", SMALL)
    for settings, sentence in (
        ({}, "refinement firework: name its weights"),
        ({"weights": str(tmp_path / "plain")}, "VoxelMorph, which cannot take a field"),
        ({"weights": weights, "keep": "first"}, "setting keep"),
        ({"weights": weights, "steps": -1}, "steps: at least 0"),
        ({"weights": weights, "similarity": "nc"}, "did you mean"),
    ):
        with pytest.raises(RegRefineError, match=sentence):
            refine(pair, pair.zero(), settings, ignore)


@pytest.mark.parametrize("after", ["reg-ttr", "pyramid"])
def test_as_a_start_it_takes_its_steps_and_another_refinement_finishes(
    network: FiReworkVM, weights: str, pair: Pair, after: str
) -> None:
    start = predict(pair, {"weights": weights, "steps": "3"}, ignore)
    with torch.no_grad():
        *_, third = islice(network.following(pair.moving, pair.fixed), 3)
    assert torch.equal(start, third)
    settings = {"steps": 2} if after == "reg-ttr" else {"levels": "1:2"}
    finished = registry.find("refinement", after)(pair, start, settings, ignore)
    assert finished.history
    # an untrained network's start may be beyond mending; then it is kept, which is said
    kept = any("its start was kept" in sentence for sentence in finished.remarks)
    assert torch.equal(finished.displacement, start) == kept
    assert after == "pyramid" or not kept
    again = refine(pair, finished.displacement, {"weights": weights, "steps": 1, **ALL}, ignore)
    assert not torch.equal(again.displacement, finished.displacement)


def test_the_registry_finds_it() -> None:
    assert registry.find("refinement", "firework") is refine

"""Instance optimisation: it learns the pair, and nothing of it stays behind."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from RegRefineLib import registry
from RegRefineLib.errors import Cancelled, RegRefineError, Stopped
from RegRefineLib.geometry import Geometry
from RegRefineLib.inference.grid import network_grid
from RegRefineLib.networks.base import RegistrationNetwork
from RegRefineLib.networks.rdp import RDP
from RegRefineLib.networks.unigradicon import Composition
from RegRefineLib.ops.warp import warp
from RegRefineLib.pair import Pair, ignore
from RegRefineLib.refine.network_io import NetworkIO, find, gradicon, optimise, refine
from RegRefineLib.starts.network import predict
from RegRefineLib.weights.catalogue import Preprocessing
from RegRefineLib.weights.checkpoint import save

SHAPE = (16, 16, 16)


class Shifting(RegistrationNetwork):
    """A shift learnt as three weights, with a batch norm that changes nothing."""

    stride = 8

    def __init__(self) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(3))
        self.norm = nn.BatchNorm3d(1)

    def forward(self, moving: torch.Tensor, fixed: torch.Tensor) -> torch.Tensor:
        means = self.norm(moving).mean() - self.norm(fixed).mean()
        field = self.shift.view(1, 3, 1, 1, 1).expand(1, 3, *moving.shape[2:])
        return field + 0.0 * means


class Squeezing(Shifting):
    """The same as a mapping of a cube of 12 voxels, as uniGradICON gives it."""

    def squeezed(self, image: torch.Tensor) -> torch.Tensor:
        return nn.functional.interpolate(image, size=(12, 12, 12), mode="trilinear")

    def mapping(self, moving: torch.Tensor, fixed: torch.Tensor) -> Composition:
        return Composition((super().forward(moving, fixed) / 11,))


def blob(*centre: float, width: float = 3.0) -> torch.Tensor:
    axes = [torch.arange(n) - c for n, c in zip(SHAPE, centre, strict=True)]
    grid = torch.stack(torch.meshgrid(*axes, indexing="ij"))
    return torch.exp(-0.5 * (grid / width).square().sum(0))[None, None].float()


@pytest.fixture
def pair() -> Pair:
    """The moving image lies one voxel further along the first axis."""
    return Pair(blob(7, 7, 8), blob(8, 7, 8), Geometry(SHAPE, np.eye(4)))


@pytest.fixture
def other() -> Pair:
    return Pair(blob(6, 9, 8), blob(9, 6, 7), Geometry(SHAPE, np.eye(4)))


def run(network: RegistrationNetwork, pair: Pair, report=ignore, **settings):
    grid = network_grid(pair.geometry, Preprocessing(), network)
    return optimise(network, pair, grid, NetworkIO(**settings), report)


@pytest.mark.parametrize("network", [Shifting, Squeezing])
def test_it_learns_the_shift_of_the_pair(network, pair):
    torch.manual_seed(0)
    settings = {"regulariser": "gradient-l2", "similarity": "mean-squares"}
    refined = run(network(), pair, steps=60, learning_rate=0.05, **settings)
    totals = [record["total"] for record in refined.history]
    assert totals[-1] < 0.05 * totals[0]
    assert len(totals) == 61
    shift = refined.displacement.mean(dim=(0, 2, 3, 4))
    assert torch.allclose(shift, torch.tensor([1.0, 0.0, 0.0]), atol=0.1)
    assert refined.displacement.shape == (1, 3, *SHAPE)


def test_a_real_network_comes_nearer_to_the_fixed_image(pair):
    torch.manual_seed(0)
    network = RDP(channels=2).eval()
    settings = {"similarity": "mean-squares", "learning_rate": 3e-5}
    refined = run(network, pair, steps=8, **settings)
    before = (pair.moving - pair.fixed).square().mean()
    after = (warp(pair.moving, refined.displacement) - pair.fixed).square().mean()
    assert after < 0.9 * before


def test_nothing_of_one_pair_stays_for_the_next(pair, other):
    torch.manual_seed(0)
    network = RDP(channels=2).eval()
    before = copy.deepcopy(network.state_dict())
    alone = run(network, other, steps=1, learning_rate=1e-3)
    run(network, pair, steps=1, learning_rate=1e-2)
    again = run(network, other, steps=1, learning_rate=1e-3)
    assert torch.equal(alone.displacement, again.displacement)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())


def test_batch_norm_keeps_its_statistics(pair):
    seen: list[tuple[bool, int]] = []

    class Watched(Shifting):
        def forward(self, moving, fixed):
            found = super().forward(moving, fixed)
            seen.append((self.training, int(self.norm.num_batches_tracked)))
            return found

    run(Watched().train(), pair, steps=2)
    assert set(seen) == {(False, 0)}


@pytest.mark.parametrize(("regulariser", "looks"), [("gradicon", 2), ("gradient-l2", 1)])
def test_the_other_direction_is_only_found_for_gradicon(pair, regulariser, looks):
    class Counting(Shifting):
        looks = 0

        def forward(self, moving, fixed):
            Counting.looks += 1
            return super().forward(moving, fixed)

    run(Counting(), pair, steps=3, regulariser=regulariser)
    assert Counting.looks == 4 * looks


def test_gradicon_is_zero_for_shifts_and_the_seed_decides_its_points(pair):
    there = find(Shifting(), pair.moving, pair.fixed)
    penalty = gradicon(there, there, torch.zeros(1, 3, *SHAPE)).item()
    assert penalty == pytest.approx(0, abs=1e-6)
    torch.manual_seed(0)
    network = RDP(channels=2)
    nn.init.normal_(network.defconv1.weight, std=0.5)
    first, same, another = (
        run(network, pair, steps=0, seed=seed).history[0]["regulariser"] for seed in (1, 1, 2)
    )
    assert first == same != another
    assert first > 1e-3


def test_no_steps_give_what_the_network_start_gives(pair, tmp_path):
    torch.manual_seed(0)
    network = RDP(channels=2)
    nn.init.normal_(network.defconv1.weight, std=0.5)
    save(tmp_path / "w.safetensors", network, "rdp", {"channels": 2})
    settings = {"weights": str(tmp_path / "w.safetensors")}
    start = predict(pair, settings, ignore)
    refined = refine(pair, start, {**settings, "steps": "0"}, ignore)
    assert torch.allclose(refined.displacement, start, atol=1e-6)
    assert start.abs().max() > 0.1


def test_stopping_keeps_the_field_so_far_and_cancelling_drops_it(pair):
    def stop(progress):
        if progress.step == 2:
            raise Stopped

    def cancel(progress):
        raise Cancelled

    refined = run(Shifting(), pair, stop, steps=9, learning_rate=0.05)
    assert len(refined.history) == 3
    assert refined.stopped_because == "stopped"
    assert refined.displacement.abs().max() > 0.05
    with pytest.raises(Cancelled):
        run(Shifting(), pair, cancel, steps=1)


def test_best_is_the_field_of_the_least_loss(pair):
    settings = {"similarity": "mean-squares", "regulariser": "gradient-l2", "learning_rate": 5.0}
    fields: list[torch.Tensor] = []
    totals: list[float] = []

    def keep(progress):
        fields.append(progress.displacement)
        totals.append(progress.loss["total"])

    refined = run(Shifting(), pair, keep, steps=3, keep="best", **settings)
    assert torch.equal(refined.displacement, fields[int(np.argmin(totals))])
    assert np.argmin(totals) != len(totals) - 1
    assert torch.equal(run(Shifting(), pair, steps=3, **settings).displacement, fields[-1])


def test_masks_say_where_the_images_are_compared(pair):
    nowhere = Pair(
        pair.fixed,
        pair.moving,
        pair.geometry,
        fixed_mask=(blob(14, 14, 14, width=0.5) > 0.5).float(),
        moving_mask=(blob(14, 14, 14, width=0.5) > 0.5).float(),
    )
    settings = {"similarity": "mean-squares", "steps": 0}
    everywhere = run(Shifting(), pair, **settings).history[0]["similarity"]
    assert run(Shifting(), nowhere, **settings).history[0]["similarity"] < 0.1 * everywhere


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({}, "name its weights"),
        ({"weights": "x", "steps": -1}, "steps: at least 0"),
        ({"weights": "x", "keep": "first"}, "setting keep: last or best"),
        ({"weights": "x", "similarity": "lnc"}, "did you mean lncc"),
        ({"weights": "x", "regulariser": "gradient"}, "did you mean gradient-l"),
        ({"weights": "nothing.pth", "network": "rdp"}, "no such file"),
    ],
)
def test_wrong_settings_are_a_sentence(pair, settings, sentence):
    with pytest.raises(RegRefineError, match=sentence):
        refine(pair, pair.zero(), settings, ignore)


def test_the_registry_finds_it():
    assert registry.find("refinement", "network-io") is refine

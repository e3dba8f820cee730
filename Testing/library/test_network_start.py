from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from RegRefineLib.errors import RegRefineError
from RegRefineLib.geometry import Geometry, Volume
from RegRefineLib.inference.load import wanted
from RegRefineLib.job import Job, Progress
from RegRefineLib.networks.voxelmorph import VoxelMorph
from RegRefineLib.ops.warp import warp
from RegRefineLib.pair import Pair, ignore
from RegRefineLib.registration import register
from RegRefineLib.registry import STARTS, find
from RegRefineLib.starts.network import predict
from RegRefineLib.weights import catalogue
from RegRefineLib.weights.checkpoint import save

SMALL = {"encoder": [4, 4], "decoder": [4, 4, 4]}


@pytest.fixture
def network() -> VoxelMorph:
    torch.manual_seed(0)
    network = VoxelMorph(**SMALL)
    torch.nn.init.normal_(network.flow.weight, std=0.5)
    return network.eval()


@pytest.fixture
def pair() -> Pair:
    images = torch.rand((2, 1, 1, 12, 16, 20), generator=torch.Generator().manual_seed(1))
    return Pair(images[0], images[1], Geometry((12, 16, 20), np.eye(4)))


def test_the_start_is_what_the_network_says_of_moving_and_fixed(
    network: VoxelMorph, pair: Pair, tmp_path: Path
) -> None:
    save(tmp_path / "w", network, "voxelmorph", SMALL)
    heard: list[Progress] = []
    found = predict(pair, {"weights": str(tmp_path / "w")}, heard.append)
    with torch.no_grad():
        assert torch.equal(found, network(pair.moving, pair.fixed))
    assert "VoxelMorph" in heard[0].message
    assert "12 x 16 x 20 voxels" in heard[0].message


def test_settings_beyond_its_own_are_the_networks_options(
    network: VoxelMorph, pair: Pair, tmp_path: Path
) -> None:
    torch.save(network.state_dict(), tmp_path / "w.pth")
    settings = {"network": "voxelmorph", "weights": str(tmp_path / "w.pth")}
    velocity = predict(pair, settings, ignore)
    integrated = predict(pair, {**settings, "int_steps": 7, "encoder": "[4, 4]"}, ignore)
    assert not torch.equal(velocity, integrated)
    with pytest.raises(RegRefineError, match="unknown option int_step;"):
        predict(pair, {**settings, "int_step": 7}, ignore)


def test_a_volume_turned_in_space_gives_the_same_field(
    network: VoxelMorph, pair: Pair, tmp_path: Path
) -> None:
    more = {"preprocessing": {"orientation": "SAR"}}
    save(tmp_path / "w", network, "voxelmorph", SMALL, more)
    straight = predict(pair, {"weights": str(tmp_path / "w")}, ignore)
    # the same brain stored the other way round: axes exchanged, one of them reversed
    affine = np.eye(4)[[2, 1, 0, 3]] * np.array([1, 1, -1, 1])
    turned = Pair(
        pair.fixed.transpose(2, 4).flip(2),
        pair.moving.transpose(2, 4).flip(2),
        Geometry((20, 16, 12), affine),
    )
    found = predict(turned, {"weights": str(tmp_path / "w")}, ignore)
    one = warp(pair.moving, straight).transpose(2, 4).flip(2)
    assert torch.allclose(one, warp(turned.moving, found), atol=1e-4)


def test_half_precision_is_for_the_convolutions_alone(
    network: VoxelMorph, pair: Pair, tmp_path: Path
) -> None:
    save(tmp_path / "w", network, "voxelmorph", SMALL)
    settings = {"weights": str(tmp_path / "w")}
    full = predict(pair, settings, ignore)
    heard: list[Progress] = []
    half = predict(pair, {**settings, "precision": "bfloat16"}, heard.append)
    assert [e.message.split(";")[0] for e in heard if e.warning] == ["bfloat16 is for GPUs"]
    assert half.dtype == torch.float32
    assert 0 < float((full - half).abs().max()) < 0.05 * float(full.abs().max())
    with pytest.raises(RegRefineError, match="precision: float32 or bfloat16"):
        predict(pair, {**settings, "precision": "int8"}, ignore)


def test_where_memory_is_short_the_network_sees_larger_voxels(
    network: VoxelMorph, pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = {"preprocessing": {"spacing_mm": 1.0}}
    save(tmp_path / "w", network, "voxelmorph", SMALL, more)
    usual = VoxelMorph.forward

    def small_machine(self: VoxelMorph, moving: torch.Tensor, fixed: torch.Tensor) -> torch.Tensor:
        if moving.numel() > most:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return usual(self, moving, fixed)

    monkeypatch.setattr(VoxelMorph, "forward", small_machine)
    heard: list[Progress] = []
    most = 1000
    found = predict(pair, {"weights": str(tmp_path / "w")}, heard.append)
    assert tuple(found.shape) == (1, 3, *pair.shape)
    assert [e.message for e in heard if e.warning] == [
        "memory ran out in the network; trying 2 mm voxels"
    ]
    most = 0
    with pytest.raises(RuntimeError, match="allocate memory"):
        predict(pair, {"weights": str(tmp_path / "w")}, ignore)
    save(tmp_path / "w", network, "voxelmorph", SMALL)  # no voxel size of its own
    with pytest.raises(RuntimeError, match="allocate memory"):
        predict(pair, {"weights": str(tmp_path / "w")}, ignore)


def test_without_weights_it_is_said_how_to_name_them(pair: Pair) -> None:
    with pytest.raises(RegRefineError, match="name its weights"):
        predict(pair, {"network": "voxelmorph"}, ignore)


@pytest.mark.parametrize("weights", ["no-such-model", "no/such/file.pth", "nothing.pth"])
def test_unknown_weights_are_a_sentence(pair: Pair, weights: str) -> None:
    with pytest.raises(RegRefineError, match=r"unknown model|no such file"):
        predict(pair, {"network": "voxelmorph", "weights": weights}, ignore)


def test_a_file_of_ones_own_borrows_a_models_preprocessing(
    network: VoxelMorph, pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = {
        "help": "h",
        "network": "voxelmorph",
        "file": "f",
        "sha256": None,
        "preprocessing": {"intensity": ["ct"], "spacing_mm": 2.0},
        "training_data": "t",
        "licence": "l",
        "citation": "c",
    }
    content = {"format": 1, "models": {"theirs": entry}}
    (tmp_path / "models.json").write_text(json.dumps(content))
    monkeypatch.setenv(catalogue.FOLDER_VARIABLE, str(tmp_path))
    save(tmp_path / "w", network, "voxelmorph", SMALL)
    heard: list[Progress] = []
    settings = {"weights": str(tmp_path / "w"), "like": "theirs"}
    predict(pair, settings, heard.append)
    assert "8 x 8 x 12 voxels" in heard[0].message
    theirs = wanted({"weights": "theirs"})
    assert theirs is not None
    assert theirs.intensity == ("ct",)
    assert wanted(settings) == theirs
    assert wanted({"weights": str(tmp_path / "w")}) is None
    save(tmp_path / "said", network, "voxelmorph", SMALL, {"preprocessing": {"intensity": ["mr"]}})
    said = wanted({"weights": str(tmp_path / "said")})
    assert said is not None
    assert said.intensity == ("mr",)


def test_the_registry_finds_it() -> None:
    assert find("start", "network") is predict
    assert "network" in STARTS


@pytest.mark.parametrize(
    ("darkest", "chosen", "used", "warned"),
    [(-1000, None, "ct", False), (0, None, "mr", False), (0, "minmax", "minmax", True)],
)
def test_the_models_intensities_are_used_unless_others_are_chosen(
    network: VoxelMorph,
    tmp_path: Path,
    darkest: float,
    chosen: str | None,
    used: str,
    warned: bool,
) -> None:
    more = {"preprocessing": {"intensity": ["ct", "mr"]}}
    save(tmp_path / "w", network, "voxelmorph", SMALL, more)
    values = np.random.default_rng(0).uniform(darkest, 900, (16, 16, 16))
    image = Volume(values, Geometry((16, 16, 16), np.eye(4)))
    job = Job(affine="none", start="network", refinement="none", intensity=chosen, device="cpu")
    result = register(image, image, job.replaced(start_settings={"weights": str(tmp_path / "w")}))
    assert result.job.intensity == used
    assert any("was trained with ct or mr" in sentence for sentence in result.warnings) == warned

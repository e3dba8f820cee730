from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from support.small_model import SMALL, digest, list_model, use_folders

from RegRefineLib.errors import RegRefineError
from RegRefineLib.networks.voxelmorph import VoxelMorph
from RegRefineLib.weights import load as weights
from RegRefineLib.weights import store
from RegRefineLib.weights.checkpoint import save


@pytest.fixture
def network() -> VoxelMorph:
    torch.manual_seed(0)
    return VoxelMorph(**SMALL)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    use_folders(tmp_path, monkeypatch)
    return tmp_path


@pytest.fixture
def listed(home: Path) -> Callable[..., None]:
    return partial(list_model, home)


def test_a_bundled_model_needs_no_fetching(
    home: Path, listed: Callable[..., None], network: VoxelMorph
) -> None:
    save(home / "models" / "own.safetensors", network, "voxelmorph", SMALL)
    content = (home / "models" / "own.safetensors").read_bytes()
    listed(file="own.safetensors", sha256=digest(content))
    assert store.fetch("small", lambda _: pytest.fail("asked")).name == "own.safetensors"
    assert torch.equal(weights.load("small").network.flow.weight, network.flow.weight)


def test_a_file_of_ones_own_is_loaded_with_its_network_named(
    home: Path, network: VoxelMorph
) -> None:
    torch.save({"state_dict": network.state_dict()}, home / "w.pth")
    loaded = weights.load(str(home / "w.pth"), "voxelmorph", {"int_steps": 7})
    assert loaded.network.int_steps == 7
    assert torch.equal(loaded.network.flow.weight, network.flow.weight)
    with pytest.raises(RegRefineError, match="name the network"):
        weights.load(str(home / "w.pth"))


def test_our_own_file_needs_no_network_named(home: Path, network: VoxelMorph) -> None:
    more = {"preprocessing": {"spacing_mm": 2.0}}
    save(home / "o.safetensors", network, "voxelmorph", SMALL, more)
    loaded = weights.load(str(home / "o.safetensors"))
    assert loaded.preprocessing.spacing_mm == 2.0


@pytest.mark.parametrize(
    ("name", "options", "word"),
    [
        ("voxelmorf", {}, "did you mean voxelmorph"),
        ("voxelmorph", {"steps": 7}, "unknown option steps; known: encoder"),
        ("voxelmorph", {"encoder": "wide"}, "do not work|needs at least"),
        ("voxelmorph", {"int_downsize": 3}, "int_downsize is 1 or 2"),
    ],
)
def test_wrong_networks_and_options_are_sentences(
    name: str, options: dict[str, Any], word: str
) -> None:
    with pytest.raises(RegRefineError, match=word):
        weights.build(name, options)


def test_a_mistyped_model_is_not_taken_for_a_path(listed: Callable[..., None]) -> None:
    listed()
    with pytest.raises(RegRefineError, match="did you mean small"):
        weights.load("smal")


def test_a_known_file_is_recognised_wherever_it_lies(
    home: Path, listed: Callable[..., None], network: VoxelMorph
) -> None:
    torch.save(network.state_dict(), home / "renamed.bin")
    listed(sha256=digest((home / "renamed.bin").read_bytes()), options={"int_steps": 3})
    loaded = weights.load(str(home / "renamed.bin"))
    assert loaded.preprocessing.orientation == "LIA"
    assert loaded.network.int_steps == 3
    with pytest.raises(RegRefineError, match="is not of this network"):
        weights.load(str(home / "renamed.bin"), "voxelmorph-strided")

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from RegRefineLib.errors import RegRefineError
from RegRefineLib.networks.transmorph import TransMorph
from RegRefineLib.networks.voxelmorph import VoxelMorph
from RegRefineLib.weights.checkpoint import description, fit, read, save

SMALL = {"encoder": [2, 3], "decoder": [3, 3, 2]}


@pytest.fixture
def network() -> VoxelMorph:
    torch.manual_seed(0)
    return VoxelMorph(**SMALL)


def same(state: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return set(state) == set(other) and all(torch.equal(state[n], other[n]) for n in state)


def test_our_own_file_says_what_it_is(network: VoxelMorph, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save(path, network, "voxelmorph", SMALL, {"licence": "Apache-2.0"})
    found = read(path)
    assert same(found.state, network.state_dict())
    assert found.metadata["network"] == "voxelmorph"
    assert found.metadata["licence"] == '"Apache-2.0"'


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 3, "optimizer": {"lr": 0.1}},
        lambda state: {"state_dict": state, "best_dsc": np.float64(0.75)},
        lambda state: {"model": {"model_state": state}},
        lambda state: {f"module.{n}": t for n, t in state.items()},
        lambda state: {**state, "transformer.grid": torch.zeros(1, 3, 4, 4, 4)},
    ],
    ids=["plain", "training", "numpy-number", "nested", "parallel", "grids"],
)
def test_what_programs_wrap_around_weights_is_taken_off(
    network: VoxelMorph, tmp_path: Path, wrap: Any
) -> None:
    torch.save(wrap(network.state_dict()), tmp_path / "w.pth.tar")
    assert same(read(tmp_path / "w.pth.tar").state, network.state_dict())


def test_the_classic_files_constructor_arguments_come_along(
    network: VoxelMorph, tmp_path: Path
) -> None:
    config = {"inshape": (32, 32, 32), "int_steps": 7}
    torch.save({"config": config, "model_state": network.state_dict()}, tmp_path / "w.pt")
    assert read(tmp_path / "w.pt").config["int_steps"] == 7


def test_a_keras_file_is_read(network: VoxelMorph, tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py", exc_type=ImportError)
    path = tmp_path / "w.h5"
    names = {
        "encoder.0.0": "enc_conv_0_0",
        "encoder.1.0": "enc_conv_1_0",
        "decoder.0.0": "dec_conv_1_0",
        "decoder.1.0": "dec_conv_0_0",
        "remaining.0": "dec_final_conv_0",
    }
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = '{"class_name": "VxmDense", "config": {"int_steps": 5}}'
        for ours, theirs in {**names, "flow": "flow"}.items():
            prefix = ours if ours == "flow" else f"unet_model.{ours}.main"
            layer = theirs if ours == "flow" else f"vxm_dense_unet_{theirs}"
            state = network.state_dict()
            kernel = state[f"{prefix}.weight"].permute(2, 3, 4, 1, 0).numpy()
            file[f"model_weights/{layer}/{layer}/kernel:0"] = kernel
            file[f"model_weights/{layer}/{layer}/bias:0"] = state[f"{prefix}.bias"].numpy()
    found = read(path)
    assert found.config == {"int_steps": 5}
    other = VoxelMorph(**SMALL)
    fit(other, found.state, path)
    assert same(other.state_dict(), network.state_dict())


class Harmful:
    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("a program was run",))


def test_a_file_that_would_run_a_program_is_refused(
    network: VoxelMorph, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({"state_dict": network.state_dict(), "x": Harmful()}, tmp_path / "w.pth")
    with pytest.raises(RegRefineError, match="more than tensors"):
        read(tmp_path / "w.pth")
    (tmp_path / "w.pkl").write_bytes(pickle.dumps(Harmful()))
    with pytest.raises(RegRefineError):
        read(tmp_path / "w.pkl")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("keep", [0.02, 0.3, 0.9, 0.999])
@pytest.mark.parametrize("ending", ["safetensors", "pth"])
def test_a_truncated_file_is_a_sentence(
    network: VoxelMorph, tmp_path: Path, ending: str, keep: float
) -> None:
    path = tmp_path / f"w.{ending}"
    if ending == "pth":
        torch.save(network.state_dict(), path)
    else:
        save(path, network, "voxelmorph", SMALL)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * keep)])
    with pytest.raises(RegRefineError, match=str(path)):
        read(path)


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><html></html>", "web page"),
        (b"hello, I am not weights", "not a file of weights"),
        (b"PK\x03\x04 not really", "damaged"),
    ],
)
def test_a_foreign_file_is_a_sentence(tmp_path: Path, content: bytes, word: str) -> None:
    (tmp_path / "w").write_bytes(content)
    with pytest.raises(RegRefineError, match=word):
        read(tmp_path / "w")


def test_a_missing_file_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(RegRefineError, match="no such file"):
        read(tmp_path / "w.pth")


def test_a_newer_format_asks_for_an_update(network: VoxelMorph, tmp_path: Path) -> None:
    save_file(dict(network.state_dict()), tmp_path / "w", {"regrefine": "99"})
    with pytest.raises(RegRefineError, match="newer than this version"):
        read(tmp_path / "w")


def test_weights_that_are_not_numbers_are_refused(network: VoxelMorph, tmp_path: Path) -> None:
    state = {**network.state_dict(), "flow.bias": torch.tensor([0.0, float("nan"), 0.0])}
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(RegRefineError, match=r"flow\.bias holds values that are not numbers"):
        read(tmp_path / "w.pth")


def test_another_networks_weights_are_refused_by_name(network: VoxelMorph) -> None:
    with pytest.raises(RegRefineError, match=r"is not of this network \(VoxelMorph\)"):
        fit(network, {"conv.weight": torch.zeros(1)}, "w.pth")


def test_other_options_weights_are_refused_by_shape(network: VoxelMorph) -> None:
    wider = VoxelMorph(encoder=[4, 3], decoder=[3, 3, 2])
    with pytest.raises(RegRefineError, match="give the options it was trained with"):
        fit(network, wider.state_dict(), "w.pth")


def test_another_window_of_the_same_size_is_noticed() -> None:
    one, other = (TransMorph("tiny", window) for window in ((1, 2, 3), (3, 2, 1)))
    with pytest.raises(RegRefineError, match="another window"):
        fit(one, other.state_dict(), "w.pth")


def test_a_header_whose_length_begins_like_a_pickle_is_no_pickle(
    network: VoxelMorph, tmp_path: Path
) -> None:
    path = tmp_path / "w.safetensors"
    for length in range(300):
        save(path, network, "voxelmorph", SMALL, {"licence": "x" * length})
        if path.read_bytes()[0] == 0x80:
            break
    assert path.read_bytes()[0] == 0x80
    assert read(path).metadata["network"] == "voxelmorph"
    assert description(path)["network"] == "voxelmorph"


def test_an_altered_torch_file_is_a_sentence(network: VoxelMorph, tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    torch.save(network.state_dict(), path)
    content = bytearray(path.read_bytes())
    weight = next(iter(network.state_dict().values())).numpy().tobytes()
    content[content.index(weight)] ^= 0x01
    path.write_bytes(content)
    with pytest.raises(RegRefineError, match="damaged"):
        read(path)

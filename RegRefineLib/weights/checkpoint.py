"""Reading weight files of all common formats, and loading them strictly into a network.

The format is recognised by a file's first bytes: safetensors, torch's zip or pickle (.pth, .pt,
.trch, .pth.tar; tensors only, never code), Keras's HDF5. What programs wrap around the tensors is
removed here; what is particular to one network is in that network's `rename`.
"""

from __future__ import annotations

import json
import pickle
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..errors import RegRefineError
from ..io.paths import present, written_aside
from ..networks.base import RegistrationNetwork

FORMAT = 1  # of the metadata in our own safetensors files
WRAPPERS = ("state_dict", "model_state_dict", "model_state", "model", "net", "network", "params")
PREFIXES = ("module.", "_orig_mod.")  # of torch's DataParallel and compile
SAFETENSORS = b"\0\0\0\0{"  # from byte 4 on: the end of the header's length, and the header
HDF5, ZIP, PICKLE = b"\x89HDF\r\n\x1a\n", b"PK\x03\x04", b"\x80"


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """What a file holds.

    Attributes:
        state: tensors by the file's own names, without wrappers and resampling grids.
        config: the constructor arguments that the file states (classic VoxelMorph, Keras).
        metadata: of our own files: network, options, preprocessing and the like.
    """

    state: dict[str, Tensor]
    config: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)


def read(path: str | Path) -> Checkpoint:
    """Return what a file of weights holds, whichever kind it is.

    Raises:
        RegRefineError: no such file; truncated, of no known kind, holding more than tensors, or
            written by a newer version.
    """
    path = present(path)
    with path.open("rb") as file:
        start = file.read(16)
    if start.startswith(HDF5):
        checkpoint = _read_keras(path)
    elif start[4:9] == SAFETENSORS:  # first: the length before it may begin with pickle's byte
        checkpoint = _read_safetensors(path)
    elif start.startswith((ZIP, PICKLE)):
        checkpoint = _read_torch(path)
    elif start.lstrip()[:1] == b"<":
        raise RegRefineError(f"{path}: is a web page, not weights; download the file itself")
    else:
        raise RegRefineError(f"{path}: is not a file of weights that is known here")
    bad = [n for n, t in checkpoint.state.items() if not bool(torch.isfinite(t).all())]
    if bad:
        raise RegRefineError(f"{path}: {bad[0]} holds values that are not numbers")
    return checkpoint


def description(path: Path) -> dict[str, str]:
    """Return the metadata of one of our own files, {} of any other, without reading weights."""
    with path.open("rb") as file:
        if file.read(9)[4:] != SAFETENSORS:
            return {}
    with _readable(path), safe_open(path, framework="pt") as content:
        return dict(content.metadata() or {})


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turn the exceptions of readers on damaged files into a one-sentence error."""
    damaged = (SafetensorError, RuntimeError, EOFError, OSError, ValueError, KeyError, IndexError)
    try:
        yield
    except pickle.UnpicklingError as error:
        if "weights_only" in str(error) or "Weights only" in str(error):
            raise RegRefineError(
                f"{path}: holds more than tensors, which is refused because opening such a file "
                "may run a program; save its state_dict alone"
            ) from error
        raise RegRefineError(f"{path}: is damaged or cut short; get it anew") from error
    except (*damaged, TypeError, AttributeError) as error:
        reason = str(error).split("\n")[0].split(". ")[0][:120]
        raise RegRefineError(f"{path}: is damaged or cut short ({reason}); get it anew") from error


def _read_safetensors(path: Path) -> Checkpoint:
    with _readable(path), safe_open(path, framework="pt") as file:
        metadata = dict(file.metadata() or {})
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    version = metadata.get("regrefine", "0")
    if not version.isdigit() or int(version) > FORMAT:
        raise RegRefineError(
            f"{path}: written in format {version}, newer than this version reads ({FORMAT}); "
            "update RegRefine"
        )
    return Checkpoint(_without_grids(state), {}, metadata)


@contextmanager
def _numpy_scalars() -> Iterator[None]:
    """Let torch read single numpy numbers, which training loops keep beside the weights."""
    allow = getattr(torch.serialization, "safe_globals", None)  # since torch 2.5
    if allow is None:
        yield
        return
    scalar = np.float64(0).__reduce__()[0]
    kinds = [type(np.dtype(k)) for k in ("float64", "float32", "int64")]
    names = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
    with allow([*((scalar, name) for name in names), np.dtype, *kinds]):
        yield


def _read_torch(path: Path) -> Checkpoint:
    with _readable(path), _numpy_scalars(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pickle's newer protocols: the error says it all
        if zipfile.is_zipfile(path):  # torch does not compare the checksums
            with zipfile.ZipFile(path) as parts:
                bad = parts.testzip()
            if bad is not None:
                raise ValueError(f"{bad} differs from its checksum")
        content = torch.load(path, map_location="cpu", weights_only=True)
    config = content.get("config") if isinstance(content, Mapping) else None
    for _ in range(3):  # wrappers within wrappers
        inner = _unwrapped(content)
        if inner is content:
            break
        content = inner
    if not _is_state(content):
        raise RegRefineError(f"{path}: holds no weights of a network (a state_dict) that is found")
    state = dict(content)
    for prefix in PREFIXES:
        if all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): t for name, t in state.items()}
    return Checkpoint(_without_grids(state), dict(config) if isinstance(config, Mapping) else {})


def _is_state(content: Any) -> bool:
    return (
        isinstance(content, Mapping)
        and bool(content)
        and all(isinstance(t, Tensor) for t in content.values())
    )


def _unwrapped(content: Any) -> Any:
    if _is_state(content) or not isinstance(content, Mapping):
        return content
    return next((content[w] for w in WRAPPERS if isinstance(content.get(w), Mapping)), content)


def _without_grids(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the state without sampling grids, which depend on the image size alone."""
    return {n: t for n, t in state.items() if n.rpartition(".")[2] != "grid"}


def _read_keras(path: Path) -> Checkpoint:
    try:
        import h5py
    except ImportError as error:
        raise RegRefineError(
            f"{path}: reading Keras weights needs h5py: pip install 'RegRefineLib[h5]'"
        ) from error
    state: dict[str, Tensor] = {}

    def keep(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            layer, parameter = name.split("/")[-2:]
            values = torch.from_numpy(np.array(item, dtype=np.float32))
            if values.ndim == 5:  # (k, k, k, in, out) there, (out, in, k, k, k) in torch
                values = values.permute(4, 3, 0, 1, 2).contiguous()
            state[f"{layer}/{parameter.partition(':')[0]}"] = values

    with _readable(path), h5py.File(path, "r") as file:
        file.get("model_weights", file).visititems(keep)
        text = file.attrs.get("model_config", "{}")
        config = json.loads(text).get("config", {})
    return Checkpoint(state, config if isinstance(config, dict) else {})


def fit(network: RegistrationNetwork, state: Mapping[str, Tensor], source: str | Path) -> None:
    """Load a state into a network, strictly: every name, every shape, every fixed table.

    Args:
        source: the file's name, for the message.

    Raises:
        RegRefineError: the state is another network's, or other options'.
    """
    state = network.rename(state)
    own = network.state_dict()
    missing = [n for n in own if n not in state]
    unknown = [n for n in state if n not in own]
    if missing or unknown:
        what = f"lacks {missing[0]}" if missing else f"has {unknown[0]}, which the network has not"
        raise RegRefineError(
            f"{source}: is not of this network ({type(network).__name__}) or not of these options: "
            f"it {what} ({len(missing)} missing, {len(unknown)} unknown)"
        )
    for name, tensor in own.items():
        given = state[name]
        if given.shape != tensor.shape:
            raise RegRefineError(
                f"{source}: {name} is {tuple(given.shape)} but {tuple(tensor.shape)} with these "
                f"options of {type(network).__name__}; give the options it was trained with"
            )
        table = not tensor.is_floating_point() and tensor.ndim > 0
        if table and not torch.equal(given.to(tensor), tensor):
            raise RegRefineError(
                f"{source}: {name} differs from what the options give (such as another window)"
            )
    network.load_state_dict(state)


def save(
    path: str | Path,
    network: RegistrationNetwork,
    name: str,
    options: Mapping[str, Any],
    more: Mapping[str, Any] | None = None,
) -> None:
    """Write a network's weights as safetensors that record the network.

    Args:
        name, options: the registry's name and the constructor options.
        more: further JSON values, such as `preprocessing`, `training_data` and `licence`.
    """
    metadata = {"regrefine": str(FORMAT), "network": name, "options": json.dumps(dict(options))}
    metadata |= {key: json.dumps(value) for key, value in (more or {}).items()}
    state = {n: t.detach().cpu().contiguous() for n, t in network.state_dict().items()}
    with written_aside(path) as aside:
        usual = aside.stat().st_mode
        save_file(state, aside, metadata)  # gives the file to its owner alone
        aside.chmod(usual)

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from support.http_files import Served, serving
from support.small_model import SMALL, digest, list_model, use_folders

from RegRefineLib import cli
from RegRefineLib.errors import RegRefineError
from RegRefineLib.networks.voxelmorph import VoxelMorph
from RegRefineLib.weights import download as download_module
from RegRefineLib.weights import load as weights
from RegRefineLib.weights import store


def yes(_: str) -> bool:
    return True


@pytest.fixture
def network() -> VoxelMorph:
    torch.manual_seed(0)
    return VoxelMorph(**SMALL)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    use_folders(tmp_path, monkeypatch)
    monkeypatch.setattr(download_module, "PAUSE_S", 0.0)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return tmp_path


@pytest.fixture
def served(home: Path, network: VoxelMorph) -> Iterator[Served]:
    torch.save({"state_dict": network.state_dict()}, home / "w.pth")
    with serving((home / "w.pth").read_bytes()) as served:
        yield served


@pytest.fixture
def listed(home: Path) -> Callable[..., None]:
    return partial(list_model, home)


def test_a_model_is_fetched_after_a_yes_and_loaded(
    served: Served, listed: Callable[..., None], network: VoxelMorph
) -> None:
    listed(url=served.url, sha256=digest(served.content), size_mb=2)
    asked: list[str] = []
    path = store.fetch("small", lambda question: not asked.append(question))
    assert path.read_bytes() == served.content
    assert len(asked) == 1
    assert all(w in asked[0] for w in ("small", "about 2 MB", "127.0.0.1", "CC0-1.0", "nothing"))
    loaded = weights.load("small")
    assert torch.equal(loaded.network.flow.weight, network.flow.weight)
    assert not loaded.network.training
    assert loaded.preprocessing.orientation == "LIA"


def test_a_fetched_model_is_not_asked_for_again(
    served: Served, listed: Callable[..., None]
) -> None:
    listed(url=served.url, sha256=digest(served.content))
    store.fetch("small", yes)
    store.fetch("small", lambda _: pytest.fail("asked again"))
    assert len(served.asked) == 1


def test_a_no_downloads_nothing(served: Served, listed: Callable[..., None]) -> None:
    listed(url=served.url)
    with pytest.raises(RegRefineError, match="the answer was no"):
        store.fetch("small", lambda _: False)
    assert served.asked == []
    assert not store.cache_folder().exists()


def test_a_file_with_a_wrong_hash_is_deleted(served: Served, listed: Callable[..., None]) -> None:
    listed(url=served.url, sha256="0" * 64)
    with pytest.raises(RegRefineError, match="not the file known here"):
        store.fetch("small", yes)
    assert [p for p in store.cache_folder().rglob("*") if p.is_file()] == []


def test_a_cut_download_goes_on_at_the_next_fetch(
    served: Served, listed: Callable[..., None]
) -> None:
    listed(url=served.url, sha256=digest(served.content))
    served.cut_after, served.cuts = 1000, download_module.ATTEMPTS
    with pytest.raises(RegRefineError, match="run it again, it goes on"):
        store.fetch("small", yes)
    assert store.fetch("small", yes).read_bytes() == served.content
    assert served.asked[-1] == f"bytes={1000 * download_module.ATTEMPTS}-"


def test_a_404_leaves_nothing_to_load(served: Served, listed: Callable[..., None]) -> None:
    listed(url=served.url, sha256=digest(served.content))
    served.status = 404
    with pytest.raises(RegRefineError, match="the server says 404"):
        store.fetch("small", yes)
    with pytest.raises(RegRefineError, match="models fetch small"):
        weights.load("small")


def test_a_full_disk_is_a_sentence(
    served: Served, listed: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    listed(url=served.url, sha256=digest(served.content))
    monkeypatch.setattr(download_module.shutil, "disk_usage", lambda _: SimpleNamespace(free=10))
    with pytest.raises(RegRefineError, match="the disk is full"):
        store.fetch("small", yes)


def test_an_unknown_hash_is_shown_asked_for_and_kept(
    served: Served, listed: Callable[..., None]
) -> None:
    listed(url=served.url)
    asked: list[str] = []
    store.fetch("small", lambda question: not asked.append(question))
    assert digest(served.content) in asked[1]
    assert store.known_hash(store.find_model("small")) == digest(served.content)
    assert store.verify("small") == digest(served.content)


def test_an_unaccepted_hash_keeps_nothing(served: Served, listed: Callable[..., None]) -> None:
    listed(url=served.url)
    with pytest.raises(RegRefineError, match="its hash was not accepted"):
        store.fetch("small", lambda question: question.startswith("Download"))
    assert store.known_hash(store.find_model("small")) is None
    assert [p for p in store.cache_folder().rglob("*") if p.is_file()] == []


def test_a_file_whose_question_was_never_answered_is_not_used(
    served: Served, listed: Callable[..., None]
) -> None:
    listed(url=served.url)

    def leave(question: str) -> bool:
        if not question.startswith("Download"):
            raise KeyboardInterrupt
        return True

    with pytest.raises(KeyboardInterrupt):
        store.fetch("small", leave)
    with pytest.raises(RegRefineError, match="never accepted"):
        weights.load("small")
    store.fetch("small", yes)
    assert len(served.asked) == 1
    weights.load("small")


def test_an_accepted_hash_refuses_another_file_later(
    served: Served, listed: Callable[..., None]
) -> None:
    listed(url=served.url)
    path = store.fetch("small", yes)
    path.write_bytes(served.content[:-1] + b"!")
    for use in (store.verify, weights.load):
        with pytest.raises(RegRefineError, match="damaged or altered"):
            use("small")


def test_removing_forgets_the_file_and_its_hash(
    served: Served, listed: Callable[..., None]
) -> None:
    listed(url=served.url)
    store.fetch("small", yes)
    assert store.remove("small")
    assert not store.remove("small")
    assert store.known_hash(store.find_model("small")) is None
    with pytest.raises(RegRefineError, match="is not on this machine"):
        store.verify("small")


def test_a_model_without_an_address_names_its_page(listed: Callable[..., None]) -> None:
    listed(page="https://example.org/weights")
    with pytest.raises(RegRefineError, match=r"get it from https://example\.org/weights"):
        store.fetch("small", yes)


def test_the_command_asks_fetches_and_takes_a_hash_from_nobody_but_the_user(
    served: Served, listed: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    listed(url=served.url, sha256=digest(served.content))
    assert cli.main(["models", "fetch", "small"]) == 2
    found = capsys.readouterr()
    assert found.err.startswith("regrefine: model small: not downloaded")
    assert found.out.endswith("(--yes says yes)\n")
    assert cli.main(["models", "fetch", "small", "--yes"]) == 0
    assert Path(capsys.readouterr().out.strip()).read_bytes() == served.content
    assert cli.main(["models", "verify", "small"]) == cli.main(["models", "remove", "small"]) == 0
    listed(url=served.url)
    assert cli.main(["models", "fetch", "small", "--yes"]) == 2
    assert "(this takes somebody at a terminal)" in capsys.readouterr().out

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pooch
import pytest
from support.paths import ROOT

from RegRefineLib import cli
from RegRefineLib.errors import RegRefineError
from RegRefineLib.io import paths
from RegRefineLib.job import INTENSITIES
from RegRefineLib.registry import NETWORKS
from RegRefineLib.weights import catalogue as module
from RegRefineLib.weights.catalogue import Preprocessing, catalogue, find_model, status
from RegRefineLib.weights.load import locate

MODELS = ROOT / "models"
SCHEMA = json.loads((MODELS / "models.schema.json").read_text())
CONTENT = json.loads((MODELS / "models.json").read_text())
KINDS = {"string": str, "number": (int, float), "object": dict, "array": list, "null": type(None)}


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(module.FOLDER_VARIABLE, str(tmp_path))
    monkeypatch.setenv(paths.CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "models.json"


def faults(value: Any, rule: dict[str, Any], place: str) -> list[str]:
    """The few words of JSON Schema that the schema uses."""
    rule = SCHEMA["$defs"][rule["$ref"].rsplit("/", 1)[1]] if "$ref" in rule else rule
    found = []
    kinds = rule.get("type", [])
    allowed = [KINDS[k] for k in ([kinds] if isinstance(kinds, str) else kinds) if k in KINDS]
    if allowed and not any(isinstance(value, k) for k in allowed):
        found.append(f"{place}: {value!r} is not {kinds}")
    if "pattern" in rule and isinstance(value, str) and not re.search(rule["pattern"], value):
        found.append(f"{place}: {value!r} does not fit {rule['pattern']}")
    if "enum" in rule and value not in rule["enum"]:
        found.append(f"{place}: {value!r} is not one of {rule['enum']}")
    return found + faults_inside(value, rule, place)


def faults_inside(value: Any, rule: dict[str, Any], place: str) -> list[str]:
    found = []
    if isinstance(value, dict):
        known, rest = rule.get("properties", {}), rule.get("additionalProperties", True)
        found += [f"{place}: {n} is missing" for n in rule.get("required", []) if n not in value]
        for name, item in value.items():
            if name in known:
                found += faults(item, known[name], f"{place}.{name}")
            elif rest is False:
                found.append(f"{place}: unknown {name}")
            elif isinstance(rest, dict):
                found += faults(item, rest, f"{place}.{name}")
    if isinstance(value, list):
        for n, item in enumerate(value):
            found += faults(item, rule.get("items", {}), f"{place}[{n}]")
    return found


def test_models_json_obeys_its_schema() -> None:
    assert faults(CONTENT, SCHEMA, "models.json") == []


def test_the_schema_finds_faults() -> None:
    wrong = {"help": 1, "sha256": "made up", "url": "http://x/y", "preprocessing": {"size": 3}}
    found = " ".join(faults({"format": 1, "models": {"m": wrong}}, SCHEMA, ""))
    for word in ("licence is missing", "made up", "http://x/y", "unknown size", "1 is not string"):
        assert word in found


def test_the_schema_knows_the_intensities_of_a_job() -> None:
    rule = SCHEMA["$defs"]["preprocessing"]["properties"]["intensity"]
    assert set(rule["items"]["enum"]) == set(INTENSITIES)


def test_every_entry_is_read() -> None:
    models = catalogue()
    assert set(models) == set(CONTENT["models"])
    assert all(m.url or m.page or m.sha256 for m in models.values())


def test_every_model_is_of_a_known_network() -> None:
    assert {m.network for m in catalogue().values()} <= set(NETWORKS)


def test_an_unknown_model_is_answered_with_the_nearest() -> None:
    with pytest.raises(RegRefineError, match="did you mean unigradicon"):
        find_model("unigradicom")


def test_a_newer_format_is_refused(models: Path) -> None:
    models.write_text(json.dumps({"format": 99, "models": {}}))
    with pytest.raises(RegRefineError, match="newer than this version"):
        catalogue()


def test_a_missing_catalogue_is_said(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["models", "list"], ["models", "verify", "unigradicon"]):
        assert cli.main(words) == 2
        error = capsys.readouterr().err
        assert f"{models}: there is no such file" in error
        assert module.FOLDER_VARIABLE in error
    with pytest.raises(RegRefineError, match=r"unknown model 'unigradicon'; .*no such file"):
        locate("unigradicon")


def test_downloads_are_kept_where_the_user_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(paths.CACHE_VARIABLE, str(tmp_path))
    assert paths.cache_folder() == tmp_path
    assert module.cache_folder() == tmp_path / "models"
    monkeypatch.delenv(paths.CACHE_VARIABLE)
    assert paths.cache_folder() == Path(pooch.os_cache("regrefine"))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 1, "models": {"m": {"help": "x"}}}'])
def test_a_damaged_list_is_a_sentence(models: Path, text: str) -> None:
    models.write_text(text)
    with pytest.raises(RegRefineError, match="is damaged"):
        catalogue()


def test_where_a_models_file_lies_is_its_status(models: Path) -> None:
    entry = CONTENT["models"]["unigradicon"]
    models.write_text(json.dumps({"format": 1, "models": {"m": entry}}))
    assert status(find_model("m")) == "published"
    fetched = models.parent / "cache" / "models" / "m" / entry["file"]
    fetched.parent.mkdir(parents=True)
    fetched.touch()
    assert status(find_model("m")) == "fetched"
    (models.parent / entry["file"]).touch()
    assert status(find_model("m")) == "fetched"  # a stranger of that name is not taken
    own = {**entry, "url": None, "sha256": "0" * 64}
    models.write_text(json.dumps({"format": 1, "models": {"m": own}}))
    assert status(find_model("m")) == "bundled"


@pytest.mark.parametrize(
    "wrong", [{"intensity": ["xray"]}, {"orientation": "RRS"}, {"orientation": "RA"}, {"size": 1}]
)
def test_wrong_preprocessing_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(RegRefineError):
        Preprocessing.from_json(wrong)

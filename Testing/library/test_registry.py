"""Every row of every table resolves and obeys its table's contract."""

import inspect

import pytest
import torch

from RegRefineLib import registry
from RegRefineLib.errors import RegRefineError

ROWS = [(kind, name) for kind, table in registry.TABLES.items() for name in table]
# what a function of the table is called with, by position
LEADING = {
    "start": ("pair", "settings", "report"),
    "refinement": ("pair", "start", "settings", "report"),
    "similarity": ("fixed", "moving", "mask"),
    "regulariser": ("displacement", "mask"),
}


@pytest.mark.parametrize(("kind", "name"), ROWS)
def test_a_row_resolves_and_can_be_called_as_its_table_says(kind, name):
    found = registry.find(kind, name)
    if kind == "network":
        assert issubclass(found, torch.nn.Module)
        forward = list(inspect.signature(found.forward).parameters)
        assert forward[:3] == ["self", "moving", "fixed"]
        options = list(inspect.signature(found).parameters.values())
        assert all(
            o.default is not o.empty or o.kind in (o.VAR_KEYWORD, o.VAR_POSITIONAL) for o in options
        )
        return
    parameters = list(inspect.signature(found).parameters.values())
    leading = LEADING[kind]
    assert tuple(p.name for p in parameters[: len(leading)]) == leading
    assert all(p.default is not p.empty for p in parameters[len(leading) :])


@pytest.mark.parametrize(("kind", "name"), ROWS)
def test_a_row_says_in_a_line_what_it_is(kind, name):
    row = registry.TABLES[kind][name]
    assert 10 < len(row.help) <= 75
    assert "\n" not in row.help
    assert inspect.getdoc(registry.find(kind, name))


@pytest.mark.parametrize("kind", registry.TABLES)
def test_an_unknown_name_brings_the_nearest_ones(kind):
    name = next(n for n in registry.TABLES[kind] if len(n) > 3)
    with pytest.raises(RegRefineError, match=f"unknown {kind} .*did you mean .*{name}"):
        registry.find(kind, name + "x")
    with pytest.raises(RegRefineError, match="known: .*" + name):
        registry.find(kind, "????")

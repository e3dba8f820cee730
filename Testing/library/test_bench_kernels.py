"""The table of operations has both forms of each."""

from RegRefineLib.bench import kernels
from RegRefineLib.kernels.door import available


def test_every_operation_is_measured_in_both_forms(monkeypatch):
    monkeypatch.setattr(kernels, "REPEATS", 1)
    rows = list(kernels.rows(((16, 24, 16),)))
    assert len({row.operation for row in rows}) == len(rows) == 10
    for row in rows:
        assert row.torch_ns > 0
        assert row.copy_ns > 0
        assert (row.compiled_ns is not None) == available()
        assert str(row).count("|") == kernels.HEAD.splitlines()[0].count("|")

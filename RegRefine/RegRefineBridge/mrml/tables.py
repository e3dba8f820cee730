"""Metrics as tables and the course of a run as a line chart."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Mapping, Sequence
from typing import Any

import slicer
import vtk

from ..i18n import _
from ..workflow.metric_rows import columns, metricRows
from .transforms import Node

LOSS, DICE = "loss", "Dice"


def setMetrics(tableNode: Node, record: Mapping[str, Any], names: Mapping[int, str]) -> None:
    """Fill a table with one row for each structure and metric, one column for each stage.

    The numbers are texts of three digits, because Slicer shows a column of numbers with all theirs.

    Args:
        record: result.json, with the metrics of each stage.
        names: the structures' names by label.
    """
    stages = columns(record)
    rows = metricRows(record, names)
    table = vtk.vtkTable()
    table.AddColumn(_texts(_("structure"), [row.structure for row in rows]))
    table.AddColumn(_texts(_("measure"), [row.measure for row in rows]))
    for index, words in enumerate(stages.values()):
        table.AddColumn(_texts(words, [row.texts[index] for row in rows]))
    table.AddColumn(_texts(_("change"), [row.verdict for row in rows]))
    _show(tableNode, table)


def setHistory(
    chartNode: Node, tableNode: Node, records: Sequence[Mapping[str, float]], title: str = ""
) -> None:
    """Fill a table with one row a step, and a chart with lines for the loss and for Dice.

    Each level of resolution has a loss of its own, which begins anew: its line is not joined to
    that of the level before. Cheap enough to be called again and again while a run goes on; the
    lines' nodes are made once and found again on the chart.

    Args:
        records: the metrics of each step, by name; a missing `step` is counted from 0.
    """
    series = _series(records)
    table = vtk.vtkTable()
    steps = [float(record.get("step", index)) for index, record in enumerate(records)]
    table.AddColumn(_numbers("step", steps))
    for name, values in series.items():
        table.AddColumn(_numbers(name, values))
    _show(tableNode, table)
    shown = [name for name in series if name.startswith((LOSS, DICE))] or list(series)
    _setLines(chartNode, tableNode, shown)
    chartNode.SetTitle(title)
    chartNode.SetTitleVisibility(bool(title))
    chartNode.SetXAxisTitle(_("step"))
    chartNode.SetYAxisTitle(_("loss and Dice") if DICE in shown else _("loss"))


def _series(records: Sequence[Mapping[str, float]]) -> dict[str, list[float]]:
    """Return the columns of a run's course, NaN where a step has no value."""
    levels = list(dict.fromkeys(record["level"] for record in records if "level" in record))
    found: dict[str, list[float]] = {}
    if len(levels) > 1:
        for level in levels:
            found[_lossOf(level)] = [
                float(record.get("total", math.nan)) if record.get("level") == level else math.nan
                for record in records
            ]
    names = dict.fromkeys(name for record in records for name in record)
    for name in names:
        if name not in ("step", "level") and not (name == "total" and len(levels) > 1):
            words = {"total": LOSS, "dice": DICE}.get(name, name)
            found[words] = [float(record.get(name, math.nan)) for record in records]
    return found


def _lossOf(level: float) -> str:
    if level <= 1:
        return f"{LOSS}, full resolution"
    return f"{LOSS}, 1/{level:g} of the resolution"


def _setLines(chartNode: Node, tableNode: Node, names: Sequence[str]) -> None:
    scene = chartNode.GetScene()
    present = [
        chartNode.GetNthPlotSeriesNode(n) for n in range(chartNode.GetNumberOfPlotSeriesNodes())
    ]
    if [series.GetYColumnName() for series in present if series is not None] == list(names):
        return
    chartNode.RemoveAllPlotSeriesNodeIDs()
    for series in present:
        scene.RemoveNode(series)
    for index, name in enumerate(names):
        series = scene.AddNewNodeByClass("vtkMRMLPlotSeriesNode", name)
        series.SetHideFromEditors(True)  # they are only there for their chart
        series.SetAndObserveTableNodeID(tableNode.GetID())
        series.SetXColumnName("step")
        series.SetYColumnName(name)
        series.SetPlotType(slicer.vtkMRMLPlotSeriesNode.PlotTypeScatter)
        series.SetMarkerStyle(slicer.vtkMRMLPlotSeriesNode.MarkerStyleNone)
        series.SetColor(*colorsys.hsv_to_rgb((0.6 + 0.618034 * index) % 1.0, 0.8, 0.8))
        chartNode.AddAndObservePlotSeriesNodeID(series.GetID())


def _show(tableNode: Node, table: vtk.vtkTable) -> None:
    """Give a table node its content; the columns' names are its header, not A, B, C."""
    if hasattr(tableNode, "SetUseColumnTitleAsColumnHeader"):
        tableNode.SetUseColumnTitleAsColumnHeader(True)
    else:  # before Slicer 5.10
        tableNode.SetUseColumnNameAsColumnHeader(True)
    tableNode.SetLocked(True)
    tableNode.SetAndObserveTable(table)
    for index in range(table.GetNumberOfColumns()):
        name = table.GetColumnName(index)
        if tableNode.GetColumnTitle(name) != name:
            tableNode.SetColumnTitle(name, name)


def _texts(name: str, values: Sequence[str]) -> vtk.vtkStringArray:
    column = vtk.vtkStringArray()
    column.SetName(name)
    for value in values:
        column.InsertNextValue(value)
    return column


def _numbers(name: str, values: Sequence[float]) -> vtk.vtkDoubleArray:
    column = vtk.vtkDoubleArray()
    column.SetName(name)
    for value in values:
        column.InsertNextValue(value)
    return column

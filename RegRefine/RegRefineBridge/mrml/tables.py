"""Metrics as tables and the course of a run as a line chart."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import slicer
import vtk

from .transforms import Node

METRIC_COLUMNS = ("before", "linear", "after")
IN_CHART = ("total", "dice")


def setMetrics(
    tableNode: Node, columns: Mapping[str, Mapping[str, Any]], names: Mapping[int, str]
) -> None:
    """Fill a table with one row for each structure and figure, one column for each stage.

    Args:
        columns: metrics (RegRefineLib.metrics.report) by stage, such as before, linear, after; a
            figure with values per label is a dict of `mean` and labels, and makes several rows.
        names: the structures' names by label.
    """
    rows: dict[tuple[str, str], dict[str, float]] = {}
    for stage, metrics in columns.items():
        for figure, structure, value in _single(metrics, names):
            rows.setdefault((figure, structure), {})[stage] = value
    table = vtk.vtkTable()
    table.AddColumn(_texts("structure", [structure for _, structure in rows]))
    table.AddColumn(_texts("figure", [figure for figure, _ in rows]))
    for stage in columns:
        table.AddColumn(_numbers(stage, [row.get(stage, math.nan) for row in rows.values()]))
    tableNode.SetAndObserveTable(table)


def setHistory(
    chartNode: Node, tableNode: Node, records: Sequence[Mapping[str, float]], title: str = ""
) -> None:
    """Fill a table with one row a step, and a chart with a line for the loss and for Dice.

    Cheap enough to be called again and again while a run goes on. The lines' nodes are made once
    and found again on the chart.

    Args:
        records: the metrics of each step, by name; a missing `step` is counted from 0.
    """
    columns = list(dict.fromkeys(name for record in records for name in record if name != "step"))
    table = vtk.vtkTable()
    steps = [float(record.get("step", index)) for index, record in enumerate(records)]
    table.AddColumn(_numbers("step", steps))
    for name in columns:
        table.AddColumn(_numbers(name, [float(record.get(name, math.nan)) for record in records]))
    tableNode.SetAndObserveTable(table)
    shown = [name for name in columns if name in IN_CHART] or columns
    _setLines(chartNode, tableNode, shown)
    chartNode.SetTitle(title)
    chartNode.SetXAxisTitle("step")


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
        series = scene.AddNewNodeByClass("vtkMRMLPlotSeriesNode", f"{chartNode.GetName()} {name}")
        series.SetAndObserveTableNodeID(tableNode.GetID())
        series.SetXColumnName("step")
        series.SetYColumnName(name)
        series.SetPlotType(slicer.vtkMRMLPlotSeriesNode.PlotTypeScatter)
        series.SetMarkerStyle(slicer.vtkMRMLPlotSeriesNode.MarkerStyleNone)
        series.SetColor(*colorsys.hsv_to_rgb((0.6 + 0.618034 * index) % 1.0, 0.8, 0.8))
        chartNode.AddAndObservePlotSeriesNodeID(series.GetID())


def _single(
    metrics: Mapping[str, Any], names: Mapping[int, str]
) -> Iterator[tuple[str, str, float]]:
    """Yield (figure, structure, value) of all that is a number or a number per label."""
    for figure, value in metrics.items():
        if isinstance(value, Mapping):
            for label, single in value.items():
                structure = "all" if label == "mean" else names.get(int(label), f"label {label}")
                yield figure, structure, _number(single)
        elif value is None or isinstance(value, (int, float)):
            yield figure, "all", _number(value)


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


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

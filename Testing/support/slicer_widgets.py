"""Widgets and signals that Slicer has, for tests without Slicer.

Source: Slicer at 583e9b37 (August 2026): qMRML names are those of the Designer plugins in
Libs/MRML/Widgets/DesignerPlugins, ctk names those that Slicer's own .ui files use, signals those
that Slicer's own Python modules connect or that the classes' headers declare. The connectors are
those of Base/Python/slicer/parameterNodeWrapper/guiConnectors.py.
"""

from __future__ import annotations

QT = {
    *("QCheckBox", "QComboBox", "QDoubleSpinBox", "QGroupBox", "QLabel", "QLineEdit"),
    *("QProgressBar", "QPushButton", "QSpinBox", "QTableWidget", "QToolButton", "QWidget"),
}
CTK = {
    *("ctkCheckBox", "ctkCheckableComboBox", "ctkCollapsibleButton", "ctkCollapsibleGroupBox"),
    *("ctkColorPickerButton", "ctkComboBox", "ctkCoordinatesWidget", "ctkDirectoryButton"),
    *("ctkDoubleSlider", "ctkDoubleSpinBox", "ctkExpandableWidget", "ctkFittedTextBrowser"),
    *("ctkMenuButton", "ctkPathLineEdit", "ctkPopupWidget", "ctkPushButton", "ctkRangeWidget"),
    *("ctkSearchBox", "ctkSliderWidget"),
}
QMRML = {
    *("qMRMLCheckableNodeComboBox", "qMRMLCollapsibleButton", "qMRMLColorTableComboBox"),
    *("qMRMLCoordinatesWidget", "qMRMLDisplayNodeViewComboBox", "qMRMLLinearTransformSlider"),
    *("qMRMLMatrixWidget", "qMRMLNodeComboBox", "qMRMLPlotWidget", "qMRMLRangeWidget"),
    *("qMRMLSliceWidget", "qMRMLSliderWidget", "qMRMLSpinBox", "qMRMLTableView"),
    *("qMRMLTransformSliders", "qMRMLTreeView", "qMRMLVolumeThresholdWidget", "qMRMLWidget"),
}
WIDGETS = QT | CTK | QMRML

# widget -> kinds of parameter it can be connected with
CONNECTORS = {
    "QCheckBox": {"bool"},
    "QComboBox": {"enum"},
    "QSpinBox": {"int"},
    "QDoubleSpinBox": {"float", "int"},
    "ctkSliderWidget": {"float", "int"},
    "QLineEdit": {"str"},
    "qMRMLNodeComboBox": {"node"},
}

# class -> its signals, spelt as PythonQt wants them: C++ types, no names, no spaces
BUTTON = {"clicked()", "clicked(bool)", "toggled(bool)", "pressed()", "released()"}
SIGNALS = {
    "QPushButton": BUTTON,
    "QCheckBox": BUTTON | {"stateChanged(int)"},
    "QComboBox": {"currentIndexChanged(int)", "currentTextChanged(QString)"},
    "QTableWidget": {"itemSelectionChanged()", "cellClicked(int,int)"},
    "QTimer": {"timeout()"},
    "QProcess": {
        "readyReadStandardOutput()",
        "readyReadStandardError()",
        "finished(int,QProcess::ExitStatus)",
        "errorOccurred(QProcess::ProcessError)",
        "stateChanged(QProcess::ProcessState)",
    },
    "qSlicerApplication": {"startupCompleted()", "aboutToQuit()"},
}

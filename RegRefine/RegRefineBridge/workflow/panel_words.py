"""The library's sentences in the words of the panel: an option is named by its control."""

from __future__ import annotations

import re

from ..i18n import _


def inPanel(sentence: str) -> str:
    """Return a sentence of the library in which the command line's words are the panel's."""
    for pattern, words in _replacements():
        sentence = re.sub(pattern, words, sentence)
    return sentence


def _replacements() -> list[tuple[str, str]]:
    advanced = _("Advanced, Linear alignment: ")
    return [
        (r"--affine centre\+affine", advanced + _("Centres, then affine")),
        (r"--affine centre\+rigid", advanced + _("Centres, then rigid")),
        (r"--affine none", advanced + _("None")),
        (r"--affine\b", _("the linear alignment (Advanced)")),
        (r"(give|with|use) --init\b", _("choose a transform under Inputs, Start from")),
        (r"a transform given with --init", _("the transform chosen under Inputs, Start from")),
        (r"--init\b", _("Start from (Inputs)")),
        (r"use --device auto or cpu", _("choose Automatic or CPU as the device (Advanced)")),
        (r"--device\b", _("Device (Advanced)")),
        (r"--spacing\b", _("Working voxels (Advanced)")),
        (r"get it with `regrefine models fetch [^`]*`", _("press Apply to download it")),
        (r"[;,]? ?\(?(?:see|of) `regrefine [^`]*`\)?", ""),
        (r" ?\(?`regrefine [^`]*`\)?", ""),
        (r"--([a-z][a-z-]*)", r"\1"),
    ]

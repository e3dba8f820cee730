"""Cross-window attention: queries from a small window, keys from the three times wider one.

XMorpher's (Shi et al., MICCAI 2022): windows do not overlap and are not shifted, there is no
position bias and no mask, so that zeros outside the image take part in the attention.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .padding import to_multiples

WINDOW = 2
MISSED = (2, 0, 2)  # of 3x3x3 neighbours; the published program leaves this one empty
BYTES = 2**26  # of keys and values gathered at a time


class CrossWindowAttention(nn.Module):
    """Attention of each window of `x` to the window and its 26 neighbours in `other`.

    Attributes:
        complete: False leaves the neighbour at (+1, -1, +1) empty, as published.
    """

    complete = True

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(channels, channels)
        self.kv = nn.Linear(channels, 2 * channels)
        self.proj = nn.Linear(channels, channels)

    def forward(self, x: Tensor, other: Tensor) -> Tensor:
        """Return what `x` (N, D, H, W, C) finds in `other`, of the same shape."""
        d, h, w = x.shape[1:4]
        window = (min(WINDOW, d), min(WINDOW, h), min(WINDOW, w))
        query = self.q(to_multiples(x, window, first=1))
        # every voxel outside is a zero token, whose key and value are the bias
        around = [p for n in reversed(window) for p in (n, n)]
        keys = self.kv(F.pad(to_multiples(other, window, first=1), (0, 0, *around)))
        slabs = query.shape[1] // window[0]
        # the same tokens are gathered 27 times over: a few slabs of windows at a time
        step = max(1, BYTES // (4 * 27 * max(1, keys[:, : window[0]].numel())))
        found = [
            self._attend(
                query[:, first * window[0] : (first + step) * window[0]],
                keys[:, first * window[0] : (min(first + step, slabs) + 2) * window[0]],
                window,
            )
            for first in range(0, slabs, step)
        ]
        return self.proj(torch.cat(found, dim=1))[:, :d, :h, :w]

    def _attend(self, query: Tensor, keys: Tensor, window: tuple[int, int, int]) -> Tensor:
        """Return attention for some slabs of windows; `keys` reach one window further."""
        n, d, h, w, c = query.shape
        a, b, e = window
        counts = (d // a, h // b, w // e)
        q = query.view(n, counts[0], a, counts[1], b, counts[2], e, c)
        q = q.permute(0, 1, 3, 5, 2, 4, 6, 7).reshape(-1, a * b * e, self.heads, c // self.heads)
        wide = keys.unfold(1, 3 * a, a).unfold(2, 3 * b, b).unfold(3, 3 * e, e)
        wide = wide.permute(0, 1, 2, 3, 5, 6, 7, 4)  # (N, counts, 3a, 3b, 3e, 2C)
        if not self.complete:
            wide = wide.clone()
            z, y, x = MISSED
            wide[..., z * a : (z + 1) * a, y * b : (y + 1) * b, x * e : (x + 1) * e, :] = (
                self.kv.bias
            )
        k, v = (
            wide.reshape(-1, 27 * a * b * e, 2, self.heads, c // self.heads)
            .transpose(1, 3)
            .unbind(2)
        )
        found = F.scaled_dot_product_attention(q.transpose(1, 2), k, v).transpose(1, 2)
        found = found.reshape(n, *counts, a, b, e, c).permute(0, 1, 4, 2, 5, 3, 6, 7)
        return found.reshape(n, d, h, w, c)

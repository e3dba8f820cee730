"""Stochastic depth (Huang et al., ECCV 2016): residual branches dropped at random in training."""

from __future__ import annotations

from torch import Tensor, nn


class StochasticDepth(nn.Module):
    """Drops a residual branch for whole samples at a time, and scales what is kept.

    Args:
        rate: the probability that a sample's branch is dropped, in training only.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, branch: Tensor) -> Tensor:
        """Return the branch (N, ...), zero for the samples that are dropped."""
        if not self.training or self.rate == 0:
            return branch
        kept = 1 - self.rate
        samples = branch.new_empty((len(branch), *[1] * (branch.ndim - 1)))
        return branch * (samples.bernoulli_(kept) / kept)

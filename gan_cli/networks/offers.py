"""Methods that some networks offer beside `forward`, and their types.

A game requires them of the networks of its family; torch's own types know only `forward`.
"""

from typing import Protocol, cast

from torch import Tensor, nn


class Featured(Protocol):
    """A discriminator that is made of features and a score of them."""

    def features(self, x: Tensor) -> Tensor:
        """The features of samples, (N, `feature_size`)."""

    def score(self, features: Tensor, *given: Tensor) -> Tensor:
        """The scores of samples with these features, (N,); one that takes classes is given them."""


class Likely(Protocol):
    """A generator that is a distribution of samples given codes."""

    def log_likelihood(self, codes: Tensor, x: Tensor) -> Tensor:
        """Logarithm of the probability of samples given their codes, (N,)."""


def featured(network: nn.Module) -> Featured:
    """The network, which offers features."""
    return cast(Featured, network)


def likely(network: nn.Module) -> Likely:
    """The network, which offers a likelihood."""
    return cast(Likely, network)

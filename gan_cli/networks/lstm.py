"""Recurrent networks that read and write strings a character at a time."""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from gan_cli.networks.layers import one_hot
from gan_cli.networks.text_resnet import sequence
from gan_cli.registry import Count, Depth, networks


@networks.register("lstm.encoder")
class Encoder(nn.Module):
    """(N, V, T) -> (N, outputs): an LSTM reads the string from both ends.

    Reference: Hochreiter and Schmidhuber, 1997, "Long Short-Term Memory"; as the encoder of
    molecules, Polykovskiy et al., 2020, "Molecular Sets (MOSES)", arXiv 1811.12823, the authors'
    code.

    Args:
        width: of the state, each way.
    """

    kinds: ClassVar[tuple[str, ...]] = ("text",)

    def __init__(self, shape: tuple[int, ...], outputs: int, width: Count = 256) -> None:
        super().__init__()
        characters, _ = sequence(shape, "lstm")
        self.read = nn.LSTM(characters, width, batch_first=True, bidirectional=True)
        self.code = nn.Linear(2 * width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        _, (state, _) = self.read(x.movedim(1, 2))
        return self.code(torch.cat([*state], dim=1))


@networks.register("lstm.generator")
class Generator(nn.Module):
    """(N, latent) -> (N, V, T): an LSTM, told z at every place, writes the likeliest character and
    reads it again.

    Reference: as the encoder's. The value is the distribution over the V characters at each place.
    What is read again is the likeliest one, whose gradient is that of the distribution (Bengio et
    al., 2013, "Estimating or Propagating Gradients Through Stochastic Neurons", arXiv 1308.3432:
    straight through).

    Args:
        width: of the state.
        layers: LSTMs above each other.
    """

    kinds: ClassVar[tuple[str, ...]] = ("text",)

    def __init__(
        self, shape: tuple[int, ...], latent: int, width: Count = 256, layers: Depth = 1
    ) -> None:
        super().__init__()
        self.characters, self.length = sequence(shape, "lstm")
        self.write = nn.LSTM(self.characters + latent, width, layers, batch_first=True)
        self.scores = nn.Linear(width, self.characters)

    def forward(self, z: Tensor) -> Tensor:
        # not len(z): see `Concatenated`
        last, state, written = z.new_zeros(z.shape[0], self.characters), None, []
        for _ in range(self.length):
            hidden, state = self.write(torch.cat([last, z], dim=1)[:, None], state)
            shares = self.scores(hidden[:, 0]).softmax(dim=1)
            last = one_hot(shares.argmax(dim=1), self.characters) + shares - shares.detach()
            written.append(shares)
        return torch.stack(written, dim=2)

    def log_likelihood(self, z: Tensor, x: Tensor) -> Tensor:
        """log p(x | z), (N,), of one-hot strings (N, V, T): every character given those before it
        (teacher forcing)."""
        before = pad(x, (1, 0))[:, :, :-1].movedim(1, 2)
        hidden, _ = self.write(torch.cat([before, z[:, None].expand(-1, self.length, -1)], dim=2))
        return (self.scores(hidden).log_softmax(dim=2) * x.movedim(1, 2)).sum(dim=(1, 2))

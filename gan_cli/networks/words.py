"""Encoders of rows of words."""

import torch
from torch import Tensor, nn

from gan_cli.registry import Count, networks


@networks.register("words.text_encoder")
class TextEncoder(nn.Module):
    """(N, length) places of words -> (N, outputs): an embedding, a recurrent network that reads
    both ways, the mean over the words of what it says, a linear map. Of vectors, which another
    network made of captions, (N, length) numbers: a linear map and a leaky ReLU, as in Reed et al.,
    2016, arXiv 1605.05396.

    Reference: Cho et al., 2014, "Learning Phrase Representations using RNN Encoder-Decoder for
    Statistical Machine Translation", arXiv 1406.1078 (the gated recurrent unit).

    Args:
        shape: words of the vocabulary, 0 for vectors, and of a row; word 0 follows the last one of
            a row.
        outputs: width of the code.
        width: of the embedding, and of the recurrent network in each direction.
        recurrent: false takes the mean of the words' embeddings, whatever their order.
    """

    def __init__(
        self, shape: tuple[int, int], outputs: int, width: Count = 64, recurrent: bool = True
    ) -> None:
        super().__init__()
        self.of_words = shape[0] > 0
        self.code: nn.Module
        if not self.of_words:
            self.code = nn.Sequential(nn.Linear(shape[1], outputs), nn.LeakyReLU(0.2))
            return
        self.embedding = nn.Embedding(shape[0], width)
        self.read = (
            nn.GRU(width, width, batch_first=True, bidirectional=True) if recurrent else None
        )
        self.code = nn.Linear(2 * width if recurrent else width, outputs)

    def forward(self, t: Tensor) -> Tensor:
        if not self.of_words:
            return torch.as_tensor(self.code(t))
        said = self.embedding(t)
        if self.read is not None:
            said, _ = self.read(said)
        present = (t > 0)[..., None].to(said.dtype)
        mean = (said * present).sum(dim=1) / present.sum(dim=1).clamp(min=1)
        code: Tensor = self.code(mean)
        return code

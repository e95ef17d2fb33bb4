"""Self-attention over the pixels of feature maps."""

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool2d

from gan_cli.errors import UserError


class SelfAttention(nn.Module):
    """x + gamma * o: at every pixel o mixes what all the others tell, by how well they match: (N,
    C, H, W) -> the same.

    Reference: Zhang et al., 2018, "Self-Attention Generative Adversarial Networks", arXiv
    1805.08318, equations 1 to 3. As in the authors' code, and not in the paper, keys and values are
    pooled 2x2 and values have C / 2 channels. gamma starts at 0, where the layer is the identity.

    Args:
        channels: C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        matched, told = max(1, channels // 8), max(1, channels // 2)
        self.query = nn.Conv2d(channels, matched, kernel_size=1, bias=False)
        self.key = nn.Conv2d(channels, matched, kernel_size=1, bias=False)
        self.value = nn.Conv2d(channels, told, kernel_size=1, bias=False)
        self.out = nn.Conv2d(told, channels, kernel_size=1, bias=False)
        self.gamma = nn.Parameter(torch.zeros(()))

    def weights(self, x: Tensor) -> Tensor:
        """The attention of each pixel on each pooled one, (N, H * W, H * W // 4); rows sum to 1."""
        query, key = self.query(x).flatten(2), max_pool2d(self.key(x), 2).flatten(2)
        return (query.transpose(1, 2) @ key).softmax(dim=2)

    def forward(self, x: Tensor) -> Tensor:
        told = max_pool2d(self.value(x), 2).flatten(2)
        mixed = told @ self.weights(x).transpose(1, 2)
        return x + self.gamma * self.out(mixed.unflatten(2, x.shape[2:]))


def attending(
    blocks: list[nn.Module], sides: list[int], attention: int, channels: list[int]
) -> list[nn.Module]:
    """The blocks, and self-attention behind the first whose maps are the largest of at most the
    side `attention`.

    Args:
        sides, channels: of the maps that each block gives.
        attention: 0 adds nothing.

    Raises:
        UserError: all maps are larger.
    """
    if not attention:
        return blocks
    if attention < min(sides):
        raise UserError(
            f"network.attention={attention}: the smallest feature maps have side "
            f"{min(sides)}; take that."
        )
    place = sides.index(max(side for side in sides if side <= attention))
    return [*blocks[: place + 1], SelfAttention(channels[place]), *blocks[place + 1 :]]

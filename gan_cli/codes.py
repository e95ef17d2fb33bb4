"""Named codes: categories and numbers that a generator takes beside z, and that can be inferred."""

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from gan_cli import noise
from gan_cli.errors import UserError
from gan_cli.networks.layers import one_hot


class Codes:
    """Columns behind those of z: a category one-hot in K of them, a number in one.

    Args:
        named: name -> number of values of a category, or `uniform` for a number in [-1, 1).

    Attributes:
        widths: columns of each code, by name.
        width: of all.
    """

    def __init__(self, named: Mapping[str, int | str]) -> None:
        if not named:
            raise UserError(
                "model.codes: needs one at least, such as model.codes={category:10,first:uniform}."
            )
        self.widths = {name: _width(values) for name, values in named.items()}
        self.width = sum(self.widths.values())

    def law(
        self, name: str, device: torch.device
    ) -> Callable[[int, torch.Generator | None], Tensor]:
        """What draws rows of a code, (n, width): from a source, or else by the turn's own noise on
        a device."""
        width = self.widths[name]
        return lambda n, source: _drawn(width, n, device, source)

    def split(self, columns: Tensor) -> tuple[Tensor, ...]:
        """The last `width` columns, code by code."""
        return columns[:, columns.shape[1] - self.width :].split([*self.widths.values()], dim=1)

    def information(self, answers: Tensor, rows: Tensor) -> Tensor:
        """Lower bounds of the information of the answers, (n, width), on each code, in nats,
        (codes,)."""
        return torch.stack(
            [_information(a, c) for a, c in zip(self.split(answers), self.split(rows), strict=True)]
        )

    def traverse(self, rows: Tensor, name: str, steps: int = 10) -> Tensor:
        """Each row with the code `name` set to every category, or to `steps` numbers from -2 to 2:
        (n * steps, ...)."""
        width = self.widths[name]
        values = torch.eye(width) if width > 1 else torch.linspace(-2, 2, steps)[:, None]
        several = rows.repeat_interleave(len(values), dim=0)
        place = dict(zip(self.widths, self.split(several), strict=True))[name]  # a view
        place.copy_(values.repeat(len(rows), 1))
        return several


def _width(values: int | str) -> int:
    """Columns of a code; a category has at least two values."""
    if values == "uniform":
        return 1
    if int(values) < 2:
        raise UserError(
            f"model.codes: a category of {values} values says nothing; take 2 or more, or uniform."
        )
    return int(values)


def _drawn(width: int, n: int, device: torch.device, generator: torch.Generator | None) -> Tensor:
    u = (
        noise.rows(torch.rand, n, 1, device=device)
        if generator is None
        else torch.rand(n, 1, generator=generator)
    )
    return (
        2 * u - 1 if width == 1 else one_hot((u[:, 0] * width).long().clamp_max(width - 1), width)
    )


def _information(answer: Tensor, code: Tensor) -> Tensor:
    """E log q(c|x) + H(c) for a category; for a number, as Gaussians of deviation 1, E (c^2 - (c -
    mean)^2) / 2."""
    if code.shape[1] > 1:
        return math.log(code.shape[1]) - cross_entropy(answer, code.argmax(dim=1))
    return 0.5 * (code.square() - (code - answer).square()).mean()


def drawn_classes(
    classes: int, n: int, source: torch.Generator | None, device: torch.device
) -> Tensor:
    """n classes, evenly drawn, (n,): on the CPU from a source, or else by the turn's own noise on a
    device."""
    if source is not None:
        return torch.randint(classes, (n,), generator=source)
    u = noise.rows(torch.rand, n, 1, device=device)[:, 0]
    return (u * classes).long().clamp_max(classes - 1)

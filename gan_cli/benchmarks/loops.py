"""Two training loops in plain PyTorch to measure the trainer against: `Bare` and `Naive`.

Both play the two-player game without labels, with the networks, the loss, the penalty and the
optimizer of a configuration. `Bare` is the fastest known loop: the trainer's steps and nothing
else. `Naive` is the loop of tutorials and popular repositories. The arithmetic of a critic's and of
a generator's step is the same in all three.
"""

from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torch.optim import Optimizer

from gan_cli import registry
from gan_cli.config.roles import players
from gan_cli.data.dataset import Dataset
from gan_cli.errors import UserError
from gan_cli.game import Game
from gan_cli.games.two_player import TwoPlayer, couples_samples
from gan_cli.regularizers import GradientPenalty, input_gradient


class Loop:
    """A hand-written loop over rounds.

    Args:
        game: the game whose networks, loss and regularizer the loop uses.
        config: the configuration of the game.

    Raises:
        UserError: these loops cannot play the game.
    """

    def __init__(
        self, game: Game, config: Mapping[str, Any], dataset: Dataset, device: torch.device
    ) -> None:
        if type(game) is not TwoPlayer or config["augmentation"]["name"] != "none" or game.warm_up:
            raise UserError(
                f"model={config['model']['name']}: there is no hand-written loop for this game."
            )

        self.G, self.D = game.G.train(), game.D.train()
        self.loss, self.regularizer = game.loss, game.regularizer
        self.critic_turns, self.prior = game.repeat["discriminator"], game.prior
        self.batch_size, self.dataset, self.device = config["batch_size"], dataset, device
        self.nodes = players(config["optimizer"], ("discriminator", "generator"))
        self.optimizer_D = self.optimizer(self.D, self.nodes["discriminator"])
        self.optimizer_G = self.optimizer(self.G, self.nodes["generator"])
        self.apart = couples_samples(self.D)

        penalised = isinstance(self.regularizer, GradientPenalty)
        self.penalty: Callable[..., Tensor] = (
            self.gradient_penalty if penalised else self.other_penalty
        )

    def optimizer(self, network: nn.Module, node: dict[str, Any]) -> Optimizer:
        """The optimizer of a player's node."""
        raise NotImplementedError

    def play(self, rounds: int) -> None:
        """Play a number of rounds, each of n_critic critic's steps and one generator's step."""
        raise NotImplementedError

    def gradient_penalty(self, x: Tensor, x_fake: Tensor) -> Tensor:
        """Gulrajani et al., 2017, equation 3."""
        raise NotImplementedError

    def other_penalty(self, x: Tensor, x_fake: Tensor) -> Tensor:
        """The terms of any other regularizer."""
        return torch.stack(
            [*self.regularizer(self.D, x, x_fake).values(), torch.zeros((), device=x.device)]
        ).sum()

    def noise(self) -> Tensor:
        """A batch of z."""
        return self.prior(self.batch_size)


class Bare(Loop):
    """The fastest known loop.

    Data lies on the device; fakes have no graph; real and fake samples share a forward pass; second
    derivatives contain no zeros (`input_gradient`); the host never waits for the device.
    """

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self.x = self.dataset.train["x"]
        self.rows: Iterator[Tensor] = self.endless()

    def optimizer(self, network: nn.Module, node: dict[str, Any]) -> Optimizer:
        return registry.optimizers.build(node, "optimizer", parameters=network.parameters())

    def endless(self) -> Iterator[Tensor]:
        """The rows of one batch after the other."""
        while True:
            order = torch.randperm(len(self.x)).to(self.device)
            yield from order[: len(self.x) // self.batch_size * self.batch_size].split(
                self.batch_size
            )

    def batch(self) -> Tensor:
        """The next batch, in the range of the generator's output."""
        x = self.x.index_select(0, next(self.rows))
        return x.float().div_(127.5).sub_(1) if x.dtype == torch.uint8 else x

    def play(self, rounds: int) -> None:
        for _ in range(rounds):
            self.D.requires_grad_(True)
            for _ in range(self.critic_turns):
                self.critic_step()
            self.D.requires_grad_(False)
            self.generator_step()

    def critic_step(self) -> None:
        """One step of the critic."""
        x = self.batch()
        with torch.no_grad():
            x_fake = self.G(self.noise())
        if self.apart:
            real, fake = self.D(x), self.D(x_fake)
        else:
            real, fake = self.D(torch.cat([x, x_fake])).split(self.batch_size)

        loss = self.loss.discriminator(real, fake) + self.penalty(x, x_fake)
        self.optimizer_D.zero_grad()
        loss.backward()
        self.optimizer_D.step()
        self.regularizer.project(self.D)

    def generator_step(self) -> None:
        """One step of the generator."""
        real = self.D(self.batch()) if self.loss.uses_real else None
        loss = self.loss.generator(self.D(self.G(self.noise())), real)
        self.optimizer_G.zero_grad()
        loss.backward()
        self.optimizer_G.step()

    def gradient_penalty(self, x: Tensor, x_fake: Tensor) -> Tensor:
        epsilon = torch.rand(len(x), *[1] * (x.dim() - 1), device=self.device)
        gradient = input_gradient(self.D, torch.lerp(x_fake, x, epsilon))
        slope = torch.linalg.vector_norm(gradient.flatten(1), dim=1)
        return self.regularizer.weight * (slope - self.regularizer.target).square().mean()


class Naive(Loop):
    """The usual loop, after the wgan_gp scripts that most people start from.

    A `DataLoader` transforms sample by sample; the critic's backward pass goes through the fakes'
    graph; real and fake samples have forward passes of their own; the optimizer loops over weights;
    every step ends with `.item()`. Those scripts feed every batch to the critic, and play the
    generator in every n_critic-th.
    """

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self.loader = self._loader()
        self.batches = self.endless()
        self.losses: list[float] = []

    def optimizer(self, network: nn.Module, node: dict[str, Any]) -> Optimizer:
        built = registry.optimizers.build(node, "optimizer", parameters=network.parameters())
        for group in built.param_groups:
            group.update(
                {"fused": None, "foreach": None} if "fused" in group else {"foreach": None}
            )
        return built

    def _loader(self) -> Any:
        from torch.utils.data import DataLoader
        from torchvision import transforms

        x = self.dataset.train["x"].cpu()
        half = [0.5] * len(x[0])
        steps = [transforms.ToTensor(), transforms.Normalize(half, half)]
        change = transforms.Compose(steps) if x.dtype == torch.uint8 else None
        samples: Any = _Samples(x, change)
        return DataLoader(samples, self.batch_size, shuffle=True, drop_last=True)

    def endless(self) -> Iterator[Tensor]:
        """The samples of one epoch after the other, without their labels."""
        return (x for x, _ in chain.from_iterable(iter(lambda: iter(self.loader), None)))

    def play(self, rounds: int) -> None:
        for _ in range(rounds):
            self.losses = []
            for _ in range(self.critic_turns):
                x = next(self.batches).to(self.device)
                x_fake = self.G(self.noise())
                loss = self.loss.discriminator(self.D(x), self.D(x_fake)) + self.penalty(
                    x.data, x_fake.data
                )
                self.step(self.optimizer_D, loss)
                self.regularizer.project(self.D)
            fake = self.D(self.G(self.noise()))
            real = self.D(x) if self.loss.uses_real else None
            self.step(self.optimizer_G, self.loss.generator(fake, real))

    def step(self, optimizer: Optimizer, loss: Tensor) -> None:
        """One step of a player, whose loss is copied to the host."""
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        self.losses.append(loss.item())

    def gradient_penalty(self, x: Tensor, x_fake: Tensor) -> Tensor:
        alpha = torch.rand(len(x), *[1] * (x.dim() - 1), device=self.device)
        at = (alpha * x + (1 - alpha) * x_fake).requires_grad_(True)
        scores = self.D(at)
        (gradient,) = torch.autograd.grad(
            scores,
            at,
            torch.ones_like(scores),
            create_graph=True,
            retain_graph=True,
            only_inputs=True,
        )
        slope = gradient.view(len(x), -1).norm(2, dim=1)
        return self.regularizer.weight * ((slope - self.regularizer.target) ** 2).mean()


class _Samples:
    """A data set that transforms a sample when it is read, as torchvision's do."""

    def __init__(self, x: Tensor, change: Callable[[Any], Tensor] | None) -> None:
        self.x, self.change = x, change

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        if self.change is None:
            return self.x[i], 0
        planes = self.x[i].numpy()
        return self.change(
            Image.fromarray(planes[0] if len(planes) == 1 else planes.transpose(1, 2, 0))
        ), 0

"""Two training loops in plain PyTorch, for comparison with the trainer: `Bare` and `Naive`.

Both train the two-player game without labels, with the networks, loss, penalty and optimizer of a
configuration. `Bare` is the fastest known loop and consists only of the trainer's steps. `Naive` is
the loop of tutorials and popular repositories. The arithmetic of the steps of critic and generator
is the same in both loops and in the trainer.
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
    """Base class of the hand-written loops.

    Args:
        game: game with the networks, the loss and the regularizer.
        config: configuration of the game.

    Raises:
        UserError: the loops do not support the game.
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
        """Optimizer for a network, built from the node of its player."""
        raise NotImplementedError

    def play(self, rounds: int) -> None:
        """Play rounds, each with n_critic steps of the critic and one of the generator."""
        raise NotImplementedError

    def gradient_penalty(self, x: Tensor, x_fake: Tensor) -> Tensor:
        """Gradient penalty (Gulrajani et al., 2017, equation 3)."""
        raise NotImplementedError

    def other_penalty(self, x: Tensor, x_fake: Tensor) -> Tensor:
        """Sum of the terms of any other regularizer."""
        return torch.stack(
            [*self.regularizer(self.D, x, x_fake).values(), torch.zeros((), device=x.device)]
        ).sum()

    def noise(self) -> Tensor:
        """Batch of latent vectors."""
        return self.prior(self.batch_size)


class Bare(Loop):
    """Fastest known loop.

    Data is stored on the device; no graph is recorded for the fakes of the critic's step; real and
    fake samples share a forward pass; second derivatives omit zero terms (`input_gradient`); the
    host never waits for the device.
    """

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self.x = self.dataset.train["x"]
        self.rows: Iterator[Tensor] = self.endless()

    def optimizer(self, network: nn.Module, node: dict[str, Any]) -> Optimizer:
        return registry.optimizers.build(node, "optimizer", parameters=network.parameters())

    def endless(self) -> Iterator[Tensor]:
        """Row indices of successive batches."""
        while True:
            order = torch.randperm(len(self.x)).to(self.device)
            yield from order[: len(self.x) // self.batch_size * self.batch_size].split(
                self.batch_size
            )

    def batch(self) -> Tensor:
        """Next batch, scaled to the range of the generator's output."""
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
    """Common loop, as in popular scripts for WGAN-GP.

    A `DataLoader` transforms one sample at a time; the critic's backward pass includes the graph of
    the fakes; real and fake samples have separate forward passes; the optimizer loops over weights;
    every step ends with `.item()`. The critic is trained on every batch, the generator after every
    n_critic batches.
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
        """Loader of shuffled batches, which transforms images as torchvision does."""
        from torch.utils.data import DataLoader
        from torchvision import transforms

        x = self.dataset.train["x"].cpu()
        half = [0.5] * len(x[0])
        steps = [transforms.ToTensor(), transforms.Normalize(half, half)]
        change = transforms.Compose(steps) if x.dtype == torch.uint8 else None
        samples: Any = _TransformedSamples(x, change)
        return DataLoader(samples, self.batch_size, shuffle=True, drop_last=True)

    def endless(self) -> Iterator[Tensor]:
        """Batches of successive epochs, without labels."""
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
        """One step of a player, including a copy of its loss to the host."""
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


class _TransformedSamples:
    """Data set that transforms samples on access, as in torchvision."""

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

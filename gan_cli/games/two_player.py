"""The game of 2014, which most GANs still play; they differ in loss, regularizer, networks and
order of play."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from gan_cli.augmentations import Augmentation
from gan_cli.game import Columns, Fields, Game, Terms, Turn, in_parts, player
from gan_cli.networks.layers import batch_dependencies, batch_norms
from gan_cli.priors import Prior
from gan_cli.registry import Count, games
from gan_cli.regularizers import input_gradient, on_the_line


@games.register("two_player")
class TwoPlayer(Game):
    """min_G max_D V(D, G).

    Reference: Goodfellow et al., 2014, "Generative Adversarial Networks", arXiv 1406.2661,
    Algorithm 1. Covers GAN, DCGAN, LSGAN, WGAN and WGAN-GP by configuration.

    Args:
        G: generator, (N, latent) -> (N, *shape).
        D: discriminator or critic, (N, *shape) -> (N,), unbounded.
        loss: both sides of the objective, see `gan_cli.losses`.
        regularizer: what constrains D, see `gan_cli.regularizers`.
        augmentation: T, what D sees of real and fake samples, see `gan_cli.augmentations`.
        latent: width of z.
        prior: law of z, see `gan_cli.priors`: standard normal; uniform on [-1, 1); petals or a
            swiss roll in the plane.
    """

    roles: ClassVar[dict[str, str]] = {"G": "generator", "D": "discriminator"}
    averaged: ClassVar[tuple[str, ...]] = ("G",)

    def __init__(
        self,
        G: nn.Module,
        D: nn.Module,
        loss: Any,
        regularizer: Any,
        augmentation: Augmentation,
        latent: Count = 128,
        prior: Literal["normal", "uniform", "petals", "swiss_roll"] = "normal",
        **order_of_play: Any,
    ) -> None:
        super().__init__(**order_of_play)
        self.G, self.D, self.loss, self.regularizer = G, D, loss, regularizer
        self.T: Augmentation = augmentation
        self.prior = Prior(latent, prior)
        self.score: Callable[..., tuple[Tensor, Tensor]] = (
            score_apart if couples_samples(D) else score_together
        )
        self.every = {"discriminator": regularizer.every}

    @player(moves="D")
    def discriminator(self, x: Tensor, *given: Tensor) -> Terms:
        x, x_fake = self.real_and_fake(x, *given)
        real, fake = self.score(self.value, x, x_fake, *given)
        return {
            "adversarial": self.tell_apart(real, fake),
            **self.penalty(x, x_fake, *given),
        }

    @player(moves="G")
    def generator(self, x: Tensor, *given: Tensor) -> Terms:
        x_fake = self.T(self.sample_fakes(x, *given))
        real = self.value(self.T(x), *given) if self.loss.uses_real else None
        return {"adversarial": self.loss.generator(self.value(x_fake, *given), real)}

    def tell_apart(self, real: Tensor, fake: Tensor) -> Tensor:
        """D's loss from its scores of real and of fake samples."""
        self.T.judged(real - self.loss.middle)
        loss: Tensor = self.loss.discriminator(real, fake)
        return loss

    def sample_fakes(self, x: Tensor, *given: Tensor) -> Tensor:
        """As many fake samples as there are real ones in `x`."""
        return self.G(self.prior(len(x)), *given)

    def real_and_fake(self, x: Tensor, *given: Tensor) -> tuple[Tensor, Tensor]:
        """Real and fake samples, as D sees them in its turn, without gradients to G."""
        with torch.no_grad():
            x_fake = self.sample_fakes(x, *given)
        return self.T(x), self.T(x_fake)

    def value(self, x: Tensor, *given: Tensor) -> Tensor:
        """D's scores of samples, (N,); high for real ones."""
        return self.D(x, *given)

    def penalty(self, x: Tensor, x_fake: Tensor, *given: Tensor) -> Terms:
        """The regularizer's terms, in the turns in which they are due."""
        return self.regularizer(lambda at: self.value(at, *given), x, x_fake) if self.due else {}

    def batch_dependencies(self) -> list[str]:
        return [*super().batch_dependencies(), *filter(None, [self.regularizer.coupling])]

    def begin_round(self, step: int) -> None:
        self.T.begin_round(step)

    def after_step(self, turn: Turn) -> None:
        self.regularizer.project(self.D)

    def diagnostics(self, seen: Fields, unseen: Fields) -> dict[str, Tensor]:
        given, given_unseen = (
            [fields[name] for name in self.condition] for fields in (seen, unseen)
        )
        value = (
            self.value
            if couples_samples(self.D)
            else partial(in_parts, self.value, rows=self.chunk_size)
        )
        with torch.no_grad(), batch_statistics(self.D):
            x_fake = self.T(in_parts(self.sample_fakes, seen["x"], *given, rows=self.chunk_size))
            x, x_unseen = self.T(seen["x"]), self.T(unseen["x"])
            real = value(x, *given)
            heldout = value(x_unseen, *given_unseen)
            fake = value(x_fake, *given)
        slope = in_parts(self.steepness, on_the_line(x, x_fake), *given, rows=self.chunk_size)
        train, held_out = self.estimate_tags
        return {
            train: real.mean() - fake.mean(),
            held_out: heldout.mean() - fake.mean(),
            "critic/gradient_norm_mean": slope.mean(),
            "critic/gradient_norm_std": slope.std(unbiased=False),
            "critic/gradient_norm_max": slope.max(),
            "scores/real": real,
            "scores/fake": fake,
            **self.T.shown(),
        }

    def steepness(self, x: Tensor, *given: Tensor) -> Tensor:
        """The norm of D's gradient at samples, (N,)."""
        return (
            input_gradient(lambda at: self.value(at, *given), x, create_graph=False)
            .flatten(1)
            .norm(dim=1)
        )

    @property
    def estimate_tags(self) -> tuple[str, str]:
        """Names of E[D(x)] - E[D(G(z))] on training and on held-out data: a Wasserstein estimate,
        or only a gap."""
        if self.loss.needs_lipschitz_critic and self.regularizer.caveat:
            return "wasserstein/train", "wasserstein/heldout"
        return "discriminator/score_gap", "discriminator/score_gap_heldout"

    def how_to_read(self) -> str:
        train, heldout = self.estimate_tags
        text = (
            f"{train} and {heldout} are E[D(x)] - E[D(G(z))] without any penalty, on training "
            "and on held-out data"
        )
        if train.startswith("wasserstein"):
            text += (
                f"; under a {self.regularizer.caveat}. Healthy: positive, falling as samples "
                "improve, and close"
            )
        return f"{text}."

    def columns(self) -> list[Columns]:
        width = self.prior.latent
        prior = self.prior
        return [Columns("z", width, prior.name, prior, prior.deviation)] if width else []

    def render(self, latents: Tensor) -> Tensor:
        return self.G(latents)


def couples_samples(D: nn.Module) -> bool:
    """Whether the score of a sample depends on its batch, so that real and fake ones are scored
    apart."""
    return bool(
        {"batch norm", "minibatch discrimination", "minibatch deviation"}
        & set(batch_dependencies(D))
    )


@contextmanager
def batch_statistics(network: nn.Module) -> Iterator[None]:
    """Batch norm by the statistics of each batch, as in training; running ones do not change.

    A critic scores real and fake batches apart; running statistics, which mix both, would tell
    another gap.
    """
    layers = batch_norms(network)
    before = [(layer.training, layer.track_running_stats) for layer in layers]
    for layer in layers:
        layer.training, layer.track_running_stats = True, False
    try:
        yield
    finally:
        for layer, (training, tracking) in zip(layers, before, strict=True):
            layer.training, layer.track_running_stats = training, tracking


def score_together(
    D: Callable[..., Tensor], x: Tensor, x_fake: Tensor, *given: Tensor
) -> tuple[Tensor, Tensor]:
    """One forward for real and fake: nothing couples the samples, and one large batch is faster
    than two."""
    twice = [torch.cat([field, field]) for field in given]
    real, fake = D(torch.cat([x, x_fake]), *twice).split([len(x), len(x_fake)])
    return real, fake


def score_apart(
    D: Callable[..., Tensor], x: Tensor, x_fake: Tensor, *given: Tensor
) -> tuple[Tensor, Tensor]:
    """Two forwards: batch statistics must be those of real or of fake samples, never of their
    mixture."""
    return D(x, *given), D(x_fake, *given)

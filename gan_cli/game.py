"""The one idea: a game holds networks, its players take turns, and only the networks a player
`moves` learn from one.

A game says what is played; the trainer plays it, and is the only code that calls `backward()` and
`step()`.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import torch
from annotated_types import Ge, Le
from torch import Tensor, nn

from gan_cli.data.dataset import Spec
from gan_cli.errors import UserError
from gan_cli.former_names import accept_former_names
from gan_cli.networks.layers import batch_dependencies
from gan_cli.registry import Count, Fraction, Share

Terms = dict[str, Tensor]
Fields = Mapping[str, Tensor]
# of a player in a round: a round with more would hardly ever end
Turns = Annotated[int, Ge(1), Le(10_000)]
GIVEN = "*"  # stands for the fields of `Game.condition`


@dataclass(frozen=True)
class Player:
    """A role that takes turns: which networks it moves, and which fields of the batch it looks
    at."""

    name: str
    moves: tuple[str, ...]
    fields: tuple[str, ...]


@dataclass(frozen=True)
class Turn:
    """One player's turn: its place in the round, whether it wants a batch of its own, whether its
    lazy terms are due.

    These are values of the host: every kind of turn is a computation of its own.
    """

    player: Player
    index: int
    fresh_batch: bool
    due: bool = True


class Columns(NamedTuple):
    """Numbers side by side in what a sample is rendered from.

    Their `law` is that of a prior (see `gan_cli.priors`), or one of `CHOICES`: `one-hot`, `class`,
    which is a class as one number, from 0, or `psi`: how far a style is from the average of all.
    """

    name: str
    width: int
    law: str


CHOICES = ("one-hot", "class", "psi")
"""Laws of columns that say which or how much: one does not walk through them."""


FORMER_NAMES = {
    "after_step": "moved",
    "batch_dependencies": "couplings",
    "chunk_size": "at_once",
    "diagnostics": "observe",
    "how_to_read": "reading",
    "real_and_fake": "shown",
    "sample_fakes": "fakes",
}
"""Names of members, and how the first versions called them; see `accept_former_names`."""


def player(moves: str) -> Callable[[Callable[..., Terms]], Callable[..., Terms]]:
    """Mark a method as a player's turn. It returns named scalar terms that sum to the loss of the
    networks in `moves`.

    Its parameters are the fields of the batch that it wants; `*given` are those of the game's
    `condition`.

    Args:
        moves: names of the game's networks, separated by spaces: `"D"`, `"E G"`.
    """

    def mark(method: Callable[..., Terms]) -> Callable[..., Terms]:
        parameters = list(inspect.signature(method).parameters.values())[1:]
        fields = tuple(
            GIVEN if item.kind is item.VAR_POSITIONAL else item.name for item in parameters
        )
        vars(method)["player"] = Player(method.__name__, tuple(moves.split()), fields)
        return method

    return mark


class Game(nn.Module):
    """Base of all games: the order of play.

    Args:
        repeat: turns a player takes in one round, where not 1: `{discriminator: 5}` is n_critic =
            5.
        warm_up: a player's turns in special rounds: `{discriminator: {repeat: 100, rounds: 25,
            every: 500}}` plays 100 turns in each of the first 25 rounds and in every 500th.
        fresh_batch: whether every turn draws a new batch, or the players of a round share one.
        ema: decay of the exponential moving average of the generator, once a round; null keeps
            none.
        ema_ramp: the average's half-life is at most this share of the rounds so far, so that it
            forgets the initial networks soon (as in Karras et al., 2022, arXiv 2206.00364); 0 takes
            `ema` from the first round on.
        critic_norm: the norm that the paper puts into its critic; the networks' configuration reads
            it.
    """

    roles: ClassVar[dict[str, str]] = {}  # attribute -> the role of the network it holds
    # fields of the batch that networks are given beside their input
    condition: ClassVar[tuple[str, ...]] = ()
    averaged: ClassVar[tuple[str, ...]] = ()  # the networks an EMA follows
    # of play, where it is not that in which the players are written
    order: ClassVar[tuple[str, ...]] = ()
    renders: ClassVar[bool] = True  # whether it makes samples
    # whether these should differ as much as the data's; not where they follow an input
    diverse: ClassVar[bool] = True
    encodes: ClassVar[bool] = False  # whether it has codes for samples
    # whether a turn is the same operations each time, none of which asks the host
    capturable: bool = True
    # whether its discriminator sees samples, which an augmentation may change
    augments: ClassVar[bool] = True
    classes: int = 0  # how many classes of samples one may ask for
    # samples that pictures and diagnoses compute at a time, so that they need no more than a turn
    chunk_size: int = 64
    own_objective: ClassVar[bool] = False  # whether it takes no loss of the group `loss`
    needs_labels: ClassVar[bool] = False  # whether it plays with data of classes only
    # whether it looks at what its discriminator computes before the score
    needs_features: ClassVar[bool] = False
    # whether its networks grow where `growth` is above 0
    grows: ClassVar[bool] = False
    # scores of its own that best.pt and searches may go by
    objectives: ClassVar[tuple[str, ...]] = ()
    # which of these are better where they are lower
    lower_is_better: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        repeat: dict[str, Turns] | None = None,
        warm_up: dict[str, dict[Literal["repeat", "rounds", "every"], Count]] | None = None,
        fresh_batch: Literal["turn", "round"] = "turn",
        ema: Fraction | None = None,
        ema_ramp: Share = 0.05,
        critic_norm: Literal["none", "batch", "layer", "instance", "weight", "spectral"] = "none",
    ) -> None:
        super().__init__()
        self.ema = ema
        self.ema_ramp = ema_ramp
        self.critic_norm = critic_norm
        self.fresh_batch = fresh_batch
        self.players = _players(type(self))
        self.warm_up = warm_up or {}
        for option, named in (("repeat", repeat or {}), ("warm_up", self.warm_up)):
            for name in named:
                if name not in self.players:
                    raise UserError(
                        f"model.{option}.{name}: no such player; they are "
                        f"{', '.join(self.players)}."
                    )
        for name, special in self.warm_up.items():
            if "repeat" not in special or not {"rounds", "every"} & special.keys():
                raise UserError(
                    f"model.warm_up.{name}={special}: needs `repeat`, and `rounds` or `every`."
                )
        self.repeat: dict[str, int] = {name: (repeat or {}).get(name, 1) for name in self.players}
        self.every: dict[str, int] = {}  # players whose lazy terms are due in every so many-th turn
        self.due = True  # whether they are in the turn being played
        self._rounds: dict[tuple[tuple[int, int], ...], tuple[Turn, ...]] = {}

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        accept_former_names(cls, FORMER_NAMES)

    def turns(self, step: int) -> tuple[Turn, ...]:
        """The turns of round `step`, in order of play; steps count from 0."""
        kinds = tuple((self._count(name, step), self._phase(name, step)) for name in self.players)
        if kinds not in self._rounds:
            played = [
                (who, (phase + i) % self.every.get(name, 1) == 0)
                for (name, who), (times, phase) in zip(self.players.items(), kinds, strict=True)
                for i in range(times)
            ]
            fresh = self.fresh_batch == "turn"
            self._rounds[kinds] = tuple(
                Turn(who, i, fresh or i == 0, due) for i, (who, due) in enumerate(played)
            )
        return self._rounds[kinds]

    def _phase(self, name: str, step: int) -> int:
        """How many turns, modulo `every`, the player has had before this round; special rounds
        count as any other."""
        return step * self.repeat[name] % self.every.get(name, 1)

    def _count(self, name: str, step: int) -> int:
        special = self.warm_up.get(name)
        if special is None:
            return self.repeat[name]
        early = step < special.get("rounds", 0)
        again = "every" in special and step % special["every"] == 0
        return special["repeat"] if early or again else self.repeat[name]

    def averaging(self, rounds: int) -> float:
        """What the average keeps of itself in the last of so many rounds: `ema`, or less while
        there were few."""
        if not self.ema or not self.ema_ramp:
            return self.ema or 0.0
        return min(self.ema, 0.5 ** (1 / (self.ema_ramp * max(1, rounds))))

    def play(self, turn: Turn, batch: Mapping[str, Tensor]) -> Terms:
        """The terms of one turn."""
        self.due = turn.due
        return getattr(self, turn.player.name)(*(batch[name] for name in turn.player.fields))

    @classmethod
    def shapes(cls, spec: Spec, options: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """What each network is built for, beside its own options: `shape`, `bounded`, width of the
        `latent`.

        Args:
            spec: of the data.
            options: the game's own.
        """
        usual = {"shape": spec.shape, "bounded": spec.bounded, "latent": options.get("latent")}
        return dict.fromkeys(cls.roles, usual)

    def begin_round(self, step: int) -> None:
        """Called before the turns of a round: the place for what is a function of the round, such
        as annealed noise.

        What it draws from torch's default generator follows from the seed and the round, as in
        turns.
        """

    def after_step(self, turn: Turn) -> None:
        """Called after the step of a turn: the place for projections such as weight clipping."""

    def batch_dependencies(self) -> list[str]:
        """What makes a turn depend on how its batch is cut into shards, such as `batch norm in D`;
        mostly nothing."""
        return [
            f"{what} in {name}"
            for name in self.roles
            for what in batch_dependencies(self.get_submodule(name))
        ]

    def diagnostics(self, seen: Fields, unseen: Fields) -> dict[str, Tensor]:
        """Diagnostics to log, in evaluation mode: scalars, and vectors for histograms. Tags are
        complete names.

        Args:
            seen, unseen: some training and as many held-out samples.
        """
        raise NotImplementedError

    def scores(self, heldout: Fields) -> dict[str, float]:
        """What the game itself can be scored by, over held-out samples, in evaluation mode; mostly
        nothing.

        `gan_cli.data.decoded.parts` gives some of them at a time: all at once they may be more than
        memory holds.
        """
        return {}

    def how_to_read(self) -> str:
        """How the curves of `observe` must be read, in a sentence or two."""
        raise NotImplementedError

    def draw(self, generator: torch.Generator) -> Tensor:
        """What one sample is rendered from, drawn on the CPU: shape (latent,)."""
        raise NotImplementedError

    def columns(self) -> list[Columns]:
        """What the numbers of such a row are, from the first to the last; nothing where a game does
        not say."""
        return []

    def choices(self, width: int) -> Tensor:
        """Which numbers of a row of that width have a law of `CHOICES`, (width,)."""
        laws = [part.law for part in self.columns() for _ in range(part.width)]
        return torch.tensor(
            [law in CHOICES for law in laws] if len(laws) == width else [False] * width
        )

    def truncated(self, latents: Tensor, share: Tensor | float) -> Tensor:
        """Such rows, drawn in towards the middle of the prior by a share of their way, one for each
        row or for all."""
        return torch.where(self.choices(latents.shape[1]), latents, share * latents)

    def render(self, latents: Tensor) -> Tensor:
        """Samples in the data's shape and range, one for each row of `latents`."""
        raise NotImplementedError

    def encode(self, x: Tensor) -> Tensor:
        """The codes of samples, (n, latent), where the game `encodes`."""
        raise NotImplementedError

    def reconstruct(self, x: Tensor, *given: Tensor) -> Tensor:
        """Samples by way of their codes, where the game `encodes`."""
        raise NotImplementedError

    def labels_of(self, latents: Tensor) -> Tensor | None:
        """The class that each row of `latents` asks for, (n,), where the game has `classes`."""
        return None

    def of_class(self, latents: Tensor, y: Tensor) -> Tensor:
        """The same rows, asking for the classes `y`, (n,)."""
        raise NotImplementedError


accept_former_names(Game, FORMER_NAMES)


def in_parts(call: Callable[..., Tensor], *fields: Tensor, rows: int) -> Tensor:
    """What `call` gives for so many samples at a time: a diagnosis needs no more memory than a turn
    does.

    What it gives is copied at once: small tensors that stay where large ones come and go leave gaps
    in the heap.
    """
    parts = zip(*(field.split(rows) for field in fields), strict=True)
    first = call(*next(parts))
    together = first.new_empty(len(fields[0]), *first.shape[1:])
    together[: len(first)] = first
    for i, part in enumerate(parts, 1):
        together[i * rows : (i + 1) * rows] = call(*part)
    return together


def _players(game: type[Game]) -> dict[str, Player]:
    """The players in the order in which the class (its bases first) writes them."""
    given = game.condition
    found: dict[str, Player] = {}
    for cls in reversed(game.__mro__):
        for name, member in vars(cls).items():
            marked: Any = getattr(member, "player", None)
            if isinstance(marked, Player):
                fields = [
                    field
                    for name in marked.fields
                    for field in (given if name == GIVEN else (name,))
                ]
                found[name] = replace(marked, fields=tuple(fields))
            else:
                found.pop(name, None)  # a plain method of that name: the turn is not played
    order = game.order or tuple(found)
    return {name: found[name] for name in order}

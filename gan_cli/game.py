"""Games: they hold networks, and their players take turns.

Only the networks that a player `moves` learn from its turn. A game defines the turns; the trainer
plays them, and is the only code that calls `backward()` and `step()`.
"""

import inspect
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import torch
from annotated_types import Ge, Le
from torch import Tensor, nn

from gan_cli.data.dataset import Dataset, Spec
from gan_cli.errors import UserError, closest, on_one_line
from gan_cli.features.base import Features, NoFeatures
from gan_cli.former_names import accept_former_names
from gan_cli.networks.layers import batch_dependencies
from gan_cli.order_of_play import OrderOfPlay, refuse_unknown
from gan_cli.priors import lerp, slerp
from gan_cli.registry import Count, Fraction, NonNegative, Share
from gan_cli.worlds import World

Terms = dict[str, Tensor]
Fields = Mapping[str, Tensor]
Turns = Annotated[int, Ge(0), Le(10_000)]
"""As that of `order_of_play`, once more: hints are read from the source of their own module."""
GIVEN = "*"
"""Stands for the fields of `Game.condition`."""


@dataclass(frozen=True)
class Player:
    """A role that takes turns.

    Attributes:
        name: the name of the method that computes its terms.
        moves: the networks that learn from its turns, by attribute.
        fields: the fields of the batch that it takes.
        steps: the option of the game that says how many times the turn goes forward, backward and
            steps, on the same batch; empty for once.
        own_step: whether `Game.step` moves the weights, in place of the optimizer's step.
    """

    name: str
    moves: tuple[str, ...]
    fields: tuple[str, ...]
    steps: str = ""
    own_step: bool = False


@dataclass(frozen=True)
class Turn:
    """One turn of a player.

    All are plain Python values, fixed before the turn starts: each pair of player and `due` can be
    compiled, or captured as a graph of its own.

    Attributes:
        index: its place in the round.
        fresh_batch: whether a new batch is drawn for it.
        due: whether the player's lazy terms are computed in it.
        phase: name of the phase that it belongs to.
    """

    player: Player
    index: int
    fresh_batch: bool
    due: bool = True
    phase: str = ""


@dataclass(frozen=True)
class Replay:
    """What a turn with a step of its own is given: `play()` plays it again.

    Each call plays the same batch with the same random numbers, at the weights as they are.

    Attributes:
        weights: those that the turn moves; after `play()` with their gradients.
        optimizer: of the player.
    """

    weights: list[Tensor]
    optimizer: torch.optim.Optimizer
    _play: Callable[[bool], Terms]

    def __call__(self, gradients: bool = True) -> Terms:
        """The terms of the turn; with the gradients of their sum in the weights, if wanted."""
        return self._play(gradients)


class Columns(NamedTuple):
    """Adjacent numbers of a latent, which are drawn together.

    Attributes:
        law: their distribution, that of a prior (see `gan_cli.priors`), or one of `CHOICES`:
            `one-hot`; `class`, a class as one number, from 0; `psi`, the distance of a style from
            the average of all styles.
        draw: n rows of them, (n, width): on the CPU by the source, or else by the turn's own noise.
        deviation: what the law's numbers are multiplied by.
    """

    name: str
    width: int
    law: str
    draw: Callable[[int, torch.Generator | None], Tensor]
    deviation: float = 1.0


class Direction(NamedTuple):
    """Another way in which a game makes samples: from other inputs, like another field of the data.

    Attributes:
        output: the field that its samples are like.
        given, panels: as those of `Game`.
    """

    output: str
    given: tuple[str, ...] = ()
    panels: tuple[str, ...] = ("output",)


CHOICES = ("one-hot", "class", "psi")
"""Laws of columns that choose something, between which a latent walk does not interpolate."""


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


def player(
    moves: str, steps: str = "", own_step: bool = False
) -> Callable[[Callable[..., Terms]], Callable[..., Terms]]:
    """Mark a method as a player's turn.

    It returns named scalar terms, whose sum is the loss of the networks in `moves`. Its parameters
    are the fields of the batch that it takes; `*given` are those of the game's `condition`.

    Args:
        moves: attributes of the game's networks, separated by spaces: `"D"`, `"E G"`. Without any,
            `""`, nothing learns from the turn, which fills buffers: a pool, the course of an
            episode. Its terms are logged.
        steps: an option of the game, so many times the turn steps on the same batch: `"epochs"`.
        own_step: whether `Game.step` moves the weights, for a line search and the like.
    """

    def mark(method: Callable[..., Terms]) -> Callable[..., Terms]:
        parameters = list(inspect.signature(method).parameters.values())[1:]
        fields = tuple(
            GIVEN if item.kind is item.VAR_POSITIONAL else item.name for item in parameters
        )
        vars(method)["player"] = Player(
            method.__name__, tuple(moves.split()), fields, steps, own_step
        )
        return method

    return mark


class Game(nn.Module):
    """Base class of all games; it defines the order of play.

    Args:
        repeat: turns of a player in one round, where not 1: `{discriminator: 5}` is n_critic = 5.
        warm_up: turns of a player in special rounds: `{discriminator: {repeat: 100, rounds: 25,
            every: 500}}` plays 100 turns in each of the first 25 rounds and in every 500th.
        phases: stretches of rounds, in order: `[{name: start, rounds: 100, turns: {discriminator:
            1}}, {name: game}]`. Players that `turns` leaves out rest; without it a phase has those
            of `repeat`. `until: {SCORE: VALUE}` ends a phase at the first evaluation that is as
            good. The last phase lasts.
        reset: players whose networks are drawn anew, and their optimizers too, in every so many
            rounds: `{eve: {every: 2000}}`.
        fresh_batch: whether a new batch is drawn for every turn, or one for all turns of a round.
        ema: decay of the exponential moving average of the generator, once a round; null averages
            nothing.
        ema_ramp: upper bound of the average's half-life, as a fraction of the rounds so far, so
            that it soon forgets the initial networks (as in Karras et al., 2022, arXiv 2206.00364);
            0 takes `ema` from the first round on.
        ema_half_life: half-life of the average in rounds, in place of a decay: once `ema` is not
            null, it decides; 0 averages nothing.
        critic_norm: the norm of the paper's critic; the configuration of the networks reads it.
    """

    # the role of each network, by the attribute that holds it
    roles: ClassVar[dict[str, str]] = {}
    # fields of the batch that networks take beside their input
    condition: ClassVar[tuple[str, ...]] = ()
    # fields of the batch that a sample is made from, beside its row of latents
    given: ClassVar[tuple[str, ...]] = ()
    # roles whose networks start from such a field, and are offered its shape as `inputs`
    from_inputs: ClassVar[tuple[str, ...]] = ()
    # what a picture shows of each sample, from left to right: fields, and `output`
    panels: ClassVar[tuple[str, ...]] = ("output",)
    # other ways to make samples, by name; `render` asks for `self.direction`, empty for the usual
    directions: ClassVar[dict[str, Direction]] = {}
    direction: str = ""
    # networks that have an exponential moving average
    averaged: ClassVar[tuple[str, ...]] = ()
    # the order of play, where it differs from that of the methods
    order: ClassVar[tuple[str, ...]] = ()
    # whether it makes samples
    renders: ClassVar[bool] = True
    # whether samples should be as diverse as the data's; not where they follow an input
    diverse: ClassVar[bool] = True
    # whether it encodes samples
    encodes: ClassVar[bool] = False
    # whether a turn always consists of the same operations, without synchronising with the host
    capturable: bool = True
    # options that are read on the host between turns, and so may change while turns are recorded
    host_options: ClassVar[tuple[str, ...]] = ("ema", "ema_ramp", "ema_half_life")
    # whether torch.compile can compile its turns in reasonable time
    compilable: bool = True
    # whether its discriminator sees samples, to which an augmentation may be applied
    augments: ClassVar[bool] = True
    # the number of classes of samples that can be requested
    classes: int = 0
    # samples that pictures and diagnostics compute at a time; they need no more memory than a turn
    chunk_size: int = 64
    # roles whose networks take the class of a sample themselves
    classes_in_networks: ClassVar[tuple[str, ...]] = ()
    # whether a truncation draws anew what lies beyond it, in place of a multiplication
    redraws: ClassVar[bool] = False
    # spaces of codes that can be moved gradually, the usual one first; see `to_code`
    spaces: ClassVar[tuple[str, ...]] = ("z",)
    # whether it uses no loss of the group `loss`
    own_objective: ClassVar[bool] = False
    # whether it acts in the data's `world`
    acts: ClassVar[bool] = False
    # what answers to its actions, and what it compares samples by; both are in no checkpoint
    world: World | None = None
    features: Features = NoFeatures()
    # whether it needs data with classes
    needs_labels: ClassVar[bool] = False
    # whether it also learns from samples whose labels are not kept (`labels_per_class`)
    learns_unlabelled: ClassVar[bool] = False
    # whether it learns from rows whose fields belong together
    needs_pairs: ClassVar[bool] = False
    # whether it uses the features of its discriminator beside the score
    needs_features: ClassVar[bool] = False
    # whether its networks grow if `growth` is above 0
    grows: ClassVar[bool] = False
    # scores of its own that can be an objective
    objectives: ClassVar[tuple[str, ...]] = ()
    # those of them that are better where they are lower
    lower_is_better: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        repeat: dict[str, Turns] | None = None,
        warm_up: dict[str, dict[Literal["repeat", "rounds", "every"], Count]] | None = None,
        phases: list[dict[Literal["name", "rounds", "turns", "until"], Any]] | None = None,
        reset: dict[str, dict[Literal["every"], Count]] | None = None,
        fresh_batch: Literal["turn", "round"] = "turn",
        ema: Fraction | None = None,
        ema_ramp: Share = 0.05,
        ema_half_life: NonNegative | None = None,
        critic_norm: Literal["none", "batch", "layer", "instance", "weight", "spectral"] = "none",
    ) -> None:
        super().__init__()
        self.ema = ema
        self.ema_ramp = ema_ramp
        self.ema_half_life = ema_half_life
        self.critic_norm = critic_norm
        self.fresh_batch = fresh_batch
        self.players = _players(type(self))
        self.warm_up = warm_up or {}
        for name, special in self.warm_up.items():
            if "repeat" not in special or not {"rounds", "every"} & special.keys():
                raise UserError(
                    f"model.warm_up.{name}={special}: needs `repeat`, and `rounds` or `every`."
                )
        self.order_of_play = OrderOfPlay(
            tuple(self.players),
            dict.fromkeys(self.players, 1) | (repeat or {}),
            self.warm_up,
            phases or (),
        )
        self.repeat: dict[str, int] = dict(self.order_of_play.repeat)
        self.reset = reset or {}
        refuse_unknown("reset", self.reset, tuple(self.players))
        # players with lazy terms: these are due in every n-th of their turns
        self.every: dict[str, int] = {}
        self.due = True  # whether they are due in this turn
        self._rounds: dict[tuple[Hashable, ...], tuple[Turn, ...]] = {}

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        accept_former_names(cls, FORMER_NAMES)

    def attach(self, dataset: Dataset, device: torch.device) -> None:
        """Called before the game is trained, or scored by scores of its own, but not before samples
        are rendered: takes what belongs to the data, or to files of others.

        Args:
            device: that of the game.
        """
        self.world = dataset.world
        self.features.load(dataset, device)

    @property
    def sampling(self) -> Direction:
        """How samples are made now."""
        usual = Direction("x", self.given, self.panels)
        return self.directions[self.direction] if self.direction else usual

    def direction_named(self, typed: str | None) -> str:
        """The typed direction; empty for None, the usual one.

        Raises:
            UserError: there is none of that name.
        """
        known = list(self.directions)
        if typed is None or typed in known:
            return typed or ""
        remedy = f"it has {', '.join(known)}" if known else "leave direction out"
        raise UserError(
            f"direction={on_one_line(typed):.50}: the checkpoint's model has no such direction"
            f"{closest(typed, known)}; {remedy}."
        )

    @contextmanager
    def in_direction(self, direction: str) -> Iterator[None]:
        """Make samples in a direction while this lasts."""
        before, self.direction = self.direction, direction
        try:
            yield
        finally:
            self.direction = before

    def turns(self, step: int) -> tuple[Turn, ...]:
        """The turns of round `step`, in order of play; steps count from 0."""
        order = self.order_of_play
        phase, counts = order.at(step).name, order.turns(step)
        kinds = tuple(
            (counts[name], order.before(name, step) % self.every.get(name, 1))
            for name in self.players
        )
        if (phase, kinds) not in self._rounds:
            played = [
                (who, (before + i) % self.every.get(name, 1) == 0)
                for (name, who), (times, before) in zip(self.players.items(), kinds, strict=True)
                for i in range(times)
            ]
            fresh = self.fresh_batch == "turn"
            self._rounds[phase, kinds] = tuple(
                Turn(who, i, fresh or i == 0, due, phase) for i, (who, due) in enumerate(played)
            )
        return self._rounds[phase, kinds]

    def resets(self, step: int) -> list[str]:
        """The players whose networks are drawn anew before round `step`."""
        return [name for name, node in self.reset.items() if step and step % node["every"] == 0]

    def kind_of(self, turn: Turn) -> Hashable:
        """What is compiled, or recorded as a graph, apart from others: turns of one kind consist of
        the same operations. A game with a `play` of its own may look at all that a turn says."""
        if type(self).play is Game.play:
            return turn.player.name, turn.due
        return turn.player.name, turn.due, turn.index, turn.phase

    def averaging(self, rounds: int) -> float:
        """The decay of the average in a round: that of `ema` or of the half-life, or less in the
        first ones.

        Args:
            rounds: played so far.
        """
        decay = self.ema or 0.0
        if self.ema_half_life is not None:
            decay = 0.5 ** (1 / self.ema_half_life) if self.ema_half_life else 0.0
        if not decay or not self.ema_ramp:
            return decay
        return min(decay, 0.5 ** (1 / (self.ema_ramp * max(1, rounds))))

    def play(self, turn: Turn, batch: Mapping[str, Tensor]) -> Terms:
        """The terms of one turn."""
        self.due = turn.due
        return getattr(self, turn.player.name)(*(batch[name] for name in turn.player.fields))

    @classmethod
    def shapes(cls, spec: Spec, options: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """Arguments of each network beside its options: `shape`, `bounded`, width of the `latent`.

        Args:
            spec: of the data.
            options: of the game.
        """
        default = {"shape": spec.shape, "bounded": spec.bounded, "latent": options.get("latent")}
        return dict.fromkeys(cls.roles, default)

    def begin_round(self, step: int) -> None:
        """Called before the turns of a round, for what depends on the round, such as annealing.

        Torch's default generator is seeded by the run's seed and the round, as in turns.
        """

    def prepare(self, turn: Turn, batch: Fields) -> None:
        """Called before a turn with its whole batch, for work on the host: to fill buffers that the
        turn reads. It is neither compiled nor recorded, and computes no gradients.

        Torch's default generator is seeded by the place in the run.
        """

    def step(self, turn: Turn, play: Replay) -> Terms:
        """The step of a turn whose player has `own_step`: it leaves the new weights, and returns
        the terms to log. It may read numbers from the device.

        Args:
            play: plays the turn, as often as wanted.
        """
        raise NotImplementedError

    def after_step(self, turn: Turn) -> None:
        """Called after the step of a turn, for projections such as weight clipping."""

    def batch_dependencies(self) -> list[str]:
        """Reasons why a turn depends on the shards of its batch, such as `batch norm in D`."""
        apart = any("shard" in getattr(part, "sharding", {}).values() for part in self.modules())
        return [
            *(
                f"{what} in {name}"
                for name in self.roles
                for what in batch_dependencies(self.get_submodule(name))
            ),
            *(["a pool of each shard"] if apart else []),
        ]

    def diagnostics(self, seen: Fields, unseen: Fields) -> dict[str, Tensor]:
        """Diagnostics to log, by their complete tags: scalars, and vectors for histograms.

        The networks are in evaluation mode.

        Args:
            seen, unseen: training samples, and as many held-out samples.
        """
        raise NotImplementedError

    def scores(self, heldout: Fields) -> dict[str, float]:
        """Scores of the game's own over held-out samples, in evaluation mode; by default none.

        All samples together may need too much memory; `gan_cli.data.decoded.parts` yields parts.
        """
        return {}

    def how_to_read(self) -> str:
        """How the curves of `diagnostics` must be read, in a sentence or two."""
        raise NotImplementedError

    def columns(self) -> list[Columns]:
        """The columns of a latent, from the first number to the last; by default none."""
        return []

    def latents(self, n: int, source: torch.Generator | None = None) -> Tensor:
        """n rows of all columns, (n, latent).

        Args:
            source: draws them on the CPU; None draws them by the turn's own noise, on the device of
                the game.
        """
        drawn = [part.draw(n, source) for part in self.columns()]
        return torch.cat(drawn, dim=1) if drawn else torch.empty(n, 0)

    def draw(self, generator: torch.Generator) -> Tensor:
        """The latent of one sample, (latent,), drawn on the CPU."""
        return self.latents(1, generator)[0]

    def choices(self, width: int) -> Tensor:
        """Whether each number of a latent has a law of `CHOICES`, (width,)."""
        laws = [part.law for part in self.columns() for _ in range(part.width)]
        return torch.tensor(
            [law in CHOICES for law in laws] if len(laws) == width else [False] * width,
            dtype=torch.bool,
        )

    def truncated(self, latents: Tensor, factor: Tensor | float) -> Tensor:
        """Latents moved towards the middle of the prior.

        Args:
            factor: of their distance from it, one for all rows or (n, 1).
        """
        return torch.where(self.choices(latents.shape[1]), latents, factor * latents)

    def to_code(self, latents: Tensor, space: str) -> Tensor:
        """Codes of rows of latents in one of the `spaces`, (n, ...): what can be moved gradually.

        In z these are the numbers that choose nothing, (n, width); see `CHOICES`.
        """
        return latents[:, ~self.choices(latents.shape[1])]

    def mean_code(self, latents: Tensor, space: str) -> Tensor:
        """The middle of the law of codes, as many rows as those of `latents`."""
        return torch.zeros_like(self.to_code(latents, space))

    def render_code(self, codes: Tensor, latents: Tensor, space: str) -> Tensor:
        """Samples of codes, (n, *shape); gradients flow to the codes.

        Args:
            codes: (n, ...), as `to_code` gives them.
            latents: rows whose choices hold, such as the class, (n, latent).
        """
        return self.render(self.with_code(codes, latents))

    def with_code(self, codes: Tensor, latents: Tensor) -> Tensor:
        """Rows of latents with codes of z in the place of their own, (n, latent)."""
        rows = latents.clone()
        rows[:, ~self.choices(latents.shape[1])] = codes
        return rows

    def between(self, a: Tensor, b: Tensor, fraction: Tensor, space: str) -> Tensor:
        """Codes on the way from rows of latents to others, (n, ...).

        In z, normal numbers follow a great circle, others a straight line; in other spaces the line
        is straight, as in Karras et al., 2019, arXiv 1812.04948, section 4.1.

        Args:
            a, b: (n, latent).
            fraction: positions on the way, (n, 1), from 0 to 1.
        """
        start, end = self.to_code(a, space), self.to_code(b, space)
        if space != "z":
            return torch.lerp(start, end, fraction.view(-1, *[1] * (start.dim() - 1)))
        laws = [part.law for part in self.columns() for _ in range(part.width)]
        normal = torch.tensor([law == "normal" for law in laws if law not in CHOICES])
        codes = lerp(start, end, fraction)
        if normal.any():
            codes[:, normal] = slerp(start[:, normal], end[:, normal], fraction)
        return codes

    def render(self, latents: Tensor) -> Tensor:
        """Samples in the shape and range of the data, one for each row of `latents`.

        A game that makes them from inputs also takes these, in the order of `given`, as many rows;
        where they are all there is, `latents` is (n, 0).
        """
        raise NotImplementedError

    def encode(self, x: Tensor) -> Tensor:
        """The codes of samples, (n, latent), if the game `encodes`."""
        raise NotImplementedError

    def reconstruct(self, x: Tensor, *given: Tensor) -> Tensor:
        """Samples reconstructed from their codes, if the game `encodes`."""
        raise NotImplementedError

    def labels_of(self, latents: Tensor) -> Tensor | None:
        """The class of each row of `latents`, (n,), if the game has `classes`."""
        return None

    def of_class(self, latents: Tensor, y: Tensor) -> Tensor:
        """The same latents with the classes `y`, (n,)."""
        raise NotImplementedError


accept_former_names(Game, FORMER_NAMES)


def in_parts(call: Callable[..., Tensor], *fields: Tensor, rows: int) -> Tensor:
    """Apply `call` to chunks of samples and join the results.

    So diagnostics need no more memory than a turn. Each result is copied at once: small tensors
    that stay allocated between large ones would fragment the heap.

    Args:
        rows: samples in a chunk.
    """
    chunks = zip(*(field.split(rows) for field in fields), strict=True)
    first = call(*next(chunks))
    joined = first.new_empty(len(fields[0]), *first.shape[1:])
    joined[: len(first)] = first
    for i, chunk in enumerate(chunks, 1):
        joined[i * rows : (i + 1) * rows] = call(*chunk)
    return joined


def _players(game: type[Game]) -> dict[str, Player]:
    """The players in the order of their methods, those of base classes first."""
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
                found.pop(name, None)  # a plain method of that name removes the turn
    order = game.order or tuple(found)
    return {name: found[name] for name in order}

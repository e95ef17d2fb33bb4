"""The loop: rounds of turns. It never knows which game it plays; what is beside the mathematics is a hook."""

import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.optim import Optimizer

from gan_cli import noise
from gan_cli.data.dataset import Batches
from gan_cli.finite import Watch
from gan_cli.game import Game, Player, Terms, Turn
from gan_cli.optimizers import Rate
from gan_cli.shards import Shards


class Hook(Protocol):
    """Something that happens beside the rounds. Hooks run in their order; checkpoints come last."""

    def start(self, trainer: "Trainer") -> None:
        """Before the first round."""

    def after_round(self, trainer: "Trainer") -> None:
        """After each round; `trainer.step` counts the rounds played."""

    def close(self) -> None:
        """In any case, at the end."""


class Trainer:
    """Plays a game, round after round; the only code that calls `backward()` and `step()`.

    Args:
        game: what is played.
        optimizers: one for each player.
        rate: factor on every learning rate as a function of the round.
        batches: where batches come from.
        seed: of everything random in a turn.
        steps: rounds to play in all.
        minutes: time to play in all, restarts included; None sets no limit.
        ema: a copy of the game whose averaged networks follow an exponential moving average, if the model wants one.
        shards: the equal parts of a batch, and those that this process plays; one part if not given.
        scaled: scale every loss before it goes backward, as float16 needs it (Micikevicius et al., 2018, arXiv
            1710.03740); a turn whose gradients overflow does not step.
        looks: after so many rounds each, and at the end, what was computed must have been finite.
    """

    def __init__(
        self,
        game: Game,
        optimizers: Mapping[str, Optimizer],
        rate: Rate,
        batches: Batches,
        seed: int,
        steps: int,
        minutes: float | None = None,
        ema: Game | None = None,
        shards: Shards | None = None,
        scaled: bool = False,
        looks: Sequence[int] = (),
    ) -> None:
        self.game, self.optimizers, self.rate, self.batches, self.ema = game, optimizers, rate, batches, ema
        self.seed, self.steps, self.minutes = seed, steps, minutes
        self.shards = shards or Shards()
        device = next(game.parameters()).device.type
        self.scalers = {name: GradScaler(device, enabled=scaled) for name in optimizers}
        self.looks, self.watch = [every for every in looks if every], Watch()
        self.step, self.seconds, self.rollbacks = 0, 0.0, 0
        self.signalled: int | None = None  # the signal that asked this process to stop
        self.interrupted: int | None = None  # the signal that stops the run, in all its processes
        self.ending = False  # the round just played is the last
        self.terms: dict[str, dict[str, Tensor]] = {}  # each player's terms in its last turn, on the device
        self.scores: dict[str, float] = {}  # of the last evaluation
        self.objective: str | None = None  # which of them counts
        self.best: float | None = None  # of the objective, over all evaluations
        self._base_rates = {name: [group["lr"] for group in o.param_groups] for name, o in optimizers.items()}
        self._moving: Player | None = None
        self._rows = torch.empty(0)

    @property
    def finished(self) -> bool:
        """Whether the rounds or the time are used up."""
        return self.step >= self.steps or (self.minutes is not None and self.seconds >= 60 * self.minutes)

    @property
    def luck(self) -> int:
        """What all that is random in a turn follows from: the seed, and another number after every rollback."""
        return noise.mix(self.seed, "rollback", self.rollbacks) if self.rollbacks else self.seed

    @property
    def rendered(self) -> Game:
        """The game whose samples are shown and scored: the average if there is one."""
        return self.ema or self.game

    def fit(self, hooks: Sequence[Hook]) -> None:
        """Play until the rounds or the time are used up, or a signal has set `signalled` in any process.

        Raises:
            DivergedError: something was not finite; it is in no row, score or checkpoint.
        """
        started = time.monotonic() - self.seconds
        self.game.train()
        try:
            for hook in hooks:
                hook.start(self)
            self.ending = self.finished
            while not self.ending:
                self.play_round()
                elapsed = time.monotonic() - started
                self.seconds, self.interrupted = self.shards.world.latest(elapsed, self.signalled)
                self.ending = self.finished or self.interrupted is not None  # once a round: the hooks must see the same
                if self.ending or any(self.step % every == 0 for every in self.looks):
                    self.watch.read(self.game)
                for hook in hooks:
                    hook.after_round(self)
        finally:
            for hook in reversed(hooks):
                hook.close()

    def play_round(self) -> None:
        """One step: every player's turns, in order of play."""
        factor = self.rate(self.step)
        for name, optimizer in self.optimizers.items():
            for group, base in zip(optimizer.param_groups, self._base_rates[name], strict=True):
                group["lr"] = base * factor
        self.game.begin_round(self.step)
        for turn in self.game.turns(self.step):
            if turn.fresh_batch:
                self._rows = self.batches.next_rows()
            self.take_turn(turn, self._rows)
        self.step += 1

    def take_turn(self, turn: Turn, rows: Tensor) -> None:
        """Forward, backward, step: only the networks that the player moves learn.

        Args:
            rows: where in the training data the turn's batch lies.
        """
        self._let_move(turn.player)
        optimizer = self.optimizers[turn.player.name]
        optimizer.zero_grad()
        scaler, weights = self.scalers[turn.player.name], _weights(optimizer)
        parts = rows.chunk(self.shards.count)

        def part(shard: int) -> Terms:
            noise.begin_turn("turn", self.luck, self.step, turn.index, shard=shard, shards=self.shards.count)
            terms = self.game.play(turn, self.batches.take(parts[shard]))
            scaler.scale(torch.stack(list(terms.values())).sum()).backward()
            return {name: term.detach() for name, term in terms.items()}

        terms = self.shards.play(self.game, weights, part)
        self.watch.note(turn.player.name, terms, self.step, turn.index)
        self.terms[turn.player.name] = {**self.terms.get(turn.player.name, {}), **terms}  # lazy terms: their last value
        scaler.step(optimizer)
        scaler.update()
        self.game.moved(turn)

    def _let_move(self, player: Player) -> None:
        """Freeze the networks that stay: no gradient is computed for them, and none is left in them."""
        if player is not self._moving:
            self.game.requires_grad_(False)
            for name in player.moves:
                self.game.get_submodule(name).requires_grad_(True)
            self._moving = player

    def _averages(self) -> dict[str, nn.Module]:
        """The networks that follow the average, by name."""
        return {name: self.ema.get_submodule(name) for name in self.game.averaged} if self.ema else {}

    def state_dict(self) -> dict[str, Any]:
        """All that a run must remember; plain types and tensors."""
        return {
            "step": self.step,
            "seconds": self.seconds,
            "position": self.batches.position,
            "best": self.best,
            "scores": self.scores,
            "objective": self.objective,
            "rollbacks": self.rollbacks,
            "terms": self.terms,
            "game": self.game.state_dict(),
            "ema": {name: network.state_dict() for name, network in self._averages().items()},
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
            "scalers": {name: scaler.state_dict() for name, scaler in self.scalers.items()},
        }

    def roll_on(self, rollbacks: int) -> None:
        """Draw other noise, and the data in another order, than before this many rollbacks."""
        self.rollbacks = rollbacks
        self.batches.seed = self.luck

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was taken, bit for bit."""
        self.step, self.seconds, self.best = state["step"], state["seconds"], state["best"]
        self.batches.position = state["position"]
        self.roll_on(state["rollbacks"])
        self.scores, self.objective = state["scores"], state["objective"]
        device = next(self.game.parameters()).device
        saved = state.get("terms", {})
        self.terms = {who: {name: term.to(device) for name, term in terms.items()} for who, terms in saved.items()}
        self.game.load_state_dict(state["game"])
        for name, network in self._averages().items():
            network.load_state_dict(state["ema"].get(name, self.game.get_submodule(name).state_dict()))
        for name, optimizer in self.optimizers.items():
            _restore(optimizer, state["optimizers"][name])
            if saved := state.get("scalers", {}).get(name):
                self.scalers[name].load_state_dict(saved)


def _restore(optimizer: Optimizer, state: dict[str, Any]) -> None:
    """Load an optimizer's state, but keep the settings it was built with: torch would take the saved ones."""
    settings = [{key: group[key] for key in group if key != "params"} for group in optimizer.param_groups]
    for saved, own in zip(state["param_groups"], settings, strict=True):
        if saved.keys() - own.keys() - {"params"}:
            raise ValueError(f"it is not the state of {type(optimizer).__name__}")
    optimizer.load_state_dict(state)
    for group, own in zip(optimizer.param_groups, settings, strict=True):
        group.update(own)


def _weights(optimizer: Optimizer) -> list[Tensor]:
    return [weight for group in optimizer.param_groups for weight in group["params"]]

"""The loop: rounds of turns. It never knows which game it plays; what is beside the mathematics is
a hook."""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.optim import Optimizer

from gan_cli import noise
from gan_cli.data.batches import Batches
from gan_cli.game import Fields, Game, Player, Replay, Terms, Turn
from gan_cli.optimizers import Rate
from gan_cli.order_of_play import reached
from gan_cli.training.nan_check import Watch
from gan_cli.training.optimizer_state import (
    LearningRates,
    forget,
    plain_state,
    restore_state,
    weights_of,
)
from gan_cli.training.ramps import Ramps
from gan_cli.training.scoreboard import Scoreboard
from gan_cli.training.shards import Shards


class Hook:
    """Something that happens beside the rounds; this one does nothing and is the base of all.

    Hooks run in their order; checkpoints come last.
    """

    def start(self, trainer: "Trainer") -> None:
        """Before the first round."""

    def after_round(self, trainer: "Trainer") -> None:
        """After each round; `trainer.step` counts the rounds played."""

    def close(self) -> None:
        """At the end, in any case."""


class Trainer:
    """Plays a game, round after round; the only code that calls `backward()` and `step()`.

    Args:
        game: what is played.
        optimizers: one for each player.
        rate: factor on every learning rate as a function of the round.
        batches: where batches come from.
        seed: of all random numbers in a turn.
        steps: rounds to play in all.
        minutes: time to play in all, restarts included; None sets no limit.
        ema: a copy of the game whose averaged networks follow an exponential moving average, if the
            model wants one.
        shards: the equal parts of a batch, and those that this process plays; one part if not
            given.
        scaled: scale every loss before its backward pass, as float16 needs it (Micikevicius et al.,
            2018, arXiv 1710.03740); a turn whose gradients overflow does not step.
        nan_check_every: intervals in rounds at which terms and weights are checked for NaN and
            infinity; they always are at the end.
        timed: which of `schedule`, `game` and `ramps` span the whole run, and so follow the time
            where that ends it; see `position`.
        hardware: where it computes, every `auto` resolved.
        choices: what was resolved, in sentences.
        clip_norms: of each player's gradients together, the largest norm.
        lower_is_better: whether it is, by score; scores end phases.
        fresh_game: builds an equal game with weights of its own, for players that are reset.
        ramps: numbers of components that change over the run.

    Attributes:
        step: rounds played.
        seconds: time played, restarts included.
        rollbacks: times that the run went back to a checkpoint.
        terms: each player's terms in its last turn, on the device.
        played: the round of each player's last turn.
        scoreboard: the scores of the run.
        signalled: the signal that asked this process to stop.
        interrupted: the signal that stops the run, in all its processes.
        ending: whether the round just played is the last.
        terms_fn: computes the terms of a turn: `game.play`, or the same compiled.
        turn_fn: computes a whole turn: `play_turn`, or the same recorded.
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
        nan_check_every: Sequence[int] = (),
        timed: Collection[str] = (),
        hardware: Mapping[str, Any] | None = None,
        choices: Sequence[str] = (),
        clip_norms: Mapping[str, float] | None = None,
        lower_is_better: Mapping[str, bool] | None = None,
        fresh_game: Callable[[], Game] | None = None,
        ramps: Ramps | None = None,
    ) -> None:
        self.game = game
        self.optimizers = optimizers
        self.rate = rate
        self.batches = batches
        self.ema = ema
        self.shards = shards or Shards()

        self.seed = seed
        self.steps, self.minutes = steps, minutes
        self.timed = timed
        self.hardware = dict(hardware or {})
        self.choices = list(choices)
        self.clip_norms = clip_norms or {}
        self.lower_is_better = lower_is_better or {}
        self.fresh_game = fresh_game
        self.ramps = ramps or Ramps((), steps, game, optimizers)

        self.step, self.seconds, self.rollbacks = 0, 0.0, 0
        self.signalled: int | None = None
        self.interrupted: int | None = None
        self.ending = False
        self.terms: dict[str, dict[str, Tensor]] = {}
        self.played: dict[str, int] = {}
        self.scoreboard = Scoreboard()

        self.terms_fn: Callable[[Turn, Fields], Terms] = game.play
        self.turn_fn: Callable[[Turn, Tensor], Terms] = self.play_turn
        device = next(game.parameters()).device.type
        self.scalers = {name: GradScaler(device, enabled=scaled) for name in optimizers}
        self.nan_check_every = [every for every in nan_check_every if every]
        self.watch = Watch()

        self._learning_rates = LearningRates(optimizers, rate)
        self._weights = {name: weights_of(optimizers.get(name)) for name in game.players}
        self._all_weights = list(game.parameters())  # to find them takes time in every turn
        self._moving: Player | None = None
        self._rows = torch.empty(0)

    # --- where the run is ------------------------------------------------------------------------

    @property
    def finished(self) -> bool:
        """Whether the rounds or the time are used up."""
        late = self.minutes is not None and self.seconds >= 60 * self.minutes
        return self.step >= self.steps or late

    @property
    def effective_seed(self) -> int:
        """The seed of all random numbers in turns: the run's, or another one after a rollback."""
        return noise.mix(self.seed, "rollback", self.rollbacks) if self.rollbacks else self.seed

    @property
    def eval_game(self) -> Game:
        """The game whose samples are shown and scored: the average if there is one."""
        return self.ema or self.game

    def position(self, part: str) -> int:
        """The round that a part of the run is at: this one; of a `timed` part, the one that
        corresponds to the time.

        So a schedule or a growth over all `steps` is complete where `minutes` ends the run. The
        time is that of the last round's end, which a checkpoint holds: a resumed run goes on from
        it.

        Args:
            part: `schedule`, `game` or `ramps`.
        """
        if self.minutes is None or part not in self.timed:
            return self.step
        return max(self.step, int(self.steps * min(1.0, self.seconds / (60 * self.minutes))))

    def _round_of_schedule(self) -> int:
        """The round that the schedule is at: that of the run, or of the phase from which it
        counts."""
        position = self.position("schedule")
        if not self.rate.phase:
            return position
        return int(max(0, position - self.game.order_of_play.began(self.rate.phase)))

    # --- the loop --------------------------------------------------------------------------------

    def fit(self, hooks: Sequence[Hook]) -> None:
        """Play until the rounds or the time are used up, or a signal has stopped any process.

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
                self.after_round(started, hooks)
        finally:
            for hook in reversed(hooks):
                hook.close()

    def after_round(self, started: float, hooks: Sequence[Hook]) -> None:
        """Everything beside a round that was just played: time, signals, finiteness, hooks.

        Args:
            started: the time at which the clock would have shown zero.
        """
        elapsed = time.monotonic() - started
        world = self.shards.world
        self.seconds, self.interrupted = world.agree_on_stop(elapsed, self.signalled)
        # evaluated once a round, so that all hooks see the same
        self.ending = self.finished or self.interrupted is not None

        if self.ending or any(self.step % every == 0 for every in self.nan_check_every):
            self.watch.read(self.game)
        for hook in hooks:
            hook.after_round(self)

    def play_round(self) -> None:
        """One step: every player's turns, in order of play."""
        self._end_phase()
        for name in self.game.resets(self.step):
            self._reset(name)
        self._learning_rates.set(self._round_of_schedule())
        for game in filter(None, [self.game, self.ema]):
            noise.begin_turn("round", self.effective_seed, self.step)
            game.begin_round(self.position("game"))
        self.ramps.set(self.position("ramps"))

        for i, turn in enumerate(self.game.turns(self.step)):
            # the first turn draws one also where a game leaves out the turn that would have
            if turn.fresh_batch or i == 0:
                self._rows = self.batches.next_rows()
            self.take_turn(turn, self._rows)
        self.step += 1

    def take_turn(self, turn: Turn, rows: Tensor) -> None:
        """Forward, backward, step: only the networks that the player moves learn.

        Args:
            rows: which training samples are the turn's batch.
        """
        name = turn.player.name
        self._let_move(turn.player)
        if type(self.game).prepare is not Game.prepare:
            self._prepare(turn, rows)
        terms = self.turn_fn(turn, rows)

        self.watch.note(name, terms, self.step)
        self.terms[name] = {**self.terms.get(name, {}), **terms}  # lazy terms: their last value
        self.played[name] = self.step

    def play_turn(self, turn: Turn, rows: Tensor) -> Terms:
        """A turn as it is written: random numbers set, then what the device computes."""
        return self.compute(turn, rows, self.seed_turn)

    def seed_turn(self, turn: Turn, shard: int = 0) -> None:
        """Seed all random numbers of a turn, or of one of its shards, by the place in the run."""
        noise.begin_turn(
            "turn",
            self.effective_seed,
            self.step,
            turn.index,
            shard=shard,
            shards=self.shards.count,
        )

    def compute(
        self, turn: Turn, rows: Tensor, seed: Callable[[Turn, int], None] = lambda turn, shard: None
    ) -> Terms:
        """All that the device computes in a turn, from the rows of its batch to the new weights.

        The host never waits for it.
        """
        player = turn.player
        if not player.moves:
            with torch.no_grad():
                terms = self._terms(turn, rows, seed, gradients=False)
        elif player.own_step:
            replay = Replay(
                self._weights[player.name],
                self.optimizers[player.name],
                lambda gradients: self._terms(turn, rows, seed, gradients),
            )
            terms = self.game.step(turn, replay)
        else:
            for _ in range(getattr(self.game, player.steps) if player.steps else 1):
                terms = self._terms(turn, rows, seed)
                self._step(player.name)
        self.game.after_step(turn)
        return terms

    def _terms(
        self, turn: Turn, rows: Tensor, seed: Callable[[Turn, int], None], gradients: bool = True
    ) -> Terms:
        """The terms of a turn over its whole batch; with the gradients of their sum, if wanted."""
        weights, parts = self._weights[turn.player.name], rows.chunk(self.shards.count)
        scaler = None if turn.player.own_step else self.scalers.get(turn.player.name)
        for weight in weights:
            weight.grad = None

        def part(shard: int) -> Terms:
            seed(turn, shard)
            batch = self.batches.gather(parts[shard], rows, shard * len(parts[0]))
            terms = self.terms_fn(turn, batch)
            if gradients:
                first, *others = terms.values()
                loss = sum(others, first)
                # backward to the weights and nowhere else: a penalty's points are leaves too
                (scaler.scale(loss) if scaler else loss).backward(inputs=weights)
            return {name: term.detach() for name, term in terms.items()}

        with torch.set_grad_enabled(gradients):
            return self.shards.play(self.game, weights, part)

    def _step(self, name: str) -> None:
        """Move the weights of a player by their gradients."""
        optimizer, scaler = self.optimizers[name], self.scalers[name]
        if clip_norm := self.clip_norms.get(name):
            scaler.unscale_(optimizer)
            torch.nn.utils.clip_grad_norm_(self._weights[name], clip_norm)
        scaler.step(optimizer)
        scaler.update()

    @torch.no_grad()
    def _prepare(self, turn: Turn, rows: Tensor) -> None:
        """Let the game work on the host before a turn; all processes do the same work."""
        noise.begin_turn("prepare", self.effective_seed, self.step, turn.index)
        self.game.prepare(turn, self.batches.gather(rows, rows))

    def _end_phase(self) -> None:
        """End the phase that this round would be in, if the last evaluation was of the round
        before, and as good as the phase asks for."""
        order = self.game.order_of_play
        phase = order.at(self.step)
        if not phase.until or not self.step or order.start(self.step) == self.step:
            return
        board = self.scoreboard
        ends = board.evaluated_at == self.step and reached(
            phase.until, board.scores, self.lower_is_better
        )
        # only the first process has scores
        if float(self.shards.world.sum(torch.tensor([float(ends)]))):
            order.end(self.step)

    def _reset(self, name: str) -> None:
        """Draw the networks that a player moves anew, by the place in the run; its optimizer is as
        it was at the start."""
        assert self.fresh_game is not None
        noise.begin_turn("reset", self.effective_seed, self.step)
        fresh = self.fresh_game()
        for network in self.game.players[name].moves:
            self.game.get_submodule(network).load_state_dict(
                fresh.get_submodule(network).state_dict()
            )
        forget(self.optimizers[name])

    def _let_move(self, player: Player) -> None:
        """Freeze all other networks: no gradient is computed for them, and none is left in them."""
        if player is self._moving:
            return
        moves = {id(weight) for weight in self._weights[player.name]}
        for weight in self._all_weights:
            weight.requires_grad_(id(weight) in moves)
        self._moving = player

    # --- what others ask of it -------------------------------------------------------------------

    def ask_to_stop(self, signal: int | None) -> None:
        """End the run after this round because of a signal; None does not end it."""
        self.signalled = signal

    def mark_interrupted(self, signal: int) -> None:
        """The run was stopped by this signal before the trainer could play."""
        self.interrupted = signal

    def go_to(self, step: int) -> None:
        """Play from this round on, as if those before it had been played."""
        self.step = step

    def roll_back(self, rollbacks: int, seconds: float) -> None:
        """Draw other noise, and the data in another order, than before this many rollbacks.

        Args:
            seconds: the time played so far; what was played in vain counts.
        """
        self.seconds = seconds
        self._reseed(rollbacks)

    def _reseed(self, rollbacks: int) -> None:
        self.rollbacks = rollbacks
        self.batches.seed = self.effective_seed

    # --- checkpoints -----------------------------------------------------------------------------

    def _averages(self) -> dict[str, nn.Module]:
        """The networks that follow the average, by name."""
        return (
            {name: self.ema.get_submodule(name) for name in self.game.averaged} if self.ema else {}
        )

    def state_dict(self) -> dict[str, Any]:
        """All that a run must remember; plain types and tensors."""
        return {
            "step": self.step,
            "seconds": self.seconds,
            "position": self.batches.position,
            **self.scoreboard.state_dict(),
            "rollbacks": self.rollbacks,
            "terms": self.terms,
            "played": self.played,
            "shards": self.shards.state,
            "phases": dict(self.game.order_of_play.ends),
            "game": self.game.state_dict(),
            "ema": {name: network.state_dict() for name, network in self._averages().items()},
            "optimizers": {
                name: plain_state(optimizer.state_dict())
                for name, optimizer in self.optimizers.items()
            },
            "scalers": {name: scaler.state_dict() for name, scaler in self.scalers.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was taken, bit for bit."""
        self.step, self.seconds = state["step"], state["seconds"]
        self.batches.position = state["position"]
        self._reseed(state["rollbacks"])
        self.scoreboard.load_state_dict(state)

        device = next(self.game.parameters()).device
        saved = state.get("terms", {})
        self.terms = {
            who: {name: term.to(device) for name, term in terms.items()}
            for who, terms in saved.items()
        }
        self.played = dict(state.get("played") or dict.fromkeys(saved, self.step - 1))
        self.shards.state = {
            name: value.to(device) for name, value in state.get("shards", {}).items()
        }

        self.game.order_of_play.ends = dict(state.get("phases", {}))
        self.game.load_state_dict(state["game"])
        for name, network in self._averages().items():
            network.load_state_dict(
                state["ema"].get(name, self.game.get_submodule(name).state_dict())
            )
        for name, optimizer in self.optimizers.items():
            restore_state(optimizer, state["optimizers"][name])
            if scaler := state.get("scalers", {}).get(name):
                self.scalers[name].load_state_dict(scaler)

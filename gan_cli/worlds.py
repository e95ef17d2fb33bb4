"""Worlds: what answers to the actions of games that act."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor


class World:
    """Base class of worlds, in which many episodes go on at once.

    Episodes begin and end within one turn, so that nothing of a world is part of a checkpoint. What
    is random in `start` and `step` is drawn from torch's default generator, which is seeded by the
    place in the run.

    Attributes:
        shape: of a state.
        actions: number of actions, which are 0 to actions - 1; 0 where an action is not one of so
            many.
        action_shape: of an action; () of a number.
        limit: steps of an episode, at most.
    """

    shape: tuple[int, ...]
    actions: int = 0
    action_shape: tuple[int, ...] = ()
    limit: int

    def __deepcopy__(self, memo: Mapping[int, Any]) -> "World":
        """Itself: a game and its average act in the same one."""
        return self

    def start(self, n: int) -> Tensor:
        """The states in which n new episodes begin, (n, *shape)."""
        raise NotImplementedError

    def step(self, actions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What becomes of the actions, (n, *action_shape), one for each episode.

        Returns:
            The next states, (n, *shape), the rewards, (n,), and whether an episode has ended, (n,).
            What is said of an episode after its end is not read.
        """
        raise NotImplementedError


class Episodes(NamedTuple):
    """Episodes, filled up to equal length by steps that are not `alive`.

    Attributes:
        states: before each action, (n, steps, *shape).
        actions: (n, steps, *action_shape).
        rewards: for each action, (n, steps); 0 after the end.
        alive: whether the episode had not ended before the action, (n, steps).
        last: the states after the last action, (n, *shape).
    """

    states: Tensor
    actions: Tensor
    rewards: Tensor
    alive: Tensor
    last: Tensor

    @property
    def returns(self) -> Tensor:
        """Sum of the rewards of each episode, (n,)."""
        return self.rewards.sum(dim=1)

    def steps(self) -> tuple[Tensor, Tensor]:
        """States and actions of all steps that are alive, (m, *shape) and (m, *action_shape)."""
        return self.states[self.alive], self.actions[self.alive]


@torch.no_grad()
def play(
    world: World,
    policy: Callable[[Tensor], Tensor],
    n: int,
    steps: int | None = None,
    device: torch.device | None = None,
) -> Episodes:
    """Episodes that a policy plays in a world, on the CPU; those that end early are filled up.

    Args:
        policy: gives the actions in states, (n, *shape) -> (n, *action_shape).
        n: number of episodes.
        steps: of an episode; None takes the world's limit, which is the most.
        device: of the states that the policy is given.
    """
    state, alive = world.start(n), torch.ones(n, dtype=torch.bool)
    length = min(steps or world.limit, world.limit)
    played: list[tuple[Tensor, ...]] = []
    while len(played) < length and alive.any():
        action = policy(state.to(device)).cpu()
        following, reward, ended = world.step(action)
        played.append((state, action, torch.where(alive, reward, 0.0), alive))
        state, alive = following, alive & ~ended

    played += [tuple(torch.zeros_like(part) for part in played[-1])] * (length - len(played))
    states, actions, rewards, living = (
        torch.stack(part, dim=1) for part in zip(*played, strict=True)
    )
    return Episodes(states, actions, rewards, living, state)

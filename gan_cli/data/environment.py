"""Environments of Gymnasium as worlds, with episodes of an expert if there are some."""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from gan_cli.data.dataset import Dataset, Fields, installed
from gan_cli.data.spec import Field, Spec
from gan_cli.data.unsampled import HELD_OUT
from gan_cli.errors import UserError, on_one_line
from gan_cli.reading.arrays import arrays
from gan_cli.registry import Count, datasets
from gan_cli.worlds import World

ROWS = 10_000  # of an epoch, where no file gives rows
LIMIT = 1000  # steps of an episode, where the environment sets no limit
ARRAYS = ("state", "action", "episode")  # of a file of demonstrations


@datasets.register("environment")
class Environment(Dataset):
    """A world of Gymnasium, for games that act in it.

    A batch has the fields `state` and `action` of the demonstrations; without them, `row` alone.

    Args:
        id: name of the environment, such as CartPole-v1.
        demonstrations: an .npz file with `state` (rows, *shape) and `action` (rows, ...) of an
            expert, and optionally `episode`, (rows,), which says whose step a row is. A tenth of
            the episodes, or of the rows, is held out.
        limit: steps of an episode, at most; null takes the environment's own.
    """

    kind: ClassVar[str] = "none"
    metrics: ClassVar[tuple[str, ...]] = ()
    fields: ClassVar[tuple[str, ...]] = ("state", "action", "row")
    has_world: ClassVar[bool] = True

    def __init__(
        self,
        id: str = "CartPole-v1",
        demonstrations: str | None = None,
        limit: Count | None = None,
    ) -> None:
        world = Gymnasium(id, limit)
        self.world = world
        action = Field("choice", (), size=world.actions)
        if not world.actions:
            action = Field("points", world.action_shape, bounded=False)
        fields = {"state": Field("points", world.shape, bounded=False), "action": action}
        self.spec = Spec("none", (), fields=fields)

        self.train, self.heldout = {"row": torch.arange(ROWS)}, {"row": torch.arange(HELD_OUT)}
        if demonstrations:
            self.train, self.heldout = _splits(Path(demonstrations).expanduser(), world)


class Gymnasium(World):
    """Copies of an environment side by side; observations that are no arrays are flattened.

    Args:
        name: of the environment.
        limit: steps of an episode; None takes the environment's own.

    Raises:
        UserError: Gymnasium is not installed, does not know the name, or cannot make it here.
    """

    def __init__(self, name: str, limit: int | None) -> None:
        if not installed("gymnasium"):
            raise UserError(
                "data=environment: needs Gymnasium, which is not there; pip install "
                "'gan-cli[environments]'."
            )
        self.name, self.limit = name, limit or 0
        self._copies: dict[int, Any] = {}
        one = self._side_by_side(1)
        self.limit = limit or getattr(one.envs[0].spec, "max_episode_steps", None) or LIMIT

        self.shape = tuple(one.single_observation_space.shape)
        self.actions, self.action_shape = self._actions(one.single_action_space)

    def _actions(self, space: Any) -> tuple[int, tuple[int, ...]]:
        """The number of actions, 0 where they are numbers, and the shape of an action."""
        import gymnasium

        if isinstance(space, gymnasium.spaces.Discrete) and not space.start:
            return int(space.n), ()
        if isinstance(space, gymnasium.spaces.Box):
            return 0, tuple(space.shape)
        raise UserError(
            f"data.id={self.name}: its actions are {space}; expected numbers, or one of so many."
        )

    def start(self, n: int) -> Tensor:
        seeds = torch.randint(2**31, (n,)).tolist()
        observations, _ = self._side_by_side(n).reset(seed=seeds)
        return _floats(observations)

    def step(self, actions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        answer = self._side_by_side(len(actions)).step(actions.numpy())
        observations, rewards, terminated, _, _ = answer
        return _floats(observations), _floats(rewards), torch.from_numpy(terminated.copy())

    def _side_by_side(self, n: int) -> Any:
        """n copies of the environment, made at the first call."""
        import gymnasium

        def made() -> Any:
            environment = gymnasium.make(self.name, max_episode_steps=self.limit or None)
            if isinstance(environment.observation_space, gymnasium.spaces.Box):
                return environment
            return gymnasium.wrappers.FlattenObservation(environment)

        if n not in self._copies:
            try:
                self._copies[n] = gymnasium.vector.SyncVectorEnv([made] * n)
            except (gymnasium.error.Error, ImportError, NotImplementedError) as error:
                raise UserError(f"data.id={self.name}: {on_one_line(str(error))}") from None
        return self._copies[n]


def _floats(values: np.ndarray) -> Tensor:
    """A copy: the environments write their next answer where this one is."""
    return torch.from_numpy(np.array(values, dtype=np.float32))


# --- demonstrations -------------------------------------------------------------------------------


def _splits(file: Path, world: World) -> tuple[Fields, Fields]:
    """Training and held-out steps of a file; no episode is in both."""
    fields, episode = _read(file, world)
    names = episode.unique()
    if len(names) > 1:
        first_held_out = names[-max(1, len(names) // 10)]
        heldout = episode >= first_held_out
    else:
        heldout = torch.arange(len(episode)) >= len(episode) - max(1, len(episode) // 10)
    if heldout.all():
        raise UserError(f"data.demonstrations={file}: has {len(episode)} rows; needs 2 or more.")
    train, held_out = (
        {name: values[rows] for name, values in fields.items()} for rows in (~heldout, heldout)
    )
    return train, held_out


def _read(file: Path, world: World) -> tuple[Fields, Tensor]:
    """The steps in a file, and the episode of each.

    Raises:
        UserError: no such file, or its arrays do not fit the world.
    """
    said = f"data.demonstrations={file}"
    found = arrays(file, ARRAYS, said)
    for name, shape in (("state", world.shape), ("action", world.action_shape)):
        if name not in found:
            raise UserError(f"{said}: has no array {name}; it needs state and action.")
        if found[name].shape[1:] != shape:
            raise UserError(
                f"{said}: {name} is of shape {found[name].shape}; this environment needs "
                f"{('rows', *shape)}.".replace("'", "")
            )
    rows = {len(values) for values in found.values()}
    if len(rows) > 1 or 0 in rows:
        raise UserError(f"{said}: its arrays have {sorted(rows)} rows; expected as many each.")

    state = torch.from_numpy(found["state"].astype(np.float32))
    action = torch.from_numpy(found["action"].astype(np.int64 if world.actions else np.float32))
    episode = torch.from_numpy(found.get("episode", np.zeros(len(state))).astype(np.int64))
    return {"state": state, "action": action}, episode

"""The contracts of plug-ins: what their components return is checked where they return it, and a
sentence names the one that is wrong.

The package's own components are held to the same contracts by the tests, not while they train.
"""

import inspect
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from gan_cli import noise
from gan_cli.data.dataset import Dataset, Spec
from gan_cli.errors import UserError
from gan_cli.features.base import Features
from gan_cli.game import Fields, Game, Terms, Turn
from gan_cli.metrics.scoring import Scoring
from gan_cli.registry import PLUGINS, Registry

Play = Callable[[Turn, Fields], Terms]
FEW = 16  # samples of a metric's trial


def is_foreign(known: Registry, name: str) -> bool:
    """Whether a component belongs to a plug-in."""
    return known.components[name].module in PLUGINS


def describe(value: Any) -> str:
    """A value in a few words."""
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}" + (
            "" if value.is_floating_point() else f" of {value.dtype}"
        )
    return f"a {type(value).__name__}" if value is not None else "nothing"


def _is_number(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dim() == 0 and value.is_floating_point()


# --- methods that are checked after each call -----------------------------------------------------

Check = Callable[..., str | None]
"""Given the result of a method and its arguments, a sentence on what is wrong, or None."""


def check_methods(component: Any, label: str, **checks: Check) -> None:
    """Check the results of the named methods of this component from now on."""
    for name, check in checks.items():
        method = _checked(getattr(type(component), name), check, label, name)
        # past the `__setattr__` of frozen dataclasses and modules
        vars(component)[name] = MethodType(method, component)


class CheckedCall:
    """A callable component whose results are checked; it is the component in all other respects.

    Python looks up `__call__` in the class, so that a method of the instance would not be called.
    """

    def __init__(self, component: Any, label: str, check: Check) -> None:
        self._component = component
        self._call = _checked(type(component).__call__, check, label, "__call__")

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self._call(self._component, *arguments, **named)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or "_component" not in vars(self):  # as in a copy that is begun
            raise AttributeError(name)
        return getattr(self._component, name)


def _checked(method: Callable[..., Any], check: Check, label: str, name: str) -> Callable[..., Any]:
    @wraps(method)
    def call(self: Any, *arguments: Any, **named: Any) -> Any:
        try:
            result = method(self, *arguments, **named)
        except NotImplementedError:
            raise UserError(f"{label}: its class lacks `{name}`; write it.") from None
        if wrong := check(result, *arguments):
            raise UserError(f"{label}: {wrong}")
        return result

    return call


def check_call(component: Any, label: str, check: Check) -> Any:
    """The component with the results of its calls checked."""
    if isinstance(component, nn.Module):  # whose `__call__` calls `forward`
        check_methods(component, label, forward=check)
        return component
    return CheckedCall(component, label, check)


def _loss(side: str) -> Callable[..., str | None]:
    def check(result: Any, *_: Any) -> str | None:
        if _is_number(result):
            return None
        return (
            f"its `{side}` gives {describe(result)}; it must give one number, such as the mean "
            "over the samples."
        )

    return check


def loss(component: Any, name: str) -> Any:
    """A loss; its two sides must return scalars."""
    if not all(hasattr(component, side) for side in ("discriminator", "generator")):
        raise UserError(
            f"loss={name}: its class lacks `discriminator` or `generator`; derive it from Loss."
        )
    check_methods(
        component,
        f"loss={name}",
        discriminator=_loss("discriminator"),
        generator=_loss("generator"),
    )
    return component


def regularizer(component: Any, name: str) -> Any:
    """A regularizer; it must return named scalars."""
    return check_call(
        component, f"regularizer={name}", lambda result, *_: _wrong_terms(result, "it")
    )


def augmentation(component: Any, name: str) -> Any:
    """An augmentation; it must keep the shape of a batch."""

    def check(result: Any, x: Tensor, *_: Any) -> str | None:
        if isinstance(result, Tensor) and result.shape == x.shape and result.is_floating_point():
            return None
        return f"it makes {describe(result)} of {describe(x)}; the shape must stay."

    return check_call(component, f"augmentation={name}", check)


def features(component: Any, name: str) -> Any:
    """Features; what they give is tried when their network is loaded."""
    if not isinstance(component, Features):
        raise UserError(
            f"features={name}: gives {describe(component)}; derive its class from "
            "gan_cli.features.base.Features."
        )
    return component


def _wrong_terms(terms: Any, who: str) -> str | None:
    if not isinstance(terms, Mapping):
        return (
            f"{who} gives {describe(terms)}; it must give terms by name, such as "
            f'{{"penalty": penalty.mean()}}.'
        )
    for key, term in terms.items():
        if not isinstance(key, str):
            return f"{who} gives a term under {key!r}; its name must be a text."
        if not _is_number(term):
            return (
                f"{who} gives {describe(term)} as `{key}`; each term must be one number, such as a "
                "mean over the samples."
            )
    return None


def metric(component: Any, name: str, dataset: Dataset) -> Any:
    """A metric; it must return numbers by name, its objectives among them. A few samples try it."""
    cls = type(component)
    if lacks := [
        part for part in ("objective", "samples", "describe") if not hasattr(component, part)
    ]:
        raise UserError(
            f"metrics={name}: its class lacks `{lacks[0]}`; see gan_cli/metrics for examples."
        )

    def check(scores: Any, *_: Any) -> str | None:
        if not isinstance(scores, Mapping) or not all(isinstance(key, str) for key in scores):
            return (
                f"it gives {describe(scores)}; it must give numbers by name, such as "
                f'{{"{cls.objective}": 0.5}}.'
            )
        for key, value in scores.items():
            if not isinstance(value, int | float) or isinstance(value, bool):
                return (
                    f"it gives {describe(value)} as `{key}`; it must be a number, such as "
                    "value.item()."
                )
        absent = [key for key in cls.objectives if key not in scores]
        return f"it gives no `{absent[0]}`, which it names as an objective." if absent else None

    if isinstance(component, Scoring):
        check_methods(component, f"metrics={name}", compute=check)
    else:
        component = CheckedCall(component, f"metrics={name}", check)

    few = dataset.sample(dataset.heldout, FEW)
    try:
        component(few["x"].cpu(), few["y"].cpu() if "y" in few else None)
    except UserError:
        raise
    except Exception:
        # it may need more samples than these; then it is checked when it has them
        return component
    return component


# --- components that are checked when they are built ----------------------------------------------


def optimizer(component: Any, name: str) -> Optimizer:
    """An optimizer; it must step from the gradients, without a closure, at a learning rate."""
    if not isinstance(component, Optimizer):
        raise UserError(
            f"optimizer={name}: gives {describe(component)}; it must give a torch.optim.Optimizer."
        )
    closure = inspect.signature(component.step).parameters.get("closure")
    if closure is not None and closure.default is inspect.Parameter.empty:
        raise UserError(
            f"optimizer={name}: its step() needs a closure that plays the turn again and again; a "
            "turn is played once, so take an optimizer whose step() does without."
        )
    if not all("lr" in group for group in component.param_groups):
        raise UserError(
            f"optimizer={name}: has no learning rate `lr`, which the schedule sets; take one that "
            "has."
        )
    return component


def network(component: nn.Module, said: str, role: str, offered: Mapping[str, Any]) -> None:
    """Check the shape of each output of a network: a score, `outputs` numbers, or a sample.

    Args:
        offered: the arguments that it was built with.
    """
    shape = {"generator": tuple(offered.get("shape") or ()), "discriminator": ()}.get(role)
    if offered.get("outputs") is not None:
        shape = (offered["outputs"],)
    if shape is None:
        return

    def look(_: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        rows = len(inputs[0])
        if not isinstance(output, Tensor) or tuple(output.shape) != (rows, *shape):
            wanted = str((rows, *shape)).replace(str(rows), "N", 1)
            raise UserError(
                f"{said}: gives {describe(output)} for {rows} samples; it must be of shape "
                f"{wanted}."
            )

    component.register_forward_hook(look)


def rendered(game: Game, spec: Spec, said: str, given: Sequence[Tensor] = ()) -> None:
    """Raise UserError where rendered samples do not have the shape of the data.

    Args:
        given: two rows of each field that samples are made from.
    """
    if not game.renders:
        return
    device, training = next(game.parameters()).device, game.training
    game.eval()
    try:
        with torch.no_grad():
            latents = torch.stack([game.draw(noise.generator("sample", i)) for i in range(2)]).to(
                device
            )
            samples = game.render(latents, *(field.to(device) for field in given))
    except NotImplementedError:
        raise UserError(
            f"{said}: its class lacks `draw` or `render`; write them, or say renders = False."
        ) from None
    finally:
        game.train(training)
    if not isinstance(samples, Tensor) or tuple(samples.shape) != (2, *spec.shape):
        wanted = ", ".join(map(str, spec.shape))
        raise UserError(
            f"{said}: `render` gives {describe(samples)} for 2 rows; a sample of this data is of "
            f"({wanted})."
        )


def turns(play: Play, game: Game, said: str) -> Play:
    """The function that computes the terms of a turn, with its results checked, and what the game
    has remembered."""
    shapes = {name: buffer.shape for name, buffer in game.named_buffers()}
    kept = _containers(game)

    def played(turn: Turn, batch: Fields) -> Terms:
        terms = play(turn, batch)
        if wrong := _lost_state(game, shapes, kept):
            raise UserError(f"{said}: {wrong}")
        who = f"the turn `{turn.player.name}`"
        if wrong := _wrong_terms(terms, who):
            raise UserError(f"{said}: {wrong}")
        learns = turn.player.moves and torch.is_grad_enabled()
        if learns and not any(term.requires_grad for term in terms.values()):
            moved = " ".join(turn.player.moves)
            raise UserError(
                f"{said}: {who} gives no term that depends on the weights of {moved}, "
                "which it moves."
            )
        return terms

    return played


# --- what a game remembers ------------------------------------------------------------------------

CONTAINERS = (list, dict, set, deque)


def _containers(game: Game) -> dict[str, int]:
    """The tensors in each list, dictionary and the like of a game and its modules, by the
    attribute."""
    return {
        f"{path}.{name}".lstrip("."): sum(isinstance(item, Tensor) for item in _items(value))
        for path, module in game.named_modules()
        for name, value in vars(module).items()
        if isinstance(value, CONTAINERS) and not name.startswith("_")
    }


def _items(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value


def _lost_state(
    game: Game, shapes: Mapping[str, torch.Size], kept: Mapping[str, int]
) -> str | None:
    """A sentence on what no checkpoint would bring back, or None.

    Args:
        shapes: of the buffers when the game was built.
        kept: tensors in its containers at that time.
    """
    for name, count in _containers(game).items():
        if count > kept.get(name, 0):
            return (
                f"keeps tensors in `{name}`, which no checkpoint holds, so that a resumed run "
                "would lack them; take register_buffer, or gan_cli.pools.Pool for samples."
            )
    for name, buffer in game.named_buffers():
        if name in shapes and buffer.shape != shapes[name]:
            return (
                f"its buffer {name} has changed its shape from {tuple(shapes[name])} to "
                f"{tuple(buffer.shape)}, so that no checkpoint of it could be loaded; give it its "
                "full size when it is registered, or take gan_cli.pools.Pool for samples."
            )
    return None

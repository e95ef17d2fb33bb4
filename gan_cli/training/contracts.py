"""What a plug-in's components must give, looked at where they give it: a sentence that names the
one that does not.

The package's own components are held to the same by the tests; nothing is looked at while they
play.
"""

import inspect
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from gan_cli import noise
from gan_cli.data.dataset import Dataset, Spec
from gan_cli.errors import UserError
from gan_cli.game import Fields, Game, Terms, Turn
from gan_cli.registry import PLUGINS, Registry

Play = Callable[[Turn, Fields], Terms]
FEW = 16  # samples that a metric is tried on


def is_foreign(known: Registry, name: str) -> bool:
    """Whether a component is a plug-in's."""
    return known.components[name].module in PLUGINS


def told(value: Any) -> str:
    """What something is, in a few words."""
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}" + (
            "" if value.is_floating_point() else f" of {value.dtype}"
        )
    return f"a {type(value).__name__}" if value is not None else "nothing"


def _is_number(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dim() == 0 and value.is_floating_point()


# --- methods, held to what they promise -----------------------------------------------------------


def held(component: Any, said: str, **checks: Callable[..., str | None]) -> Any:
    """The component, whose named methods are looked at after each call.

    Its class is replaced by a subclass. A check is given what a method gave and its arguments; it
    says what is wrong.
    """
    plain = type(component)
    methods = {
        name: _looked_at(getattr(plain, name), check, said, name) for name, check in checks.items()
    }
    component.__class__ = type(
        plain.__name__, (plain,), {"__module__": plain.__module__, **methods}
    )
    return component


def _looked_at(
    method: Callable[..., Any], check: Callable[..., str | None], said: str, name: str
) -> Callable:
    @wraps(method)
    def call(self: Any, *arguments: Any, **named: Any) -> Any:
        try:
            result = method(self, *arguments, **named)
        except NotImplementedError:
            raise UserError(f"{said}: its class lacks `{name}`; write it.") from None
        if wrong := check(result, *arguments):
            raise UserError(f"{said}: {wrong}")
        return result

    return call


def _loss(side: str) -> Callable[..., str | None]:
    def check(result: Any, *_: Any) -> str | None:
        if _is_number(result):
            return None
        return (
            f"its `{side}` gives {told(result)}; it must give one number, such as the mean "
            "over the samples."
        )

    return check


def loss(component: Any, name: str) -> Any:
    """A loss, whose two sides must be scalars."""
    if not all(hasattr(component, side) for side in ("discriminator", "generator")):
        raise UserError(
            f"loss={name}: its class lacks `discriminator` or `generator`; derive it from Loss."
        )
    return held(
        component,
        f"loss={name}",
        discriminator=_loss("discriminator"),
        generator=_loss("generator"),
    )


def regularizer(component: Any, name: str) -> Any:
    """A regularizer, which must give named scalars."""
    return held(
        component, f"regularizer={name}", __call__=lambda result, *_: _wrong_terms(result, "it")
    )


def augmentation(component: Any, name: str) -> Any:
    """An augmentation, which must keep the shape of a batch."""

    def check(result: Any, x: Tensor, *_: Any) -> str | None:
        if isinstance(result, Tensor) and result.shape == x.shape and result.is_floating_point():
            return None
        return f"it makes {told(result)} of {told(x)}; the shape must stay."

    return held(component, f"augmentation={name}", forward=check)


def _wrong_terms(terms: Any, who: str) -> str | None:
    if not isinstance(terms, Mapping):
        return (
            f"{who} gives {told(terms)}; it must give terms by name, such as "
            f'{{"penalty": penalty.mean()}}.'
        )
    for key, term in terms.items():
        if not isinstance(key, str):
            return f"{who} gives a term under {key!r}; its name must be a text."
        if not _is_number(term):
            return (
                f"{who} gives {told(term)} as `{key}`; each term must be one number, such as a "
                "mean over the samples."
            )
    return None


def metric(component: Any, name: str, dataset: Dataset) -> Any:
    """A metric, which must give numbers by name, those it announces among them; it is tried on a
    few samples."""
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
                f"it gives {told(scores)}; it must give numbers by name, such as "
                f'{{"{cls.objective}": 0.5}}.'
            )
        for key, value in scores.items():
            if not isinstance(value, int | float) or isinstance(value, bool):
                return (
                    f"it gives {told(value)} as `{key}`; it must be a number, such as value.item()."
                )
        absent = [key for key in cls.objectives if key not in scores]
        return f"it gives no `{absent[0]}`, which it names as an objective." if absent else None

    held(component, f"metrics={name}", __call__=check)
    few = dataset.sample(dataset.heldout, FEW)
    try:
        component(few["x"].cpu(), few["y"].cpu() if "y" in few else None)
    except UserError:
        raise
    except Exception:
        # it may want more samples than these; how it fares with enough is seen when it is asked
        return component
    return component


# --- what is built --------------------------------------------------------------------------------


def optimizer(component: Any, name: str) -> Optimizer:
    """An optimizer that a turn can step: from the gradients that are there, at a learning rate."""
    if not isinstance(component, Optimizer):
        raise UserError(
            f"optimizer={name}: gives {told(component)}; it must give a torch.optim.Optimizer."
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
    """Let each output of a network be looked at: a score or `outputs` numbers a sample, or a
    sample.

    Args:
        offered: what it was built for.
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
                f"{said}: gives {told(output)} for {rows} samples; it must be of shape {wanted}."
            )

    component.register_forward_hook(look)


def rendered(game: Game, spec: Spec, said: str) -> None:
    """What a game renders must have the data's shape."""
    if not game.renders:
        return
    device, training = next(game.parameters()).device, game.training
    game.eval()
    try:
        with torch.no_grad():
            latents = torch.stack([game.draw(noise.generator("sample", i)) for i in range(2)]).to(
                device
            )
            samples = game.render(latents)
    except NotImplementedError:
        raise UserError(
            f"{said}: its class lacks `draw` or `render`; write them, or say renders = False."
        ) from None
    finally:
        game.train(training)
    if not isinstance(samples, Tensor) or tuple(samples.shape) != (2, *spec.shape):
        wanted = ", ".join(map(str, spec.shape))
        raise UserError(
            f"{said}: `render` gives {told(samples)} for 2 rows; a sample of this data is of "
            f"({wanted})."
        )


def turns(play: Play, said: str) -> Play:
    """A game's play, whose terms are looked at."""

    def played(turn: Turn, batch: Fields) -> Terms:
        terms = play(turn, batch)
        who = f"the turn `{turn.player.name}`"
        if wrong := _wrong_terms(terms, who):
            raise UserError(f"{said}: {wrong}")
        if not any(term.requires_grad for term in terms.values()):
            moved = " ".join(turn.player.moves)
            raise UserError(
                f"{said}: {who} gives no term that depends on the weights of {moved}, "
                "which it moves."
            )
        return terms

    return played

"""Figures that explain a run: each is a small function that any run can call, by `figures=[name,
...]`.

A figure takes the trainer, the data and the rows logged so far, and draws on a matplotlib Figure.
It is written as a PNG below `figures/` and logged to TensorBoard, every `sample_every` rounds and
at the end.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from gan_cli import noise, pictures
from gan_cli.data.dataset import Dataset, Spec
from gan_cli.errors import UserError
from gan_cli.networks.layers import WEIGHTED
from gan_cli.registry import figures
from gan_cli.training.rendering import at_rest, fixed_latents
from gan_cli.training.trainer import Trainer

Rows = Sequence[Mapping[str, float]]
SEEN = 256  # samples that a figure looks at
SMALLEST = 1e-45  # a gradient that has vanished altogether is drawn here


@figures.register("level_sets")
def level_sets(trainer: Trainer, dataset: Dataset, rows: Rows) -> Figure:
    """The critic's level sets over the plane, with held-out points and samples.

    Reference: Gulrajani et al., 2017, arXiv 1704.00028, figure 1b.
    """
    if dataset.spec.shape != (2,):
        raise UserError(
            "figures=[level_sets]: draws the plane; it needs points of two coordinates."
        )
    device, game = next(trainer.game.parameters()).device, trainer.game
    shown = [
        (dataset.heldout["x"][:500].cpu(), "white"),
        (_fakes(trainer, dataset)[:500], "tab:orange"),
    ]
    title = f"critic after {trainer.step} rounds; held out white, samples orange"
    return pictures.level_sets(
        lambda x: game.value(x.to(device)),  # type: ignore[operator]
        dataset.spec.extent,
        shown,
        title,
    )


@figures.register("weights")
def weights(trainer: Trainer, dataset: Dataset, rows: Rows) -> Figure:
    """The critic's weights, biases aside: clipping drives them to its bounds, a penalty spreads
    them.

    Reference: Gulrajani et al., 2017, arXiv 1704.00028, figure 1a, right.
    """
    layers = [
        layer for layer in trainer.game.get_submodule("D").modules() if isinstance(layer, WEIGHTED)
    ]
    values = torch.cat([layer.weight.detach().flatten().cpu() for layer in layers]).numpy()
    figure = Figure(figsize=(5, 3), dpi=100, layout="tight")
    axes = figure.add_subplot(xlabel="weight", yscale="log")
    axes.hist(values, bins=80)
    axes.locator_params(axis="x", nbins=5)
    at_bound = float((np.abs(values) > 0.99 * np.abs(values).max()).mean())
    axes.set_title(
        f"{100 * at_bound:.0f} % of the critic's weights within 1 % of the largest", fontsize=8
    )
    return figure


@figures.register("layer_gradients")
def layer_gradients(trainer: Trainer, dataset: Dataset, rows: Rows) -> Figure:
    """The norm of the gradient of the critic's score at the output of each of its layers, on a
    logarithmic scale.

    Reference: Gulrajani et al., 2017, arXiv 1704.00028, figure 1a, left: exploding and vanishing
    under clipping.
    """
    norms = gradients_by_layer(trainer, dataset.sample(dataset.train, SEEN))
    figure = Figure(figsize=(5, 3), dpi=100, layout="tight")
    axes = figure.add_subplot(xlabel="layer of the critic", ylabel="log10 of the gradient norm")
    decades = np.log10(np.maximum(norms, SMALLEST))
    axes.plot(range(1, len(norms) + 1), decades, marker="o")
    axes.set_title(f"first over last layer: {decades[0] - decades[-1]:+.1f} decades", fontsize=8)
    return figure


@figures.register("estimate")
def estimate(trainer: Trainer, dataset: Dataset, rows: Rows) -> Figure:
    """The critic's estimate on training and on held-out data over the run, and the objective beside
    it.

    Reference: Arjovsky et al., 2017, arXiv 1701.07875, figure 3; Gulrajani et al., 2017, figure 5b,
    for the gap between the two curves, which opens where the critic learns its data by heart.
    """
    train, heldout = trainer.game.estimate_tags  # type: ignore[misc]
    figure = Figure(figsize=(6, 3.5), dpi=100, layout="tight")
    axes = figure.add_subplot(xlabel="round", ylabel=str(train).rsplit("/", 1)[0])
    for tag, style in ((train, "-"), (heldout, "--")):
        if seen := _curve(str(tag), rows):
            axes.plot(*zip(*seen, strict=True), style, label=str(tag))
    for tag in [tag for tag in LOWER if any(tag in row for row in rows)][:1]:
        other = axes.twinx()
        other.plot(*zip(*_curve(tag, rows), strict=True), "o-", color="tab:green", markersize=3)
        other.set_ylabel(tag, color="tab:green")
    axes.set_yscale("symlog", linthresh=0.1)  # so that a small gap late in a run can be seen
    if axes.lines:
        axes.legend(fontsize=7)
    return figure


@figures.register("vanishing_gradient")
def vanishing_gradient(trainer: Trainer, dataset: Dataset, rows: Rows) -> Figure:
    """What each objective tells a generator that stands still, while its critics learn: gradient
    norms, log scale.

    Reference: Arjovsky and Bottou, 2017, arXiv 1701.04862, figure 2.
    """
    tags = [f"gradient/{name}" for name in ("minimax", "non_saturating", "wasserstein")]
    _must_be_logged(tags, rows, "vanishing_gradient", "model=two_critics")
    figure = Figure(figsize=(6, 3.5), dpi=100, layout="tight")
    axes = figure.add_subplot(
        xlabel="turns of the critics", ylabel="gradient norm at G", yscale="log"
    )
    for tag in tags:
        axes.plot(*zip(*_curve(tag, rows), strict=True), label=tag.split("/")[1])
    axes.legend(fontsize=7)
    return figure


@figures.register("trajectory")
def trajectory(trainer: Trainer, dataset: Dataset, rows: Rows) -> Figure:
    """The path of the first weight of the generator and the first of the discriminator, where these
    are tiny.

    Reference: Mescheder et al., 2018, arXiv 1801.04406, figure 2.
    """
    logged = [tag for tag in rows[-1] if tag.startswith("weights/")]
    pair = [
        next((tag for tag in logged if tag.startswith(f"weights/{name}.")), f"weights/{name}")
        for name in "GD"
    ]
    _must_be_logged(pair, rows, "trajectory", "network=affine")
    path = np.array([[row[tag] for tag in pair] for row in rows if pair[0] in row])
    figure = Figure(figsize=(4, 4), dpi=100, layout="tight")
    axes = figure.add_subplot(xlabel=pair[0].split("/")[1], ylabel=pair[1].split("/")[1])
    axes.plot(path[:, 0], path[:, 1], linewidth=0.8)
    axes.plot(*path[0], "o", *path[-1], "s")
    axes.axhline(0, color="0.8", linewidth=0.5)
    axes.axvline(0, color="0.8", linewidth=0.5)
    axes.set_title(f"{len(path)} rounds, from the dot to the square", fontsize=8)
    return figure


@figures.register("two_gaussians")
def two_gaussians(trainer: Trainer, dataset: Dataset, rows: Rows) -> Figure:
    """On the line: the discriminator of 2014 and a Wasserstein critic over real and fake samples,
    and their slopes.

    Reference: Arjovsky et al., 2017, arXiv 1701.07875, figure 2.
    """
    if dataset.spec.shape != (1,) or "J" not in trainer.game.roles:
        raise UserError(
            "figures=[two_gaussians]: needs model=two_critics and points of one coordinate."
        )
    real, fake = dataset.sample_x(dataset.heldout, 500).cpu(), _fakes(trainer, dataset)
    low, high = (float(pick(torch.cat([real, fake]))) for pick in (torch.min, torch.max))
    x = torch.linspace(low - 1, high + 1, 400).unsqueeze(1).requires_grad_()
    curves = {
        "discriminator": trainer.game.get_submodule("J")(x.to(dataset.train["x"].device))
        .cpu()
        .sigmoid(),
        "critic": trainer.game.value(  # type: ignore[operator]
            x.to(dataset.train["x"].device)
        ).cpu(),
    }
    figure = Figure(figsize=(6, 5), dpi=100, layout="tight")
    above = figure.add_subplot(2, 1, 1, ylabel="discriminator, densities")
    below = figure.add_subplot(2, 1, 2, xlabel="x", ylabel="|slope|", yscale="log", sharex=above)
    for values, colour, label in ((real, "0.6", "real"), (fake, "tab:orange", "fake")):
        above.hist(values.flatten().numpy(), bins=60, density=True, histtype="stepfilled",
        alpha=0.4, color=colour,
                   label=label)  # fmt: skip
    sides = {"discriminator": above, "critic": above.twinx()}
    sides["critic"].set_ylabel("critic")
    for (name, curve), colour in zip(curves.items(), ("tab:red", "tab:cyan"), strict=True):
        (slope,) = torch.autograd.grad(curve.sum(), x)
        sides[name].plot(x.detach(), curve.detach(), color=colour, label=name)
        below.plot(x.detach(), slope.abs().clamp_min(SMALLEST), color=colour, label=name)
    above.legend(fontsize=7, loc="center left")
    below.legend(fontsize=7)
    below.set_ylim(bottom=1e-8)
    return figure


@figures.register("pairs")
def pairs(trainer: Trainer, dataset: Dataset, rows: Rows) -> Figure:
    """What two coupled generators make of the same z, one above the other.

    Reference: Liu and Tuzel, 2016, arXiv 1606.07536, figure 2.
    """
    if "G_b" not in trainer.game.roles:
        raise UserError("figures=[pairs]: needs model=cogan.")
    noise.begin_turn("figure")
    with torch.no_grad():
        made = [images.cpu() for images in trainer.game.pairs(trainer.game.prior(20))]  # type: ignore[operator]
    return _strip(made, dataset.spec)


@figures.register("reconstructions")
def reconstructions(trainer: Trainer, dataset: Dataset, rows: Rows) -> Figure:
    """Held-out samples, above what comes back of each by way of its code."""
    if not trainer.game.encodes:
        raise UserError(
            "figures=[reconstructions]: needs a model with an encoder, such as model=bigan or "
            "model=aae."
        )
    batch = dataset.sample(dataset.heldout, 20)
    with torch.no_grad():
        again = trainer.eval_game.reconstruct(
            batch["x"], *(batch[name] for name in trainer.game.condition)
        )
    return _strip([batch["x"].cpu(), again.cpu()], dataset.spec)


@figures.register("style_mixing")
def style_mixing(trainer: Trainer, dataset: Dataset, rows: Rows) -> Figure:
    """Eight samples along the edges; inside, the coarsest scale of the one above with all the finer
    ones of that at the left.

    Reference: Karras et al., 2019, arXiv 1812.04948, figure 3.
    """
    game: Any = trainer.eval_game
    if not hasattr(game, "mixed"):
        raise UserError("figures=[style_mixing]: needs a generator of styles; take model=stylegan.")
    latents = fixed_latents(game, 8).to(next(game.parameters()).device)
    with torch.no_grad(), at_rest(game):
        edge = game.render(latents).cpu()
        inside = game.mixed(latents, coarse=2).cpu().unflatten(0, (8, 8))
    lines = [
        torch.cat([torch.ones_like(edge[:1]), edge]),
        *(torch.cat([edge[i, None], inside[i]]) for i in range(8)),
    ]
    return _strip(lines, dataset.spec)


@figures.register("latent_space")
def latent_space(trainer: Trainer, dataset: Dataset, rows: Rows) -> Figure:
    """The first two numbers of the codes of held-out samples, in the colours of their classes, over
    the prior.

    Reference: Makhzani et al., 2016, arXiv 1511.05644, figure 2.
    """
    if not trainer.game.encodes:
        raise UserError(
            "figures=[latent_space]: needs a model with an encoder, such as model=bigan or "
            "model=aae."
        )
    batch = dataset.sample(dataset.heldout, 2000)
    noise.begin_turn("figure")
    with torch.no_grad():
        codes, z = trainer.eval_game.encode(batch["x"]).cpu(), trainer.game.prior(2000).cpu()  # type: ignore[operator]
    figure = Figure(figsize=(5, 5), dpi=100, layout="tight")
    axes = figure.add_subplot(aspect="equal")
    axes.scatter(z[:, 0], z[:, 1], s=3, c="0.85", linewidths=0)
    axes.scatter(
        codes[:, 0],
        codes[:, 1],
        s=5,
        c=batch["y"].cpu() if "y" in batch else None,
        cmap="tab10",
        linewidths=0,
    )
    axes.set_title("codes of held-out samples over the prior (grey)", fontsize=8)
    return figure


def _strip(made: Sequence[Tensor], spec: Spec) -> Figure:
    """Rows of images, one above the other."""
    images = torch.stack(list(made), dim=1).flatten(0, 1)  # of each column, top to bottom
    columns = len(made[0])
    ordered = images.view(columns, len(made), *spec.shape).transpose(0, 1).flatten(0, 1)
    figure = Figure(figsize=(columns * 0.5, len(made) * 0.55), dpi=100, layout="tight")
    axes = figure.add_subplot(xticks=[], yticks=[])
    axes.imshow(pictures.picture(ordered, spec, columns=columns))
    return figure


def _curve(tag: str, rows: Rows) -> list[tuple[float, float]]:
    return [(row["step"], row[tag]) for row in rows if tag in row]


def _must_be_logged(tags: Sequence[str], rows: Rows, figure: str, remedy: str) -> None:
    missing = [tag for tag in tags if not any(tag in row for row in rows)]
    if missing:
        raise UserError(
            f"figures=[{figure}]: nothing is logged as {missing[0]}; take {remedy}, and log_every "
            "above 0."
        )


LOWER = (
    "metrics/w1",
    "metrics/frechet_classifier_distance",
    "metrics/sliced_wasserstein",
    "metrics/js_4",
)
"""Scores that fall as samples improve."""


def gradients_by_layer(trainer: Trainer, batch: Mapping[str, Tensor]) -> list[float]:
    """For each linear or convolutional layer of D from the first on, |d mean D(x) / d its
    output|."""
    outputs: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
        outputs.append(output)

    D = trainer.game.get_submodule("D")
    hooks = [
        layer.register_forward_hook(keep) for layer in D.modules() if isinstance(layer, WEIGHTED)
    ]
    learns = [weight.requires_grad for weight in D.parameters()]
    try:
        with torch.enable_grad():
            D.requires_grad_(True)
            given = [batch[name] for name in trainer.game.condition]
            score = trainer.game.value(batch["x"], *given).mean()  # type: ignore[operator]
        gradients = torch.autograd.grad(score, outputs)
    finally:
        for hook in hooks:
            hook.remove()
        for weight, learnt in zip(D.parameters(), learns, strict=True):
            weight.requires_grad_(learnt)
    return [float(gradient.norm()) for gradient in gradients]


@torch.no_grad()
def _fakes(trainer: Trainer, dataset: Dataset) -> Tensor:
    noise.begin_turn("figure")
    batch = dataset.sample(dataset.train, 500)
    given = [batch[name] for name in trainer.game.condition]
    return trainer.game.sample_fakes(batch["x"], *given).cpu()  # type: ignore[operator]

"""Figures that explain a run, drawn by `figures=[name, ...]`.

A figure is a function of the trainer, the data and the rows logged so far; it returns a matplotlib
Figure. Each one is written as a PNG below `figures/` and logged to TensorBoard, every
`sample_every` rounds and at the end. A figure that does not fit the run raises UserError.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor, nn

from gan_cli import noise, pictures
from gan_cli.data.dataset import Dataset, Spec
from gan_cli.data.kinds import kind_of
from gan_cli.errors import UserError
from gan_cli.games.two_player import TwoPlayer
from gan_cli.networks.layers import WEIGHTED
from gan_cli.registry import figures
from gan_cli.training.rendering import at_rest, fixed_latents
from gan_cli.training.trainer import Trainer

if TYPE_CHECKING:
    from gan_cli.games.cogan import CoGAN
    from gan_cli.games.style import Style

Rows = Sequence[Mapping[str, float]]
SAMPLES = 500  # real and fake samples each, drawn as points or a histogram
GRADIENT_SAMPLES = 256  # whose mean score by the critic is differentiated
LATENT_SAMPLES = 2000  # codes in a scatter plot
IMAGE_COLUMNS = 20  # images in a row
STYLES = 8  # samples along each edge of the grid of mixed styles
MIN_GRADIENT = 1e-45  # drawn in place of a gradient of exactly 0, on logarithmic axes
SCORE_TAGS = (
    "metrics/w1",
    "metrics/frechet_classifier_distance",
    "metrics/sliced_wasserstein",
    "metrics/js_4",
)
"""Scores to draw beside the estimate, the preferred one first; lower is better."""


def _two_player(trainer: Trainer) -> TwoPlayer:
    """The game with the type of one with a critic; a figure calls only methods of its game."""
    return cast(TwoPlayer, trainer.game)


@figures.register("level_sets")
def level_sets(trainer: Trainer, dataset: Dataset, rows: Rows) -> Figure:
    """The critic's level sets over the plane, with held-out points and samples.

    Reference: Gulrajani et al., 2017, arXiv 1704.00028, figure 1b.
    """
    if dataset.spec.shape != (2,):
        raise UserError(
            "figures=[level_sets]: draws the plane; it needs points of two coordinates."
        )

    game = _two_player(trainer)
    device = next(game.parameters()).device
    points = [
        (dataset.heldout["x"][:SAMPLES].cpu(), "white"),
        (_fake_samples(trainer, dataset), "tab:orange"),
    ]
    title = f"critic after {trainer.step} rounds; held out white, samples orange"
    return pictures.level_sets(
        lambda x: game.value(x.to(device)),
        dataset.spec.extent,
        points,
        title,
    )


@figures.register("weights")
def weights(trainer: Trainer, dataset: Dataset, rows: Rows) -> Figure:
    """Histogram of the critic's weights, without biases, logarithmic.

    Clipping drives them to its bounds; a gradient penalty spreads them.

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

    near_largest = float((np.abs(values) > 0.99 * np.abs(values).max()).mean())
    axes.set_title(
        f"{100 * near_largest:.0f} % of the critic's weights within 1 % of the largest", fontsize=8
    )
    return figure


@figures.register("layer_gradients")
def layer_gradients(trainer: Trainer, dataset: Dataset, rows: Rows) -> Figure:
    """Gradient norm of the critic's score at the output of each of its layers, logarithmic.

    Reference: Gulrajani et al., 2017, arXiv 1704.00028, figure 1a, left: the gradients explode or
    vanish under clipping.
    """
    norms = gradients_by_layer(trainer, dataset.sample(dataset.train, GRADIENT_SAMPLES))
    decades = np.log10(np.maximum(norms, MIN_GRADIENT))

    figure = Figure(figsize=(5, 3), dpi=100, layout="tight")
    axes = figure.add_subplot(xlabel="layer of the critic", ylabel="log10 of the gradient norm")
    axes.plot(range(1, len(norms) + 1), decades, marker="o")
    axes.set_title(f"first over last layer: {decades[0] - decades[-1]:+.1f} decades", fontsize=8)
    return figure


@figures.register("estimate")
def estimate(trainer: Trainer, dataset: Dataset, rows: Rows) -> Figure:
    """The critic's estimate on training and held-out data over the run, beside a score.

    Reference: Arjovsky et al., 2017, arXiv 1701.07875, figure 3; Gulrajani et al., 2017, arXiv
    1704.00028, figure 5b, for the gap between the two curves, which opens when the critic overfits.
    """
    train, heldout = _two_player(trainer).estimate_tags
    figure = Figure(figsize=(6, 3.5), dpi=100, layout="tight")
    axes = figure.add_subplot(xlabel="round", ylabel=train.rsplit("/", 1)[0])
    for tag, style in ((train, "-"), (heldout, "--")):
        if curve := _curve(tag, rows):
            axes.plot(*zip(*curve, strict=True), style, label=tag)

    score = next((tag for tag in SCORE_TAGS if _curve(tag, rows)), None)
    if score:
        right = axes.twinx()
        right.plot(*zip(*_curve(score, rows), strict=True), "o-", color="tab:green", markersize=3)
        right.set_ylabel(score, color="tab:green")

    axes.set_yscale("symlog", linthresh=0.1)  # a small gap late in a run stays visible
    if axes.lines:
        axes.legend(fontsize=7)
    return figure


@figures.register("vanishing_gradient")
def vanishing_gradient(trainer: Trainer, dataset: Dataset, rows: Rows) -> Figure:
    """Gradient norms of three objectives at a fixed generator while its critics learn, logarithmic.

    Reference: Arjovsky and Bottou, 2017, arXiv 1701.04862, figure 2.
    """
    tags = [f"gradient/{name}" for name in ("minimax", "non_saturating", "wasserstein")]
    _refuse_missing_tags(tags, rows, "vanishing_gradient", "model=two_critics")

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
    """Path of the weights of a tiny game: one of the discriminator over one of the generator.

    Reference: Mescheder et al., 2018, arXiv 1801.04406, figure 2.
    """
    logged = [tag for tag in rows[-1] if tag.startswith("weights/")]
    pair = [
        next((tag for tag in logged if tag.startswith(f"weights/{name}.")), f"weights/{name}")
        for name in "GD"
    ]
    _refuse_missing_tags(pair, rows, "trajectory", "network=affine")
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
    """Discriminator and Wasserstein critic of 1-D samples, and the slopes of both, logarithmic.

    Reference: Arjovsky et al., 2017, arXiv 1701.07875, figure 2.
    """
    if dataset.spec.shape != (1,) or "J" not in trainer.game.roles:
        raise UserError(
            "figures=[two_gaussians]: needs model=two_critics and points of one coordinate."
        )

    real = dataset.sample_x(dataset.heldout, SAMPLES).cpu()
    fake = _fake_samples(trainer, dataset)
    both = torch.cat([real, fake])
    x = torch.linspace(float(both.min()) - 1, float(both.max()) + 1, 400)
    x = x.unsqueeze(1).requires_grad_()
    inputs = x.to(dataset.train["x"].device)
    discriminator = trainer.game.get_submodule("J")(inputs).cpu().sigmoid()
    critic = _two_player(trainer).value(inputs).cpu()

    figure = Figure(figsize=(6, 5), dpi=100, layout="tight")
    upper = figure.add_subplot(2, 1, 1, ylabel="discriminator, densities")
    lower = figure.add_subplot(2, 1, 2, xlabel="x", ylabel="|slope|", yscale="log", sharex=upper)
    filled: dict[str, Any] = {"bins": 60, "density": True, "histtype": "stepfilled", "alpha": 0.4}
    upper.hist(real.flatten().numpy(), **filled, color="0.6", label="real")
    upper.hist(fake.flatten().numpy(), **filled, color="tab:orange", label="fake")

    right = upper.twinx()
    right.set_ylabel("critic")
    _plot_with_slope(upper, lower, x, discriminator, color="tab:red", label="discriminator")
    _plot_with_slope(right, lower, x, critic, color="tab:cyan", label="critic")

    upper.legend(fontsize=7, loc="center left")
    lower.legend(fontsize=7)
    lower.set_ylim(bottom=1e-8)
    return figure


def _plot_with_slope(upper: Axes, lower: Axes, x: Tensor, values: Tensor, **style: Any) -> None:
    """Plot a function of x, (n, 1), and below it the absolute value of its slope."""
    (slope,) = torch.autograd.grad(values.sum(), x)
    upper.plot(x.detach(), values.detach(), **style)
    lower.plot(x.detach(), slope.abs().clamp_min(MIN_GRADIENT), **style)


@figures.register("pairs")
def pairs(trainer: Trainer, dataset: Dataset, rows: Rows) -> Figure:
    """Images of two coupled generators for the same z, one above the other.

    Reference: Liu and Tuzel, 2016, arXiv 1606.07536, figure 2.
    """
    if "G_b" not in trainer.game.roles:
        raise UserError("figures=[pairs]: needs model=cogan.")

    game = cast("CoGAN", trainer.game)
    noise.begin_turn("figure")
    with torch.no_grad():
        z = game.prior(IMAGE_COLUMNS)
        images_by_generator = [images.cpu() for images in game.pairs(z)]
    return _images_in_rows(images_by_generator, dataset.spec)


@figures.register("reconstructions")
def reconstructions(trainer: Trainer, dataset: Dataset, rows: Rows) -> Figure:
    """Held-out samples, each above its reconstruction."""
    if not trainer.game.encodes:
        raise UserError(
            "figures=[reconstructions]: needs a model with an encoder, such as model=bigan or "
            "model=aae."
        )

    batch = dataset.sample(dataset.heldout, IMAGE_COLUMNS)
    condition = [batch[name] for name in trainer.game.condition]
    with torch.no_grad():
        reconstructed = trainer.eval_game.reconstruct(batch["x"], *condition)
    return _images_in_rows([batch["x"].cpu(), reconstructed.cpu()], dataset.spec)


@figures.register("style_mixing")
def style_mixing(trainer: Trainer, dataset: Dataset, rows: Rows) -> Figure:
    """Samples along two edges, and inside mixtures of their styles.

    A mixture has the coarsest scale of the sample at the top, and all finer scales of the sample at
    the left.

    Reference: Karras et al., 2019, arXiv 1812.04948, figure 3.
    """
    if not hasattr(trainer.eval_game, "mixed"):
        raise UserError("figures=[style_mixing]: needs a generator of styles; take model=stylegan.")

    game = cast("Style", trainer.eval_game)
    latents = fixed_latents(game, STYLES).to(next(game.parameters()).device)
    with torch.no_grad(), at_rest(game):
        edge = game.render(latents).cpu()
        inside = game.mixed(latents, coarse=2).cpu().unflatten(0, (STYLES, STYLES))

    white = torch.ones_like(edge[:1])
    grid = [torch.cat([white, edge])]
    grid += [torch.cat([edge[i, None], inside[i]]) for i in range(STYLES)]
    return _images_in_rows(grid, dataset.spec)


@figures.register("latent_space")
def latent_space(trainer: Trainer, dataset: Dataset, rows: Rows) -> Figure:
    """First two components of the codes of held-out samples over the prior, coloured by class.

    Reference: Makhzani et al., 2016, arXiv 1511.05644, figure 2.
    """
    if not trainer.game.encodes:
        raise UserError(
            "figures=[latent_space]: needs a model with an encoder, such as model=bigan or "
            "model=aae."
        )

    batch = dataset.sample(dataset.heldout, LATENT_SAMPLES)
    noise.begin_turn("figure")
    with torch.no_grad():
        codes = trainer.eval_game.encode(batch["x"]).cpu()
        z = _two_player(trainer).prior(LATENT_SAMPLES).cpu()

    figure = Figure(figsize=(5, 5), dpi=100, layout="tight")
    axes = figure.add_subplot(aspect="equal")
    axes.scatter(z[:, 0], z[:, 1], s=3, c="0.85", linewidths=0)
    classes = batch["y"].cpu() if "y" in batch else None
    axes.scatter(codes[:, 0], codes[:, 1], s=5, c=classes, cmap="tab10", linewidths=0)
    axes.set_title("codes of held-out samples over the prior (grey)", fontsize=8)
    return figure


def _images_in_rows(rows: Sequence[Tensor], spec: Spec) -> Figure:
    """A figure of rows of images, one above the other; images (n, *shape), the same n in each."""
    columns = len(rows[0])
    figure = Figure(figsize=(columns * 0.5, len(rows) * 0.55), dpi=100, layout="tight")
    axes = figure.add_subplot(xticks=[], yticks=[])
    axes.imshow(kind_of(spec).picture(torch.cat(list(rows)), spec, columns=columns))
    return figure


def _curve(tag: str, rows: Rows) -> list[tuple[float, float]]:
    """Step and value of each row that has a tag."""
    return [(row["step"], row[tag]) for row in rows if tag in row]


def _refuse_missing_tags(tags: Sequence[str], rows: Rows, figure: str, remedy: str) -> None:
    """Raise UserError if one of the tags is in no row."""
    missing = [tag for tag in tags if not any(tag in row for row in rows)]
    if missing:
        raise UserError(
            f"figures=[{figure}]: nothing is logged as {missing[0]}; take {remedy}, and log_every "
            "above 0."
        )


def gradients_by_layer(trainer: Trainer, batch: Mapping[str, Tensor]) -> list[float]:
    """|d mean D(x) / d output| of each linear or convolutional layer of D, the first layer first.

    Args:
        batch: x, (n, *shape), and the fields of the game's condition.
    """
    outputs: list[Tensor] = []

    def append(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
        outputs.append(output)

    D = trainer.game.get_submodule("D")
    hooks = [
        layer.register_forward_hook(append) for layer in D.modules() if isinstance(layer, WEIGHTED)
    ]
    requires_grad = [weight.requires_grad for weight in D.parameters()]
    try:
        with torch.enable_grad():
            D.requires_grad_(True)
            condition = [batch[name] for name in trainer.game.condition]
            score = _two_player(trainer).value(batch["x"], *condition).mean()
        gradients = torch.autograd.grad(score, outputs)
    finally:
        for hook in hooks:
            hook.remove()
        for weight, before in zip(D.parameters(), requires_grad, strict=True):
            weight.requires_grad_(before)
    return [float(gradient.norm()) for gradient in gradients]


@torch.no_grad()
def _fake_samples(trainer: Trainer, dataset: Dataset) -> Tensor:
    """Fake samples, (n, *shape), on the CPU, always from the same random numbers."""
    noise.begin_turn("figure")
    batch = dataset.sample(dataset.train, SAMPLES)
    condition = [batch[name] for name in trainer.game.condition]
    return _two_player(trainer).sample_fakes(batch["x"], *condition).cpu()

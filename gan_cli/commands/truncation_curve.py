"""Scores over truncations of the latents: quality against variety, of `gan-evaluate`."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gan_cli.errors import UserError
from gan_cli.files import csv_text, write_bytes, write_text
from gan_cli.sampling.generator import Generator, Statistics, estimate_statistics, shown
from gan_cli.sampling.output import file_to_write

PAIRS = (
    ("recall", "precision"),
    ("intra_class_diversity", "frechet_classifier_distance"),
)
"""Variety and quality, as a picture shows one over the other."""
FEWEST = 3  # truncations of a rank correlation
SUFFIXES = (".png", ".svg")


def thresholds(typed: Any) -> list[float]:
    """The typed truncations in ascending order, one or several; empty for None.

    Raises:
        UserError: something else than numbers from 0 up, or one of them twice.
    """
    if typed is None:
        return []
    values = typed if isinstance(typed, list) else [typed]
    try:
        numbers = sorted(float(value) for value in values)
    except (TypeError, ValueError):
        numbers = []
    if not numbers or not all(math.isfinite(number) and number >= 0 for number in numbers):
        raise UserError(
            f"truncation={shown(typed)}: expected a number from 0 up, or several, such as "
            "[0.25,0.5,1,2]."
        )
    if len(set(numbers)) < len(numbers):
        raise UserError(f"truncation={shown(typed)}: has one number twice; leave it out.")
    return numbers


def output_of(typed: str | None) -> Path:
    """The path of the picture of several truncations."""
    return file_to_write(typed or f"truncation{SUFFIXES[0]}", SUFFIXES, "gan-evaluate")


def refuse_walks(metrics: Mapping[str, Any], typed: Any) -> None:
    """Raise UserError for a metric that looks at the whole latent space.

    Args:
        typed: the truncation, for the message.
    """
    from gan_cli.metrics.scoring import WalkScoring

    for name, metric in metrics.items():
        if isinstance(metric, WalkScoring):
            raise UserError(
                f"truncation={shown(typed)}: {name} walks through the whole latent space; leave it "
                "out of metrics, or the truncation."
            )


def scores_at(
    bounds: Sequence[float],
    evaluate: Callable[[float | None], dict[str, Any]],
    generator: Generator,
    typed: Any,
    statistics: Statistics,
) -> dict[str, Any]:
    """The scores of a generator at truncations, and their provenance.

    Scores are lists, one value for each truncation, if several were typed.

    Args:
        bounds: the truncations; empty to leave latents as they are.
        evaluate: the scores and their provenance at a truncation.
        typed: the truncation as it was typed, a list for several.
        statistics: whether those of batch norm are saved ones, or recomputed at each truncation.

    Raises:
        UserError: the model draws nothing that could be truncated.
    """
    if bounds and not generator.game.columns():
        raise UserError(
            f"truncation={shown(typed)}: the checkpoint's model draws no latents; leave it out."
        )
    results = []
    for bound in bounds or (None,):
        if statistics is Statistics.batch:
            estimate_statistics(generator, truncation=bound)
        results.append(evaluate(bound))
    if not isinstance(typed, list):
        return {**({"truncation": bounds[0]} if bounds else {}), **results[0]}
    scores = {name: [result["scores"][name] for result in results] for name in results[0]["scores"]}
    return {"truncation": list(bounds), **results[0], "scores": scores}


def written(result: Mapping[str, Any], bounds: Sequence[float], output: Path) -> dict[str, Any]:
    """Write the scores as a table and as a picture.

    Returns:
        What to add to the result: the paths, and how each score goes with the truncation.
    """
    from gan_cli.reports.charts import draw_pairs, encode_figure

    scores = result["scores"]
    table = output.with_suffix(".csv")
    rows = zip(bounds, *scores.values(), strict=True)
    write_text(table, csv_text([["truncation", *scores], *rows]))

    pairs = [pair for pair in PAIRS if set(pair) <= scores.keys()]
    pairs = pairs or [("truncation", name) for name in list(scores)[:1]]
    drawn = draw_pairs(pairs, {"truncation": bounds, **scores}, [f"{bound:g}" for bound in bounds])
    write_bytes(output, encode_figure(drawn, output.suffix.lower()[1:]))
    return {"spearman": _ranks(scores, bounds), "table": str(table), "picture": str(output)}


def _ranks(scores: Mapping[str, Sequence[float]], bounds: Sequence[float]) -> dict[str, float]:
    """Spearman's rank correlation of each score with the truncation; without constant scores."""
    from scipy.stats import spearmanr

    return {
        name: float(spearmanr(bounds, values).statistic)
        for name, values in scores.items()
        if len(bounds) >= FEWEST and len(set(values)) > 1 and all(map(math.isfinite, values))
    }

"""`gan-dissect`: what the units of a generator stand for, and samples without them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

from gan_cli.commands.dotted import settings_of
from gan_cli.errors import UserError, closest
from gan_cli.runs.places import expanded
from gan_cli.sampling.generator import Generator, Weights
from gan_cli.sampling.keys import checkpoint_key, direction_key, plugins_key, weights_key

if TYPE_CHECKING:
    from torch import Tensor

    from gan_cli.data.dataset import Dataset
    from gan_cli.metrics.concepts import Concepts
    from gan_cli.sampling.dissection import Agreement, Effects, Outcome, Realism
    from gan_cli.sampling.interventions import Intervention
    from gan_cli.sampling.units import Layer

ALL = "all"
LIST = "list"
FOUND = 0.05  # IoU from which a concept counts as found, as in the paper
CONTROLS = 5  # sets of random units beside each set of a concept
TRIALS = 300  # samples behind the effects of single units, at most
FEWEST = 100  # samples of a layer: fewer make thresholds of noise
SHARE = 8  # a set is one in so many units, if `top` is not given
LISTED = 12  # units that are printed of a set
PATCH = 0.5  # side of the square in the middle in which units are switched on, of the image's


class Source(Enum):
    """Where concepts come from."""

    auto = "auto"  # masks if the data have some
    masks = "masks"  # a segmenter trained on the data's masks
    colours = "colours"  # colours with names


class Order(Enum):
    """How the units of a concept are ranked."""

    effect = "effect"  # share of the concept's area that vanishes without the unit
    iou = "iou"  # agreement with the concept


@dataclass
class DissectConfig:
    """The keys of `gan-dissect`."""

    checkpoint: str = checkpoint_key()
    layer: str | None = field(
        default=None,
        metadata={
            "help": "the SIDE of its maps, its NAME, or list, which only lists them; a middle one "
            "if not given"
        },
    )
    concepts: Source = field(
        default=Source.auto,
        metadata={
            "help": "masks (a segmenter trained on those of the data), colours (with names), or "
            "auto: masks if the data have some"
        },
    )
    n: int = field(default=1000, metadata={"least": FEWEST, "help": "samples that are dissected"})
    quantile: float | None = field(
        default=0.01,
        metadata={
            "help": "share of the pixels at which a unit counts as on; null: the best of several "
            "for each unit and concept"
        },
    )
    ablate: str | None = field(
        default=None,
        metadata={
            "help": "a CONCEPT whose units are switched off, all (those that were found), or "
            "artefacts"
        },
    )
    insert: str | None = field(
        default=None,
        metadata={"help": "a CONCEPT whose units are switched on in the middle of samples, or all"},
    )
    top: int | None = field(
        default=None,
        metadata={"least": 1, "help": "units of a concept; one in eight of the layer if not given"},
    )
    by: Order = field(
        default=Order.effect,
        metadata={"help": "order of a concept's units: effect (of switching each off) or iou"},
    )
    output: str | None = field(
        default=None,
        metadata={"help": "FOLDER to write; dissection/LAYER of the run if not given"},
    )
    direction: str | None = direction_key()
    weights: Weights = weights_key()
    plugins: list[str] = plugins_key()


@dataclass(frozen=True)
class Dissection:
    """A layer with all that was found out about its units.

    Args:
        ranked: units by concept, those first that matter most.
    """

    generator: Generator
    layer: "Layer"
    concepts: "Concepts"
    realism: "Realism"
    agreed: "Agreement"
    effect: "Effects"
    levels: "Tensor"
    ranked: dict[str, tuple[int, ...]]

    def found(self) -> list[str]:
        """Concepts that some unit matches."""
        most = self.agreed.iou.max(dim=0).values.tolist()
        pairs = zip(self.concepts.names, most, strict=True)
        return [name for name, iou in pairs if iou >= FOUND]


def run(config: DissectConfig, changed: Sequence[str] = ()) -> None:
    """Dissect a layer, write and print what was found, and switch units off or on.

    Args:
        changed: typed `data.KEY=VALUE`, options of the data that differ from the checkpoint's.
    """
    _check(config)
    generator = Generator(config.checkpoint, config.weights.value, config.plugins, config.direction)

    from gan_cli.sampling.units import layer_of, layers_of

    layers = layers_of(generator)
    layer = layer_of(generator, None if config.layer == LIST else config.layer)
    for item in layers:
        print(f"{'*' if item == layer else ' '} {item}")
    if config.layer == LIST:
        return

    folder = _folder(config, generator, layer)
    found = _dissect(config, generator, layer, changed, folder)
    _print_concepts(found)
    for key, typed in (("ablate", config.ablate), ("insert", config.insert)):
        if typed is not None:
            _intervene(config, found, key, typed, folder)
    print(folder)


def _check(config: DissectConfig) -> None:
    """Raise UserError for a value that cannot be."""
    if config.quantile is not None and not 0 < config.quantile < 1:
        raise UserError(f"quantile={config.quantile}: expected a share between 0 and 1.")


def _folder(config: DissectConfig, generator: Generator, layer: "Layer") -> Path:
    """The folder to write. Raises UserError if it is a file."""
    from gan_cli.sampling.dissection_files import folder_of

    if config.output is None:
        return folder_of(generator.path) / layer.name
    output = expanded(config.output)
    if not config.output or (output.exists() and not output.is_dir()):
        raise UserError(f"output={config.output}: is no folder; name a folder.")
    return output


def _dissect(
    config: DissectConfig,
    generator: Generator,
    layer: "Layer",
    changed: Sequence[str],
    folder: Path,
) -> Dissection:
    """Dissect the layer, and write tables and the picture."""
    generator.refuse_more_than_fits(config.n, f"n={config.n}")

    from gan_cli.sampling import dissection, dissection_files
    from gan_cli.sampling.units import read_maps

    dataset, concepts = _concepts(config, generator, settings_of(changed).get("data", {}))
    for key, typed in (("ablate", config.ablate), ("insert", config.insert)):
        _refuse_unknown(key, typed, concepts)
    samples, maps = read_maps(generator, layer, generator.drawn(range(config.n)))
    masks = concepts.masks(samples)
    agreed = dissection.agreement(maps, masks, config.quantile)

    # other samples than those of the agreement
    trials = generator.drawn(range(config.n, config.n + min(config.n, TRIALS)))
    realism = dissection.realism_of(generator, dataset)
    effect = dissection.effects(generator, layer, trials, concepts, realism)
    table = effect.fall if config.by is Order.effect else agreed.iou
    ranked = {
        name: tuple(table[:, i].argsort(descending=True, stable=True).tolist())
        for i, name in enumerate(concepts.names)
    }
    if len(worst := effect.artefacts()):
        ranked[dissection_files.ARTEFACTS] = tuple(worst.tolist())

    dissection_files.write_units(folder, concepts, agreed, effect)
    dissection_files.write_concepts(folder, concepts, agreed, ranked)
    picture = folder / dissection_files.PICTURE
    dissection_files.write_picture(picture, concepts, agreed, samples, maps)
    levels = dissection.on_levels(maps, config.quantile or 0.01)
    found = Dissection(generator, layer, concepts, realism, agreed, effect, levels, ranked)
    kept = {
        name: ranked[name]
        for name in (*found.found(), dissection_files.ARTEFACTS)
        if name in ranked
    }
    dissection_files.write_card(folder, generator, layer, kept)
    return found


def _concepts(
    config: DissectConfig, generator: Generator, changes: Mapping[str, object]
) -> tuple["Dataset | None", "Concepts"]:
    """The data, if they are needed, and the concepts to look for.

    Raises:
        UserError: the data are not there, or have no masks.
    """
    from gan_cli.metrics.concepts import colours_of, learnt_from
    from gan_cli.runs.restore import own_or_other_data

    if config.concepts is Source.colours and not changes:
        return None, colours_of(generator.spec.shape)
    try:
        dataset = own_or_other_data(generator.config, generator.data, None, changes)
    except (UserError, OSError) as error:
        raise UserError(
            f"{str(error).removesuffix('.')}; or add concepts=colours, which needs no data."
        ) from None
    dataset = dataset.seen_as(generator.game.sampling.output)
    if config.concepts is Source.masks or (config.concepts is Source.auto and dataset.concepts):
        return dataset, learnt_from(dataset)
    return dataset, colours_of(generator.spec.shape)


def _refuse_unknown(key: str, typed: str | None, concepts: "Concepts") -> None:
    """Raise UserError for a concept that is not looked for."""
    from gan_cli.sampling.dissection_files import ARTEFACTS

    known = [*concepts.names, ALL, *([ARTEFACTS] if key == "ablate" else [])]
    if typed is not None and typed not in known:
        raise UserError(
            f"{key}={typed}: no such concept{closest(typed, known)}; expected one of "
            f"{', '.join(known)}."
        )


def _print_concepts(found: Dissection) -> None:
    """Print a line for each concept, and one for the units that make samples worse."""
    from gan_cli.sampling.dissection_files import ARTEFACTS

    print(f"\n{found.concepts.description}")
    print("concept     segmenter  area    unit  IoU    chance  units that show it best")
    for i, name in enumerate(found.concepts.names):
        iou, units = found.agreed.iou[:, i].max(dim=0)
        sure = f"{found.concepts.accuracy[i]:.3f}" if found.concepts.accuracy else ""
        mine = (found.agreed.best == i) & (found.agreed.iou[:, i] >= FOUND)
        print(
            f"{name:<12}{sure:<11}{float(found.agreed.area[i]):<8.4f}{int(units):<6}"
            f"{float(iou):<7.3f}{float(found.agreed.chance[units, i]):<8.3f}{int(mine.sum())}"
        )
    print(f"found (IoU from {FOUND:g} on): {', '.join(found.found()) or 'none'}")
    if worst := found.ranked.get(ARTEFACTS):
        print(f"samples look more real without unit {', '.join(map(str, worst[:LISTED]))}, ...")


# --- interventions --------------------------------------------------------------------------------


def _intervene(
    config: DissectConfig, found: Dissection, key: str, typed: str, folder: Path
) -> None:
    """Switch units off or on, on samples that no ranking has seen; print and write the effects."""
    from gan_cli.files import csv_text, write_text
    from gan_cli.sampling import dissection_files

    names = found.found() if typed == ALL else [typed]
    if typed == dissection_files.ARTEFACTS and typed not in found.ranked:
        raise UserError(
            f"{key}={typed}: neither a discriminator nor a classifier of the data's classes tells "
            "how real samples look; take a concept."
        )
    top = min(config.top or max(1, found.layer.units // SHARE), found.layer.units)
    first = config.n + TRIALS
    latents = found.generator.drawn(range(first, first + min(config.n, 2 * TRIALS)))
    base = found.generator.render(latents)

    outcomes = dict(_outcomes(found, key, names, top, latents, base))
    _print_outcomes(key, top, outcomes)
    rows = dissection_files.outcome_rows(outcomes)
    write_text(folder / f"{key}_{typed}.csv", csv_text(rows))
    shown = {"as they are": base[: dissection_files.SAMPLES]}
    for name, outcome in list(outcomes.items())[: dissection_files.ROWS]:
        change = _change(found, key, outcome.units)
        some = latents[: dissection_files.SAMPLES]
        shown[f"{key} {name}"] = found.generator.changed(change).render(some)
    dissection_files.write_before_after(folder / f"{key}_{typed}.png", shown)


def _change(found: Dissection, key: str, units: tuple[int, ...]) -> "Intervention":
    """Units switched off everywhere, or switched on in the middle."""
    from gan_cli.sampling.interventions import Intervention

    if key == "ablate":
        return Intervention(found.layer.name, units)
    region = _middle(found.layer.height), _middle(found.layer.width)
    levels = found.levels[list(units)]
    return Intervention(found.layer.name, units, levels=levels, region=region)


def _middle(side: int) -> slice:
    """The middle of a side."""
    margin = round(side * (1 - PATCH) / 2)
    return slice(margin, side - margin)


def _outcomes(
    found: Dissection, key: str, names: Sequence[str], top: int, latents: "Tensor", base: "Tensor"
) -> Iterator[tuple[str, "Outcome"]]:
    """Each concept, with the effects of its units and of random ones."""
    from gan_cli.sampling.dissection import outcome, random_sets

    for name in names:
        units = found.ranked[name][:top]

        def area(samples: "Tensor", name: str = name) -> float:
            if name not in found.concepts.names:
                return 0.0
            masks = found.concepts.masks(samples)[:, found.concepts.names.index(name)]
            if key == "insert":  # where units are switched on
                masks = masks[:, _middle(masks.shape[1]), _middle(masks.shape[2])]
            return float(masks.float().mean())

        changes = [
            _change(found, key, chosen)
            for chosen in (units, *random_sets(found.layer, units, CONTROLS))
        ]
        yield name, outcome(found.generator, changes, latents, base, area, found.realism)


def _print_outcomes(key: str, top: int, outcomes: Mapping[str, "Outcome"]) -> None:
    """Print a line for each intervention."""
    print(f"\n{key}: {top} units each; random: {CONTROLS} sets of as many other units")
    print("concept     area    after   change  random  most     units")
    for name, found in outcomes.items():
        falls = found.random_falls or [0.0]
        units = " ".join(map(str, found.units[:LISTED]))
        line = f"{name:<12}{found.before:<8.4f}{found.after:<8.4f}{-found.fall:<+8.0%}"
        extreme = max(falls) if key == "ablate" else min(falls)
        line += f"{-sum(falls) / len(falls):<+8.0%}{-extreme:<+9.0%}{units}"
        if found.score is not None and found.random_score is not None:
            line += f"; score {found.score:+.2f} (random {found.random_score:+.2f})"
        if found.distance is not None and found.random_distance is not None:
            line += f"; distance {found.distance:+.2f} (random {found.random_distance:+.2f})"
        print(line)

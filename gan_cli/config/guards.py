"""Guard rails: configurations that compose and would run, but cannot work or whose mathematics is
void.

Each guard takes the checked configuration and returns a sentence that says what to change, or None.
They read the literal class attributes of the components (`facts`), so none of them imports torch.
"""

import logging
from collections.abc import Callable, Mapping
from typing import Any, get_args

from gan_cli import registry
from gan_cli.config.roles import fitting, players
from gan_cli.errors import UserError

log = logging.getLogger(__name__)

Config = Mapping[str, Any]


def _facts(config: Config, group: str) -> dict[str, Any]:
    known = {
        "loss": registry.losses,
        "regularizer": registry.regularizers,
        "model": registry.games,
    }[group]
    return known.component(config[group]["name"], group).attributes


def useless_augmentation(config: Config) -> str | None:
    """An augmentation that the game does not know, or that cannot change this kind of data."""
    game = registry.games.component(config["model"]["name"], "model")
    used = "augmentation" in game.arguments and game.attributes["augments"]
    return _useless(config, "augmentation", registry.augmentations, used, "changes")


def scores_without_middle(config: Config) -> str | None:
    """An augmentation that follows how sure D is of real samples, under a loss whose scores do not
    say it."""
    name = config["augmentation"]["name"]
    follows = registry.augmentations.component(name, "augmentation").attributes["follows"]
    wanted = config["augmentation"].get(follows) is not None if follows else False
    if not wanted or _facts(config, "loss")["has_middle"]:
        return None
    said = f"{follows}={config['augmentation'][follows]}"
    return (
        f"augmentation.{said}: follows whether D scores real samples as real, and under "
        f"loss={config['loss']['name']} no score lies in the middle; set "
        f"augmentation.{follows}=null, which keeps what is typed."
    )


def useless_features(config: Config) -> str | None:
    """Features that the game does not compare, or that are of another kind of data."""
    used = "features" in registry.games.component(config["model"]["name"], "model").arguments
    return _useless(config, "features", registry.features, used, "are those of")


def _useless(
    config: Config, group: str, known: registry.Registry, used: bool, does: str
) -> str | None:
    """What is wrong with the choice of a group that not every game, and not every kind, can use.

    Args:
        used: whether the game uses it.
        does: what the chosen one does to some kinds, as a verb.
    """
    name, model = config[group]["name"], config["model"]["name"]
    kind = registry.datasets.component(config["data"]["name"], "data").attributes.get("kind")
    kinds = known.component(name, group).attributes["kinds"]
    if name == "none" or (used and kind in kinds):
        return None
    if not used:
        return f"{group}={name}: model={model} does not use any; set {group}=none."
    return f"{group}={name}: {does} {' and '.join(kinds)}, not {kind}; set {group}=none."


def _critic(config: Config) -> dict[str, Any]:
    return config["network"].get("discriminator", {})


def _norms(config: Config, *wanted: str) -> list[str]:
    """What to type for another norm in the critic, one for each of these that its network has.

    The networks of one family follow the model's; one of another family, or for which another was
    typed, does not.
    """
    network, critic = config["network"], _critic(config)
    if not critic:
        return []
    name = f"{critic.get('name', network['name'])}.discriminator"
    own = "name" in critic or critic.get("critic_norm") != config["model"].get("critic_norm")
    key = "network.discriminator.critic_norm" if own else "model.critic_norm"
    hint = registry.networks.options(name, "network").get("critic_norm", (None, None))[0]
    return [f"{key}={norm}" for norm in wanted if norm in get_args(hint)]


def sigmoid_score(config: Config) -> str | None:
    """A score squashed into (0, 1) under a loss that needs the whole line."""
    if (
        _critic(config).get("squash") != "sigmoid"
        or not _facts(config, "loss")["needs_unbounded_score"]
    ):
        return None
    return (
        f"network.discriminator.squash=sigmoid: loss={config['loss']['name']} needs an unbounded "
        "score (the logistic losses apply their own sigmoid); set "
        "network.discriminator.squash=none or take loss=least_squares."
    )


def batch_statistics(config: Config) -> str | None:
    """Batch norm in the critic under a penalty on each sample's own gradient."""
    norm = _critic(config).get("critic_norm")
    if norm != "batch" or not _facts(config, "regularizer")["per_sample"]:
        return None
    return (
        f"network.critic_norm=batch: regularizer={config['regularizer']['name']} penalises the "
        "gradient of one sample's score with respect to that sample, and batch norm makes each "
        "score depend on the whole batch (Gulrajani et al., 2017, section 4); set "
        f"{' or '.join(_norms(config, 'layer', 'none'))}."
    )


def clipping_with_penalty(config: Config) -> str | None:
    """Two Lipschitz constraints that pull against each other."""
    if config["regularizer"].get("clip") is None or not _facts(config, "regularizer")["per_sample"]:
        return None
    return (
        f"regularizer.clip={config['regularizer']['clip']}: clipping holds the critic's slope far "
        f"below the one that regularizer={config['regularizer']['name']} asks for; set "
        "regularizer.clip=null, or take regularizer=weight_clip alone."
    )


def unconstrained_critic(config: Config) -> str | None:
    """A Wasserstein loss whose critic may grow without bound."""
    if (
        not _facts(config, "loss")["needs_lipschitz_critic"]
        or _facts(config, "regularizer")["lipschitz"]
    ):
        return None
    if (
        config["regularizer"].get("clip") is not None
        or _critic(config).get("critic_norm") == "spectral"
    ):
        return None
    *first, last = [
        "regularizer=gradient_penalty",
        "regularizer=weight_clip",
        *_norms(config, "spectral"),
    ]
    return (
        f"regularizer={config['regularizer']['name']}: loss={config['loss']['name']} has no "
        f"optimum without a Lipschitz constraint on the critic; take {', '.join(first)} or {last}."
    )


def _critics_optimizer(config: Config) -> dict[str, Any]:
    names = registry.games.component(config["model"]["name"], "model").attributes["players"]
    return players(config["optimizer"], names).get("discriminator", {})


def hasty_critic(config: Config) -> str | None:
    """Momentum that lasts longer than the critic's target stands still."""
    node = _critics_optimizer(config)
    option, momentum = (
        ("betas", node["betas"][0]) if "betas" in node else ("momentum", node.get("momentum", 0))
    )
    if not _facts(config, "loss")["needs_lipschitz_critic"] or momentum <= MOST_MOMENTUM:
        return None
    less = f"[0.0,{node['betas'][1]}]" if option == "betas" else "0.0"
    return (
        f"optimizer.{option}={node[option]}: under loss={config['loss']['name']} a critic that "
        "keeps so much momentum swings past the generator it follows (Arjovsky et al., 2017, "
        f"section 4), {MOST_MOMENTUM} of it is the most; set "
        f"optimizer.players.discriminator.{option}={less}."
    )


MOST_MOMENTUM = 0.5


def decayed_critic(config: Config) -> str | None:
    """A pull of the critic's weights to zero, beside the constraint that makes it measure a
    distance."""
    decay = _critics_optimizer(config).get("weight_decay", 0)
    if not _facts(config, "loss")["needs_lipschitz_critic"] or decay <= MOST_DECAY:
        return None
    return (
        f"optimizer.weight_decay={decay}: flattens the critic, so that "
        f"loss={config['loss']['name']} measures less than the distance; set "
        "optimizer.players.discriminator.weight_decay=0."
    )


# measured between two Gaussians: 0.1 takes 2 % off the distance, 1 takes 7 %, 3 takes 17 %
MOST_DECAY = 0.1


def wrong_objective(config: Config) -> str | None:
    """A loss for a game that has its own, or none for a game that needs one."""
    model, loss = config["model"]["name"], config["loss"]["name"]
    own = _facts(config, "model").get("own_objective", False)
    if own == (loss == "own"):
        return None
    if own:
        return f"loss={loss}: model={model} has an objective of its own; set loss=own."
    return (
        f"loss=own: model={model} has no objective of its own; take another loss, such as "
        "loss=non_saturating."
    )


def batch_of_one(config: Config) -> str | None:
    """Batch norm over a single value has no variance."""
    rows = config["batch_size"] // config["hardware"]["shards"]
    norms = {config["network"].get(role, {}).get(f"{who}_norm") for role, who in ROLES_WITH_NORM}
    if rows > 1 or "batch" not in norms or config["network"]["name"] != "mlp":
        return None
    return (
        f"batch_size={config['batch_size']}: batch norm needs at least two samples a shard; set "
        f"batch_size={2 * config['hardware']['shards']} or more."
    )


def _networks(config: Config) -> dict[str, dict[str, Any]]:
    """What the class of each role's network says of itself."""
    network = config["network"]
    names = {role: node.get("name", network["name"]) for role, node in _roles(config).items()}
    return {
        role: registry.networks.component(f"{name}.{role}", f"network.{role}").attributes
        for role, name in names.items()
    }


def _roles(config: Config) -> dict[str, dict[str, Any]]:
    return {role: node for role, node in config["network"].items() if isinstance(node, dict)}


def other_kind(config: Config) -> str | None:
    """A network that is made for another kind of data."""
    kind = registry.datasets.attributes(config["data"]["name"], "data")["kind"]
    for role, facts in _networks(config).items():
        kinds = facts.get("kinds", (kind,))
        if kind not in kinds:
            own = _roles(config)[role].get("name")
            option, able = (f"network.{role}.name", fitting(kind)) if own else ("network", "auto")
            return (
                f"{option}={own or config['network']['name']}: its {role} is for data of the kind "
                f"{' or '.join(kinds)}, and data={config['data']['name']} is of the kind {kind}; "
                f"take {option}={able}."
            )
    return None


def no_features(config: Config) -> str | None:
    """A discriminator that gives nothing but its score, under a game that looks at more."""
    if not _facts(config, "model").get("needs_features", False):
        return None
    if _networks(config).get("discriminator", {}).get("has_features", True):
        return None
    return (
        f"network.discriminator: has no features, which model={config['model']['name']} looks at; "
        "take network=mlp, network=dcgan or network=resnet."
    )


def fixed_size(config: Config) -> str | None:
    """A network that cannot grow, under a game that lets it."""
    if not _facts(config, "model").get("grows", False) or not config["model"].get("growth"):
        return None
    for role, facts in _networks(config).items():
        if not facts.get("grows", False):
            return (
                f"network.{role}: does not grow; take network=progressive, or set model.growth=0."
            )
    return None


def other_inputs(config: Config) -> str | None:
    """A network that makes an image from noise, under a game that gives it an image; or the
    opposite."""
    wanting = _facts(config, "model").get("from_inputs", ())
    model = config["model"]["name"]
    for role, facts in _networks(config).items():
        takes = facts.get("takes_inputs", False)
        if takes == (role in wanting):
            continue

        own = _roles(config)[role].get("name")
        option = f"network.{role}.name" if own else "network"
        told = f"{option}={own or config['network']['name']}: its {role} starts from"
        if takes:
            kind = registry.datasets.attributes(config["data"]["name"], "data")["kind"]
            remedy = f"take {option}={fitting(kind) if own else 'auto'}"
            return f"{told} an input, and model={model} gives it none; {remedy}."
        return f"{told} noise, and model={model} gives it an input; take {option}=unet."
    return None


def untold_classes(config: Config) -> str | None:
    """A network that takes the class of a sample itself, under a game that does not give it; or the
    opposite."""
    wanting = _facts(config, "model").get("classes_in_networks", ())
    model = config["model"]["name"]
    for role, facts in _networks(config).items():
        takes, given = facts.get("takes_classes", False), role in wanting
        if takes if given else not facts.get("needs_classes", False):
            continue

        own = _roles(config)[role].get("name")
        option = f"network.{role}.name" if own else "network"
        told = f"{option}={own or config['network']['name']}: its {role}"
        if takes:
            return (
                f"{told} takes the class of a sample, and model={model} gives it none; take "
                "model=biggan, or another network."
            )
        both = "discriminator" in wanting
        families = ("biggan", "resnet_biggan") if both else ("resnet", "resnet")
        remedy = f"{option}={families[0] if own else families[1]}"
        return f"{told} takes no class, and model={model} gives it one; take {remedy}."
    return None


def lone_rows(config: Config) -> str | None:
    """Data whose rows do not belong together, under a game that learns from pairs."""
    aligned = registry.datasets.attributes(config["data"]["name"], "data").get("aligned", True)
    if aligned or not _facts(config, "model").get("needs_pairs", False):
        return None
    return (
        f"data={config['data']['name']}: its images do not belong together, and "
        f"model={config['model']['name']} learns from pairs; take data=pairs, or model=cyclegan."
    )


def dead_layers(config: Config) -> str | None:
    """Layers that are drawn so small that nothing gets through them.

    Not a critic: its penalty or its clipping asks for a slope, and so it wakes up (measured for
    WGAN-GP).
    """
    for role in ("autoencoder", "discriminator"):
        node = _roles(config).get(role, {})
        wakes = role == "discriminator" and _facts(config, "loss")["needs_lipschitz_critic"]
        if (node.get("init"), node.get("critic_norm")) == ("dcgan", "none") and not wakes:
            return (
                f"network.init=dcgan: the {role} has no norm, and drawn from N(0, 0.02) it gives "
                "zero for every sample, and its gradients vanish; set network.init=auto, or "
                "model.critic_norm=batch."
            )
    return None


ROLES_WITH_NORM = (("generator", "generator"), ("discriminator", "critic"), ("encoder", "encoder"))

GUARDS: tuple[Callable[[Config], str | None], ...] = (
    sigmoid_score,
    batch_statistics,
    clipping_with_penalty,
    wrong_objective,
    unconstrained_critic,
    hasty_critic,
    decayed_critic,
    batch_of_one,
    useless_augmentation,
    scores_without_middle,
    useless_features,
    other_kind,
    no_features,
    fixed_size,
    other_inputs,
    untold_classes,
    lone_rows,
    dead_layers,
)


def check(config: Config) -> None:
    """Apply every guard: `guard=error` raises UserError with the sentence, `guard=warn` logs it."""
    for sentence in sentences(config):
        if config["guard"] == "error":
            raise UserError(f"{sentence} (guard=warn runs it all the same.)")
        log.warning("warning: %s", sentence)


def sentences(config: Config) -> list[str]:
    """What every guard says that has something to say."""
    return [sentence for guard in GUARDS if (sentence := guard(config))]

"""Exceptions of a user's mistake in one sentence, Hydra's and OmegaConf's with the closest
match."""

import re
import sys
from dataclasses import fields
from pathlib import Path
from traceback import extract_tb
from typing import Any, get_args, get_origin

from gan_cli.config import own_options as own
from gan_cli.errors import UserError, closest, explain_os
from gan_cli.synonyms import NONE, bare, called

PACKAGE = Path(__file__).parent.parent


def explain(error: BaseException, arguments: list[str]) -> str | None:
    """A user's mistake in one sentence; None for what is not his mistake but ours."""
    chain = list(_chain(error))
    for link in chain:
        if isinstance(link, UserError):
            return str(link)
    # Hydra calls some of its own complaints OSErrors
    faults = [
        link for link in chain if isinstance(link, OSError) and "Config" not in type(link).__name__
    ]
    if faults and (faults[0] is error or faults[-1] is chain[-1]):
        return explain_os(next((fault for fault in faults if fault.filename), faults[-1]))
    if "hydra" in sys.modules:
        from hydra.errors import HydraException
        from omegaconf.errors import OmegaConfBaseException
        from yaml import YAMLError

        unreadable = any(isinstance(link, YAMLError | UnicodeDecodeError) for link in chain)
        if unreadable and (fault := own.faulty(arguments)):
            return fault
        if any(
            isinstance(link, HydraException | OmegaConfBaseException | YAMLError) for link in chain
        ):
            return _explain_composition(chain, arguments)
        if match := re.search(r"Invalid defaults list in '([^']+)', (.+)", str(chain[0])):
            return f"{_file_named(match[1])}: {match[2].strip()}."
        if isinstance(error, ValueError | TypeError | AssertionError) and _is_hydras(error):
            return (
                f"{' '.join(arguments)}: is not understood ({_lower(first_line(error))}); see "
                "docs/configuration.md."
            )
    return None


def _file_named(option: str) -> Path:
    """The file of what Hydra calls `group/option`."""
    group, _, name = option.rpartition("/")
    return own.options(group).get(name, Path(f"{option}.yaml"))


def _chain(error: BaseException | None) -> Any:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def first_line(error: BaseException) -> str:
    said = str(error).strip()
    return said.splitlines()[0].rstrip(".") if said not in ("", "None") else type(error).__name__


def _is_ours(error: BaseException) -> bool:
    """Whether code of this package raised it (in a resolver, where Hydra catches it): ours to
    mend."""
    return any(PACKAGE in Path(frame.filename).parents for frame in extract_tb(error.__traceback__))


def _is_hydras(error: BaseException) -> bool:
    """Whether Hydra itself raised it, over what was typed: a job's own errors come from
    elsewhere."""
    last = extract_tb(error.__traceback__)[-1].filename
    return {"hydra", "omegaconf"} & set(Path(last).parts) != set()


def _lower(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]


def _explain_composition(chain: list[BaseException], arguments: list[str]) -> str | None:
    """Hydra's and OmegaConf's complaints, with the closest match; their own advice (`use +key`)
    misleads."""
    from hydra.errors import HydraException, OverrideParseException
    from omegaconf.errors import OmegaConfBaseException

    if not isinstance(chain[-1], HydraException | OmegaConfBaseException) and _is_ours(chain[-1]):
        return None
    text = "\n".join(str(link) for link in chain)
    if told := own.unknown_base(text):
        return told
    if match := re.search(r"Could not find '([\w/]+)/([^'/]+)'", text):
        return _unknown_option(*match.groups())
    if match := re.search(r"Could not override '([\w.@/]+)'|Key '([\w.]+)' (?:is )?not in", text):
        return _unknown_key(match.group(1) or match.group(2), arguments)
    if match := re.search(r"Ambiguous value for argument '\+*([^=]+)=(.*)'", text):
        return _several(*match.groups())
    if match := re.search(r"Error merging override ([^\n]+)", text):
        reason = next(link for link in chain if isinstance(link, OmegaConfBaseException))
        return f"{match.group(1)}: {_wrong_value(match.group(1), first_line(reason))}."
    if match := re.search(r"Interpolation key '([\w.]+)' not found", text):
        place = _place(match[1], arguments)
        return (
            f"{place}${{{match[1]}}}: stands for a key that nothing sets; set {match[1]}=VALUE, "
            "or write a value there."
        )
    if match := re.search(
        r"Cannot find primary config '([^']+)'|Primary config \w+ '([^']+)' not "
        r"found",
        text,
    ):
        return (
            f"{match[1] or match[2]}: no such file to start from; leave out --config-name and "
            "--config-path."
        )
    override = next(
        (link.override for link in chain if isinstance(link, OverrideParseException)), None
    )
    if override is not None:
        typed = override.lstrip("+")
        return (
            f"{typed}: expected key=value, with the value in quotes if it holds = , [ or "
            f"{{ as plain characters."
        )
    return (
        _in_a_file(chain, arguments)
        or f"{next(filter(None, map(_said, chain)), first_line(chain[-1]))}."
    )


def _said(error: BaseException) -> str:
    return first_line(error) if str(error).strip() not in ("", "None") else ""


def _in_a_file(chain: list[BaseException], arguments: list[str]) -> str | None:
    """A value in a file that its key does not take: `steps: 1e3`."""
    from omegaconf.errors import OmegaConfBaseException

    for link in chain:
        key = getattr(link, "full_key", None) if isinstance(link, OmegaConfBaseException) else None
        if key:
            value = re.search(r"[Vv]alue '(.*?)'", str(link))
            typed = f"{key}={value[1]}" if value else key
            return f"{_place(key, arguments)}{typed}: {_wrong_value(typed, first_line(link))}."
    return None


def _place(key: str, arguments: list[str]) -> str:
    """The file of one's own that a key stands in, where nobody has typed it."""
    if any(item.lstrip("+~").partition("=")[0] == key for item in arguments):
        return ""
    held = own.holding(key, arguments)
    return f"{held[1]}: " if held else ""


def _several(key: str, value: str) -> str:
    """Several values without `-m`: a sweep, or a list without its brackets, where the key takes
    one."""
    told = f"{key}={value}: several values are a sweep, which wants -m"
    if takes_a_list(key):
        return f"{told}; a list wants brackets: {key}=[{value}]."
    if key in PATHS:
        return f"{told}; a comma in a name wants two pairs of quotes: \"{key}='{value}'\"."
    return f"{told}: gan-train -m {key}={value}."


PATHS = ("init_from", "data.root", "data.folder", "data.file", "hydra.run.dir", "hydra.sweep.dir")
"""Keys whose values are names of files and folders."""


def takes_a_list(key: str) -> bool:
    """Whether the value of a key may be a list."""
    from gan_cli import registry
    from gan_cli.config.schema import GROUPS

    group, _, option = key.lstrip("+").rpartition(".")
    if group.partition(".")[0] not in GROUPS:
        return key in ("figures", "plugins") or key.startswith("hydra.")
    known = next(
        item
        for item in vars(registry).values()
        if getattr(item, "group", "") == group.partition(".")[0]
    )
    hints = [
        part.arguments[option][0] for part in known.components.values() if option in part.arguments
    ]
    return any(_is_list(hint) for hint in hints) or not hints


def _is_list(hint: Any) -> bool:
    inner = get_args(hint)
    return (
        hint in (list, tuple)
        or get_origin(hint) in (list, tuple)
        or any(_is_list(part) for part in inner)
    )


def _unknown_option(group: str, option: str) -> str:
    from gan_cli.config.options import options, unknown_option

    if options(group):
        return unknown_option(group, option)
    extra = EXTRAS.get(option.partition("_")[0])  # a group of Hydra's own
    remedy = (
        f"it comes with: pip install 'gan-cli[{extra}]'"
        if extra
        else ("if a plug-in has it, install that")
    )
    return f"{group}={option}: no such option; {remedy}."


def _unknown_key(key: str, arguments: list[str]) -> str:
    typed = next((a for a in arguments if a.lstrip("+~").split("=")[0].endswith(key)), None)
    if typed is None and (held := own.holding(key, arguments)):
        group, path = held
        name = (
            key.partition("@")[0]
            if group in ("experiment", key.split(".")[0])
            else f"{group}.{key}"
        )
        return f"{path}: {unknown_key(name)}"
    return unknown_key(typed or key)


def unknown_key(typed: str) -> str:
    """The sentence on a key that is none, by the name that gan-cli has for what others call so."""
    key, _, value = typed.partition("=")
    if bare(key) in NONE:
        return f"{typed}: no such key; {NONE[bare(key)]}."
    keys = known_keys()
    if ours := [(name, how) for name, how in called(key) if name in keys or "." in name]:
        name, how = ours[0]
        if name in keys and name == key:
            return f"{typed}: no such key here; it is typed as {name}={value or 'VALUE'}."
        return f"{typed}: no such key; gan-cli calls it {name}{f' ({how})' if how else ''}."
    return (
        f"{typed}: no such key{closest(key.lstrip('+~'), keys)}; gan-train --help lists the keys."
    )


def unknown_flag(typed: str, known: list[str]) -> str:
    """The sentence on a flag that is none; keys are typed without dashes."""
    name, _, value = typed.partition("=")
    if name == "--experimental-rerun":
        return (
            f"{name}: is not supported, for it runs what a pickle holds; type the run's command "
            "again, which goes on."
        )
    keys = {bare(key): key for key in known_keys()}
    if bare(name) in keys:
        return (
            f"{typed}: no such flag; keys are typed without dashes: "
            f"{keys[bare(name)]}={value or 'VALUE'}."
        )
    if bare(name) in NONE:
        return f"{typed}: no such flag; {NONE[bare(name)]}."
    if ours := [(key, how) for key, how in called(name) if key in keys.values() or "." in key]:
        key, how = ours[0]
        told = f" ({how})" if how else ""
        return (
            f"{typed}: no such flag; gan-cli calls it {key}{told}, without dashes: "
            f"{key}={value or 'VALUE'}."
        )
    return f"{typed}: no such flag{closest(name, known)}; gan-train --help shows the usual ones."


def _wrong_value(typed: str, reason: str) -> str:
    """OmegaConf's reason, and what to type where that is plain."""
    key, _, value = typed.partition("=")
    number = re.search(r"'(\S+)' of type 'float' could not be converted to Integer", reason)
    if number:
        whole = float(number[1]).is_integer() and abs(float(number[1])) < EXACT
        return "expected a whole number" + (
            f", written out: {key}={float(number[1]):.0f}" if whole else ""
        )
    if "is not a ListConfig" in reason:
        return f"expected a list: {key}=[{value}]"
    return _lower(reason)


EXACT = 2**53  # below it a float is the whole number that was typed


def known_keys() -> list[str]:
    """What may stand left of `=`: groups, root keys, and the keys of the hardware."""
    from gan_cli.config.options import groups
    from gan_cli.config.schema import Hardware, TrainConfig

    hardware = [f"hardware.{item.name}" for item in fields(Hardware)]
    return [*dict.fromkeys([*groups(), *(item.name for item in fields(TrainConfig))]), *hardware]


EXTRAS = {"joblib": "joblib", "submitit": "submitit", "ray": "ray", "optuna": "search"}
"""Of the package, by the launchers and sweepers that they bring."""

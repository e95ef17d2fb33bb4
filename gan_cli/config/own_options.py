"""Option files of the user in the folders of `--config-dir`, and messages on their mistakes.

Hydra reads these files. Errors that Hydra would report with a traceback or not at all are reported
here with the file and the line. This module does not import torch.
"""

import codecs
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from gan_cli.errors import UserError, explain_os

FOLDERS: list[Path] = []
"""Folders with options of the user; only the command line sets them."""
PACKAGE = re.compile(r"#\s*@package\s+(\S+)")
WHOLE = "experiment"
"""Group whose files set top-level keys, as declared in their first line."""


def use_folders(folders: Sequence[Path]) -> None:
    """Set the folders that contain options of the user.

    Raises:
        UserError: a folder does not exist or is a file.
    """
    for folder in folders:
        if not folder.is_dir():
            problem = "is a file" if folder.exists() else f"'{folder.absolute()}' not found"
            raise UserError(
                f"--config-dir {folder}: {problem}; name a folder that holds model/, loss/ or the "
                "like."
            )

    FOLDERS[:] = folders


def options(group: str) -> dict[str, Path]:
    """Files of the user's options of a group by name; the first folder has precedence."""
    files = [path for folder in reversed(FOLDERS) for path in folder.glob(f"{group}/*.yaml")]
    return {path.stem: path for path in files if path.is_file()}


def misnamed(group: str, name: str) -> Path | None:
    """File of an option that Hydra ignores because of its suffix, or None."""
    places = [
        folder / group / f"{name}{ending}"
        for folder in FOLDERS
        for ending in (".yml", ".YAML", ".yaml.txt")
    ]
    return next((path for path in places if path.is_file()), None)


def chosen(arguments: Sequence[str]) -> Iterator[tuple[str, Path]]:
    """Groups and files of the user's options in the arguments; a sweep may select several."""
    for argument in arguments if FOLDERS else ():
        group, _, value = argument.lstrip("+").partition("=")
        known = options(group) if re.fullmatch(r"\w+", group) else {}
        yield from ((group, known[name]) for name in re.split(r"[,\s'\"]+", value) if name in known)


def check(arguments: Sequence[str], packaged: Path, components: Sequence[str]) -> None:
    """Check the selected option files of the user before Hydra reads them.

    Args:
        packaged: folder of the options of this package.
        components: groups whose files define a component.

    Raises:
        UserError: a file is not valid YAML, is not an option of its group, or has the name of an
            option of this package.
    """
    for group, path in chosen(arguments):
        text, content = read(path)
        namesake = packaged / group / path.name
        if namesake.is_file() and namesake.read_text(encoding="utf-8") != text:
            raise UserError(
                f"{path}: gan-cli has another {group}={path.stem}, which is the one that is "
                "taken; rename the file."
            )

        if not isinstance(content, dict) and (text.strip() or group != "hardware"):
            raise UserError(
                f"{path}: {_described(content)}; an option is made of keys with values, such as "
                "`name: NAME`."
            )

        if invalid_key := next((key for key in content if not isinstance(key, str)), None):
            raise UserError(
                f"{path}: {invalid_key}: is no key; put it in quotes, if it is to be one."
            )

        _check_package(group, path, text)
        if group in components and not {"name", "defaults"} & content.keys():
            raise UserError(
                f"{path}: needs `name:`, or `defaults:` with the option of {group} that it changes."
            )


def _check_package(group: str, path: Path, text: str) -> None:
    """Raise UserError for a wrong first line, which determines where Hydra inserts the keys."""
    first = next(iter(text.lstrip("\ufeff").splitlines()), "")
    package = PACKAGE.match(first)
    if group == WHOLE and (not package or package[1] != "_global_"):
        raise UserError(
            f"{path}, line 1: must be `# @package _global_`, so that its keys are those of the "
            "run; add it."
        )

    if group == WHOLE and text.startswith("\ufeff"):
        raise UserError(
            f"{path}, line 1: begins with a byte order mark; save the file as UTF-8 without one."
        )

    if group != WHOLE and package and package[1] not in (group, "_group_"):
        raise UserError(
            f"{path}, line 1: `{first}` takes its keys out of {group}; delete the line."
        )


def read(path: Path) -> tuple[str, Any]:
    """Text and content of a file.

    Raises:
        UserError: the file is unreadable or invalid; the message contains the line.
    """
    from gan_cli import files  # not needed by --help

    try:
        content = files.read_bytes(path, files.SMALL)
    except OSError as error:
        raise UserError(explain_os(error)) from None
    text = _text(path, content)
    return text, _parsed(path, text)


def _text(path: Path, content: bytes) -> str:
    """Text of a file. Raises UserError if it is not UTF-8."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise UserError(f"{path}, line 1: is UTF-16; save the file as UTF-8.")

    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        shown = content[error.start : error.start + 1].decode("latin-1")
        raise UserError(
            f"{path}, line {line}: is not UTF-8 (in Latin-1 it would be {shown!r}); save the file "
            "as UTF-8."
        ) from None


def _parsed(path: Path, text: str) -> Any:
    """Content parsed by OmegaConf, without resolving interpolations."""
    import yaml
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        if not isinstance(root, yaml.MappingNode):  # OmegaConf would make `hello` a key
            return yaml.safe_load(text)
        return OmegaConf.to_container(OmegaConf.create(text), resolve=False)
    except yaml.YAMLError as error:
        raise UserError(f"{path}, line {_line(error, text)}: {_problem(error)}.") from None
    except (OmegaConfBaseException, ValueError, RecursionError) as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(f"{path}: {reason[0].rstrip('.')}.") from None


def _line(error: Any, text: str) -> int:
    """Number of the line of an error of PyYAML."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    return int(mark.line + 1 if mark else text[: getattr(error, "position", 0)].count("\n") + 1)


PROBLEMS = {
    r"character '\\t'": "a tab, where YAML takes blanks alone",
    r"found duplicate key (.+)": r"`\1` stands there for a second time; delete one",
    r"expected <block end>, but found '<block": "is indented otherwise than the lines that it "
    "belongs to",
    r"could not find expected ':'|mapping values are not allowed here": "a colon and a blank must "
    "stand between a key and its value, once a line",
    r"expected ',' or '([]}])'": r"a bracket is not closed before it; add \1",
    r"found undefined alias": "a `*name` for which there is no `&name`; put the text in quotes",
    r"constructor for the tag '.*?([\w/:.]+)'": r"`!!\1`: only plain values can stand there",
    r"special characters are not allowed": "holds a character that is no text",
    r"found unexpected end of stream|unexpected end": "a quotation mark is not closed",
}
"""Explanations of PyYAML's messages, for which there are no separate exception types.

tests/test_own_options.py provokes every one of them."""


def _problem(error: Any) -> str:
    """Explanation of an error of PyYAML, or its message if there is none."""
    message = str(
        getattr(error, "problem", None) or getattr(error, "reason", None) or error
    ).splitlines()[0]
    for pattern, meaning in PROBLEMS.items():
        if match := re.search(pattern, message):
            return match.expand(meaning)
    return message


def _described(content: Any) -> str:
    """Description of a file's content that is not a mapping."""
    if content is None:
        return "is empty"
    if isinstance(content, list):
        return "holds a list"
    return f"holds {str(content)[:30]!r} and no key"


def first_error(arguments: Sequence[str]) -> str | None:
    """First error in the user's files: the selected files are checked before all others."""
    typed = [path for _, path in chosen(arguments)]
    others = [path for folder in FOLDERS for path in sorted(folder.glob("*/*.yaml"))]

    for path in [*typed, *(path for path in others if path.is_file())]:
        try:
            read(path)
        except UserError as error:
            return str(error)
    return None


def file_with(key: str, arguments: Sequence[str]) -> tuple[str, Path] | None:
    """Group and file of the selected option of the user that sets a key, or None."""
    name = re.escape(key.split("@")[0].rpartition(".")[2])
    for group, path in chosen(arguments):
        if re.search(rf"(^|[\s{{,/]){name}\b[^\n:]*:", read(path)[0]):
            return group, path
    return None

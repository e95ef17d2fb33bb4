"""The rooms of the package and the arrows between them, by its imports alone: `python
tests/house_map.py [FOLDER]`.

A room is a folder of `gan_cli`, or a module beside the folders. An arrow is a room that imports
from another one, inside functions too; imports that only a type checker reads do not count. A
circle is a set of rooms, or of modules, that all reach each other.
"""

import ast
import statistics
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "gan_cli"
Graph = dict[str, set[str]]
Definition = ast.FunctionDef | ast.AsyncFunctionDef


def sources(package: Path = PACKAGE) -> dict[str, Path]:
    """The package's files by the dotted name of their module."""
    files = {
        path: path.relative_to(package.parent).with_suffix("")
        for path in sorted(package.rglob("*.py"))
    }
    return {
        ".".join(p for p in name.parts if p != "__init__"): path for path, name in files.items()
    }


def imported(path: Path, module: str, late: bool = True) -> Iterator[str]:
    """Dotted names that a file imports: when it is loaded or, with `late`, inside its functions
    too."""
    for node in _running(ast.parse(path.read_text(encoding="utf-8")), late):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _running(node: ast.AST, late: bool) -> Iterator[ast.AST]:
    """All nodes below one, but for those that only a type checker reads and, unless `late`, bodies
    of functions."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        if not late and isinstance(child, Definition | ast.Lambda):
            continue
        yield child
        yield from _running(child, late)


def arrows(package: Path = PACKAGE, late: bool = True) -> Graph:
    """Which modules each module imports."""
    modules = sources(package)
    graph: Graph = {}
    for module, path in modules.items():
        names = set(imported(path, module, late))
        known = {name for name in names if name in modules}
        packages = {
            name
            for name in known
            if any(other.startswith(f"{name}.") for other in names & modules.keys())
        }
        graph[module] = known - {module, "gan_cli"} - packages
    return graph


def room(module: str) -> str:
    """The folder of the package that a module lies in, or the module itself where it lies in
    none."""
    return ".".join(module.split(".")[:2])


def by_room(graph: Mapping[str, Iterable[str]]) -> Graph:
    """The same arrows, between rooms."""
    rooms: Graph = {room(module): set() for module in graph}
    for module, others in graph.items():
        rooms[room(module)] |= {room(other) for other in others} - {room(module)}
    return rooms


def reach(graph: Mapping[str, Iterable[str]], start: str) -> set[str]:
    """All names that a name leads to, itself included."""
    found, left = {start}, [start]
    while left:
        new = set(graph[left.pop()]) - found
        found |= new
        left += new
    return found


def circles(graph: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """Sets of more than one name that all reach each other."""
    reach = {name: set(others) for name, others in graph.items()}
    for middle in reach:  # Warshall
        for name in reach:
            if middle in reach[name]:
                reach[name] |= reach[middle]
    groups = {
        frozenset(b for b in reach[a] if a in reach.get(b, ())) for a in reach if a in reach[a]
    }
    return sorted(sorted(group) for group in groups if len(group) > 1)


def functions(package: Path = PACKAGE) -> dict[str, int]:
    """How many lines each function has."""
    return {
        f"{module}.{node.name}:{node.lineno}": (node.end_lineno or 0) - node.lineno + 1
        for module, path in sources(package).items()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, Definition)
    }


def count(package: Path, *words: str) -> str:
    """How often these words stand in the package."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in sources(package).values())
    return ", ".join(f"{text.count(word)} {word}" for word in words)


def report(package: Path) -> str:
    """The figures of a house, line by line."""
    graph = arrows(package)
    rooms, lengths = by_room(graph), functions(package)
    longest = max(lengths, key=lengths.__getitem__)
    texts = {
        module: path.read_text(encoding="utf-8").splitlines()
        for module, path in sources(package).items()
    }
    lines = [
        f"{len(rooms)} rooms, {sum(map(len, rooms.values()))} arrows between them",
        f"{len(graph)} modules, {sum(map(len, graph.values()))} arrows; "
        f"{sum(map(len, texts.values()))} lines",
        f"circles of modules: {circles(graph) or 'none'}",
        f"circles of rooms: {circles(rooms) or 'none'}",
        f"{len(lengths)} functions, median {statistics.median(lengths.values()):g} lines",
        f"longest function: {lengths[longest]} lines, {longest}",
        f"widest line: {max(len(line) for text in texts.values() for line in text)}",
        count(package, "type: ignore", "noqa", "Any"),
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    print(report(Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else PACKAGE))

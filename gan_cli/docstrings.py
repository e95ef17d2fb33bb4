"""What docstrings say of a component and of its options, for `--help`; read from the source,
nothing is imported."""

import ast
import re


def first_paragraph(node: ast.ClassDef | ast.FunctionDef) -> str:
    """What it is."""
    return " ".join((ast.get_docstring(node) or "").split("\n\n")[0].split())


def arguments(node: ast.ClassDef | ast.FunctionDef) -> dict[str, str]:
    """A sentence for each argument of the section `Args:`; several arguments may share one."""
    section = re.search(r"^Args:\n((?: {4}.*\n?|\n)+)", ast.get_docstring(node) or "", re.MULTILINE)
    found: dict[str, str] = {}
    for entry in re.split(r"^ {4}(?=\w)", section[1] if section else "", flags=re.MULTILINE)[1:]:
        names, _, sentence = entry.partition(":")
        found |= dict.fromkeys(re.split(r",\s*", names), " ".join(sentence.split()))
    return found

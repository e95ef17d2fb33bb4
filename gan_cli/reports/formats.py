"""Tables for a terminal, a spreadsheet, a README or a paper."""

import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gan_cli.errors import on_one_line
from gan_cli.files import csv_text

MISSING = "-"
"""Text of a cell without a value."""


@dataclass(frozen=True)
class Cell:
    """One cell.

    Args:
        text: what people read; ` +- ` becomes the sign of each format.
        values: numbers for CSV with all digits; the text if there are none.
        best: whether it is emphasised.
    """

    text: str
    values: tuple[float | None, ...] = ()
    best: bool = False


@dataclass(frozen=True)
class Column:
    """One column: its title, the names of further values in CSV, and whether it holds numbers."""

    title: str
    further: tuple[str, ...] = ()
    is_number: bool = True


@dataclass(frozen=True)
class Sheet:
    """A table in no format yet."""

    columns: list[Column]
    rows: list[list[Cell]]


def render_terminal(sheet: Sheet) -> str:
    """Aligned columns; numbers to the right."""
    titles = [on_one_line(column.title) for column in sheet.columns]
    rows = [[on_one_line(cell.text) for cell in row] for row in sheet.rows]
    return align_columns([titles, *rows], sum(not column.is_number for column in sheet.columns))


def align_columns(lines: Sequence[Sequence[str]], left: int) -> str:
    """Aligned columns: the first few to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = [
        [
            text.ljust(width) if i < left else text.rjust(width)
            for i, (text, width) in enumerate(zip(line, widths, strict=True))
        ]
        for line in lines
    ]
    return "\n".join("  ".join(line).rstrip() for line in padded)


def render_csv(sheet: Sheet) -> str:
    """CSV with all digits: one column for each value, such as mean and standard deviation."""
    titles = [
        on_one_line(title)
        for column in sheet.columns
        for title in (column.title, *(f"{column.title} {name}" for name in column.further))
    ]
    rows: list[list[object]] = [[*titles]]
    for row in sheet.rows:
        cells = zip(sheet.columns, row, strict=True)
        rows.append([value for column, cell in cells for value in _csv_values(column, cell)])
    return csv_text(rows).rstrip("\n")


def _csv_values(column: Column, cell: Cell) -> Sequence[object]:
    if cell.values:
        return cell.values
    return [None] * (1 + len(column.further)) if column.is_number else [on_one_line(cell.text)]


def render_markdown(sheet: Sheet) -> str:
    """Markdown for a README; the best of a column in bold."""
    titles = [_escape_markdown(column.title) for column in sheet.columns]
    rule = ["---:" if column.is_number else "---" for column in sheet.columns]
    rows = _emphasise(sheet, "±", "**{}**", _escape_markdown)
    return "\n".join(f"| {' | '.join(line)} |" for line in [titles, rule, *rows])


def render_latex(sheet: Sheet) -> str:
    """LaTeX for a paper that loads booktabs; the best of a column in bold."""
    alignment = "".join("r" if column.is_number else "l" for column in sheet.columns)
    titles = [_escape_latex(column.title) for column in sheet.columns]
    rows = _emphasise(sheet, r"$\pm$", r"\textbf{{{}}}", _escape_latex)
    return "\n".join(
        [
            rf"\begin{{tabular}}{{{alignment}}}  % \usepackage{{booktabs}}",
            r"\toprule",
            " & ".join(titles) + r" \\",
            r"\midrule",
            *(" & ".join(row) + r" \\" for row in rows),
            r"\bottomrule",
            r"\end{tabular}",
        ]
    )


FORMATS: dict[str, Callable[[Sheet], str]] = {
    "terminal": render_terminal,
    "csv": render_csv,
    "markdown": render_markdown,
    "latex": render_latex,
}


def _emphasise(
    sheet: Sheet, plus_minus: str, bold: str, escape: Callable[[str], str]
) -> list[list[str]]:
    """Text of the cells, escaped, the best of each column in bold."""
    return [
        [
            (bold if cell.best else "{}").format(
                cell.text.replace("+-", plus_minus) if cell.values else escape(cell.text)
            )
            for cell in row
        ]
        for row in sheet.rows
    ]


def _escape_markdown(text: str) -> str:
    """Text without markup, and without images from elsewhere."""
    return html.escape(on_one_line(text), quote=False).replace("|", r"\|").replace("](", r"]\(")


LATEX = str.maketrans(
    {c: rf"\{c}" for c in "&%$#_{}"}
    | {
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "\\": r"\textbackslash{}",
        "<": "$<$",
        ">": "$>$",
    }
)


def _escape_latex(text: str) -> str:
    return on_one_line(text).translate(LATEX)

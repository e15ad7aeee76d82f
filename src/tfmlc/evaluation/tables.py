"""Tables of scores with the best values marked, as Markdown, LaTeX and CSV."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tfmlc.metrics.registry import METRICS

LATEX_SPECIAL = str.maketrans(
    {
        **{character: f"\\{character}" for character in "_%&#${}"},
        **{"\\": r"\textbackslash{}", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}"},
        **{"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}"},
        **{"[": "{[}", "*": "{*}"},  # after the end of a row LaTeX takes them for its options
    }
)
LATEX_ARROWS = {"↑": r"$\uparrow$", "↓": r"$\downarrow$", "": ""}
OWN_HEAD = re.compile("(set,)?image,(.*,)?seconds")


@dataclass(frozen=True)
class Cell:
    """A value, and whether it is the best of its column."""

    value: float | None
    best: bool = False

    def text(self, digits: int) -> str:
        """Return the value as text, a dash if there is none."""
        return "-" if self.value is None else f"{self.value:.{digits}f}"


@dataclass(frozen=True)
class Table:
    """The scores on one dataset: each row has a label and one cell per column."""

    columns: list[str]
    rows: list[tuple[str, list[Cell]]]

    def as_markdown(self) -> str:
        """Return GitHub Markdown, the best values in bold."""
        head = ["", *(f"{column} {arrow(column)}" for column in self.columns)]
        rows: list[list[str]] = []
        for label, cells in self.rows:
            texts = [cell.text(digits(column)) for cell, column in zip(cells, self.columns, strict=True)]
            rows.append(
                [label, *(f"**{text}**" if cell.best else text for text, cell in zip(texts, cells, strict=True))]
            )
        return markdown(head, rows) + "\n"

    def as_latex(self) -> str:
        """Return a tabular for the booktabs package, the best values in bold."""
        names = [f"{column.translate(LATEX_SPECIAL)} {LATEX_ARROWS[arrow(column)]}".rstrip() for column in self.columns]
        lines = [rf"\begin{{tabular}}{{l{'r' * len(self.columns)}}}", r"\toprule", " & ".join(["", *names]) + r" \\"]
        lines.append(r"\midrule")
        for label, cells in self.rows:
            texts = [cell.text(digits(column)) for cell, column in zip(cells, self.columns, strict=True)]
            marked = [rf"\textbf{{{text}}}" if cell.best else text for text, cell in zip(texts, cells, strict=True)]
            lines.append(" & ".join([label.translate(LATEX_SPECIAL), *marked]) + r" \\")
        return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])

    def as_csv(self) -> str:
        """Return CSV with all digits, without marks."""
        rows = [[label, *(cell.value for cell in cells)] for label, cells in self.rows]
        return csv_text(["model", *self.columns], rows)


def markdown(head: Sequence[str], rows: Iterable[Sequence[object]], labels: int = 1) -> str:
    """Return a table as GitHub Markdown, the first ``labels`` columns aligned to the left, the others to the right.

    >>> print(markdown(["", "psnr"], [["blurry", "24.050"], ["default", "26.1"]]))
    |         |   psnr |
    |:--------|-------:|
    | blurry  | 24.050 |
    | default |   26.1 |
    """
    from tabulate import tabulate

    sides = ["left"] * labels + ["right"] * (len(head) - labels)
    cells = [[str(cell).replace("|", r"\|") for cell in row] for row in rows]
    return tabulate(cells, head, "pipe", colalign=sides, disable_numparse=True)


def csv_text(head: Sequence[str], rows: Iterable[Sequence[str | float | None]]) -> str:
    """Return rows as CSV; a missing value is empty.

    >>> csv_text(["image", "psnr"], [["a.png", 30.5], ["b.png", None]]).splitlines()
    ['image,psnr', 'a.png,30.5', 'b.png,']
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(["" if value is None else value for value in row] for row in rows)
    return text.getvalue()


def is_own_csv(path: Path) -> bool:
    """Whether a file is the CSV that is written beside a scores file."""
    try:
        with path.open(encoding="utf-8") as file:
            return OWN_HEAD.fullmatch(file.readline(10_000).rstrip()) is not None
    except (OSError, UnicodeDecodeError):
        return False


def build_table(rows: Sequence[tuple[str, dict[str, float | None]]], unmarked: Sequence[str] = ()) -> Table:
    """Build a table of mean scores; the best value of each column is marked, unless it is in a row of ``unmarked``.

    >>> rows = [("blurry", {"psnr": 24.5, "lpips": 0.2}), ("a", {"psnr": 24.0, "lpips": 0.1})]
    >>> [(label, [cell.best for cell in cells]) for label, cells in build_table(rows, ["blurry"]).rows]
    [('blurry', [False, False]), ('a', [False, True])]
    """
    columns = list(dict.fromkeys(column for _, mean in rows for column in mean))
    best: dict[str, float] = {}
    for column in columns:
        values = [mean.get(column) for _, mean in rows]
        there = [value for value in values if value is not None]
        if there and column_is_score(column):
            best[column] = max(there) if higher_is_better(column) else min(there)
    made = [
        (
            label,
            [
                Cell(mean.get(column), label not in unmarked and column in best and mean.get(column) == best[column])
                for column in columns
            ],
        )
        for label, mean in rows
    ]
    return Table(columns, made)


def beside_published(
    ours: Mapping[str, float | None], published: Mapping[str, float], columns: Sequence[str]
) -> dict[str, list[str]]:
    """Return our values, the published values and the differences as text, one per column; a missing value is a dash.

    >>> beside_published({"psnr": 33.0}, {"psnr": 32.511, "lpips": 0.063}, ["psnr", "lpips"])
    {'ours': ['33.000', '-'], 'paper': ['32.511', '0.0630'], 'difference': ['+0.489', '-']}
    """
    texts: dict[str, list[str]] = {"ours": [], "paper": [], "difference": []}
    for column in columns:
        mine, theirs, places = ours.get(column), published.get(column), digits(column)
        texts["ours"].append("-" if mine is None else f"{mine:.{places}f}")
        texts["paper"].append("-" if theirs is None else f"{theirs:.{places}f}")
        texts["difference"].append("-" if mine is None or theirs is None else f"{mine - theirs:+.{places}f}")
    return texts


def column_is_score(column: str) -> bool:
    """Whether a column is a score; the fraction of aligned images is not."""
    return not column.endswith("/aligned")


def higher_is_better(column: str) -> bool:
    """Whether a higher value is better in a column ``METRIC`` or ``PROTOCOL/METRIC``."""
    name = column.rpartition("/")[2]
    return METRICS[name].higher_is_better if name in METRICS else True  # a protocol's psnr and ssim


def arrow(column: str) -> str:
    """Return an arrow in the better direction; empty if the column is not a score."""
    return "" if not column_is_score(column) else "↑" if higher_is_better(column) else "↓"


def digits(column: str) -> int:
    """Return how many decimals of a column are shown."""
    name = column.rpartition("/")[2]
    if name.startswith("periodicity"):
        return 1
    return {"psnr": 3, "niqe": 3, "pi": 3, "brisque": 2, "aligned": 2}.get(name, 4)

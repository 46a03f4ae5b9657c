"""HTML as a tree: every text and attribute is escaped when it is written, whoever it comes from."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias
from xml.etree import ElementTree

from mobile.reports.table import Table

Element: TypeAlias = ElementTree.Element
Cells: TypeAlias = "list[list[Element | str]]"
Child: TypeAlias = "Element | str | Iterable[Element | str | None] | None"


def el(tag: str, *children: Child, **attributes: str | None) -> Element:
    """An element. ``class_`` and ``aria_label`` become class and aria-label; an attribute of None is left out.

    >>> written(el("p", "1 < 2", class_="note"))
    '<p class="note">1 &lt; 2</p>'
    """
    known = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items() if value is not None}
    node = ElementTree.Element(tag, known)
    for child in children:
        _add(node, child)
    return node


def _add(node: Element, child: Child) -> None:
    if child is None:
        return
    if isinstance(child, ElementTree.Element):
        node.append(child)
    elif isinstance(child, str):
        if len(node):
            node[-1].tail = (node[-1].tail or "") + child
        else:
            node.text = (node.text or "") + child
    else:
        for one in child:
            _add(node, one)


def written(node: Element) -> str:
    """The element as HTML. The content of script and style elements is written as it is."""
    return ElementTree.tostring(node, encoding="unicode", method="html")


def figure_of(text: str, value: Any, key: str) -> Element:
    """A figure for people that carries the value itself: ``value`` as JSON, ``key`` is its name in exports."""
    return el("data", text, value=json.dumps(value, allow_nan=False), data_key=key)


def embedded_json(document: Any) -> str:
    """JSON that may stand inside a script element: nothing in it ends the element.

    >>> embedded_json(["</script>"])
    '["\\\\u003c/script>"]'
    """
    return json.dumps(document, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def grid(
    headers: Sequence[str], rows: Iterable[Sequence[Element | str]], caption: str, numeric: Sequence[bool] = ()
) -> Element:
    """A table that scrolls by itself where it is larger than its room; the first cell of a row is its header."""
    head = el("tr", [el("th", header, scope="col", class_=_kind(numeric, at)) for at, header in enumerate(headers)])
    body = [el("tr", [_cell(cell, at, numeric) for at, cell in enumerate(row)]) for row in rows]
    table = el("table", el("thead", head), el("tbody", body), aria_label=caption)
    scrolled = el("div", table, class_="scroll", tabindex="0", role="region", aria_label=caption)
    return el("div", el("p", caption, class_="caption"), scrolled)


def table_grid(table: Table, caption: str, links: Mapping[str, str] | None = None) -> list[Element]:
    """A report's table and the lines under it. ``links``: what a row's first cell leads to, by its text."""
    notes = [el("li", note) for note in table.notes]
    known = links or {}
    rows: Cells = [
        [el("a", row[0], href=known[row[0]]) if row and row[0] in known else cell, *row[1:]]
        for row in table.rows
        for cell in row[:1]
    ]
    found = [grid(table.headers, rows, caption, table.numeric)]
    return [*found, el("ul", notes, class_="notes")] if notes else found


def _cell(cell: Element | str, at: int, numeric: Sequence[bool]) -> Element:
    if at == 0:
        return el("th", cell, scope="row", class_=_kind(numeric, at))
    return el("td", cell, class_=_kind(numeric, at))


def _kind(numeric: Sequence[bool], at: int) -> str | None:
    return "number" if at < len(numeric) and numeric[at] else None

"""Reports of runs: one list of fields (fields.py), tables of ready strings (table.py), text formats (render.py)."""

from __future__ import annotations

from mobile.reports.render import FORMATS, render, table_markdown, table_text
from mobile.reports.table import Table, runs_table, stored_runs_table

__all__ = ["FORMATS", "Table", "render", "runs_table", "stored_runs_table", "table_markdown", "table_text"]

"""Reports as HTML: one file that opens offline. Pure functions from runs to a document; `page.document` is the door."""

from __future__ import annotations

from mobile.reports.html.page import document

__all__ = ["document"]

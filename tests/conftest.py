"""Every test has its own home, store and cache, and no onnxruntime that reports home."""

from __future__ import annotations

import os

import pytest

from tests.support.skips import forbidden

os.environ["ORT_DISABLE_TELEMETRY"] = "1"
pytest.register_assert_rewrite("tests.contracts.transport")


@pytest.fixture(autouse=True)
def own_user_folders(tmp_path_factory, monkeypatch):
    """A fresh home for each test: nothing of the user's is read or written."""
    home = tmp_path_factory.mktemp("home")
    for name in [
        name for name in os.environ if name.startswith(("EDGEWISE_", "XDG_")) and name != "EDGEWISE_LAB_CACHE"
    ]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    return home


def pytest_collection_modifyitems(items):
    """The soak comes first: beside all the others it takes as long as they do."""
    items.sort(key=lambda item: "soak" not in item.path.name)


def pytest_report_header():
    """The versions that matter in a report of a failure."""
    from importlib import metadata

    names = ("numpy", "onnx", "onnxruntime", "ai-edge-litert", "paramiko", "torch")
    return "versions: " + ", ".join(f"{name} {_version(metadata, name)}" for name in names)


def _version(metadata, name):
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "absent"


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session):
    """In a full check (CI=true) a skip that is not on the list fails the run.

    When the run did not come to its end, `--last-failed` is then about all tests: some were never begun.
    """
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") != "true" or reporter is None:
        return
    cache = getattr(session.config, "cache", None)
    if cache is not None and session.exitstatus not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        cache.set("cache/lastfailed", {})
    reasons = sorted({str(report.longrepr[2]) for report in reporter.stats.get("skipped", []) if report.longrepr})
    bad = forbidden(reasons)
    if bad and session.exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        reporter.write_line("skipped, and not on the list of tests/support/skips.py:", red=True)
        for reason in bad:
            reporter.write_line(f"  {reason}", red=True)

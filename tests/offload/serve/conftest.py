"""Packages that the server's tests share."""

from __future__ import annotations

from pathlib import Path

import pytest
from onnx import TensorProto

from device_agents.split.package import Package
from tests.support.onnx_models import classifier, identity
from tests.support.served_packages import example_package, server_package


@pytest.fixture(scope="session")
def fashion(tmp_path_factory: pytest.TempPathFactory) -> Package:
    """The example network, cut in several places."""
    return example_package(tmp_path_factory.mktemp("fashion") / "fashion.split")


@pytest.fixture(scope="session")
def echo(tmp_path_factory: pytest.TempPathFactory) -> Package:
    """`echo.p1` gives back a float32 vector of any length."""
    model = identity(TensorProto.FLOAT, ["n"])
    return server_package(tmp_path_factory.mktemp("echo") / "echo.split", model, "echo")


@pytest.fixture(scope="session")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Package:
    """`rows.p1`: x float32 [batch, 4] -> logits [batch, 3], the first three columns."""
    return server_package(tmp_path_factory.mktemp("rows") / "rows.split", classifier(), "rows")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder for a package of the test's own."""
    return tmp_path / "own.split"

"""The rules of the house hold, and each check sees the fault that it is there for."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import architecture

ROOT = Path(__file__).resolve().parents[1]

PLANTED = {
    "upward_imports": ("mobile/planted.py", '"""A."""\nfrom exporters import export\n'),
    "contract_leaks": ("mobile/planted.py", '"""A."""\nfrom device_agents.runners.ort import OrtRunner\n'),
    "foreign_imports_of_the_agent": ("device_agents/planted.py", '"""A."""\nimport numpy\n'),
    "newer_syntax_in_the_agent": ("device_agents/planted.py", '"""A."""\nmatch 1:\n    case 1:\n        pass\n'),
    "outgrown": ("mobile/planted.py", '"""A."""\n' + "x = 1\n" * 501),
    "bare_excepts": ("mobile/planted.py", '"""A."""\ntry:\n    pass\nexcept Exception:\n    pass\n'),
    "undocumented": ("mobile/planted.py", '"""A."""\ndef f() -> None:\n    pass\n'),
}


@pytest.mark.parametrize("rule", architecture.RULES, ids=lambda rule: rule.__name__)
def test_the_sources_keep_the_rule(rule):
    assert rule(ROOT) == []


@pytest.mark.parametrize("rule", architecture.RULES, ids=lambda rule: rule.__name__)
def test_the_rule_sees_a_planted_fault(rule, tmp_path):
    name, text = PLANTED[rule.__name__]
    path = tmp_path / name
    path.parent.mkdir(parents=True)
    path.write_text(text)
    assert len(rule(tmp_path)) == 1


def test_a_lazy_import_of_a_runtime_is_allowed_in_the_agent(tmp_path):
    path = tmp_path / "device_agents/ok.py"
    path.parent.mkdir()
    path.write_text('"""A."""\ndef f():\n    """B."""\n    import numpy\n    return numpy\n')
    assert architecture.foreign_imports_of_the_agent(tmp_path) == []


def test_ruff_sees_a_planted_fault(tmp_path):
    """`print` outside the command line, a shell string, a pickle: the project's own configuration refuses each."""
    (tmp_path / "mobile").mkdir()
    planted = tmp_path / "mobile" / "planted.py"
    planted.write_text(
        "import pickle\nimport subprocess\n\n\ndef f(x: str) -> None:\n"
        "    print(x)\n    subprocess.run(x, shell=True)\n    pickle.loads(x)\n"
    )
    config = ["--config", str(ROOT / "pyproject.toml"), "--no-cache", "--output-format", "concise"]
    done = subprocess.run(
        [sys.executable, "-m", "ruff", "check", *config, str(planted)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    for code in ("T201", "S602", "S301"):
        assert code in done.stdout


@pytest.mark.slow
def test_mypy_sees_a_planted_fault(tmp_path):
    planted = tmp_path / "planted.py"
    planted.write_text("from mobile.deadline import Deadline\n\n\ndef f(x):\n    return Deadline('a')\n")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file", "", "--follow-imports", "silent",
         "--cache-dir", str(tmp_path / "cache"), str(planted)],
        capture_output=True, text=True, timeout=110, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 1
    assert "no-untyped-def" in done.stdout
    assert "arg-type" in done.stdout


HEAVY = {
    "numpy",
    "onnx",
    "onnxruntime",
    "torch",
    "paramiko",
    "pydantic",
    "yaml",
    "rich.console",
    "ai_edge_litert",
    "adb_shell",
    "scipy",
}


@pytest.mark.parametrize(
    "statement",
    ["import mobile", "from mobile.cli.main import run; run(['--help'])", "import exporters", "import offload"],
)
def test_nothing_heavy_is_imported(statement):
    code = f"import sys\n{statement}\nprint('MODULES', *sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.split("MODULES ", 1)[1].split())
    assert not loaded & HEAVY


def test_every_public_name_of_the_api_exists_and_is_listed():
    import mobile

    assert sorted(mobile.__all__) == mobile.__all__
    for name in mobile.__all__:
        assert getattr(mobile, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        mobile.nothing  # noqa: B018


def test_the_versions_agree():
    import tomllib

    import mobile
    from device_agents import AGENT_VERSION

    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert version == mobile.__version__ == AGENT_VERSION
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text()


def test_every_module_of_the_tests_parses():
    for path in (ROOT / "tests").rglob("*.py"):
        ast.parse(path.read_text(encoding="utf-8"))


def test_no_name_of_the_api_is_also_a_module_that_would_hide_it():
    import mobile

    for name in mobile.__all__:
        assert not (ROOT / "mobile" / name).exists(), name
        assert not (ROOT / "mobile" / f"{name}.py").exists(), name

"""The project's own promises: commands that agree, layers that import one way, sizes that stay small."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import explorer
from explorer.attention.maps.table import MAP_KINDS
from tests.conftest import REPOSITORY

RUN = "pip install -r requirements.txt && streamlit run explorer/Home.py"
TEST = "pip install -r requirements-dev.txt && pytest"
CORE = [
    "attention", "commands", "data", "evaluation", "models", "rendering", "training", "visitors", "web", "cli",
    "errors", "files", "launch", "malloc", "paths", "version", "words",
]  # fmt: skip


def python_files(folders: Sequence[str] = ("explorer", "pages", "tests", "benchmarks")) -> list[Path]:
    return [path for folder in folders for path in sorted((REPOSITORY / folder).rglob("*.py"))]


def test_readme_holds_both_commands_and_ci_installs_the_same_and_runs_the_same_tests_in_two_parts():
    readme = (REPOSITORY / "README.md").read_text()
    assert RUN in readme.splitlines()
    assert TEST in readme.splitlines()
    install, test = TEST.split(" && ")
    ci = (REPOSITORY / ".ci" / "run").read_text().splitlines()
    assert install in ci
    parts = [line.removeprefix(test) for line in ci if line.startswith(f"{test} ")]
    assert [part.partition('"')[2].partition('"')[0] for part in parts] == ["not browser", "browser"]


def required(file: str) -> dict[str, Requirement]:
    """The requirements that a file itself names, by the name that pip compares."""
    lines = (REPOSITORY / file).read_text().splitlines()
    requirements = [Requirement(line) for line in lines if line and not line.startswith(("#", "-r"))]
    return {canonicalize_name(requirement.name): requirement for requirement in requirements}


def imported(*folders: str) -> set[str]:
    """The packages that the Python files of some folders import, or find by a module's name (sample photos)."""
    modules: set[str] = {"skimage"}
    for path in python_files(folders):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                modules |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                modules.add(node.module.partition(".")[0])
    ours = {"explorer", "pages", "tests", "benchmarks"}
    return {canonicalize_name(providers()[module][0]) for module in modules - ours - sys.stdlib_module_names}


@cache
def providers() -> Mapping[str, list[str]]:
    """The distributions that have each module."""
    return packages_distributions()


OPTIONAL = {"onnx", "onnxscript"}  # for some outputs, which say what to install
BY_NAME = {  # run, or imported where they are there
    "ipykernel", "nbclient", "onnx", "onnxruntime", "onnxscript", "pre-commit", "pyright", "pytest-cov",
    "pytest-rerunfailures", "pytest-xdist", "ruff",
    "tensorboard", "torchcam",
}  # fmt: skip


def test_every_package_used_is_required_and_every_requirement_is_used():
    run, develop = set(required("requirements.txt")), set(required("requirements-dev.txt"))
    assert imported("explorer", "pages") - OPTIONAL == run
    assert imported("explorer", "pages", "tests", "benchmarks") | BY_NAME == run | develop
    assert not run & develop


def test_the_constraints_hold_one_version_of_every_requirement_within_its_range():
    pinned = dict(line.split("==") for line in (REPOSITORY / "constraints.txt").read_text().splitlines())
    requirements = required("requirements.txt") | required("requirements-dev.txt")
    assert {canonicalize_name(name) for name in pinned} == set(requirements)
    for name, version in pinned.items():
        assert requirements[canonicalize_name(name)].specifier.contains(version), name


def test_the_version_is_the_same_everywhere():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    assert project["project"]["version"] == explorer.__version__
    assert project["project"]["requires-python"] == f">={project['tool']['pyright']['pythonVersion']}"


@pytest.mark.slow
def test_pip_install_lets_other_folders_import_it(tmp_path: Path):
    copy, packages, elsewhere = (tmp_path / name for name in ("copy", "packages", "elsewhere"))
    shutil.copytree(REPOSITORY / "explorer", copy / "explorer", ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "pages").mkdir()  # a second folder at the top, which is no part of the package
    for name in ("pyproject.toml", "requirements.txt", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, copy)
    install = ["-m", "pip", "install", "--no-deps", "--no-build-isolation", "--target", packages, "-e", copy]
    done = subprocess.run([sys.executable, *install], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    elsewhere.mkdir()
    code = f"import site; site.addsitedir({str(packages)!r}); import explorer; print(explorer.__file__)"
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([sys.executable, "-c", code], cwd=elsewhere, env=clean, capture_output=True, text=True)
    assert done.stdout.strip() == str(copy / "explorer" / "__init__.py"), done.stderr
    wanted = next(packages.glob("*.dist-info")).joinpath("METADATA").read_text()
    assert wanted.count("Requires-Dist:") == len(required("requirements.txt"))


@pytest.mark.slow
def test_core_imports_no_streamlit():
    modules = [
        ".".join(path.relative_to(REPOSITORY).with_suffix("").parts)
        for name in CORE
        for path in [*(REPOSITORY / "explorer" / name).rglob("*.py"), REPOSITORY / "explorer" / f"{name}.py"]
        if path.exists() and path.stem != "__init__"
    ]
    code = f"import sys, importlib\nfor m in {modules!r}: importlib.import_module(m)\nprint('streamlit' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr


LONGEST = 40  # lines of a function below its docstring


def module_name(path: Path) -> str:
    parts = path.relative_to(REPOSITORY).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports() -> dict[str, set[str]]:
    """Which modules of explorer each imports: at its top, inside functions and for type checking alike."""
    files = {module_name(path): path for path in python_files(["explorer"])}
    found: dict[str, set[str]] = {}
    for module, path in files.items():
        names: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                parts = {alias.name: f"{node.module}.{alias.name}" for alias in node.names}
                names |= {part if part in files else node.module for part in parts.values()}
        found[module] = names & files.keys()
    return found


def circles(graph: dict[str, set[str]]) -> set[str]:
    """The modules that lie on a circle of imports or lead only to one: what can't be taken away leaf by leaf."""
    left = {module: set(names) for module, names in graph.items()}
    while leaves := {module for module, names in left.items() if not names & left.keys()}:
        for module in leaves:
            del left[module]
    # What is only above a circle is imported by nobody in it.
    while roots := {module for module in left if not any(module in names for names in left.values())}:
        for module in roots:
            del left[module]
    return set(left)


def test_no_imports_go_in_a_circle_also_those_for_type_checking():
    graph = imports()
    assert len(graph["explorer.attention.recording"]) > 5
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == {"b", "c"}
    assert not circles(graph)


def test_kinds_of_maps_are_told_apart_by_their_rows_alone():
    names = "|".join(MAP_KINDS)
    telling = re.compile(rf"""(kind|name)\s*(==|!=|in)\s*[\[({{]*["']({names}|raw)["']|["']({names})["']\s*:""")
    found = [str(path) for path in python_files(["explorer", "pages"]) if telling.search(path.read_text())]
    assert not found


def test_files_are_written_whole_in_one_place():
    replacing = re.compile(r"os\.replace\(|\bpart(ial)?\.(replace|rename)\(|\.part(ial)?\"")
    places = {
        str(path.relative_to(REPOSITORY)) for path in python_files(["explorer"]) if replacing.search(path.read_text())
    }
    # A checkpoint is a whole folder; an upload is named only when its content is known.
    assert places == {"explorer/files.py", "explorer/training/checkpoints.py", "explorer/ui/uploads.py"}


CORE_FOLDERS = [name for name in CORE if (REPOSITORY / "explorer" / name).is_dir()]


def test_the_core_reads_nothing_of_the_app():
    """Neither by an import, nor a file by its path."""
    graph = imports()
    ours = {module for module in graph if module.split(".")[1:2] in [[name] for name in CORE]}
    assert len(ours) > 50
    up = {module: names for module in ours if (names := {n for n in graph[module] if n.startswith("explorer.ui")})}
    assert not up
    telling = re.compile(r"""["'/](ui|pages)["'/]""")
    reading = [path for name in CORE_FOLDERS for path in (REPOSITORY / "explorer" / name).rglob("*.py")]
    assert not [str(path) for path in reading if telling.search(path.read_text())]


@pytest.mark.parametrize("path", python_files(), ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_modules_and_functions_stay_small(path: Path):
    limit = 120 if path.parent.name == "pages" and path.parent.parent == REPOSITORY else 600
    text = path.read_text()
    assert len(text.splitlines()) <= limit
    if not path.is_relative_to(REPOSITORY / "tests"):  # a test may tell a long journey
        assert not {name: length for name, length in lengths(text).items() if length > LONGEST}


def lengths(text: str) -> dict[str, int]:
    """Lines of each function's body, without its docstring."""
    found = {}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) and len(node.body) > 1 else node.body
            found[node.name] = (node.end_lineno or 0) - body[0].lineno + 1
    return found

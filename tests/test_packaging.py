"""The package that `pip install .` makes: all modules, all dependencies, one version."""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from omegaconf import OmegaConf

import mome
from mome.bin import INSTALLED_APART

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
TESTED = (ROOT / "tools/constraints.txt").read_text().splitlines()


def name_of(requirement: str) -> str:
    """Opencv_Python>=4 -> opencv-python"""
    return re.split(r"[<>=!~\[ ]", requirement)[0].lower().replace("_", "-")


def imported() -> set[str]:
    """The top-level packages that the sources of mome import."""
    found = set()
    for path in (ROOT / "mome").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found.add(node.module or "")
    return {name.split(".")[0] for name in found} - sys.stdlib_module_names - {"mome"}


def test_every_package_that_is_imported_is_declared():
    project = PROJECT["project"]
    declared = {name_of(r) for r in project["dependencies"]}
    declared |= {name_of(r) for extra in project["optional-dependencies"].values() for r in extra}
    apart = INSTALLED_APART.keys() | {"facenet_pytorch", "torchvision"}
    installed = packages_distributions()
    for package in imported() - apart:
        names = {name_of(name) for name in installed.get(package, [package])}
        assert names & declared, f"pyproject.toml does not declare {package}"


def test_there_is_one_version():
    citation = OmegaConf.load(ROOT / "CITATION.cff")
    head = re.search(r"^## (\S+) \((.+)\)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert citation.version == mome.__version__ == head[1]
    assert str(citation["date-released"]) == head[2]


def test_versions_of_packages_are_given_in_one_file():
    for package in INSTALLED_APART.values():
        assert package in TESTED
    install = (ROOT / "tools/install.sh").read_text()
    assert not re.search(r"^[^#]*==\d", install, re.MULTILINE), "a version in tools/install.sh"


def test_an_extra_that_does_not_exist_is_refused():
    command = [ROOT / "tools/install.sh", "tests"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("tools/install.sh: 'tests' is not one of the extras")


def without(module: str, *words: str) -> subprocess.CompletedProcess:
    """Run `mome ...` in a process where a package cannot be imported."""
    code = f"import sys; sys.modules[{module!r}] = None\nfrom mome.bin import main\nmain.main()"
    command = [sys.executable, "-c", code, *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_a_package_that_pip_does_not_bring_is_asked_for_in_one_line():
    done = without("espnet2", "make_baby", "--help")
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.endswith(
        "error: espnet is missing: run tools/install.sh, or: "
        f"pip install --no-deps {INSTALLED_APART['espnet2']}\n"
    )
    assert done.stderr.count("\n") == 1
    assert without("espnet2", "--help").returncode == 0


def test_any_other_missing_module_is_a_fault_and_keeps_its_traceback():
    done = without("omegaconf", "config", "--help")
    assert done.returncode == 1 and "Traceback" in done.stderr


def test_importing_mome_imports_nothing_heavy():
    code = "import sys, mome; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert not {"torch", "transformers", "espnet2", "deepspeed"} & {*done.stdout.split()}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The unpacked wheel, built from a copy of the sources."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "mome", source / "mome")
    code = f"from setuptools import build_meta; build_meta.build_wheel({str(out)!r})"
    subprocess.run([sys.executable, "-c", code], cwd=source, capture_output=True, check=True)
    (path,) = out.glob("*.whl")
    assert path.name.startswith(f"mome_avsr-{mome.__version__}-py3-none-any")
    with zipfile.ZipFile(path) as archive:
        archive.extractall(out)
    return out


def test_the_wheel_holds_every_file_of_the_package(wheel):
    sources = {p.relative_to(ROOT) for p in (ROOT / "mome").rglob("*") if p.is_file()}
    packed = {p.relative_to(wheel) for p in (wheel / "mome").rglob("*")}
    assert {p for p in sources if p.suffix != ".pyc"} <= packed
    entry_points = next(wheel.glob("*.dist-info")) / "entry_points.txt"
    assert "mome = mome.bin.main:main" in entry_points.read_text()


def test_the_wheel_works_without_the_recipes(wheel):
    code = f"import sys; sys.path.insert(0, {str(wheel)!r})\nfrom mome.bin import main\nmain.main()"
    command = [sys.executable, "-c", code, "--help"]
    done = subprocess.run(command, cwd=wheel, capture_output=True, text=True, check=True)
    assert all(f"  {path.stem} " in done.stdout for path in (ROOT / "mome/bin").glob("t*.py"))

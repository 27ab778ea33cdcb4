"""Where scores come from: date, versions and commit of a report; commands and times of stages."""

import importlib.metadata
import platform
import subprocess
import time
from pathlib import Path

PACKAGES = ("mome-avsr", "torch", "transformers", "deepspeed", "espnet", "kaldiio", "jiwer")
GIT_LIMIT_S = 10


def environment_rows() -> list[tuple[str, str]]:
    """Date, versions of packages, and the git commit, each with its name."""
    rows = [("date", time.strftime("%Y-%m-%d %H:%M")), ("python", platform.python_version())]
    for name in PACKAGES:
        try:
            rows.append((name, importlib.metadata.version(name)))
        except importlib.metadata.PackageNotFoundError:
            rows.append((name, "-"))
    git = ["git", "-C", str(Path(__file__).parent)]
    commit, changed = (
        output([*git, *args])
        for args in (["rev-parse", "--short", "HEAD"], ["status", "--porcelain", "-uno"])
    )
    return [*rows, ("git", f"{commit or '-'}{' with changes' if changed else ''}")]


def output(command: list[str]) -> str:
    """What a program prints; "" when it is not there, fails, or takes longer than GIT_LIMIT_S."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=GIT_LIMIT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()


def commands(exp_dir: Path) -> list[tuple[str, str]]:
    """The commands of an experiment, each with its git commit or `-`, without repetitions."""
    path = exp_dir / "stages.tsv"
    lines = path.read_text().splitlines() if path.exists() else []
    rows = [line.split("\t") for line in lines]
    return list(dict.fromkeys((command.strip(), commit or "-") for _, _, command, commit in rows))


def stage_times(exp_dir: Path) -> dict[str, int]:
    """Seconds of each stage's longest run."""
    path = exp_dir / "stages.tsv"
    longest: dict[str, int] = {}
    for line in path.read_text().splitlines() if path.exists() else []:
        stage, seconds, *_ = line.split("\t")
        longest[stage] = max(longest.get(stage, 0), int(seconds))
    return longest

"""The settings of a recipe: checks before its first stage, and what the stages read from them.

A recipe's `utils/settings.sh` and `run.sh` list its settings. Each is a text; some texts are lists
of words, such as `test_snrs="5 0 -5"`. Nothing here imports PyTorch, so that a wrong setting is
reported at once. What bash can check alone, such as numbers, avsr.sh has checked before.
"""

import math
import re
import shlex
from pathlib import Path
from typing import Any

from mome import config
from mome.config import NOISES, Config
from mome.data import landmarks
from mome.data.set_name import SetName
from mome.training import engine_settings

Values = dict[str, str | list[str] | dict[str, str]]

AUDIO, VIDEO = r"a[1-9]\d*", r"v[1-9]\d*"
SCALES = {"asr": AUDIO, "vsr": VIDEO, "avsr": f"{AUDIO}_{VIDEO}"}  # the forms of a task's scales
EXAMPLES = {"asr": "a4", "vsr": "v2", "avsr": "a4_v2"}


def check(settings: dict[str, str], recipe_dir: Path) -> Values:
    """What the stages read from the settings.

    Args:
        settings: texts by name. Paths in them are relative to the setting `work_dir`, a folder that
            need not exist yet, but `train_config` and `tuning` to the current folder.
        recipe_dir: the folder of the recipe; its conf/ is also that of the work folder.

    Returns the words of each list of words (`train_overrides`, `decode_overrides`,
    `launcher_options`, `noises`, `snrs`, `test_sets`, `checked_sets`, `scales`) and `config`, the
    values of the train config by `section.key`.

    Raises ValueError or FileNotFoundError, in one line, for the first wrong setting.
    """
    first, last = int(settings["stage"]), int(settings["stop_stage"])
    train_args, decode_args = words(settings, "train_args"), words(settings, "decode_args")
    cfg = load_config(settings, "train_args", train_args)
    if decode_args:
        load_config(settings, "decode_args", train_args + decode_args)
    for name, changes in experiments(settings):
        load_config(settings, f"tuning {settings['tuning']}: {name}", train_args + changes)

    work_dir = Path(settings["work_dir"])
    if first <= 1 <= last:
        check_landmarks(settings["landmarks"])
        check_folder(work_dir, "--noise_dir", settings["noise_dir"])
    if first <= 3 and last >= 2:
        check_folder(work_dir, "encoders.noise_dir", cfg.encoders.noise_dir)
    if first <= 3 <= last:
        check_training(cfg, work_dir, recipe_dir)
    noises, snrs, test_sets = check_noises(settings)
    checked = check_video_checks(words(settings, "video_checks"), test_sets)
    exp_dir = work_dir / "exp" / (settings["tag"] or Path(settings["train_config"]).stem)
    task = cfg.model.task
    if first >= 4 and (exp_dir / "config.yaml").exists():  # decoding reads this one
        task = config.load(exp_dir / "config.yaml").model.task
        check_decode_model(settings["decode_model"], exp_dir)
    scales = check_scales(words(settings, "decode_scales"), task)
    return {
        "train_overrides": train_args,
        "decode_overrides": decode_args,
        "launcher_options": words(settings, "launcher_args"),
        "noises": noises,
        "snrs": snrs,
        "test_sets": test_sets,
        "checked_sets": checked,
        "scales": scales,
        "config": as_texts(cfg),
    }


def assignments(values: Values) -> str:
    """The values as assignments to variables and arrays of bash, quoted."""
    lines = []
    for name, value in values.items():
        if isinstance(value, dict):
            items = " ".join(f"[{shlex.quote(k)}]={shlex.quote(v)}" for k, v in value.items())
            lines.append(f"declare -A {name}=({items})\n")
        elif isinstance(value, list):
            lines.append(f"{name}=({' '.join(map(shlex.quote, value))})\n")
        else:
            lines.append(f"{name}={shlex.quote(value)}\n")
    return "".join(lines)


def words(settings: dict[str, str], name: str) -> list[str]:
    """The words of a setting, split and quoted as in a shell."""
    try:
        return shlex.split(settings[name])
    except ValueError as error:
        raise wrong(name, settings[name], f"a quote without its partner ({error})") from None


def wrong(name: str, value: str, allowed: str) -> ValueError:
    """The error for a value of a setting."""
    return ValueError(f"--{name} '{value}': {allowed}")


def load_config(settings: dict[str, str], name: str, overrides: list[str]) -> Config:
    """The train config with overrides; ValueError names the file or setting that is at fault."""
    path = settings["train_config"]
    try:
        return config.load(path, overrides)
    except ValueError as error:
        fault = str(error).removeprefix("command line: ")
    try:
        config.load(path)
    except ValueError as error:
        raise ValueError(
            str(error) if str(error).startswith(path) else f"{path}: {error}"
        ) from None
    raise ValueError(f"--{name}: {fault}")


def experiments(settings: dict[str, str]) -> list[tuple[str, list[str]]]:
    """Name and overrides of each line of a tuning list; none without a list."""
    found: list[tuple[str, list[str]]] = []
    text = Path(settings["tuning"]).read_text(encoding="utf-8") if settings["tuning"] else ""
    for line in text.splitlines():
        name, _, changes = line.strip().partition(" ")
        if not name or name.startswith("#"):
            continue
        if name in dict(found):
            raise wrong("tuning", settings["tuning"], f"two experiments are called {name}")
        found.append((name, words({"tuning": changes}, "tuning")))
    if settings["tuning"] and not found:
        raise wrong("tuning", settings["tuning"], "it lists no experiment")
    return found


def check_landmarks(method: str) -> None:
    """ValueError for an unknown method, or one whose packages are not installed."""
    if method not in landmarks.METHODS:
        raise wrong("landmarks", method, f"give one of {', '.join(landmarks.METHODS)}")
    if method in landmarks.BACKENDS:
        landmarks.check_installed(method)


def check_folder(work_dir: Path, name: str, path: str) -> None:
    """ValueError for a folder that was named and does not exist."""
    if path and not (work_dir / path).is_dir():
        raise ValueError(f"{name} '{path}': no such folder")


def check_training(cfg: Config, work_dir: Path, recipe_dir: Path) -> None:
    """ValueError for what stage 3 would refuse later: missing files, weights of unknown scales."""
    check_folder(work_dir, "train.ctc_warmup.start_from", cfg.train.ctc_warmup.start_from)
    name = cfg.train.deepspeed
    path = (recipe_dir if name.startswith("conf/") else work_dir) / name
    if not path.is_file():
        known = ", ".join(
            f"conf/{p.name}" for p in sorted(recipe_dir.glob("conf/deepspeed_*.json"))
        )
        raise ValueError(f"train.deepspeed '{name}': no such file; the recipe has {known}")
    engine_settings.build(cfg, path, bf16=False)
    check_scales([*cfg.model.scale_weights], cfg.model.task, "model.scale_weights")
    check_scales([*cfg.train.scale_odds], cfg.model.task, "train.scale_odds")


def check_noises(settings: dict[str, str]) -> tuple[list[str], list[str], list[str]]:
    """Noises, SNRs in dB, and test sets: the clean one, then one for each noise and SNR."""
    noises, snrs = words(settings, "test_noise"), []
    for noise in noises:
        if settings["noise_dir"]:
            if not re.fullmatch(r"[\w-]*[^\W_][\w-]*", noise):
                allowed = "names of folders or files in --noise_dir: letters, digits, - and _ only"
                raise wrong("test_noise", noise, allowed)
        elif noise not in NOISES:
            allowed = f"the recipe makes {', '.join(NOISES)}; for your own noise, give --noise_dir"
            raise wrong("test_noise", noise, allowed)
    for text in words(settings, "test_snrs"):
        try:
            snr = float(text)
        except ValueError:
            snr = math.nan
        if not re.fullmatch(r"-?\d+(\.\d+)?", f"{snr:g}"):
            raise wrong("test_snrs", text, 'give numbers of dB, such as "5 0 -2.5"')
        snrs.append(f"{snr:g}")
    clean = SetName("test")
    noisy = [str(clean.in_noise(noise, float(snr))) for noise in noises for snr in snrs]
    return noises, snrs, [str(clean), *noisy]


def check_video_checks(names: list[str], test_sets: list[str]) -> list[str]:
    """The names of the sets of all checks; a test set stands for both of its checks.

    ValueError for a name that is neither a test set nor one with its video zeroed or exchanged.
    """
    checked = []
    for name in names:
        parsed = SetName.parse(name)
        if str(parsed.with_video("own")) not in test_sets:
            raise wrong("video_checks", name, f"the test sets are {', '.join(test_sets)}")
        videos = ["zeroed", "other"] if parsed.video == "own" else [parsed.video]
        checked += [str(parsed.with_video(video)) for video in videos]
    return checked


def check_decode_model(name: str, exp_dir: Path) -> None:
    """ValueError for a model that the experiment, trained before, does not have."""
    if name != "average" and not (exp_dir / name).is_dir():
        steps = sorted(exp_dir.glob("checkpoints/step_*"), key=lambda p: (len(p.name), p.name))
        there = ["best", "average", *(f"checkpoints/{path.name}" for path in steps)]
        raise wrong("decode_model", name, f"{exp_dir} has {', '.join(there)}")


def check_scales(names: list[str], task: str, setting: str = "--decode_scales") -> list[str]:
    """The names; ValueError for one that is not a scale of the task."""
    tasks = list(SCALES) if task == "all" else [task]
    for name in names:
        if not any(re.fullmatch(SCALES[t], name) for t in tasks):
            forms = ", ".join(EXAMPLES[t] for t in tasks)
            raise ValueError(f"{setting} '{name}': a scale of task {task} is written like {forms}")
    return names


def as_texts(cfg: Config) -> dict[str, str]:
    """Every value by `section.key`, a list as words."""
    texts = {}
    for section, values in config.as_dict(cfg).items():
        for key, value in values.items():
            items: list[Any] = value if isinstance(value, list) else [value]
            texts[f"{section}.{key}"] = " ".join(map(str, items))
    return texts

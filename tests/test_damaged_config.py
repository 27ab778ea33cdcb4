"""Configs that are damaged, hostile or senseless: one line that names the setting and the value."""

import dataclasses
import math
import re
from pathlib import Path

import pytest

from mome import config
from mome.config import LIMITS, Config

NUMBERS = (int, float, list[int], list[float], dict[str, float])


def numeric_fields(cls: type, prefix: str = "") -> dict[str, type]:
    """Every setting that holds numbers, with its type."""
    found = {}
    for f in dataclasses.fields(cls):
        if dataclasses.is_dataclass(f.type):
            found |= numeric_fields(f.type, f"{prefix}{f.name}.")
        elif f.type in NUMBERS:
            found[f"{prefix}{f.name}"] = f.type
    return found


FIELDS = numeric_fields(Config)


def as_yaml(kind: type, number: str) -> str:
    """A value of a type that holds this number."""
    if kind in (int, float):
        return number
    return f"[{number}]" if kind in (list[int], list[float]) else f"{{a4_v2: {number}}}"


def refusal(tmp_path: Path, text: str, overrides: list[str] | None = None) -> str:
    """The line with which a file is refused."""
    path = tmp_path / "train_x.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        config.load(path, overrides)
    assert 20 < len(str(error.value)) < 600
    return str(error.value)


def test_every_number_has_limits():
    assert LIMITS.keys() == FIELDS.keys() and len(FIELDS) > 40
    for name, (least, most) in LIMITS.items():
        assert math.isfinite(least) and math.isfinite(most) and least < most, name


def with_number(name: str, number: float) -> Config:
    """The default settings with another number in one of them."""
    kind = FIELDS[name]
    key = "avsr" if name == "model.task_weights" else "a4_v2"
    value = {dict[str, float]: {key: number}, list[int]: [number], list[float]: [number] * 2}
    parts, new = name.split("."), value.get(kind, number)
    for depth in range(len(parts) - 1, -1, -1):
        values = Config()
        for part in parts[:depth]:
            values = getattr(values, part)
        new = dataclasses.replace(values, **{parts[depth]: new})
    return new


@pytest.mark.parametrize("name", FIELDS)
def test_a_number_outside_of_its_limits_is_refused(name, tell):
    least, most = LIMITS[name]
    wrong = [math.inf, -math.inf, math.nan, -1e300, 2 * most + 1]
    wrong += [-1] if least >= 0 else []
    wrong += [0] if least > 0 else []
    for number in wrong:
        with pytest.raises(ValueError, match=name.split(".")[-1]) as error:
            with_number(name, number)
        tell(f"{name} = {number:g}", error.value)
    assert with_number(name, getattr_of(Config(), name))


def getattr_of(values: object, name: str) -> float:
    """The number that a setting has; the first one of a list, 1 for a dict."""
    for part in name.split("."):
        values = getattr(values, part)
    return (values[0] if isinstance(values, list) else values) if values != {} else 1.0


@pytest.mark.parametrize("name", FIELDS)
def test_what_is_no_number_is_refused(tmp_path, name, tell):
    kind = FIELDS[name]
    values = ["null", as_yaml(kind, "fast")] + ([".inf"] if kind is int else [])
    for value in values:
        line = tell(f"{name}={value}", refusal(tmp_path, "", [f"{name}={value}"]))
        assert re.search(rf"{re.escape(name)}(\.\w+)? must be an? .*, got ", line), (value, line)


FILES = {
    "tabs": ("model:\n\ttask: asr\n", r"line 2: this is not YAML: .*indent with spaces, not tabs"),
    "open brace": ("model: {task: asr\n", "line 2: this is not YAML"),
    "open quote": ("model:\n  llm: 'x\n", "line 3: this is not YAML"),
    "open bracket": ("train:\n  betas: [0.9\n", "line 3: this is not YAML"),
    "bad indent": ("model:\n  task: asr\n llm: x\n", "line 3: this is not YAML"),
    "a key twice": (
        "train:\n  lr: 1\n  lr: 2\n",
        "line 3: this is not YAML: found duplicate key lr",
    ),
    "a section twice": ("train: {lr: 1}\ntrain: {lr: 1}\n", "found duplicate key train"),
    "two documents": ("train: {}\n---\ntrain: {}\n", "line 2: this is not YAML"),
    "control character": ("train:\n  lr: \x01\n", "this is not YAML"),
    "latin-1": (b"model:\n  llm: caf\xe9\n", "line 2: byte 0xe9 is not UTF-8"),
    "binary": (bytes(range(256)), "is not UTF-8|not YAML"),
    "a list": ("- train\n", "the file must hold sections"),
    "a word": ("train\n", "the file must hold sections"),
    "a number": ("3\n", "the file must hold sections"),
    "a null section": ("train: null\n", "line 1: train must be a section, got None"),
    "an empty section": ("train:\n", "line 1: train must be a section, got None"),
    "a list as section": ("train: [1]\n", "line 1: train must be a section"),
    "a number as section": ("model: 3\n", "line 1: model must be a section"),
    "a null subsection": ("train:\n  ctc_warmup: null\n", r"line 2: train\.ctc_warmup must be a s"),
    "a key that is null": ("null: 3\n", "Incompatible key type 'NoneType'"),
    "a key that is a number": ("3: 3\n", "no setting called 3"),
    "an unknown key": ("train: {rl: 1}\n", r"no setting called train\.rl"),
    "a python tag": (
        "model:\n  llm: !!python/object/apply:os.system ['touch trap']\n",
        "line 2: this is not YAML: could not determine a constructor for the tag",
    ),
    "a python name": ("model:\n  llm: !!python/name:os.system\n", "not YAML: could not determine"),
    "a tag of its own": ("model:\n  llm: !x y\n", "not YAML: could not determine a constructor"),
    "an unknown alias": ("model:\n  llm: *x\n", "line 2: this is not YAML: found undefined alias"),
    "many aliases": (
        "a: &a [x]\n" + "".join(f"b{k}: [*a, *a]\n" for k in range(20)),
        "more than 20 aliases",
    ),
    "a large file": ("# x\n" * 300_000, "has 1200000 bytes: that is no configuration"),
    "interpolation": ("model:\n  llm: ${train.none}\n", r"model\.llm: Interpolation key"),
    "its own base": ("base: train_x.yaml\n", "it is the base of another file"),
    "a base that is a folder": ("base: .\n", "no configuration"),
    "a text where a number is": ("train: {num_steps: many}\n", "whole number, got 'many'"),
    "a fraction": ("train: {num_steps: 1.5}\n", r"a whole number, got 1\.5"),
    "true and false": ("model: {drop_tail: perhaps}\n", "must be true or false, got 'perhaps'"),
    "a list for a text": ("model: {llm: [x]}\n", r"model\.llm must be a text"),
    "no text": ("model: {llm: null}\n", r"model\.llm must be a text, got None"),
    "a list for a dict": ("train: {scale_odds: [1]}\n", r"train\.scale_odds must be a number for"),
    "no betas": ("train: {betas: []}\n", r"train\.betas must be two numbers.*: \[\]"),
    "one beta": ("train: {betas: [0.9]}\n", r"train\.betas must be two numbers"),
    "three betas": ("train: {betas: [0.9, 0.9, 0.9]}\n", r"train\.betas must be two numbers"),
    "no rates": (
        "model: {audio_rates: []}\n",
        r"rates must be one number or more, each 1 to",
    ),
    "a rate twice": ("model: {audio_rates: [4, 4]}\n", r"audio_rates must be different"),
    "no SNR": ("encoders: {snrs: []}\n", r"encoders\.snrs must be one number or more, each -100"),
    "scales": ("train: {scales_per_step: 100}\n", r"scales_per_step must be 0 to 4 \(all sc"),
    "scales of asr": ("train: {scales_per_step: 3}\nmodel: {task: asr}\n", "must be 0 to 2"),
    "scales of all": ("train: {scales_per_step: 9}\nmodel: {task: all}\n", "must be 0 to 8"),
    "experts": ("model: {num_active: 30}\n", r"num_active must be in 1\.\.23"),
    "never saved": ("train: {save_every: 0}\n", "save_every must be 1 or more"),
    "workers": ("train: {data_workers: -1}\n", "must be auto or a number: '-1'"),
    "a word that is near": ("model: {task: avrs}\n", r"model\.task must be one of .*mean avsr\?"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_refused_in_one_line(tmp_path, name, monkeypatch, tell):
    monkeypatch.chdir(tmp_path)
    text, message = FILES[name]
    line = tell(f"file: {name}", refusal(tmp_path, text))
    assert re.search(message, line), line
    named = r"train_x\.yaml|no configuration|(model|train|encoders)\.\w+"
    assert re.search(named, line), line
    assert not Path("trap").exists()


def test_a_few_aliases_are_read(tmp_path):
    path = tmp_path / "train_x.yaml"
    path.write_text("train:\n  lr: &lr 0.5\n  ctc_warmup: {lr: *lr}\n")
    assert config.load(path).train.ctc_warmup.lr == 0.5
    path.write_text("# a comment with " + "*stars* " * 50 + "\ntrain: {lr: 0.5}\n")
    assert config.load(path).train.lr == 0.5

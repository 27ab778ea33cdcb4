"""Settings: what a file or an override may say, and what is refused."""

import re
from pathlib import Path

import pytest

from mome import config


def write(tmp_path, text: str):
    path = tmp_path / "train_x.yaml"
    path.write_text(text)
    return path


def test_override_wins_over_file_and_file_over_default(tmp_path):
    path = write(tmp_path, "model:\n  num_routed: 7\n  audio_rates: [2]\n")
    cfg = config.load(path, ["model.num_routed=9", "train.lr=1e-4"])
    assert (cfg.model.num_routed, cfg.model.audio_rates, cfg.train.lr) == (9, [2], 1e-4)
    assert cfg.model.num_active == 4


@pytest.mark.parametrize(
    "text, message",
    [
        ("model:\n  num_route: 23\n", r"model\.num_route; did you mean model\.num_routed\?"),
        ("modle:\n  task: asr\n", r"no setting called modle; did you mean model\?"),
        (
            "train:\n  ctc_warmup:\n    steps: 3\n",
            r"train\.ctc_warmup\.steps; did you mean .*num_steps",
        ),
        (
            "train:\n  num_steps: many\n",
            r"x\.yaml, line 2: train\.num_steps must be a whole number, got 'many'",
        ),
        ("\ntrain:\n  betas: 3\n", r"line 3: train\.betas must be a list of numbers.*, got 3"),
        ("model:\n  audio_rates: [a]\n", r"line 2: model\.audio_rates must be a list of whole .*"),
        ("train: null\n", r"line 1: train must be a section, got None"),
        ("model:\n\ttask: asr\n", r"x\.yaml, line 2: this is not YAML: .*indent with spaces"),
        ("model: {a\n", r"x\.yaml, line 2: this is not YAML: expected"),
        ("train:\n  lr: 1\n  lr: 2\n", r"x\.yaml, line 3: this is not YAML: found duplicate key"),
        ("model:\n  task: avrs\n", r"model\.task must be one of .*; did you mean avsr\?"),
        ("model:\n  num_active: 30\n", r"num_active must be in 1\.\.23"),
        ("model:\n  audio_rates: [4, 4]\n", r"model\.audio_rates must be different"),
        ("model:\n  adapter_init: peers\n", r"adapter_init with adapter mome must be one of uni"),
        ("encoders:\n  audio_mask_s: -1\n", r"encoders\.audio_mask_s must be 0 to 60, got -1"),
        ("train:\n  num_epochs: 2\n", r"num_steps is 30000 and train\.num_epochs 2: set one of th"),
        ("train:\n  num_steps: 0\n", r"train\.num_steps is 0 and train\.num_epochs 0: set one of"),
        ("train:\n  num_steps: -1\n", r"train\.num_steps is -1 and train\.num_epochs 0: set one"),
        (
            "train:\n  valid_every: 0\n",
            r"train\.valid_every and train\.save_every must be 1 or more",
        ),
        (
            "train:\n  lr_warmup_steps: -1\n",
            r"train\.lr_warmup_steps must be 0 to 1000000000, got -1",
        ),
        ("train:\n  audio_dropout: 3\n", r"train\.audio_dropout must be 0 to 1, got 3"),
        ("train:\n  data_workers: -1\n", r"data_workers must be auto or a number: '-1'"),
        ("model: 3\n", r"model must be a section"),
    ],
)
def test_a_bad_file_is_refused_and_the_fault_named_in_one_line(tmp_path, text, message, tell):
    with pytest.raises(ValueError, match=message) as error:
        config.load(write(tmp_path, text))
    tell(f"file: {text.strip()}", error.value)


@pytest.mark.parametrize(
    "override, message",
    [
        ("train.rl=3", r"command line: no setting called train\.rl; known: num_steps, num_epochs"),
        ("lr", r"section\.key=value, got 'lr'"),
        ("train.lr=fast", r"command line: train\.lr must be a number, got 'fast'"),
        ("train.lr=", r"command line: train\.lr must be a number, got None"),
        ("train.num_steps=1e3", r"train\.num_steps must be a whole number, got 1000\.0"),
        ("model.audio_rates=[4,", r"command line: model\.audio_rates=\[4,: this is not YAML"),
        ("train.lr=${x}", r"train\.lr: Interpolation key 'x' not found"),
        ("train=3", r"command line: train must be a section"),
    ],
)
def test_a_bad_override_is_refused_and_the_fault_named_in_one_line(
    tmp_path, override, message, tell
):
    with pytest.raises(ValueError, match=message) as error:
        config.load(write(tmp_path, ""), [override])
    tell(f"override: {override}", error.value)


def test_a_file_that_holds_only_with_an_override_is_read_with_it(tmp_path):
    path = write(tmp_path, "model:\n  num_active: 30\n")
    assert config.load(path, ["model.num_routed=40"]).model.num_active == 30


def test_the_number_of_workers_may_be_written_as_a_number(tmp_path):
    path = write(tmp_path, "train: {data_workers: 3}\n")
    assert config.load(path).train.data_workers == "3"
    assert config.load(path, ["train.data_workers=0"]).train.data_workers == "0"


def test_the_last_of_two_overrides_counts(tmp_path):
    cfg = config.load(write(tmp_path, ""), ["model.audio_rates=[2,4]", "model.audio_rates=[8]"])
    assert cfg.model.audio_rates == [8]


def test_a_missing_file_names_those_there(tmp_path):
    write(tmp_path, "")
    with pytest.raises(FileNotFoundError, match=r"train_x\.yaml"):
        config.load(tmp_path / "train_y.yaml")


def test_the_saved_file_reads_back_equal(tmp_path):
    cfg = config.load(write(tmp_path, "train:\n  ctc_warmup:\n    weight: 0.2\n"))
    config.save(cfg, tmp_path / "saved.yaml")
    assert config.load(tmp_path / "saved.yaml") == cfg


def test_a_config_cannot_be_changed(tmp_path):
    with pytest.raises(AttributeError):
        config.load(write(tmp_path, "")).model.task = "asr"


def test_a_file_changes_the_settings_of_its_base(tmp_path):
    base = write(tmp_path, "model:\n  num_routed: 7\n  audio_rates: [2]\ntrain:\n  lr: 0.3\n")
    path = tmp_path / "train_y.yaml"
    path.write_text(f"base: {base.name}\nmodel:\n  audio_rates: [8]\n")
    cfg = config.load(path, ["train.seed=5"])
    assert (cfg.model.num_routed, cfg.model.audio_rates) == (7, [8])
    assert (cfg.train.lr, cfg.train.seed) == (0.3, 5)
    path.write_text(f"base: {base.name}\n")
    assert config.load(path) == config.load(base)


@pytest.mark.parametrize(
    "base, text, message",
    [
        ("train: 3\n", "base: train_x.yaml\n", r"train_x\.yaml, line 1: train must be a section"),
        ("", "base: none.yaml\n", r"no configuration .*/none\.yaml; in .*: train_x\.yaml"),
        ("base: z.yaml\n", "base: train_x.yaml\n", r"train_x\.yaml: it is the base of another fi"),
    ],
)
def test_a_fault_of_a_base_is_named_with_its_file(tmp_path, base, text, message, tell):
    write(tmp_path, base)
    path = tmp_path / "train_y.yaml"
    path.write_text(text)
    with pytest.raises((ValueError, FileNotFoundError), match=message) as error:
        config.load(path)
    tell(f"base: {base.strip() or text.strip()}", error.value)


@pytest.mark.parametrize("old, new", [("true", "both"), ("false", "none"), ("after", "after")])
def test_the_old_values_of_projector_norm_are_read(tmp_path, old, new):
    cfg = config.load(write(tmp_path, f"model:\n  projector_norm: {old}\n"))
    assert cfg.model.projector_norm == new
    assert config.load(write(tmp_path, ""), [f"model.projector_norm={old}"]) == cfg


CONFIGS = sorted((Path(__file__).parents[1] / "egs").glob("*/avsr1/conf/train_*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_every_config_of_a_recipe_loads_and_says_what_it_is(path):
    config.load(path)
    head = path.read_text().split("\nencoders:")[0]
    assert head.startswith("# ") and "# Command: egs/" in head


SYSTEMS = [p for p in CONFIGS if "lrs" in str(p) and not p.stem.endswith(("nano", "offline"))]
of_a_system = pytest.mark.parametrize("path", SYSTEMS, ids=lambda p: f"{p.parts[-4]}-{p.stem}")


@of_a_system
def test_the_systems_of_the_paper_are_trained_as_it_says(path):
    cfg = config.load(path)
    enc, train = cfg.encoders, cfg.train
    assert enc.features == "online" and enc.pad_to_30s and enc.random_crop
    assert (enc.audio_mask_s, enc.video_mask_s, enc.mirror_share) == (0.4, 0.4, 0.5)
    assert enc.snrs == [-5, 0, 5, 10, 15, 20]
    assert train.noisy_share == pytest.approx(6 / 7, abs=1e-6)  # the seventh is "clean"
    assert (train.num_steps, train.num_epochs, train.lr_warmup_steps) == (0, 10, 0)
    assert (train.lr, train.weight_decay, train.betas) == (1e-3, 0.1, [0.9, 0.98])
    assert cfg.model.balance_over == "batch" and cfg.decode.num_beams == 15
    assert cfg.model.adapter_init == ("peers" if cfg.model.adapter == "lora" else "uniform")


@of_a_system
def test_an_offline_variant_differs_in_its_features_alone_and_says_what_that_leaves_out(path):
    variant = path.with_name(f"{path.stem}_offline.yaml")
    assert config.load(variant) == config.load(path, ["encoders.features=offline"])
    head = variant.read_text().split("\nbase:")[0].replace("\n#   ", " ")
    assert f"--train_config conf/{variant.name}" in head
    for part in ("random crops", "mirror images", "time masks", "new noise"):
        assert part in head


LISTS = sorted((Path(__file__).parents[1] / "egs").glob("*/avsr1/conf/tuning/*.txt"))


@pytest.mark.parametrize("path", LISTS, ids=lambda p: f"{p.parts[-4]}-{p.stem}")
def test_every_tuning_list_changes_the_config_it_names(path):
    text = path.read_text()
    base = re.search(r"--train_config (conf/\S+\.yaml)", text)
    base = path.parents[2] / (base[1] if base else "conf/train_mome_layer.yaml")
    lines = [line.split() for line in text.splitlines() if line and not line.startswith("#")]
    assert lines and len({name for name, *_ in lines}) == len(lines)
    for _, *changes in lines:
        config.load(base, changes)


@pytest.mark.parametrize(
    "old, new",
    [
        ("train.clip=3.0", "train.max_grad_norm=3.0"),
        ("train.warmup.weight=0.2", "train.ctc_warmup.weight=0.2"),
        ("decode.tokens_more=3", "decode.extra_tokens=3"),
        ("encoders.mask_s=0.2", "encoders.video_mask_s=0.2"),
    ],
)
def test_a_setting_is_read_by_its_old_name_with_a_warning_that_gives_the_new_one(
    tmp_path, caplog, old, new
):
    path = write(tmp_path, "")
    assert config.load(path, [old]) == config.load(path, [new]) != config.load(path)
    name, new_name = (text.split("=")[0] for text in (old, new))
    section = ".".join(name.split(".")[:2])
    assert [r.message for r in caplog.records] == [
        f"command line: {section} is called {config.new_name(section)} now"
    ]
    assert config.new_name(name) == new_name


def test_old_names_in_a_file_are_read_and_both_names_are_refused(tmp_path, caplog):
    path = write(tmp_path, "train:\n  warmup:\n    num_steps: 7\n  clip: 2\n")
    cfg = config.load(path)
    assert (cfg.train.ctc_warmup.num_steps, cfg.train.max_grad_norm) == (7, 2.0)
    assert len(caplog.records) == 2
    path = write(tmp_path, "train:\n  clip: 2\n  max_grad_norm: 3\n")
    with pytest.raises(ValueError, match=r"train\.clip is the old name of train\.max_grad_norm"):
        config.load(path)

"""The benches of tools/bench, at sizes of seconds, and the table that one of them writes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from baby_recogniser import make_experiment, write_media
from torch.utils.flop_counter import FlopCounterMode
from transformers import LlamaConfig, LlamaForCausalLM

ROOT = Path(__file__).parents[2]
BENCH = ROOT / "tools/bench"


def run(name: str, *options: object) -> str:
    words = [sys.executable, str(BENCH / name), *map(str, options)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def rows(path: Path) -> dict[str, dict]:
    return {row["system"]: row for row in map(json.loads, path.read_text().splitlines())}


def test_the_table_in_the_readme_is_the_one_that_the_script_prints():
    text = (ROOT / "egs/README.md").read_text()
    begin, end = "<!-- tools/bench/scale.py --write -->\n", "<!-- end of the table -->"
    assert text.count(begin) == text.count(end) == 1
    assert text.partition(begin)[2].partition(end)[0] == run("scale.py")


def test_the_table_takes_what_was_measured_on_a_gpu(tmp_path):
    row = {"device": "NVIDIA X", "shape": "1b", "bench": "train"}
    lines = [
        row | {"system": "MoME", "step_s": 0.5, "media_s": 60.0},
        row | {"system": "MoME, online", "step_s": 1.0, "media_s": 60.0},
        row | {"system": "MoME", "shape": "3b", "step_s": 9.0, "media_s": 60.0, "device": "cpu"},
    ]
    path = tmp_path / "results.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    before, after = run("scale.py").splitlines(), run("scale.py", "--json", path).splitlines()
    assert "Measured on NVIDIA X." in after
    training, online = (next(x for x in after if x.startswith(f"| 3 {w}")) for w in ("t", "o"))
    expected = 10 * 433 * 0.5 / 60  # epochs, hours, times real time
    assert f"| {expected:.0f}; " in training and f"| {expected:.0f}; " in online
    lrs2 = [next(x for x in t if "3 training" in x).split("|")[2] for t in (before, after)]
    assert lrs2[0] == lrs2[1]  # a line of a CPU does not count


def test_flops_of_the_table_are_those_that_pytorch_counts(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    import scale

    shape = LlamaConfig(
        vocab_size=50, hidden_size=64, intermediate_size=160, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2,
    )  # fmt: skip
    monkeypatch.setattr(scale, "shapes_of", lambda llm: shape)
    corpus = scale.Corpus("x", 1.0, 720, 0.1, "llm", "1b", 1)  # clips of 5 s
    llm = LlamaForCausalLM(shape).requires_grad_(False)
    counted = 0.0
    for audio, video in ((4, 2), (4, 5), (16, 2), (16, 5)):
        tokens = round(250 / audio + 125 / video + 20 + scale.OTHER_TOKENS)
        x = torch.randn(1, tokens, 64, requires_grad=True)
        with FlopCounterMode(display=False) as counter:
            hidden = llm.model(inputs_embeds=x, use_cache=False).last_hidden_state
            llm.lm_head(hidden[:, -20:]).sum().backward()
        operators = counter.get_flop_counts()["Global"].items()
        attention = sum(n for operator, n in operators if "attention" in str(operator))
        counted += counter.get_total_flops() - attention  # the script leaves it out
    assert scale.step_flops(corpus) * 5 == pytest.approx(counted, rel=0.02)


def test_the_bench_of_a_training_step(tmp_path):
    output = run("train.py", "--seconds", 0.1, "--clips", 2, "--json", tmp_path / "x.jsonl")
    found = rows(tmp_path / "x.jsonl")
    assert found.keys() == {"floor", "MoME", "MoME, online", "LoRA", "usual"}
    for name, row in found.items():
        assert f"| {name} |" in output
        assert row["tokens_per_s"] > 0 and 0 < row["mfu"] < 1.5 and row["peak_bytes"] > 0
    ratios = {name: row["floor_ratio"][1] for name, row in found.items()}
    assert ratios["floor"] == 1 < ratios["MoME"] < ratios["MoME, online"] < ratios["usual"]


def test_the_bench_of_decoding(tmp_path):
    path = tmp_path / "x.jsonl"
    sizes = ("--beams", 1, 3, "--lengths", 2, "--batches", 1, 2)
    table = run("decode.py", "--seconds", 0.1, *sizes, "--dtype", "float32", "--json", path)
    found = [json.loads(line) for line in path.read_text().splitlines()]
    cases = {(row["beams"], row["clips"]) for row in found}
    assert cases == {(1, 1), (1, 2), (3, 1), (3, 2)} and table.count("| same |") == 4
    for row in found:
        assert row["system"] in ("mome", "peers", "loop", "llm")
        assert row["same_text"] is (None if row["system"] == "llm" else True)
        assert row["tokens"] == 2 * 4 + 1 or row["clips"] == 2
        assert row["mome_ratio"][1] > 0 and row["whole_ratio"][1] > 1


@pytest.mark.slow
def test_benches_of_an_experiment(tmp_path, performance):
    """Decoding, whose texts are compared, and the whole pipeline on a longer file."""
    exp_dir, clips, path = make_experiment(tmp_path), [], tmp_path / "x.jsonl"
    for k in range(2):
        images, sound = performance.images[k : k + 25], performance.waveform[: 25 * 640]
        clips.append(write_media(tmp_path / f"{k}.mp4", images, (sound / 32768).astype("float32")))
    given = ("--exp", exp_dir, "--clips", *clips, "--json", path)
    table = run("decode.py", "--seconds", 0.1, "--batches", 2, "--device", "cpu", *given)
    assert table.count("| same |") == 2
    path.unlink()
    table = run("pipeline.py", *given, "--lengths", 3, "--scales", "a16_v5")
    (row,) = map(json.loads, path.read_text().splitlines())
    assert "| 3 | a16_v5 |" in table and row["peak_bytes"] > 1e8
    assert sum(row["parts_s"].values()) == pytest.approx(row["clock_s"], rel=0.01)
    assert all(seconds > 0 for seconds in row["parts_s"].values()), row["parts_s"]


def test_gpu_sh_refuses_wrong_options(tmp_path):
    for words in ([], ["--out"], ["--wheels", str(tmp_path)], ["--ouT", "x"]):
        done = subprocess.run([BENCH / "gpu.sh", *words], capture_output=True, check=False)
        assert done.returncode == 2


@pytest.mark.slow
def test_the_cost_of_other_work_is_a_table():
    table = run("beside.py", "--seconds", 0.1, "--busy", 1, "--tasks", "train").splitlines()
    assert "fair share" in table[0] and len(table) == 7
    assert table[-3].startswith("| train | usual, 1 | 1.00 | ")

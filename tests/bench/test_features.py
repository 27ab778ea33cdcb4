"""The bench of the encoders: a tiny run, whose two ways give the same frames."""

import json
import runpy
from pathlib import Path

import torch

from mome import encoders

BENCH = Path(__file__).parents[2] / "tools/bench/features.py"


def test_a_tiny_run_prints_a_table_and_adds_lines_of_json(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(encoders, "choose_dtype", lambda kind: (torch.float32, "tested"))
    main = runpy.run_path(str(BENCH))["main"]
    path = tmp_path / "figures.jsonl"
    options = ["--device", "cpu", "--seconds", "0.1", "--clips", "8", "--json", str(path)]
    for _ in range(2):
        main(["--encoders", "avhubert-mini", *options])
    head, *table = capsys.readouterr().out.splitlines()[-4:]
    assert "float32: tested" in head and table[-1].startswith("| avhubert-mini | ")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["encoder"] for line in lines] == ["avhubert-mini"] * 2
    for line in lines:
        assert line["num_clips"] == 8 and line["dtype"] == "float32"
        assert min(line["alone_clips_per_s"], line["batches_clips_per_s"], line["ratio"]) > 0
        assert 0 < line["difference"] < 1e-4  # batches are padded, so rounding differs

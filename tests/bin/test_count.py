import json

from mome.bin import count


def test_the_command_prints_json(tmp_path, capsys):
    path = tmp_path / "x.yaml"
    path.write_text("model: {adapter: lora}\n")
    count.main(["--config", str(path), "--json"])
    counts = json.loads(capsys.readouterr().out)
    assert counts.keys() == {"active", "resident", "projectors"}
    assert counts["active"] == 16 * 64 * (2048 + 2048 + 2048 + 512)
    count.main(["--config", str(path), "model.lora_rank=32"])
    assert "3.408M" in capsys.readouterr().out

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


def test_each_experiment_of_a_list_is_counted_with_its_changes_and_those_of_the_command(
    tmp_path, capsys
):
    path, tuning = tmp_path / "x.yaml", tmp_path / "list.txt"
    path.write_text("model: {adapter: lora}\n")
    tuning.write_text("# two\nhalf model.lora_rank=32\nboth model.lora_form=mss\n")
    options = ["--config", str(path), "--tuning", str(tuning)]
    count.main([*options, "--json"])
    counts = json.loads(capsys.readouterr().out)
    lora = 16 * 64 * (2048 + 2048 + 2048 + 512)
    assert {name: row["active"] for name, row in counts.items()} == {
        "half": lora // 2,
        "both": 2 * lora,
    }
    count.main([*options, "model.llm=meta-llama/Llama-3.1-8B"])
    header, _, half, both = (line.split() for line in capsys.readouterr().out.splitlines())
    assert header == ["parameters", "active", "resident", "projectors"]
    assert half[:2] == ["half", "13.631M"] and both[:2] == ["both", "54.526M"]

from pathlib import Path

import pytest

from mome.bin import check_settings

RECIPE = Path(__file__).parents[2] / "egs/mini/avsr1"
SETTINGS = f"""stage=4 stop_stage=5 train_config={RECIPE}/conf/train_nano.yaml train_args= tuning=
tag= work_dir=. landmarks=centre test_noise=babble noise_dir= decode_model=best decode_scales=
decode_args= video_checks=test launcher_args= size=nano""".split()


def test_it_prints_what_the_stages_read(capsys):
    check_settings.main([*SETTINGS, "test_snrs=5 0", "--recipe_dir", str(RECIPE)])
    lines = capsys.readouterr().out.splitlines()
    assert "test_sets=(test test_babble_5 test_babble_0)" in lines
    assert "checked_sets=(test_zeroed_video test_other_video)" in lines and "scales=()" in lines
    assert lines[-1].startswith("declare -A config=(") and "[model.task]=avsr " in lines[-1]


def test_a_wrong_setting_is_one_line_with_status_2(capsys):
    with pytest.raises(SystemExit, match="2"):
        check_settings.main([*SETTINGS, "test_snrs=5 x", "--recipe", "./run.sh"])
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == ("./run.sh: --test_snrs 'x': give numbers of dB, such as \"5 0 -2.5\"\n")

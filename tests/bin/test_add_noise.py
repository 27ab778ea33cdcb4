"""Stage 1: noisy copies of a test set."""

import logging
import wave
from pathlib import Path

import numpy as np
import pytest

from mome.bin import add_noise
from mome.data import audio, datadir, noise, noisy_sets, validation
from mome.data.datadir import DataDir


def write_set(path: str, speakers: list[str], per_speaker: int, seed: int, level: float = 0.05):
    """A data directory of noises that stand for speech."""
    rng = np.random.default_rng(seed)
    keys = [f"{s}-{k:05d}" for s in speakers for k in range(per_speaker)]
    wav = {k: f"clean/{Path(path).name}/{k}.wav" for k in keys}
    for key in keys:
        length = int(rng.integers(8000, 20000))
        loudness = np.abs(np.sin(np.arange(length) / 3000))
        audio.write(wav[key], np.clip(level * loudness * rng.normal(size=length), -1, 1))
    data = DataDir(
        wav=wav,
        video=wav,
        text=dict.fromkeys(keys, "a b"),
        utt2spk={k: k.split("-")[0] for k in keys},
        utt2dur=dict.fromkeys(keys, 1.0),
    )
    datadir.write(path, data)
    return data


@pytest.fixture
def clean(tmp_path, monkeypatch) -> DataDir:
    """data/test of 4 utterances, data/train of 6 speakers."""
    monkeypatch.chdir(tmp_path)
    write_set("data/train", [f"s{k}" for k in range(6)], 3, seed=0)
    return write_set("data/test", ["t0", "t1"], 2, seed=1)


def add(*options: str) -> None:
    defaults = ["--noise_data", "data/train", "--noise_seconds", "8"]
    add_noise.main(["data/test", "data/test", *defaults, *options])


def manifest(name: str) -> dict[str, dict]:
    return {r["utterance"]: r for r in noisy_sets.read_manifest(Path(f"data/{name}/noise.tsv"))}


def samples(path: str) -> np.ndarray:
    """What a 16-bit wav file holds, in double precision, read without our own reader."""
    with wave.open(path) as file:
        assert (file.getsampwidth(), file.getnchannels(), file.getframerate()) == (2, 1, 16000)
        return np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32768


def snr_of_files(clean: DataDir, name: str) -> list[float]:
    """The SNR of each utterance as measured on the two wav files."""
    noisy, rows = validation.validate(f"data/{name}"), manifest(name)
    found = []
    for utterance in clean.utterances:
        speech = samples(clean.wav[utterance])
        added = samples(noisy.wav[utterance]) / rows[utterance]["scale"] - speech
        found.append(10 * np.log10(np.mean(speech**2) / np.mean(added**2)))
    return found


def write_noises(*paths: str, rate: int = 16000) -> None:
    """Sound files of different noise, 1 s or more."""
    for seed, path in enumerate(paths):
        sound = np.random.default_rng(seed).normal(size=rate + 7000 * seed)
        audio.write(path, 0.1 * sound.clip(-5, 5), rate)


# The files of the two as they are unpacked; NOISEX-92 has its own rate.
MUSAN = [
    "musan/music/fma/music-fma-0000.wav",
    "musan/music/jamendo/music-jamendo-0001.wav",
    "musan/noise/free-sound/noise-free-sound-0000.wav",
    "musan/noise/free-sound/noise-free-sound-0001_003.wav",
    "musan/speech/us-gov/speech-us-gov-0000.wav",
]
NOISEX = ["babble", "f16", "factory1", "factory2", "volvo", "white"]


@pytest.fixture
def noises(clean) -> None:
    """The folders musan/ and noisex/, next to data/."""
    write_noises(*MUSAN)
    write_noises(*[f"noisex/{name}.WAV" for name in NOISEX], rate=19980)
    Path("noisex/babble.mat").write_bytes(b"not read")
    Path("noisex/._volvo.WAV").write_bytes(b"not read either")


@pytest.mark.parametrize(
    "name, noise_dir",
    [*((kind, None) for kind in noise.MADE), ("babble", "noisex"), ("music", "musan")],
)
def test_the_written_files_have_the_snr_that_their_folder_says(clean, noises, name, noise_dir):
    loud = np.random.default_rng(5).normal(size=15000) * 0.4
    audio.write(clean.wav["t1-00001"], loud.clip(-1, 1))
    own = ["--noise_dir", noise_dir] if noise_dir else []
    add("--noise", name, *own, "--snrs", "-7.5", "0", "12.5")
    for snr in (-7.5, 0, 12.5):
        folder = f"test_{name}_{snr:g}"
        assert snr_of_files(clean, folder) == pytest.approx([snr] * 4, abs=0.05)
        assert manifest(folder)["t1-00001"]["scale"] < 1
        assert {row["snr"] for row in manifest(folder).values()} == {snr}


def test_a_noisy_set_is_like_the_clean_one_but_for_the_audio(clean):
    add("--snrs", "0")
    noisy = validation.validate("data/test_babble_0")
    assert (noisy.text, noisy.video, noisy.utt2spk) == (clean.text, clean.video, clean.utt2spk)
    assert noisy.wav["t0-00000"] == "dump/noisy/test_babble_0/t0-00000.wav"
    x, y = audio.read(clean.wav["t0-00000"]), audio.read(noisy.wav["t0-00000"])
    assert len(x) == len(y)


def test_the_same_pieces_of_noise_at_every_snr(clean):
    add("--snrs", "5", "0", "-5")
    pieces = [
        [(r["file"], r["offset"]) for r in manifest(f"test_babble_{snr}").values()]
        for snr in (5, 0, -5)
    ]
    assert pieces[0] == pieces[1] == pieces[2]
    assert len({offset for _, offset in pieces[0]}) > 1
    gains = [manifest(f"test_babble_{snr}")["t0-00000"]["gain"] for snr in (5, 0, -5)]
    assert gains[1] / gains[0] == pytest.approx(10 ** (5 / 20), rel=1e-6)
    assert gains[2] / gains[1] == pytest.approx(10 ** (5 / 20), rel=1e-6)


def test_the_audio_is_what_the_manifest_says(clean):
    add("--snrs", "-5")
    noisy = datadir.read("data/test_babble_-5")
    for utterance, row in manifest("test_babble_-5").items():
        speech = audio.read(clean.wav[utterance])
        piece = noise.segment(audio.read(row["file"]), len(speech), row["offset"])
        mix = row["scale"] * (speech + row["gain"] * piece)
        assert np.abs(audio.read(noisy.wav[utterance]) - mix).max() <= 0.51 / 32768


def noisy_bytes() -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in sorted(Path("dump/noisy").rglob("*.wav"))}


def test_the_seed_repeats_every_bit_and_another_one_does_not(clean):
    add("--snrs", "0")
    first = noisy_bytes()
    for path in first:
        Path(path).unlink()
    add("--snrs", "0")
    assert noisy_bytes() == first
    add("--snrs", "0", "--seed", "7")
    assert all(content != first[path] for path, content in noisy_bytes().items())


def test_an_utterance_meets_the_same_noise_whoever_else_is_in_the_set(clean):
    add("--noise", "pink", "--snrs", "0")
    before = manifest("test_pink_0")["t1-00001"]
    datadir.write("data/test", clean.subset(["t0-00001", "t1-00001"]))
    add("--noise", "pink", "--snrs", "0")
    assert manifest("test_pink_0")["t1-00001"] == before and len(manifest("test_pink_0")) == 2


def test_babble_has_no_speaker_of_the_test_set(clean, monkeypatch, refused):
    write_set("data/train", ["s0", "t0"], 2, seed=0)
    read, paths = audio.read, []
    monkeypatch.setattr(audio, "read", lambda path: paths.append(str(path)) or read(path))
    add("--snrs", "0", "--num_voices", "4")
    assert {p for p in paths if p.startswith("clean/train/s0")}
    assert not [p for p in paths if p.startswith("clean/train/t0")]
    with refused(
        "babble of the speakers of the test", r"all speakers of data/test are in data/test, too"
    ):
        add("--snrs", "0", "--noise_data", "data/test")


def test_a_mix_that_would_overflow_is_scaled_as_a_whole(clean):
    loud = write_set("data/test", ["t0"], 2, seed=3, level=0.4)
    add("--snrs", "-5")
    assert all(row["scale"] < 1 for row in manifest("test_babble_-5").values())
    assert snr_of_files(loud, "test_babble_-5") == pytest.approx([-5, -5], abs=0.02)
    peaks = [np.abs(audio.read(p)).max() for p in datadir.read("data/test_babble_-5").wav.values()]
    assert max(peaks) <= 0.991


def test_a_second_run_does_nothing_and_what_is_missing_is_made_again(clean, caplog):
    add("--snrs", "5", "0")
    first = noisy_bytes()
    with caplog.at_level(logging.INFO):
        add("--snrs", "5", "0")
    assert caplog.text.count("is up to date") == 2
    Path("dump/noisy/test_babble_5/t0-00000.wav").unlink()
    caplog.clear()
    with caplog.at_level(logging.INFO):
        add("--snrs", "5", "0")
    assert caplog.text.count("is up to date") == 1 and noisy_bytes() == first


@pytest.mark.parametrize(
    "noise_dir, name, files",
    [
        ("musan", "music", MUSAN[:2]),
        ("musan", "noise", MUSAN[2:4]),
        ("musan", "Free_Sound", MUSAN[2:4]),
        ("musan", "noise-free-sound", MUSAN[2:4]),
        ("musan", "music-fma-0000", MUSAN[:1]),
        ("musan", "all", MUSAN),
        ("noisex", "babble", ["noisex/babble.WAV"]),
        ("noisex", "White", ["noisex/white.WAV"]),
        ("noisex", "factory", ["noisex/factory1.WAV", "noisex/factory2.WAV"]),
        ("noisex", "factory2", ["noisex/factory2.WAV"]),
        ("noisex", "f16", ["noisex/f16.WAV"]),
        ("noisex", "all", [f"noisex/{name}.WAV" for name in NOISEX]),
    ],
)
def test_a_noise_is_a_folder_or_files_of_its_name(noises, noise_dir, name, files):
    found = noisy_sets.find_files(Path(noise_dir), [name])
    assert [str(path) for path in found[name]] == files


def test_a_folder_goes_before_a_file_and_a_file_before_a_series(clean):
    write_noises("mine/hum/a.wav", "mine/hum.wav", "mine/hum2.wav", "mine/car.wav", "mine/car1.wav")
    found = noisy_sets.find_files(Path("mine"), ["hum", "car"])
    assert found == {"hum": [Path("mine/hum/a.wav")], "car": [Path("mine/car.wav")]}


def test_folders_elsewhere_may_be_linked(clean):
    write_noises("disk/music/a.wav")
    Path("mine").mkdir()
    Path("mine/music").symlink_to(Path("disk/music").resolve())
    assert noisy_sets.find_files(Path("mine"), ["music"])["music"] == [Path("mine/music/a.wav")]


def test_each_noise_and_snr_is_a_set_of_its_own_files(clean, noises, caplog):
    options = ["--noise", "music", "noise", "--noise_dir", "musan", "--snrs", "-2.5", "10"]
    add(*options)
    names = [f"test_{noise}_{snr}" for noise in ("music", "noise") for snr in ("-2.5", "10")]
    assert sorted(p.name for p in Path("data").glob("test_*")) == sorted(names)
    for name in names:
        files = {row["file"] for row in manifest(name).values()}
        assert files and all(file.startswith(f"musan/{name.split('_')[1]}/") for file in files)
        assert snr_of_files(clean, name) == pytest.approx([float(name.split("_")[2])] * 4, abs=0.05)
    write_noises("musan/music/new.wav")  # does not matter to the other noise
    with caplog.at_level(logging.INFO):
        add(*options)
    assert [f"data/{n} is up to date" in caplog.text for n in names] == [False, False, True, True]


@pytest.mark.parametrize(
    "noise_dir, name, message",
    [
        (
            "musan",
            "musik",
            r"musan has no noise 'musik'; did you mean music\b.*it has all, .*speech",
        ),
        ("musan", "babble", r"no noise 'babble'.* to have babble made, leave out --noise_dir"),
        (
            "noisex",
            "fac",
            r"it has all, factory, babble, f16, factory1, factory2, volvo, white: give",
        ),
        ("nowhere", "all", r"nowhere is not a folder: give that of your noise"),
        ("empty", "all", r"empty holds no sound file \(\.flac, \.ogg, \.wav\)"),
    ],
)
def test_a_missing_noise_is_an_error_that_lists_those_found(
    noises, noise_dir, name, message, refused
):
    Path("empty").mkdir()
    with refused(f"noise {name} of {noise_dir}", message, FileNotFoundError):
        add("--noise", "all", name, "--noise_dir", noise_dir)
    assert not list(Path("data").glob("test_*"))


def test_silent_places_of_a_noise_are_not_chosen(clean, refused):
    track = np.zeros(200000)
    track[150000:] = 0.1 * np.random.default_rng(0).normal(size=50000).clip(-5, 5)
    audio.write("mine/x.wav", track)
    add("--noise", "x", "--noise_dir", "mine", "--snrs", "0")
    assert snr_of_files(clean, "test_x_0") == pytest.approx([0] * 4, abs=0.1)
    audio.write("silent/x.wav", np.zeros(100000))
    with refused("silent noise", r"silent/x\.wav and others are silent at all of 20"):
        add("--noise", "all", "--noise_dir", "silent", "--snrs", "0")


def test_silent_speech_is_an_error_that_names_the_utterance(clean, refused):
    audio.write(clean.wav["t1-00000"], np.zeros(9000))
    with refused("silent speech", r"t1-00000 \(clean.*wav\): the speech is silent"):
        add("--snrs", "0")


@pytest.mark.parametrize(
    "options, message",
    [
        (["--noise", "white", "brown"], "must be one of babble, speech_shaped, pink, white"),
        (["--noise", "a/b", "--noise_dir", "mine"], "letters, digits, - and _ only"),
        (["--num_voices", "0"], "must be above 0"),
    ],
)
def test_wrong_options_are_usage_errors(clean, capsys, options, message):
    with pytest.raises(SystemExit) as stop:
        add(*options)
    assert stop.value.code == 2 and message in capsys.readouterr().err


def test_babble_needs_voices(clean, capsys):
    with pytest.raises(SystemExit):
        add_noise.main(["data/test", "data/test"])
    assert "give --noise_data data/train" in capsys.readouterr().err

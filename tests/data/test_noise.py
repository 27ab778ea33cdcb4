"""Noise: mixing at an SNR, noise of our own making, and noise for the utterances of a set."""

import numpy as np
import pytest
import torch

from mome.data import audio, datadir, noise
from mome.data.noise import Noise


def signal(seed: int, length: int = 16000, scale: float = 0.1) -> np.ndarray:
    return (scale * np.random.default_rng(seed).normal(size=length)).astype(np.float32)


def measured(speech, added) -> float:
    return 10 * np.log10(float((speech**2).mean()) / float((added**2).mean()))


@pytest.mark.parametrize("snr", [-5, 0, 0.0, 5, 20, 7.5])
@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy])
def test_the_mix_has_the_asked_snr(snr, kind):
    speech, other = kind(signal(0)), kind(signal(1, scale=3.0))
    mix = noise.add_noise(speech, other, snr)
    assert type(mix) is type(speech) and mix.dtype == speech.dtype
    assert measured(speech, mix - speech) == pytest.approx(snr, abs=1e-3)


def test_zero_decibels_is_equal_power():
    assert noise.gain_for(signal(0), 2 * signal(0), 0) == pytest.approx(0.5)


def test_integers_do_not_overflow():
    loud = np.full(1000, 30000, dtype=np.int16)
    assert noise.gain_for(loud, loud, 0) == pytest.approx(1)


def test_a_gradient_does_not_matter():
    speech = torch.from_numpy(signal(0)).requires_grad_()
    assert noise.add_noise(speech, torch.from_numpy(signal(1)), 0).requires_grad


@pytest.mark.parametrize("silent", ["speech", "noise"])
def test_silence_has_no_snr(silent, refused):
    signals = {"speech": signal(0), "noise": signal(1)}
    signals[silent] = np.zeros(16000, np.float32)
    with refused(f"silent {silent}", f"the {silent} is silent"):
        noise.add_noise(snr=0, **signals)


@pytest.mark.parametrize("shape", [(15999,), (1, 16000)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match="must be 1-D and of one length"):
        noise.add_noise(signal(0), np.ones(shape), 0)


def test_a_segment_goes_round():
    assert noise.segment(np.arange(5), 7, 3).tolist() == [3, 4, 0, 1, 2, 3, 4]
    assert noise.segment(np.arange(5), 2, 13).tolist() == [3, 4]
    with pytest.raises(ValueError, match="empty"):
        noise.segment(np.zeros(0), 2, 0)


def made(kind: str, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    voices = (signal(k, 3000 + 100 * k, scale=10.0**k) for k in range(5))
    return noise.make(kind, 32000, rng, voices)


@pytest.mark.parametrize("kind", noise.MADE)
def test_made_noise_has_power_one_and_repeats_bit_for_bit(kind):
    x = made(kind, 7)
    assert x.shape == (32000,) and noise.power(x) == pytest.approx(1)
    assert np.array_equal(x, made(kind, 7))
    assert not np.array_equal(x, made(kind, 8))


def test_a_kind_is_made_by_its_own_function_and_voices_are_read_only_when_needed():
    def voices():
        read.append(True)
        yield signal(0, 3000)

    makers = {
        "white": lambda rng: noise.make_coloured("white", 4000, rng),
        "pink": lambda rng: noise.make_coloured("pink", 4000, rng),
        "babble": lambda rng: noise.make_babble([signal(0, 3000)], 4000, rng),
        "speech_shaped": lambda rng: noise.make_speech_shaped([signal(0, 3000)], 4000, rng),
    }
    assert makers.keys() == set(noise.MADE)
    for kind, maker in makers.items():
        read = []
        x = noise.make(kind, 4000, np.random.default_rng(3), voices())
        assert np.array_equal(x, maker(np.random.default_rng(3)))
        assert bool(read) == (kind in noise.NEEDS_VOICES)


def test_a_kind_that_cannot_be_made_is_refused(refused):
    with refused("no such noise", "no noise 'car': choose one of babble, speech_shaped,"):
        noise.make("car", 4000, np.random.default_rng(0), [signal(0)])


def band_power(x: np.ndarray, low: float, high: float) -> float:
    spectrum = np.abs(np.fft.rfft(x)) ** 2
    frequency = np.fft.rfftfreq(len(x), 1 / 16000)
    return spectrum[(frequency >= low) & (frequency < high)].sum()


def test_each_octave_of_pink_noise_is_equally_loud_and_of_white_twice_the_last():
    pink, white = made("pink", 0), made("white", 0)
    for low in (500, 1000, 2000):
        octaves = (low, 2 * low), (2 * low, 4 * low)
        assert band_power(pink, *octaves[1]) == pytest.approx(
            band_power(pink, *octaves[0]), rel=0.2
        )
        assert band_power(white, *octaves[1]) == pytest.approx(
            2 * band_power(white, *octaves[0]), rel=0.2
        )


def test_shaped_noise_has_the_spectrum_of_the_speech():
    t = np.arange(32000) / 16000
    speech = np.sin(2 * np.pi * 1000 * t)
    x = noise.make_speech_shaped([speech], 32000, np.random.default_rng(0))
    assert band_power(x, 900, 1100) > 0.95 * band_power(x, 0, 8000)


def test_voices_of_babble_are_equally_loud_whatever_their_level():
    t = np.arange(16000) / 16000
    voices = [0.001 * np.sin(2 * np.pi * 500 * t), 100 * np.sin(2 * np.pi * 3000 * t)]
    babble = noise.make_babble(voices, 16000, np.random.default_rng(0))
    assert band_power(babble, 400, 600) == pytest.approx(band_power(babble, 2900, 3100), rel=0.01)


def test_a_silent_voice_adds_nothing_and_silence_alone_is_refused():
    voices = [signal(0), np.zeros(500)]
    assert np.isfinite(noise.make_babble(voices, 1000, np.random.default_rng(0))).all()
    for none in ([], [np.zeros(500)]):
        with pytest.raises(ValueError):
            noise.make_babble(none, 1000, np.random.default_rng(0))


# Each speaker of the set hums at two pitches, which show whose voice is in the noise.
TONES = {"ann": 500, "bob": 2000, "cid": 4000}  # Hz; the second utterance is 50 Hz higher
SPEECH = signal(9, 6400)


@pytest.fixture
def speakers(tmp_path) -> datadir.DataDir:
    wav = {}
    for speaker, tone in TONES.items():
        for k, length in enumerate((6400, 8000)):
            wav[f"{speaker}-{k}"] = str(tmp_path / f"{speaker}-{k}.wav")
            hum = 0.5 * np.sin(2 * np.pi * (tone + 50 * k) * np.arange(length) / 16000)
            audio.write(wav[f"{speaker}-{k}"], hum)
    table = dict.fromkeys(wav, "")
    utt2spk = {u: u.split("-")[0] for u in wav}
    return datadir.DataDir(wav, wav, table, utt2spk, dict.fromkeys(wav, 0.4))


def add(source: Noise, speaker: str = "ann", seed: int = 0):
    """Noise that was added to `SPEECH`, its SNR, and where it is from."""
    noisy, snr, origin = source.add(SPEECH, speaker, np.random.default_rng(seed))
    return noisy - SPEECH, snr, origin


def share(x: np.ndarray, tone: float) -> float:
    """Share of the power within 150 Hz of a tone."""
    return band_power(x, tone - 150, tone + 150) / band_power(x, 0, 8000)


@pytest.mark.parametrize("kind", noise.MADE)
def test_noise_has_an_snr_of_the_list_and_each_of_them_comes_up(kind, speakers):
    source = Noise(kind, [-5.0, 0.0, 7.5], speakers, num_voices=2)
    seen = set()
    for seed in range(20):
        added, snr, _ = add(source, seed=seed)
        assert measured(SPEECH, added) == pytest.approx(snr, abs=1e-3)
        seen.add(snr)
    assert seen == {-5.0, 0.0, 7.5}


@pytest.mark.parametrize("kind", noise.MADE)
def test_the_same_generator_gives_the_same_noise(kind, speakers):
    source = Noise(kind, [0.0, 5.0], speakers)
    (a, *labels), (b, *same_labels) = add(source, seed=1), add(source, seed=1)
    assert np.array_equal(a, b) and labels == same_labels
    assert not np.array_equal(a, add(source, seed=2)[0])


def test_voices_are_those_of_other_speakers(speakers):
    for kind in noise.NEEDS_VOICES:
        source = Noise(kind, [0.0], speakers, num_voices=4)
        for speaker, tone in TONES.items():
            added, _, origin = add(source, speaker)
            others = {u for u in speakers.utterances if not u.startswith(speaker)}
            assert set(origin.split(",")) == others
            assert share(added, tone) < 0.1
            assert sum(share(added, other) for other in set(TONES.values()) - {tone}) > 0.85
        assert len(add(Noise(kind, [0.0], speakers, num_voices=1))[2].split(",")) == 1
        assert len(add(Noise(kind, [0.0], speakers))[2].split(",")) == 4  # as many as there are


def test_each_kind_sounds_as_its_name_says(speakers):
    """Babble is the voice itself; speech-shaped noise has its spectrum, but is no voice."""

    def repeats(x):  # correlation with itself 0.1 s later; a hum goes on, noise does not
        return np.corrcoef(x[:-1600], x[1600:])[0, 1]

    added = {kind: add(Noise(kind, [0.0], speakers, num_voices=1)) for kind in noise.MADE}
    for kind in noise.NEEDS_VOICES:
        x, _, origin = added[kind]
        assert share(x, TONES[origin.split("-")[0]]) > 0.85
        assert (repeats(x) > 0.99) == (kind == "babble")
    (white, _, white_origin), (pink, _, pink_origin) = added["white"], added["pink"]
    assert white_origin == pink_origin == "-"
    assert band_power(white, 0, 1000) == pytest.approx(band_power(white, 4000, 5000), rel=0.3)
    assert band_power(pink, 20, 400) == pytest.approx(band_power(pink, 400, 8000), rel=0.4)


FIRST_SAMPLES = {  # of version 0.1
    "white": [0.0128139, -0.0134636, 0.0652691],
    "pink": [0.0202730, 0.0143074, 0.0482775],
    "babble": [0.1391512, 0.0510308, -0.1358355],
    "speech_shaped": [-0.0162096, -0.1711395, -0.1448733],
}


@pytest.mark.parametrize("kind", noise.MADE)
def test_features_made_by_version_0_1_hold_the_noise_that_is_made_now(kind, speakers):
    """Random numbers are drawn in the same order."""
    added, _, _ = add(Noise(kind, [0.0], speakers))
    assert added[:3] == pytest.approx(FIRST_SAMPLES[kind], abs=1e-6)
    source = Noise("babble", [0.0, 5.0], speakers, num_voices=2)
    assert [add(source, "bob", seed)[1:] for seed in range(3)] == [
        (5.0, "cid-0,ann-1"),
        (0.0, "ann-1,cid-1"),
        (5.0, "cid-1,ann-0"),
    ]


def test_only_one_speaker_cannot_have_noise_of_others(speakers, refused):
    alone = speakers.subset(["ann-0", "ann-1"])
    for kind in noise.NEEDS_VOICES:
        with refused("babble of one speaker", "ann is the only speaker: choose pink or white"):
            add(Noise(kind, [0.0], alone))
    assert add(Noise("pink", [0.0], alone))[2] == "-"


def test_noise_is_cut_from_the_files_of_a_folder(speakers, tmp_path):
    for name, scale in (("car/a.wav", 0.01), ("b.WAV", 0.2)):
        audio.write(tmp_path / "noise" / name, signal(5, 4000, scale))
    (tmp_path / "noise/notes.txt").write_text("no sound")
    source = Noise("babble", [3.0], speakers, noise_dir=tmp_path / "noise")
    assert [path.name for path in source.files] == ["b.WAV", "a.wav"]
    names = set()
    for seed in range(10):
        added, _, origin = add(source, seed=seed)
        path, offset = origin.rsplit("@", 1)
        piece = noise.segment(audio.read(path), len(SPEECH), int(offset))  # longer than the file
        assert np.corrcoef(added, piece)[0, 1] > 0.9999
        assert measured(SPEECH, added) == pytest.approx(3.0, abs=1e-3)
        names.add(path)
    assert len(names) == 2


def test_a_folder_without_sounds_is_refused(speakers, tmp_path, refused):
    with refused("no sound files", "none holds no sound file", FileNotFoundError):
        Noise("babble", [0.0], speakers, noise_dir=tmp_path / "none")

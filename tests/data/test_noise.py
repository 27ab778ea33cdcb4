"""Noise: mixing at an SNR, and noise of our own making."""

import numpy as np
import pytest
import torch

from mome.data import noise


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
def test_silence_has_no_snr(silent):
    signals = {"speech": signal(0), "noise": signal(1)}
    signals[silent] = np.zeros(16000, np.float32)
    with pytest.raises(ValueError, match=f"the {silent} is silent"):
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
    voices = [signal(k, 3000 + 100 * k, scale=10.0**k) for k in range(5)]
    if kind in ("white", "pink"):
        return noise.make_coloured(kind, 32000, rng)
    make = noise.make_babble if kind == "babble" else noise.make_speech_shaped
    return make(voices, 32000, rng)


@pytest.mark.parametrize("kind", noise.MADE)
def test_made_noise_has_power_one_and_repeats_bit_for_bit(kind):
    x = made(kind, 7)
    assert x.shape == (32000,) and noise.power(x) == pytest.approx(1)
    assert np.array_equal(x, made(kind, 7))
    assert not np.array_equal(x, made(kind, 8))


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

"""Names of scales and sets in words, and what the columns of the tables mean."""

from mome.compression import Scale
from mome.data import FPS
from mome.data.set_name import SetName

VIDEOS = {
    "own": "",
    "zeroed": ", with zeros in place of the video",
    "other": ", with the video of another utterance",
}
TERMS = {
    "WER, CER, TER": "word, character and token error rate: substitutions, deletions and insertions"
    " in per cent of the words (characters, tokens) of the references",
    "95 % interval": "bootstrap: where the error rate would lie in 95 % of test sets with other"
    " speakers like these (other utterances, if there are fewer than five speakers). Two"
    " intervals that overlap do not show that systems are equal: mome compare tests that",
    "Snt, Wrd": "utterances and reference words (characters, tokens)",
    "Corr, Sub, Del, Ins": "correct, substituted, deleted and inserted, in per cent of Wrd",
    "Err, S.Err": "error rate; share of the utterances with an error, both in per cent",
    "frame": "an output of an encoder: 50 a second for audio, 25 for video",
    "token": "what the LLM reads: the mean of some frames, or a piece of a word",
    "active parameters": "those that are trained and work on a token; resident: all trained ones",
}


def describe_scale(scale: str) -> str:
    """A scale in words, with its tokens a second."""
    parsed, parts = Scale.parse(scale), []
    for stream, fps in FPS.items():
        rate = getattr(parsed, stream)
        if rate:
            frames = f"{rate} {stream} frame{'' if rate == 1 else 's'}"
            parts.append(f"{frames} ({1000 * rate / fps:g} ms)")
    return f"{' and '.join(parts)} a token: {parsed.tokens_per_second:.3g} tokens a second"


def describe_set(name: str) -> str:
    """A set in words."""
    parsed = SetName.parse(name)
    text = f"The set {parsed.base}"
    if parsed.snr is not None:
        text += f" in the noise {parsed.noise} at {parsed.snr:g} dB SNR"
    elif parsed.base == "test":
        text += ", clean"
    return text + VIDEOS[parsed.video]

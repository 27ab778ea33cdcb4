"""The files of a transcript: txt, json, srt, vtt."""

from mome.transcription.transcript import FORMATS, Segment, Transcript

TRANSCRIPT = Transcript(
    "a.mp4", "a4_v2", "avsr",
    [Segment(0.52, 3661.2, "hello there", -0.12345, "a4_v2", "avsr", 3, 9),
     Segment(3662, 3663, "", -1, "a4_v2", "asr", 1, 9),
     Segment(3664, 3665.5, "you", -1, "a4", "asr", 2, 9)],
)  # fmt: skip


def test_formats():
    assert TRANSCRIPT.text == "hello there you"
    assert FORMATS["txt"](TRANSCRIPT) == "hello there you\n"
    assert FORMATS["srt"](TRANSCRIPT) == (
        "1\n00:00:00,520 --> 01:01:01,200\nhello there\n\n2\n01:01:04,000 --> 01:01:05,500\nyou\n"
    )
    assert FORMATS["vtt"](TRANSCRIPT).startswith("WEBVTT\n\n00:00:00.520 --> 01:01:01.200\nhello")
    found = TRANSCRIPT.as_dict()
    assert list(found) == ["file", "scale", "task", "text", "segments"]
    assert found["segments"][0] == {
        "start": 0.52,
        "end": 3661.2,
        "text": "hello there",
        "score": -0.1235,
    }
    assert [segment.get("scale") for segment in found["segments"]] == [None, None, "a4"]

"""Draw a clip as the model gets it: python -m mome.bin.plot data/test dump/mouths/test --out c.png

Draws some of its images and mouth crops, its spectrogram, and the time that each token of some
scales covers.
"""

from pathlib import Path

from mome.bin import Parser, run
from mome.compression import Scale
from mome.data import audio, crops, tables, video
from mome.scoring import plots


def main(argv: list[str] | None = None) -> None:
    """Draw one utterance of a data directory."""
    parser = Parser(__doc__)
    parser.add_argument("data_dir", type=Path, help="such as data/test")
    parser.add_argument("mouths_dir", type=Path, help="such as dump/mouths/test")
    parser.add_argument("--utterance", help="its id (default: the first one)")
    parser.add_argument(
        "--scales", nargs="+", default=["a4_v2", "a16_v5"], help="to draw, of both streams"
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="figure to write: .png, .pdf or .svg"
    )
    args = parser.parse_args(argv)
    scales = [Scale.parse(s) for s in args.scales]
    if not all(s.audio and s.video for s in scales):
        parser.error(
            f"--scales must have audio and video, such as a4_v2; got {' '.join(args.scales)}"
        )
    mouths_path = args.mouths_dir / "mouths.scp"
    utterance = args.utterance or min(tables.read(mouths_path))
    paths = [mouths_path, *(args.data_dir / name for name in ("video.scp", "wav.scp", "text"))]
    mouth, clip, wav, text = (value_of(utterance, path) for path in paths)
    title = f"{utterance}: {text.lower()}"
    plots.clip(video.ImageReader(clip), crops.read(mouth), audio.read(wav), scales, title, args.out)
    print(args.out)


def value_of(utterance: str, path: Path) -> str:
    """What a table says of an utterance; ValueError when that is nothing."""
    table = tables.read(path)
    if utterance not in table:
        raise ValueError(f"{path} has no utterance {utterance}: give --utterance one that it has")
    return table[utterance]


if __name__ == "__main__":
    run(main)

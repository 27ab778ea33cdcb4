"""Transcribe: python -m mome.bin.transcribe clip.mp4 talks/ --model exp/<tag> --scale a16_v5

Files of any kind that FFmpeg reads, of any length, or folders of them. The largest face is read, or
the one of --face. Long files are cut at pauses into pieces as long as the model was trained for,
and the times are kept. Without --output_dir, the result goes to standard output; with it, to
<stem>.<format>. A file that cannot be read is reported at the end, and the exit status is 1.
"""

import argparse
import logging
import sys
import time
from pathlib import Path
from typing import Any

import mome
from mome import config, files
from mome.bin import Parser, _budget, run
from mome.data.progress import Progress
from mome.transcription import cascade
from mome.transcription.cascade import Cascade
from mome.transcription.transcript import FORMATS, Transcript

log = logging.getLogger(__name__)

# What is taken from a folder; a file that is named may have any suffix.
VIDEO_FILES = "mp4 m4v mov mkv webm avi mpg mpeg m2ts mts ts wmv flv 3gp ogv vob mxf"
SOUND_FILES = "wav flac mp3 m4a aac ogg oga opus wma aif aiff amr"


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(__doc__)
    add = parser.add_argument
    add("inputs", nargs="+", type=Path, help="files, folders, decode.key=value")
    add("--model", required=True, help="exp/<tag>, a folder of mome pack, or a hub id")
    add("--scale", help="such as a16_v5; default: the finest scale of the model")
    add("--budget", help="rtf=0.5 or tokens=100 (a second): the finest scale that keeps to it")
    add(
        "--cascade", nargs="?", const="", type=as_cascade, metavar="CHEAP,FINE",
        help="decode again at a finer scale where the model is unsure, such as a16_v5,a4_v2;"
        " alone: from the cheapest to the finest scale; mome cascade chooses the threshold",
    )  # fmt: skip
    add("--measure_again", action="store_true", help="measure the real-time factors anew")
    add("--task", choices=("asr", "vsr", "avsr"), help="read the sound alone, the lips alone, both")
    add("--face", default="largest", help="largest, left, right, or N, counted from the left")
    add("--landmarks_every", type=int, default=1, metavar="N", help="find it in each N-th image")
    add("--max_seconds", type=float, help="longest piece; default: the longest training clip")
    add("--format", choices=(*FORMATS, "all"), default="txt", help="of the result")
    add("--words", action="store_true", help="times of words in JSON, if the model can tell them")
    add("--output_dir", type=Path, help="folder for <stem>.<format>")
    add("--base", type=Path, action="append", default=[], help="folder with LLM or encoders")
    add("--device", help="cpu, cuda, ...; default: a GPU when there is one")
    args = parser.parse_args(argv)
    args.overrides = [str(path) for path in args.inputs if is_override(path)]
    args.inputs = [path for path in args.inputs if not is_override(path)]
    if not args.inputs:
        parser.error("no file is given")
    if sum(option is not None for option in (args.scale, args.budget, args.cascade)) > 1:
        parser.error("--scale, --budget and --cascade exclude each other")
    if args.budget:
        try:
            _budget.parse(args.budget)
        except ValueError as error:
            parser.error(str(error))
    if args.format == "all" and not args.output_dir:
        parser.error("--format all needs --output_dir")
    if args.words and args.format not in ("json", "all"):
        parser.error("--words needs --format json or all")
    if args.landmarks_every < 1:
        parser.error("--landmarks_every must be 1 or more")
    if args.max_seconds is not None and not 0.5 <= args.max_seconds <= 30:
        parser.error("--max_seconds must be from 0.5 to 30")
    if args.face not in ("largest", "left", "right") and not args.face.isdecimal():
        parser.error(f"--face '{args.face}': give largest, left, right or a number")
    return args


def as_cascade(name: str) -> Cascade | str:
    """The option --cascade: its scales, or "" for those of the model."""
    try:
        return Cascade.parse(name) if name else name
    except ValueError as error:
        hint = "files stand before --cascade or after its scales"
        raise argparse.ArgumentTypeError(f"{error} ({hint})") from None


def is_override(path: Path) -> bool:
    """Whether an argument is a change of a setting, such as decode.num_beams=15."""
    section, equals, _ = str(path).partition("=")
    return bool(equals) and section.partition(".")[0] == "decode" and not path.exists()


def find_files(inputs: list[Path]) -> list[Path]:
    """The files, and those of the folders, each once. Raises ValueError for an empty folder."""
    found: list[Path] = []
    suffixes = {f".{name}" for name in f"{VIDEO_FILES} {SOUND_FILES}".split()}
    for path in inputs:
        inside = [path]
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in suffixes)
            inside = [p for p in inside if p.is_file()]
            if not inside:
                raise ValueError(f"{path} has no file with sound or video in it")
        found += [p for p in inside if p not in found]
    return found


def output_paths(paths: list[Path], output_dir: Path, formats: list[str]) -> dict[str, list[Path]]:
    """Where the results of each file go. Raises ValueError when two would get one name."""
    owner: dict[Path, Path] = {}
    found: dict[str, list[Path]] = {}
    for path in paths:
        outputs = [output_dir / f"{path.stem}.{name}" for name in formats]
        if (other := owner.setdefault(outputs[0], path)) != path:
            raise ValueError(
                f"{other} and {path} would both be written to {outputs[0]}: transcribe them with"
                " an --output_dir each"
            )
        if inside := [output for output in outputs if output in paths]:
            raise ValueError(f"{inside[0]} would be overwritten: give another --output_dir")
        found[str(path)] = outputs
    return found


def main(argv: list[str] | None = None) -> None:
    """Transcribe all files; report those that failed and end with status 1 if there are any."""
    args = parse(argv)
    paths = find_files(args.inputs)
    formats = list(FORMATS) if args.format == "all" else [args.format]
    outputs = output_paths(paths, args.output_dir, formats) if args.output_dir else {}
    model = mome.load_model(args.model, args.device, args.base, overrides=args.overrides)
    scale = args.scale
    if args.budget:
        scale = _budget.affordable(
            model, args.budget, args.task, args.landmarks_every, args.measure_again
        )
    if args.cascade is not None:
        scale = with_threshold(model, args.cascade or cascade.widest(model.scales))
    start, seconds, failed = time.monotonic(), 0.0, []
    with Progress("transcription", len(paths), unit="file") as progress:
        for file, found in mome.transcribe_all(
            model,
            paths,
            scale,
            task=args.task,
            face=args.face,
            landmarks_every=args.landmarks_every,
            most_s=args.max_seconds,
            words=args.words,
        ):
            if isinstance(found, Exception):
                failed.append(file)
                log.error(str(found))
            else:
                seconds += found.seconds
                for warning in found.warnings:
                    log.warning(f"{file}: {warning}")
                write(found, outputs.get(file, []), formats)
            progress.update()
    took = time.monotonic() - start
    log.info(f"{len(paths) - len(failed)} files, {seconds:.1f} s of media, in {took:.1f} s")
    if failed:
        more = ", ..." if len(failed) > 1 else ""
        sys.exit(f"{len(failed)} of {len(paths)} files could not be transcribed: {failed[0]}{more}")


def with_threshold(model: Any, scales: Cascade) -> Cascade:
    """The cascade with its threshold; a warning when that was chosen for another search."""
    found, record = cascade.read(model.dir, scales)
    own = config.as_dict(model.config.decode)
    for name, value in record.get("search", {}).items():
        if name != "batch_size" and own.get(name) != value:
            log.warning(
                f"the threshold of the cascade {scales} was chosen with decode.{name}={value}, but"
                f" here it is {own.get(name)}: scores may differ"
            )
    return found


def write(transcript: Transcript, outputs: list[Path], formats: list[str]) -> None:
    """Write a transcript to its files, or to standard output when there are none."""
    texts = [FORMATS[name](transcript) for name in formats]
    if not outputs:
        sys.stdout.write(texts[0])
        sys.stdout.flush()
    for path, text in zip(outputs, texts, strict=False):
        files.write_text(path, text)


if __name__ == "__main__":
    run(main)

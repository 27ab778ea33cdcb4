"""Demo: python -m mome.bin.demo --model exp/<tag>

A web page on which a trained model reads a clip, uploaded or recorded with the webcam: the text
as it is decoded, at one scale or two, with noise if you like, and what it costs. Without --host,
the page can be reached from this machine alone. It needs gradio, which is installed on request:

    tools/install.sh demo
"""

import argparse
import importlib.util
import logging
import os
import signal
import socket
import tempfile
import threading
from functools import partial
from pathlib import Path
from typing import Any

import mome
from mome.bin import Parser, run
from mome.scoring import scale_cost

INSTALL = "tools/install.sh demo"
LOOPBACK = ("127.0.0.1", "localhost", "::1")
VOICE_FILES = {".wav", ".flac", ".ogg", ".mp3", ".m4a", ".mp4"}
log = logging.getLogger(__name__)


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(__doc__)
    add = parser.add_argument
    add("--model", required=True, help="exp/<tag>, a folder of mome pack, or a hub id")
    add("--host", default="127.0.0.1", help="address to serve; 0.0.0.0: all of this machine")
    add("--port", type=int, default=7860, help="of the page")
    add("--max_seconds", type=float, default=60, help="longest clip")
    add("--max_megabytes", type=float, default=100, help="largest file")
    add("--voices", type=Path, help="folder with speech, of which babble noise is made")
    add(
        "--landmarks_every",
        type=int,
        default=1,
        metavar="N",
        help="find the face in each N-th image",
    )
    add("--base", type=Path, action="append", default=[], help="folder with LLM or encoders")
    add("--device", help="cpu, cuda, ...; default: a GPU when there is one")
    add("overrides", nargs="*", help="settings, such as decode.num_beams=5")
    args = parser.parse_args(argv)
    if args.max_seconds <= 0 or args.max_megabytes <= 0 or args.landmarks_every < 1:
        parser.error("--max_seconds, --max_megabytes and --landmarks_every must be above 0")
    return args


def main(argv: list[str] | None = None) -> None:
    """Load the model and serve the page until Ctrl-C or SIGTERM."""
    args = parse(argv)
    if importlib.util.find_spec("gradio") is None:
        raise FileNotFoundError(f"the page needs gradio, which is not installed: run {INSTALL}")
    check_port(args.host, args.port)
    voices = find_voices(args.voices) if args.voices else []
    if args.host not in LOOPBACK:
        log.warning(
            f"everyone who reaches {args.host}:{args.port} can use this page: it has no password."
            " Browsers give a page their webcam only on the machine itself or over https"
        )
    model = mome.load_model(args.model, args.device, args.base, overrides=args.overrides)
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    with tempfile.TemporaryDirectory(prefix="mome-demo-") as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder  # uploads
        os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
        from mome.demo import page, visit  # gradio takes seconds, and reads these when it is loaded

        limits = visit.Limits(args.max_seconds, args.max_megabytes)
        host = visit.ModelHost(model, limits, voices, args.landmarks_every)
        built = page.build(host, describe(model), partial(flops_of, model))
        page.serve(built, args.host, args.port, args.max_megabytes, ended)


def check_port(host: str, port: int) -> None:
    """Raise OSError, in one line, when the page cannot be served there."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, OverflowError) as error:
            raise OSError(
                f"the page cannot be served at {host}:{port} ({error}): give another --port or"
                " --host"
            ) from None


def find_voices(folder: Path) -> list[Path]:
    """The files with speech in a folder. Raises FileNotFoundError when there is none."""
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in VOICE_FILES)
    if not found:
        raise FileNotFoundError(f"{folder} has no sound or mp4 file: --voices needs speech")
    return found


def describe(model: Any) -> str:
    """The model in words."""
    name = model.dir.parent.name if model.dir.name in ("best", "average") else model.dir.name
    return f"Model {name}, LLM {Path(model.config.model.llm).name}, on {model.device}"


def flops_of(model: Any, prompt_tokens: int, text_tokens: int) -> int:
    """Operations of the LLM for a prompt and its text, EOS included."""
    beams, llm = model.config.decode.num_beams, model.model.llm
    prefill = scale_cost.prefill_flops(llm, prompt_tokens, beams)
    return prefill + scale_cost.decode_flops(llm, prompt_tokens, max(0, text_tokens - 1), beams)


if __name__ == "__main__":
    run(main)

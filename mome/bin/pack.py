"""Pack: python -m mome.bin.pack exp/<tag> OUT [--include_base], one folder that can be passed on.

Stage 6 of a recipe. OUT holds the trained weights, the settings, the tokenizer, encoders of at most
300 MB, thresholds of cascades, and README.md, a model card with the error rates of the experiment.
The LLM and larger encoders are named, with their sha256; --include_base packs them, too. All
weights are safetensors.
`mome transcribe --model OUT` works wherever the folder is, without a network if all is in it.
"""

import dataclasses
import logging
import shutil
import time
from pathlib import Path
from typing import Any

import mome
from mome import checkpoint, config, files
from mome.bin import Parser, run
from mome.config import Config
from mome.scoring import tables
from mome.transcription import cascade

log = logging.getLogger(__name__)

SMALL = 300_000_000  # bytes of an encoder that is packed in any case
COPIED = ("*.safetensors", "*.json", "*.txt", "*.model", "LICENSE*")  # no pickle
ABSENT = """What is not in this folder is looked for under its name here, on the hub, and in folders
that are given with `--base`."""
PARTS = {"audio": "audio_encoder", "video": "video_encoder", "llm": "llm"}  # folders in OUT


def main(argv: list[str] | None = None) -> None:
    """Check the model and all that it needs, and write the folder."""
    parser = Parser(__doc__)
    add = parser.add_argument
    add("exp_dir", type=Path, help="exp/<tag>, trained by stage 3, or a model folder")
    add("out_dir", type=Path, help="folder to write")
    add("--model", default="best", help="best, average or checkpoints/step_<n>")
    add("--include_base", action="store_true", help="pack the LLM and large encoders, too")
    add("--base", type=Path, action="append", default=[], help="folder with LLM or encoders")
    args = parser.parse_args(argv)
    out_dir = args.out_dir
    if out_dir.exists() and not (out_dir / "base.json").exists() and any(out_dir.iterdir()):
        raise ValueError(f"{out_dir} holds something else than a model: give another folder")
    # This refuses weights, settings, LLM, tokenizer or encoders that are not those of the training.
    loaded = mome.load_model(args.exp_dir, "cpu", args.base, args.model)
    inputs = {
        "model": checkpoint.sha256(loaded.dir / checkpoint.FILE),
        "base": checkpoint.read_base(loaded.dir),
        "include_base": args.include_base,
        "cascade": files.digest(loaded.dir / cascade.FILE),
        "card": model_card(args.exp_dir, loaded, args.include_base),
        "version": mome.__version__,
    }
    if files.up_to_date(out_dir, inputs):
        log.info(f"{out_dir} is up to date")
        return
    tmp_dir = out_dir.with_name(out_dir.name + ".tmp")
    shutil.rmtree(tmp_dir, ignore_errors=True)
    tmp_dir.mkdir(parents=True)
    try:
        write(tmp_dir, args.exp_dir, loaded, args.include_base)
        files.write_stamp(tmp_dir, inputs)
        shutil.rmtree(out_dir, ignore_errors=True)
        tmp_dir.rename(out_dir)
    finally:
        shutil.rmtree(tmp_dir, ignore_errors=True)
    size = sum(path.stat().st_size for path in out_dir.rglob("*") if path.is_file())
    log.info(f"{out_dir}: {size / 1e6:.1f} MB; mome transcribe clip.mp4 --model {out_dir}")


def write(out_dir: Path, exp_dir: Path, loaded: Any, include_base: bool) -> None:
    """Write the files of a model to an empty folder."""
    original = config.load(loaded.dir / "config.yaml")
    packed = original
    for part, name in base_models(loaded.config).items():
        source = folder_of(name)
        if source and (include_base or (part != "llm" and size_of(source) <= SMALL)):
            copy_model(source, out_dir / PARTS[part])
            packed = with_base(packed, part, PARTS[part])
            log.info(f"{PARTS[part]}: {source}")
        elif include_base:
            raise ValueError(f"{name} is neither a folder nor in the hub's cache: download it")
        else:
            log.info(f"{name} is not packed: it is named with its sha256")
    shutil.copyfile(loaded.dir / checkpoint.FILE, out_dir / checkpoint.FILE)
    files.write_json(out_dir / "base.json", whole_base(loaded))
    if (loaded.dir / cascade.FILE).exists():
        shutil.copyfile(loaded.dir / cascade.FILE, out_dir / cascade.FILE)
    config.save(packed, out_dir / "config.yaml")
    loaded.tokenizer.save_pretrained(out_dir / checkpoint.TOKENIZER)
    files.write_text(out_dir / "README.md", model_card(exp_dir, loaded, include_base))


def whole_base(loaded: Any) -> dict:
    """base.json with the hashes that the folders of version 0.1 lack."""
    base = checkpoint.read_base(loaded.dir)
    found = checkpoint.describe_base(loaded.model.llm, loaded.tokenizer, base["features"])
    found["weights_sha256"] = checkpoint.sha256(loaded.dir / checkpoint.FILE)
    return found | {"settings": checkpoint.settings_of(loaded.config)} | base


def base_models(cfg: Config) -> dict[str, str]:
    """Folder or id of each frozen model that the task needs."""
    names = {"audio": cfg.encoders.audio, "video": cfg.encoders.video, "llm": cfg.model.llm}
    unused = {"asr": "video", "vsr": "audio"}.get(cfg.model.task)
    return {part: name for part, name in names.items() if part != unused}


def with_base(cfg: Config, part: str, name: str) -> Config:
    """The settings with another folder for a frozen model."""
    section = "model" if part == "llm" else "encoders"
    changed = dataclasses.replace(getattr(cfg, section), **{part: name})
    return dataclasses.replace(cfg, **{section: changed})


def folder_of(name: str) -> Path | None:
    """The folder of a model, that of the hub's cache for an id; None when it is nowhere here."""
    if Path(name).is_dir():
        return Path(name)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, local_files_only=True))
    except (HFValidationError, LocalEntryNotFoundError):
        return None


def size_of(folder: Path) -> int:
    """Bytes of the weights."""
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))


def copy_model(source: Path, out_dir: Path) -> None:
    """Copy a model's files. Raises ValueError when its weights are not safetensors."""
    if not any(source.glob("*.safetensors")):
        raise ValueError(
            f"{source} has no weights in safetensors: load them and write them with"
            " save_pretrained, since a packed model holds no pickle"
        )
    out_dir.mkdir()
    for path in sorted({path for pattern in COPIED for path in source.glob(pattern)}):
        shutil.copyfile(path, out_dir / path.name)


# ---- the model card -----------------------------------------------------------------------------


def model_card(exp_dir: Path, loaded: Any, include_base: bool) -> str:
    """README.md of the folder, in the form that the hub reads."""
    cfg, names = loaded.config, base_models(config.load(loaded.dir / "config.yaml"))
    base = whole_base(loaded)
    scales = ", ".join(map(str, loaded.scales))
    hashes = {part: base.get("features", {}).get(f"{part}_sha256") for part in ("audio", "video")}
    hashes["llm"] = base.get("llm_sha256")
    rows = [["frozen model", "name", "sha256 of its weights"]]
    rows += [[part, f"`{Path(name)}`", str(hashes[part])[:16]] for part, name in names.items()]
    try:
        scores = tables.markdown(tables.matrix(tables.read_scores(exp_dir)))
    except FileNotFoundError:
        scores = "It was not scored.\n"
    trained = sum(p.numel() for p in loaded.model.trained().values()) / 1e6
    when = time.strftime("%Y-%m-%d", time.gmtime((loaded.dir / checkpoint.FILE).stat().st_mtime))
    return f"""---
library_name: mome
pipeline_tag: automatic-speech-recognition
tags: [audio-visual-speech-recognition, lip-reading, mome]
---

# {exp_dir.resolve().name}

Audio-visual speech recognition with a frozen LLM and a Mixture of Matryoshka Experts (arXiv
2510.04136): task {cfg.model.task}, scales {scales}. {trained:.2f}M weights were trained, on clips
of at most {loaded.most_s:.1f} s. Trained on {when}; packed by mome {mome.__version__}.

    mome transcribe clip.mp4 --model . --scale {loaded.scales[0]}

## Word error rates (%)

{scores}
They hold for recordings like those of the corpus that the model was trained and tested on.

## Parts

{tables.markdown(rows)}
{"All of them are in this folder." if include_base else ABSENT}
A frozen model with other weights is refused. All weights are safetensors.
"""


if __name__ == "__main__":
    run(main)

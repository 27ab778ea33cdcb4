"""Baby models: a tiny random LLM, Whisper and AV-HuBERT, in the form of the real ones.

With them, a recipe runs through all its stages in minutes. The texts that they give mean nothing.
"""

import logging
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import sentencepiece
import torch
from espnet2.fileio.read_text import read_2columns_text
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import Unigram
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
)

from mome import files
from mome.avhubert import AVHuBERT, AVHuBERTConfig
from mome.prompt import INSTRUCTION

VERSION = 1  # of the models; when it changes, models of another version are made anew
log = logging.getLogger(__name__)


def make_all(text_path: Path, out_dir: Path) -> None:
    """Make baby-llm, baby-whisper and baby-avhubert in `out_dir`, unless they are up to date.

    `text_path`: the Kaldi text of the training set, for the LLM's tokenizer.
    """
    texts = sorted(read_2columns_text(text_path).values())
    inputs = {"text": files.digest(text_path), "version": VERSION}
    models: dict[str, Callable[[Path], None]] = {
        "baby-llm": partial(make_llm, texts),
        "baby-whisper": make_whisper,
        "baby-avhubert": make_avhubert,
    }
    for name, make_model in models.items():
        model_dir = out_dir / name
        if files.up_to_date(model_dir, inputs):
            log.info(f"{model_dir} is up to date")
            continue
        shutil.rmtree(model_dir, ignore_errors=True)
        model_dir.mkdir(parents=True)
        make_model(model_dir)
        files.write_stamp(model_dir, inputs)
        log.info(f"made {model_dir}")


def make_tokenizer(texts: list[str], out_dir: Path, vocab_size: int = 200) -> int:
    """Train a SentencePiece model on transcripts and instructions; returns its number of pieces.

    Writes sentencepiece.model, and its pieces and scores as a Hugging Face tokenizer.
    """
    lines_path = out_dir / "lines.txt"
    lines_path.write_text("\n".join([*texts, *INSTRUCTION.values()]) + "\n", encoding="utf-8")
    sentencepiece.SentencePieceTrainer.train(
        input=str(lines_path),
        model_prefix=str(out_dir / "sentencepiece"),
        vocab_size=vocab_size,
        model_type="unigram",
        hard_vocab_limit=False,
        unk_id=0,
        bos_id=1,
        eos_id=2,
        minloglevel=2,
    )
    lines_path.unlink()
    (out_dir / "sentencepiece.vocab").unlink()
    model = sentencepiece.SentencePieceProcessor(model_file=str(out_dir / "sentencepiece.model"))
    pieces = [(model.id_to_piece(i), model.get_score(i)) for i in range(model.vocab_size())]
    fast = Tokenizer(Unigram(pieces, unk_id=0))
    fast.pre_tokenizer = pre_tokenizers.Metaspace()
    fast.decoder = decoders.Metaspace()
    PreTrainedTokenizerFast(
        tokenizer_object=fast, unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    ).save_pretrained(out_dir)
    return len(pieces)


def make_llm(texts: list[str], out_dir: Path) -> None:
    """Write a random Llama of two layers and its tokenizer as a Hugging Face folder."""
    vocab_size = make_tokenizer(texts, out_dir)
    torch.manual_seed(0)
    llm = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocab_size,
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            bos_token_id=1,
            eos_token_id=2,
            pad_token_id=2,
        )
    )
    llm.bfloat16().save_pretrained(out_dir)


def make_whisper(out_dir: Path) -> None:
    """Write a random Whisper, whose encoder has two layers, as a Hugging Face folder."""
    torch.manual_seed(0)
    whisper = WhisperForConditionalGeneration(
        WhisperConfig(
            vocab_size=64,
            d_model=64,
            encoder_layers=2,
            decoder_layers=1,
            encoder_attention_heads=4,
            decoder_attention_heads=4,
            encoder_ffn_dim=128,
            decoder_ffn_dim=128,
            num_mel_bins=80,
            pad_token_id=2,
            bos_token_id=1,
            eos_token_id=2,
            decoder_start_token_id=1,
        )
    )
    whisper.save_pretrained(out_dir)
    WhisperFeatureExtractor(feature_size=80).save_pretrained(out_dir)


def make_avhubert(out_dir: Path) -> None:
    """Write a random AV-HuBERT of two layers as a folder like those of convert_avhubert.py."""
    torch.manual_seed(0)
    config = AVHuBERTConfig(
        dim=32,
        ffn_dim=64,
        num_layers=2,
        num_heads=4,
        position_kernel=8,
        position_groups=4,
        frontend_dim=8,
        frontend_stride=4,
        resnet_dims=(8, 12),
        resnet_blocks=(1, 1),
        relu="relu",
        audio_dim=0,
    )
    AVHuBERT(config).save(out_dir)

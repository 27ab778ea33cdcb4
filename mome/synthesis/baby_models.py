"""Baby models: a random LLM, Whisper and AV-HuBERT, in the form of the real ones."""

import logging
import shutil
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

log = logging.getLogger(__name__)

VERSION = 1


def make_tokenizer(texts: list[str], out_dir: Path, vocab_size: int = 200) -> int:
    """Train a SentencePiece model on transcripts and instructions; returns its size.

    Leaves sentencepiece.model, and the same pieces and scores as a Hugging Face tokenizer.
    """
    lines = out_dir / "lines.txt"
    lines.write_text("\n".join([*texts, *INSTRUCTION.values()]) + "\n")
    sentencepiece.SentencePieceTrainer.train(
        input=str(lines),
        model_prefix=str(out_dir / "sentencepiece"),
        vocab_size=vocab_size,
        model_type="unigram",
        hard_vocab_limit=False,
        unk_id=0,
        bos_id=1,
        eos_id=2,
        minloglevel=2,
    )
    lines.unlink()
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
    """A random Llama and its tokenizer as a Hugging Face folder."""
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
    llm.to(torch.bfloat16).save_pretrained(out_dir)


def make_whisper(out_dir: Path) -> None:
    """A random Whisper with a small encoder as a Hugging Face folder."""
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
    """A random AV-HuBERT as a folder."""
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


def make_all(text: Path, out: Path) -> None:
    """Make the models, unless they are there."""
    texts = sorted(read_2columns_text(text).values())
    inputs = {"text": files.digest(text), "version": VERSION}
    make = {"baby-whisper": make_whisper, "baby-avhubert": make_avhubert}
    for name in ("baby-llm", *make):
        out_dir = out / name
        if files.up_to_date(out_dir, inputs):
            log.info(f"{out_dir} is up to date")
            continue
        shutil.rmtree(out_dir, ignore_errors=True)
        out_dir.mkdir(parents=True)
        if name == "baby-llm":
            make_llm(texts, out_dir)
        else:
            make[name](out_dir)
        files.write_stamp(out_dir, inputs)
        log.info(f"made {out_dir}")

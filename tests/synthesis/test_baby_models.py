"""Baby models: read like real ones, and made once."""

import logging

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, WhisperModel

from mome.avhubert import AVHuBERT
from mome.synthesis import baby_models


def test_they_are_read_like_real_models_and_made_once(tmp_path, caplog):
    text_path = tmp_path / "text"
    text_path.write_text("a-1 HELLO YOU THERE\na-2 HOW ARE YOU\n")
    baby_models.make_all(text_path, tmp_path)
    llm = AutoModelForCausalLM.from_pretrained(tmp_path / "baby-llm")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "baby-llm")
    assert len(tokenizer) == llm.config.vocab_size
    ids = tokenizer("HELLO YOU", add_special_tokens=False).input_ids
    assert tokenizer.decode(ids) == "HELLO YOU"
    whisper = WhisperModel.from_pretrained(tmp_path / "baby-whisper")
    assert whisper.config.d_model == 64
    video = AVHuBERT.from_folder(tmp_path / "baby-avhubert").eval()
    with torch.no_grad():
        assert video(torch.zeros(1, 1, 3, 88, 88)).shape == (1, 3, 32)

    times = {path: path.stat().st_mtime_ns for path in tmp_path.glob("baby-*/*")}
    with caplog.at_level(logging.INFO):
        baby_models.make_all(text_path, tmp_path)
    assert caplog.text.count("is up to date") == 3
    assert times == {path: path.stat().st_mtime_ns for path in tmp_path.glob("baby-*/*")}
    text_path.write_text("a-1 OTHER WORDS\n")
    baby_models.make_all(text_path, tmp_path)
    stamps = tmp_path.glob("baby-*/.stamp.json")
    assert all(path.stat().st_mtime_ns > times[path] for path in stamps)

"""The sequence that the LLM reads, and its padding."""

import pytest
import torch
from conftest import WordTokenizer

from mome.prompt import INSTRUCTION, Prompt, instruction_ids, pad_left, pad_right, text_ids

BOS, INSTRUCTIONS = torch.full((1, 3), 7.0), torch.full((2, 3), 9.0)
AUDIO, VIDEO = torch.full((4, 3), 1.0), torch.full((2, 3), 2.0)


def parts(sequence: torch.Tensor) -> list[float]:
    """The first value of each position: tells the parts of a sequence apart."""
    return [round(float(x), 1) for x in sequence[:, 0].detach()]


@pytest.fixture
def prompt() -> Prompt:
    made = Prompt(3, 1.0)
    names = ("audio_start", "audio_end", "video_start", "video_end")
    for value, name in zip((0.1, 0.2, 0.3, 0.4), names, strict=True):
        torch.nn.init.constant_(made.delimiters[name], value)
    return made


def test_audio_precedes_video_and_each_stands_between_its_delimiters(prompt):
    both = parts(prompt.sequence(BOS, AUDIO, VIDEO, INSTRUCTIONS))
    assert both == [7, 0.1, 1, 1, 1, 1, 0.2, 0.3, 2, 2, 0.4, 9, 9]


def test_a_stream_that_the_task_does_not_read_leaves_no_delimiters(prompt):
    assert parts(prompt.sequence(BOS, AUDIO, None, INSTRUCTIONS)) == [7, 0.1, 1, 1, 1, 1, 0.2, 9, 9]
    assert parts(prompt.sequence(BOS[:0], None, VIDEO, INSTRUCTIONS)) == [0.3, 2, 2, 0.4, 9, 9]


def test_the_sequence_has_the_type_of_the_llm(prompt):
    embedded = BOS.bfloat16()
    assert prompt.sequence(embedded, AUDIO, VIDEO, INSTRUCTIONS.bfloat16()).dtype == torch.bfloat16


def test_new_delimiters_are_as_large_as_words():
    torch.manual_seed(0)
    drawn = torch.cat(list(Prompt(4000, 0.05).delimiters.values()))
    assert drawn.std().item() == pytest.approx(0.05, rel=0.05)


def test_padding_follows_in_training_and_precedes_in_decoding():
    sequences = [torch.ones(2, 3), torch.ones(4, 3)]
    x, mask = pad_right(sequences)
    assert mask.tolist() == [[True, True, False, False], [True] * 4]
    assert torch.equal(x[..., 0], mask.float())
    x, mask = pad_left(sequences)
    assert mask.tolist() == [[False, False, True, True], [True] * 4]
    assert torch.equal(x[..., 0], mask.float())


def test_texts_and_instructions_begin_with_a_space_and_have_no_special_tokens():
    asked = []

    class Spy(WordTokenizer):
        def __call__(self, text, add_special_tokens=True):
            asked.append((text, add_special_tokens))
            return super().__call__(text)

    assert len(text_ids(Spy(), "two words ")) == 2
    for task in INSTRUCTION:
        instruction_ids(Spy(), task)
    assert asked[0] == (" two words", False)
    assert asked[1:] == [(f" {text}", False) for text in INSTRUCTION.values()]

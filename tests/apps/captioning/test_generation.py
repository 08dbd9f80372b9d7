"""What is said of a picture, and that nothing but the picture decides it."""

from dataclasses import replace

import pytest
import torch
from onetrunk.apps.captioning.generation import Generation, generate
from onetrunk.apps.captioning.head import CaptionHead, build_head
from onetrunk.apps.captioning.options import HeadOptions
from onetrunk.apps.grid import Cells
from onetrunk.apps.vocabulary import Vocabulary, learn_vocabulary
from onetrunk.datasets import Context

HEADS = ("lstm", "lstm_attention", "transformer")
WORDS = "a red green blue disc square dog cat house on under of grey noise two three small large runs sleeps"
SIZES = torch.tensor([[64, 64], [64, 40], [24, 64], [50, 33]] * 4)
CONTEXT = Context((64, 64), SIZES, SIZES)


def make(name: str, seed: int, vocabulary: Vocabulary | None = None) -> CaptionHead:
    """A head whose random weights have opinions, and whose captions end now and then."""
    torch.manual_seed(seed)
    known = vocabulary or learn_vocabulary([WORDS], "words")
    options = HeadOptions(width=16, hidden=32, attention_heads=2, max_tokens=9)
    head = build_head(name, ["c4"], [8], known, options).eval()
    with torch.no_grad():
        for key, parameter in head.named_parameters():
            if parameter.dim() > 1:
                sees = "grid" in key or "crossattention" in key
                parameter.mul_((12 if sees else 4) if name == "transformer" else (6 if sees else 3))
    return head


def maps(seed: int = 0, count: int = 16) -> torch.Tensor:
    return torch.randn(count, 8, 4, 4, generator=torch.Generator().manual_seed(seed)) * 20


def say(head: CaptionHead, features: torch.Tensor, context: Context) -> list[list[int]]:
    return [tokens.tolist() for tokens in head({"c4": features}, context)["tokens"]]


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("name", HEADS)
def test_sixteen_pictures_at_once_are_sixteen_pictures_alone(name: str, beams: int) -> None:
    different = set()
    for seed in range(3):
        head = make(name, seed)
        head.generation = replace(head.generation, beams=beams)
        together = say(head, maps(seed), CONTEXT)
        for place, tokens in enumerate(together):
            sizes = SIZES[place : place + 1]
            alone = say(head, maps(seed)[place : place + 1], Context((64, 64), sizes, sizes))
            assert alone == [tokens], (seed, place)
        different |= {(seed, *tokens) for tokens in together}
    assert len(different) > 12


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("name", HEADS)
def test_padding_is_not_seen_whatever_lies_there(name: str, beams: int) -> None:
    head = make(name, 0)
    head.generation = replace(head.generation, beams=beams)
    before, after = maps(), maps()
    # the picture ends at these cells
    rows, columns = -(-SIZES[:, 0] // 16), -(-SIZES[:, 1] // 16)
    for place, (row, column) in enumerate(zip(rows.tolist(), columns.tolist(), strict=True)):
        after[place, :, row:] = 1e4
        after[place, :, :, column:] = -77.0
    assert not torch.equal(before, after)
    assert say(head, before, CONTEXT) == say(head, after, CONTEXT)


def log_probability(head: CaptionHead, cells: Cells, tokens: list[int]) -> float:
    """Return the mean log probability of a caption's tokens and its end, what may not be said left out."""
    unsaid = list(head.vocabulary.unsaid)
    known, total, wanted = [head.vocabulary.start], 0.0, [*tokens, head.vocabulary.end]
    for token in wanted[: head.generation.max_tokens]:
        answer = head.decoder(
            input_ids=torch.tensor([known]),
            encoder_hidden_states=cells.values,
            encoder_attention_mask=cells.is_picture,
            use_cache=False,
        )
        scores = answer.logits[0, -1].log_softmax(0)
        scores[unsaid] = float("-inf")
        total += scores[token].item()
        known.append(token)
    return total / (len(known) - 1)


@pytest.mark.parametrize("name", HEADS)
def test_one_beam_takes_the_most_probable_token_and_never_the_end_first(name: str) -> None:
    head = make(name, 1)
    head.generation = Generation(beams=1, max_tokens=9)
    cells = head.grid({"c4": maps()[:4]}, Context((64, 64), SIZES[:4], SIZES[:4]))
    found = generate(head.decoder, cells, head.vocabulary, head.generation)
    for place, tokens in enumerate(found):
        one = Cells(*(each[place : place + 1] for each in cells))
        known = [head.vocabulary.start]
        while len(known) <= head.generation.max_tokens:
            # the whole beginning read anew, without any state that was kept
            scores = head.decoder(
                input_ids=torch.tensor([known]),
                encoder_hidden_states=one.values,
                encoder_attention_mask=one.is_picture,
                use_cache=False,
            ).logits[0, -1]
            scores[list(head.vocabulary.unsaid)] = float("-inf")
            if len(known) == 1:
                scores[head.vocabulary.end] = float("-inf")
            best = int(scores.argmax())
            if best == head.vocabulary.end:
                break
            known.append(best)
        assert tokens.tolist() == known[1:]


@pytest.mark.parametrize("name", HEADS)
def test_beams_find_captions_that_are_at_least_as_probable(name: str) -> None:
    better = 0
    for seed in range(3):
        head = make(name, seed)
        context = Context((64, 64), SIZES[:4], SIZES[:4])
        cells = head.grid({"c4": maps(seed)[:4]}, context)
        greedy = generate(head.decoder, cells, head.vocabulary, Generation(beams=1, max_tokens=9))
        beams = generate(head.decoder, cells, head.vocabulary, Generation(beams=8, max_tokens=9))
        for place in range(4):
            one = Cells(*(each[place : place + 1] for each in cells))
            first, second = (log_probability(head, one, each[place].tolist()) for each in (greedy, beams))
            assert second >= first - 0.05
            better += second > first + 1e-4
    assert better > 0


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("name", HEADS)
def test_nothing_special_is_ever_said_however_probable(name: str, beams: int) -> None:
    known = learn_vocabulary([WORDS], "words")
    head = make(name, 0, known)
    output = head.decoder.get_submodule("lm_head" if name == "transformer" else "output")
    special = [known.start, known.pad, known.unknown, known.end]
    bias = torch.zeros(len(known)).index_fill(0, torch.tensor(special), 1000.0)
    output.register_forward_hook(lambda module, inputs, logits: logits + bias)
    head.generation = replace(head.generation, beams=beams)
    found = head({"c4": maps()}, CONTEXT)
    # the end comes as soon as it may: after one word
    assert [len(tokens) for tokens in found["tokens"]] == [1] * 16
    assert all(text in WORDS.split() for text in found["texts"])


@pytest.mark.parametrize("beams", [1, 3])
def test_no_text_is_empty_where_tokens_may_be_white_space(beams: int) -> None:
    known = learn_vocabulary(["a  b   c\n\nd e f  g"] * 9, "pieces", size=300)
    assert known.blank
    head = make("lstm", 0, known)
    bias = torch.zeros(len(known)).index_fill(0, torch.tensor([*known.blank, known.end]), 50.0)
    head.decoder.output.register_forward_hook(lambda module, inputs, logits: logits + bias)
    head.generation = replace(head.generation, beams=beams)
    assert all(head({"c4": maps()}, CONTEXT)["texts"])


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("name", HEADS)
def test_no_three_words_are_said_twice_unless_they_may_be(name: str, beams: int) -> None:
    def runs(caption: list[int]) -> list[tuple[int, ...]]:
        return list(zip(caption, caption[1:], caption[2:], strict=False))

    repeated = []
    for no_repeat in (0, 3):
        found = []
        for seed in range(3):
            head = make(name, seed)
            head.generation = replace(head.generation, beams=beams, no_repeat=no_repeat)
            found += [runs(caption) for caption in say(head, maps(), CONTEXT)]
        repeated.append(sum(len(each) - len(set(each)) for each in found))
    assert repeated[0] > 0
    assert repeated[1] == 0


def test_the_length_penalty_moves_the_length() -> None:
    lengths = []
    for penalty in (-4.0, 1.0, 4.0):
        head = make("lstm", 2)
        head.generation = Generation(beams=6, length_penalty=penalty, max_tokens=9)
        lengths.append(sum(map(len, say(head, maps(), CONTEXT))))
    assert lengths[0] < lengths[2]
    assert lengths[0] <= lengths[1] <= lengths[2]


@pytest.mark.parametrize("name", HEADS)
def test_nothing_is_printed_and_the_library_s_settings_stay(name: str, capfd) -> None:
    from transformers.utils import logging

    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    say(make(name, 0), maps(), CONTEXT)
    assert capfd.readouterr() == ("", "")
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before

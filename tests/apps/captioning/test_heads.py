"""The captioning heads: what they learn, what they don't, and what a model file keeps of them."""

import json

import pytest
import torch
from onetrunk.apps.captioning.generation import Generation
from onetrunk.apps.captioning.head import CaptionHead, build_head, rebuild_head
from onetrunk.apps.captioning.options import GenerationOptions, HeadOptions, LossOptions, TrainOptions
from onetrunk.apps.vocabulary import Vocabulary, learn_vocabulary
from onetrunk.backbones import UserError
from onetrunk.datasets import Context

HEADS = ("lstm", "lstm_attention", "transformer")
CAPTIONS = [
    ("A red disc on grey noise.",),
    ("Two small dogs run, fast.",),
    ("The blue house of my aunt",),
    ("red blue red blue disc",),
    ("A man's horse",),
    ("nobody",),
    ("Three cats sleep under the table",),
    ("Grey noise on a disc",),
]
TEXTS = [text for texts in CAPTIONS for text in texts]
SIZES = torch.tensor([[128, 160]] * 8)
CONTEXT = Context((128, 160), SIZES, SIZES)


def vocabulary() -> Vocabulary:
    return learn_vocabulary(TEXTS, "words")


def make(name: str, *, label_smoothing: float = 0.0, **options: object) -> CaptionHead:
    torch.manual_seed(0)
    settings = {"width": 32, "hidden": 64, "attention_heads": 2, "dropout": 0.0, "max_tokens": 12} | options
    return build_head(
        name,
        ["c5"],
        [16],
        vocabulary(),
        HeadOptions(**settings),
        seen=TEXTS,
        label_smoothing=label_smoothing,
    )


def maps() -> dict[str, torch.Tensor]:
    return {"c5": torch.randn(8, 16, 4, 5, generator=torch.Generator().manual_seed(0)) * 30}


def learn(head: CaptionHead, features: dict[str, torch.Tensor], steps: int = 60) -> CaptionHead:
    optimizer = torch.optim.AdamW(head.train().parameters(), lr=1e-2)
    for _ in range(steps):
        loss = sum(head.loss(head(features, CONTEXT), CONTEXT, {"captions": CAPTIONS}).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return head.eval()


@pytest.fixture(scope="module", params=HEADS)
def learned(request: pytest.FixtureRequest) -> CaptionHead:
    return learn(make(request.param), maps())


def test_captions_are_said_back_word_for_word(learned: CaptionHead) -> None:
    output = learned(maps(), CONTEXT)
    expected = [text.lower().replace(",", "").rstrip(".") for text in TEXTS]
    assert output["texts"] == expected
    assert learned.predict(output, CONTEXT) == [{"caption": text} for text in expected]
    assert [len(tokens) for tokens in output["tokens"]] == [len(text.split()) for text in expected]
    assert all(tokens.dtype == torch.int64 for tokens in output["tokens"])


def test_it_knows_what_it_has_read_whatever_the_case_and_punctuation(learned: CaptionHead) -> None:
    assert learned(maps(), CONTEXT)["seen"].tolist() == [True] * 8
    other = rebuild_head(learned.description(), [16])
    other.load_state_dict(learned.state_dict())
    other.seen[:] = 0
    assert other.eval()(maps(), CONTEXT)["seen"].tolist() == [False] * 8


def test_a_model_file_holds_all_of_it(learned: CaptionHead) -> None:
    plain = json.loads(json.dumps(learned.description()))
    rebuilt = rebuild_head(plain, [16])
    rebuilt.load_state_dict(learned.state_dict())
    assert rebuilt.description() == learned.description()
    rebuilt.eval()
    before, after = learned(maps(), CONTEXT), rebuilt(maps(), CONTEXT)
    assert after["texts"] == before["texts"]
    targets = {"captions": CAPTIONS}
    assert rebuilt.loss(after, CONTEXT, targets) == learned.loss(before, CONTEXT, targets)


def test_in_bfloat16_it_says_the_same(learned: CaptionHead) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = learned(maps(), CONTEXT)
        parts = learned.loss(output, CONTEXT, {"captions": CAPTIONS})
    assert output["texts"] == learned(maps(), CONTEXT)["texts"]
    assert all(part.dtype == torch.float32 and torch.isfinite(part) for part in parts.values())


@pytest.mark.parametrize("name", HEADS)
def test_it_trains_in_bfloat16(name: str) -> None:
    head = make(name).train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        sum(head.loss(head(maps(), CONTEXT), CONTEXT, {"captions": CAPTIONS}).values()).backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in head.parameters() if parameter.grad is not None)


@pytest.mark.parametrize("name", HEADS)
def test_everything_learns(name: str) -> None:
    head = make(name).train()
    parts = head.loss(head(maps(), CONTEXT), CONTEXT, {"captions": CAPTIONS})
    assert set(parts) == ({"words", "attention"} if name == "lstm_attention" else {"words"})
    sum(parts.values()).backward()
    for key, parameter in head.named_parameters():
        assert parameter.grad is not None, key
        assert torch.isfinite(parameter.grad).all(), key


@pytest.mark.parametrize("name", HEADS)
def test_all_captions_of_a_picture_count_as_if_it_stood_there_once_for_each(name: str) -> None:
    head = make(name).eval()
    captions = [("a red disc", "two small dogs run fast", "nobody"), ("grey noise",), ("a man's horse", "my aunt")]
    owners = [0, 0, 0, 1, 2, 2]

    def loss(places: list[int], texts: list[tuple[str, ...]]) -> dict[str, torch.Tensor]:
        context = Context((128, 160), SIZES[places], SIZES[places])
        cells = head.grid({"c5": maps()["c5"][places]}, context)
        return head.loss({"cells": cells}, context, {"captions": texts})

    together = loss([0, 1, 2], captions)
    apart = loss(owners, [(text,) for texts in captions for text in texts])
    for key, value in together.items():
        assert value.item() == pytest.approx(apart[key].item(), rel=1e-5)


@pytest.mark.parametrize("name", HEADS)
def test_words_are_a_mean_over_tokens_whatever_is_padded(name: str) -> None:
    head = make(name).eval()
    texts = ["a red disc", "two small dogs run fast"]

    def loss(places: list[int]) -> float:
        context = Context((128, 160), SIZES[places], SIZES[places])
        cells = head.grid({"c5": maps()["c5"][places]}, context)
        captions = [(texts[place],) for place in places]
        return head.loss({"cells": cells}, context, {"captions": captions})["words"].item()

    # three words and five, each with an end
    assert loss([0, 1]) == pytest.approx((4 * loss([0]) + 6 * loss([1])) / 10, rel=1e-5)


@pytest.mark.parametrize("name", HEADS)
def test_unknown_words_are_not_learned(name: str) -> None:
    head = make(name).train()
    features, context = {"c5": maps()["c5"][:1]}, Context((128, 160), SIZES[:1], SIZES[:1])
    unknown = head.vocabulary.unknown
    assert unknown is not None
    output = head(features, context)
    after_unknown = head.loss(output, context, {"captions": [("zebra",)]})["words"]
    # of "zebra" only the end is learned
    tokens = torch.tensor([[head.vocabulary.start, unknown]])
    logits = head._read(tokens, torch.tensor([3]), output["cells"], needs_attention=False).logits
    assert after_unknown.item() == pytest.approx(-logits[0, 1].log_softmax(0)[head.vocabulary.end].item(), rel=1e-5)


def test_label_smoothing_spreads_over_all_tokens() -> None:
    plain, smooth = make("lstm").eval(), make("lstm", label_smoothing=0.2).eval()
    cells = {"cells": plain.grid(maps(), CONTEXT)}
    targets = {"captions": CAPTIONS}
    found = plain.vocabulary.encode(TEXTS, max_tokens=12)
    logits = plain._read(found.ids[:, :-1], found.lengths, plain.grid(maps(), CONTEXT), needs_attention=False).logits
    is_token = torch.arange(logits.shape[1]) < found.lengths[:, None] - 1
    uniform = -logits.log_softmax(2).mean(dim=2)[is_token].mean()
    expected = 0.8 * plain.loss(cells, CONTEXT, targets)["words"] + 0.2 * uniform
    assert smooth.loss(cells, CONTEXT, targets)["words"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_attention_is_penalised_for_what_each_cell_lacks_to_one() -> None:
    head = make("lstm_attention").eval()
    with torch.no_grad():
        head.decoder.score.weight.zero_()  # it looks everywhere alike
    part = head.loss({"cells": head.grid(maps(), CONTEXT)}, CONTEXT, {"captions": [("a red disc",)] * 8})["attention"]
    # three words and the end, spread over 20 cells
    assert part.item() == pytest.approx((1 - 4 / 20) ** 2, rel=1e-5)
    # and over 8 where only the upper left is picture
    context = Context((128, 160), torch.tensor([[64, 128]] * 8), SIZES)
    part = head.loss({"cells": head.grid(maps(), context)}, context, {"captions": [("a red disc",)] * 8})["attention"]
    assert part.item() == pytest.approx((1 - 4 / 8) ** 2, rel=1e-5)


@pytest.mark.parametrize("name", HEADS)
def test_pictures_that_nobody_described_teach_nothing(name: str) -> None:
    head = make(name).train()
    loss = sum(head.loss(head(maps(), CONTEXT), CONTEXT, {"captions": [()] * 8}).values())
    loss.backward()
    assert loss.item() == 0
    assert all(not parameter.grad.any() for parameter in head.parameters() if parameter.grad is not None)


@pytest.mark.parametrize("name", HEADS)
def test_dropout_is_active_in_training_only(name: str) -> None:
    head = make(name, dropout=0.5).train()
    targets = {"captions": CAPTIONS}
    output = head(maps(), CONTEXT)
    assert set(output) == {"cells"}
    assert head.loss(output, CONTEXT, targets)["words"] != head.loss(output, CONTEXT, targets)["words"]
    head.eval()
    output = head(maps(), CONTEXT)
    assert head.loss(output, CONTEXT, targets)["words"] == head.loss(output, CONTEXT, targets)["words"]


@pytest.mark.parametrize("name", ["lstm_attention", "transformer"])
def test_where_it_looked_lies_in_the_picture(name: str) -> None:
    head = make(name).eval()
    head.shows_attention = True
    context = Context((128, 160), torch.tensor([[64, 96]] * 8), SIZES)
    rows = head.predict(head(maps(), context), context)
    for row in rows:
        assert row["caption"] == " ".join(row["words"])
        assert row["attention"].shape == (len(row["words"]), 4, 5)
        assert row["attention"].sum(axis=(1, 2)) == pytest.approx(1, abs=1e-5)
        assert not row["attention"][:, 2:].any()
        assert not row["attention"][:, :, 3:].any()


def test_where_it_looked_is_told_of_the_first_of_two_levels() -> None:
    head = build_head("lstm_attention", ["c4", "c5"], [8, 16], vocabulary(), HeadOptions(width=32, hidden=64)).eval()
    head.shows_attention = True
    features = maps() | {"c4": torch.randn(8, 8, 8, 10)}
    row = head.predict(head(features, CONTEXT), CONTEXT)[0]
    assert row["attention"].shape[1:] == (8, 10)
    assert (row["attention"].sum(axis=(1, 2)) < 1).all()


def test_lstm_does_not_look_around() -> None:
    with pytest.raises(UserError, match="--head lstm sees the picture once, before the first word"):
        make("lstm").shows_attention = True


def test_lstm_reads_a_vector() -> None:
    torch.manual_seed(0)
    head = build_head("lstm", ["embedding"], [16], vocabulary(), HeadOptions(width=32, hidden=64, dropout=0.0))
    features = {"embedding": maps()["c5"].mean(dim=(2, 3))}
    assert learn(head, features)(features, CONTEXT)["texts"][5] == "nobody"


def test_captions_are_no_longer_than_asked_for() -> None:
    head = make("lstm").eval()
    assert head.generation == Generation(beams=3, length_penalty=1.0, max_tokens=12, no_repeat=3)
    assert max(len(tokens) for tokens in head(maps(), CONTEXT)["tokens"]) <= 12
    head.say_with(GenerationOptions(beams=2, length_penalty=0.5))
    head.say_with(GenerationOptions())
    assert head.generation == Generation(beams=2, length_penalty=0.5, max_tokens=12, no_repeat=3)


def test_a_length_penalty_needs_several_beams() -> None:
    head = make("lstm")
    head.say_with(GenerationOptions(beams=1))
    with pytest.raises(UserError, match=r"--length-penalty has no effect with one beam.* keep several: --beams 3"):
        head.say_with(GenerationOptions(length_penalty=0.5))


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (HeadOptions, {"width": 30}, "--head-options.width takes a multiple of 4, not 30"),
        (HeadOptions, {"width": 0}, "--head-options.width takes 1 or more, not 0"),
        (HeadOptions, {"max_tokens": 0}, "--head-options.max-tokens takes 1 or more, not 0"),
        (HeadOptions, {"dropout": 1.0}, "--head-options.dropout takes a number below 1"),
        (HeadOptions, {"vocabulary": "letters"}, "Unknown value of --vocabulary 'letters'. Known: words, pieces"),
        (HeadOptions, {"vocabulary": "pieces", "vocabulary_size": 99}, "vocabulary-size takes 300 or more, not 99"),
        (HeadOptions, {"levels": ["c3", "c4", "c5"]}, "--head-options.levels takes one level or two different ones"),
        (HeadOptions, {"levels": ["c5", "c5"]}, "--head-options.levels takes one level or two different ones"),
        (HeadOptions, {"levels": []}, "--head-options.levels takes one level or two different ones"),
        (LossOptions, {"label_smoothing": 1.5}, "--loss.label-smoothing takes 0 to 1, not 1.5"),
        (LossOptions, {"attention": -1.0}, "--loss.attention takes 0 or more, not -1.0"),
        (GenerationOptions, {"beams": 0}, "--beams takes 1 or more, not 0"),
        (GenerationOptions, {"length_penalty": 99.0}, "--length-penalty takes -10 to 10, not 99"),
        (GenerationOptions, {"beams": 1, "length_penalty": 1.0}, "--length-penalty has no effect with one beam"),
    ],
)
def test_options_that_mean_nothing(kind: type, options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        kind(**options)


@pytest.mark.parametrize(
    ("head", "options", "message"),
    [
        ("lstm", {"layers": 3}, "--head-options.layers: has no effect without --head transformer"),
        ("transformer", {"hidden": 64}, "--head-options.hidden: has no effect without --head lstm or lstm_attention"),
        ("lstm", {"language_model": "x"}, "--head-options.language-model: has no effect without --head transformer"),
        ("transformer", {"language_model": "x", "width": 64}, "--head-options.width: has no effect without a decoder"),
        ("lstm", {"vocabulary": "pieces", "min_count": 2}, "min-count: has no effect without .*vocabulary words"),
        ("transformer", {"width": 64, "attention_heads": 3}, "64 is no multiple of --head-options.attention-heads 3"),
        ("transformer", {"levels": ["embedding"]}, "only lstm reads the embedding, which is a vector without places"),
        ("lstm", {"levels": ["c5", "embedding"]}, "only lstm reads the embedding, .* and reads it alone"),
    ],
)
def test_options_that_do_not_go_together(head: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        TrainOptions(data="d", head=head, head_options=HeadOptions(**options))


def test_the_penalty_is_of_attention() -> None:
    with pytest.raises(UserError, match=r"--loss.attention: has no effect without --head lstm_attention"):
        TrainOptions(data="d", head="lstm", loss=LossOptions(attention=2.0))

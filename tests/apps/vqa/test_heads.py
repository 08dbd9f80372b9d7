"""The heads, what reads the questions, and the losses."""

import pytest
import torch
from onetrunk.apps.vocabulary import Vocabulary, learn_vocabulary
from onetrunk.apps.vqa.fusion import Product, StackedAttention
from onetrunk.apps.vqa.head import AnswerHead
from onetrunk.apps.vqa.options import HeadOptions
from onetrunk.apps.vqa.question_encoder import QuestionEncoder, build_encoder, small_config
from onetrunk.backbones import UserError
from onetrunk.datasets import Context, Question

ASKED = (
    ("What colour is the disc?", "Is the disc red?"),
    ("How many discs are there in this picture?",),
)
ANSWERS = ("red", "yes", "2", "no")
TARGETS = {
    "questions": [
        (Question(ASKED[0][0], ("red",)), Question(ASKED[0][1], ("yes",))),
        (Question(ASKED[1][0], ("two",)),),
    ]
}
HEADS = ("product", "stacked_attention")
ENCODERS = ("lstm", "transformer")


def context(asked=ASKED, width: int = 64) -> Context:
    sizes = torch.tensor([[64, width]] * len(asked))
    return Context((64, 64), sizes, sizes, questions=asked)


def words() -> Vocabulary:
    return learn_vocabulary([text for texts in ASKED for text in texts], "words")


def make_encoder(name: str = "lstm", **options) -> QuestionEncoder:
    torch.manual_seed(0)
    wanted = HeadOptions(**{"question_encoder": name, "width": 16, "embedding": 8, "dropout": 0.0, **options})
    vocabulary = words()
    config = small_config(vocabulary, wanted) if name == "transformer" else None
    return build_encoder(vocabulary, wanted, config).eval()


def make_head(name: str, encoder: str = "lstm", *, level: str = "c3", **options) -> AnswerHead:
    reader = make_encoder(encoder)
    fusion = (
        Product(level, 6, 16, reader.width)
        if name == "product"
        else StackedAttention(level, 6, 16, reader.width, hops=2)
    )
    return AnswerHead(fusion, reader, ANSWERS, width=16, **options)


def maps(images: int = 2, seed: int = 0) -> dict[str, torch.Tensor]:
    return {"c3": torch.randn(images, 6, 8, 8, generator=torch.Generator().manual_seed(seed)) * 100}


@pytest.mark.parametrize("name", HEADS)
def test_every_question_gets_a_row_of_logits_and_knows_its_image(name: str) -> None:
    output = make_head(name).eval()(maps(), context())
    assert output["logits"].shape == (3, 4)
    assert output["image"].tolist() == [0, 0, 1]
    assert ("attention" in output) == (name == "stacked_attention")


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("name", HEADS)
def test_every_parameter_learns_as_several_processes_expect(name: str, encoder: str) -> None:
    head = make_head(name, encoder)
    targets = {"questions": [tuple(Question(text, (ANSWERS[0],)) for text in texts) for texts in ASKED]}
    sum(head.loss(head(maps(), context()), context(), targets).values()).backward()
    assert [key for key, parameter in head.named_parameters() if parameter.grad is None] == []


def test_an_embedding_is_read_by_a_product() -> None:
    head = make_head("product", level="embedding").eval()
    assert head({"embedding": torch.randn(2, 6)}, context())["logits"].shape == (3, 4)


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("name", HEADS)
def test_answers_do_not_depend_on_what_else_is_in_the_batch(name: str, encoder: str) -> None:
    head, features = make_head(name, encoder).eval(), maps()
    with torch.no_grad():
        together = head(features, context())["logits"]
        rows = [
            head({"c3": features["c3"][place : place + 1]}, context(((text,),)))["logits"][0]
            for place, texts in enumerate(ASKED)
            for text in texts
        ]
    assert torch.allclose(together, torch.stack(rows), atol=1e-6)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_a_question_reads_the_same_beside_longer_ones(encoder: str) -> None:
    reader = make_encoder(encoder)
    with torch.no_grad():
        alone = reader(["Is the disc red?"], torch.device("cpu"))[0]
        beside = reader([ASKED[1][0] * 3, "Is the disc red?", "Is?"], torch.device("cpu"))[1]
    assert float((alone - beside).abs().max()) < 1e-6


@pytest.mark.parametrize("name", HEADS)
def test_what_lies_in_the_padding_changes_nothing(name: str) -> None:
    head, features = make_head(name).eval(), maps()
    narrow = context(width=40)
    spoilt = {"c3": features["c3"].clone()}
    spoilt["c3"][..., 5:] = 1e4
    with torch.no_grad():
        one, other = head(features, narrow), head(spoilt, narrow)
    assert torch.allclose(one["logits"], other["logits"], atol=1e-6)
    if "attention" in one:
        assert torch.equal(one["attention"], other["attention"])
        assert float(one["attention"][..., 5:].abs().max()) == 0
        assert torch.allclose(one["attention"].sum(dim=(1, 2)), torch.ones(3))


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("text", ["Qual è il colore?", "圆盘是什么颜色?", "???", "<pad> <end> disc", "disc " * 5000])
def test_words_that_were_never_seen_still_make_a_question(encoder: str, text: str) -> None:
    reader = make_encoder(encoder)
    with torch.no_grad():
        vector = reader([text], torch.device("cpu"))
    assert vector.shape == (1, reader.width)
    assert torch.isfinite(vector).all()


def test_case_and_punctuation_do_not_matter_and_words_do() -> None:
    reader = make_encoder()
    with torch.no_grad():
        one, same, other = reader(["Is the disc red?", "is the disc, RED", "Is the disc many?"], torch.device("cpu"))
    assert torch.equal(one, same)
    assert not torch.allclose(one, other, atol=1e-4)


def test_only_the_first_words_of_a_long_question_are_read() -> None:
    reader = make_encoder(max_tokens=2)
    with torch.no_grad():
        short, long = reader(["Is the", "Is the " + "disc " * 5000], torch.device("cpu"))
    assert torch.equal(short, long)


@pytest.mark.parametrize("loss", ["cross_entropy", "soft"])
@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("name", HEADS)
def test_loss_and_gradients_are_finite(name: str, encoder: str, loss) -> None:
    head = make_head(name, encoder, loss=loss).train()
    parts = head.loss(head(maps(), context()), context(), TARGETS)
    assert set(parts) == {"answers"}
    parts["answers"].backward()
    for key, parameter in head.named_parameters():
        if "pooler" not in key:
            assert parameter.grad is not None, key
            assert torch.isfinite(parameter.grad).all(), key


def test_the_most_frequent_answer_is_learned_of_what_can_be_given() -> None:
    head = make_head("product")
    questions = [(Question("?", ("blue", "blue", "red", "no", "red.", "Blue")),), (Question("?", ("green",)),)]
    logits = torch.tensor([[1.0, 2.0, 3.0, 4.0], [9.0, 0.0, 0.0, 0.0]])
    found = head.loss({"logits": logits}, context(), {"questions": questions})["answers"]
    # blue and green can't be given: red it is, and the second question isn't learned
    assert float(found) == pytest.approx(float(-logits[0].log_softmax(0)[0]))


def test_soft_targets_are_what_each_answer_would_get() -> None:
    head = make_head("product", loss="soft")
    ten = ("red",) * 2 + ("yes",) * 1 + ("blue",) * 7
    questions = [(Question("?", ten),), (Question("?", ("green",)),)]
    logits = torch.tensor([[0.5, -1.0, 2.0, 0.0], [9.0, 0.0, 0.0, 0.0]])
    found = head.loss({"logits": logits}, context(), {"questions": questions})["answers"]
    wanted = torch.tensor([0.6, 0.3, 0.0, 0.0])
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits[0], wanted, reduction="sum")
    assert float(found) == pytest.approx(float(expected))


@pytest.mark.parametrize("loss", ["cross_entropy", "soft"])
def test_a_batch_without_any_known_answer_teaches_nothing(loss) -> None:
    head = make_head("product", loss=loss)
    unknown = {"questions": [(Question(ASKED[0][0], ("blue",)),) * 2, (Question(ASKED[1][0], ("seven",)),)]}
    value = head.loss(head(maps(), context()), context(), unknown)["answers"]
    value.backward()
    assert value.item() == 0
    assert all(float(parameter.grad.abs().max()) == 0 for parameter in head.parameters())


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("name", HEADS)
def test_it_overfits_eight_samples(name: str, encoder: str) -> None:
    head = make_head(name, encoder).train()
    texts = (ASKED[0][0], ASKED[0][1])
    asked = tuple(texts for _ in range(4))
    questions = [
        tuple(Question(text, (ANSWERS[(place + which) % 4],)) for which, text in enumerate(texts)) for place in range(4)
    ]
    features, sizes = maps(4), context(asked)
    optimizer = torch.optim.AdamW(head.parameters(), lr=5e-3)
    for _ in range(150):
        loss = head.loss(head(features, sizes), sizes, {"questions": questions})["answers"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    rows = head.eval().predict(head(features, sizes), sizes)
    said = [[entry["answer"] for entry in row["answers"]] for row in rows]
    assert said == [[question.answers[0] for question in each] for each in questions]


def test_a_row_has_an_entry_a_question_and_the_best_answers() -> None:
    head = make_head("stacked_attention").eval()
    head.shows_attention = True
    with torch.no_grad():
        rows = head.predict(head(maps(), context()), context())
    assert [[entry["question"] for entry in row["answers"]] for row in rows] == [list(texts) for texts in ASKED]
    entry = rows[1]["answers"][0]
    assert set(entry) == {"question", "answer", "probability", "top", "attention"}
    assert [each["answer"] for each in entry["top"]][:1] == [entry["answer"]]
    assert sorted(each["answer"] for each in entry["top"]) == sorted(ANSWERS)
    assert sum(each["probability"] for each in entry["top"]) == pytest.approx(1, abs=1e-5)
    assert entry["attention"].shape == (8, 8)


@pytest.mark.parametrize("asked", [None, (ASKED[0], ())])
def test_images_without_questions_are_refused(asked) -> None:
    with pytest.raises(UserError, match="Nothing is asked about an image, and this head only answers questions"):
        make_head("product")(maps(), Context((64, 64), *[torch.full((2, 2), 64)] * 2, questions=asked))


def test_dropout_is_active_in_training_only() -> None:
    reader = make_encoder(dropout=0.5)
    device = torch.device("cpu")
    with torch.no_grad():
        assert torch.equal(reader(["Is the disc red?"], device), reader(["Is the disc red?"], device))
        reader.train()
        assert not torch.equal(reader(["Is the disc red?"], device), reader(["Is the disc red?"], device))


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("name", HEADS)
def test_it_runs_in_bf16(name: str, encoder: str) -> None:
    head = make_head(name, encoder).train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = head(maps(), context())
        loss = head.loss(output, context(), TARGETS)["answers"]
    loss.backward()
    assert output["logits"].dtype == torch.float32
    assert torch.isfinite(loss)

"""Pretrained language models that read the questions."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from onetrunk.apps import load_model
from onetrunk.apps.cli import main
from onetrunk.apps.language_models import find_language_model, read_vocabulary
from onetrunk.apps.vqa.options import HeadOptions
from onetrunk.apps.vqa.question_encoder import build_encoder, read_language_model
from onetrunk.backbones import UserError
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast, T5Config

TOKENS = ("[PAD]", "[CLS]", "[SEP]", "[UNK]", "what", "colour", "is", "the", "disc", "?")


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny language model of BERT's kind."""
    folder = tmp_path_factory.mktemp("bert")
    tokenizer = Tokenizer(models.WordLevel({token: place for place, token in enumerate(TOKENS)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]", unk_token="[UNK]"
    ).save_pretrained(folder)
    torch.manual_seed(0)
    shape = {"num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16, "max_position_embeddings": 40}
    BertModel(BertConfig(vocab_size=len(TOKENS), hidden_size=8, **shape)).save_pretrained(folder)
    return folder


def options(folder: Path | str, **more) -> HeadOptions:
    return HeadOptions(question_encoder="transformer", language_model=str(folder), width=16, **more)


def copy_of(folder: Path, to: Path) -> Path:
    return Path(shutil.copytree(folder, to / "copy"))


def test_its_tokens_are_its_own(bert: Path) -> None:
    vocabulary = read_vocabulary(bert, "bert")
    tokens = vocabulary.encode(["What is the [SEP] disc?"], max_tokens=30)
    assert tokens.ids[0, 0] == 1
    assert tokens.ids[0, -1] == 2
    assert 2 not in tokens.ids[0, 1:-1]  # what looks like the end is text


@pytest.mark.parametrize("learns", [False, True])
def test_it_stays_as_it_is_unless_told_otherwise(bert: Path, learns: bool) -> None:
    wanted = options(bert, train_language_model=learns)
    vocabulary, network = read_language_model(wanted)
    encoder = build_encoder(vocabulary, wanted, network.config.to_dict(), network=network).train()
    assert network.training == learns
    vectors = encoder(["What is the disc?", "colour"], torch.device("cpu"))
    assert vectors.requires_grad == learns
    assert {parameter.requires_grad for parameter in network.parameters()} == {learns}


def test_a_run_needs_its_folder_no_more(
    bert: Path, question_table: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, run = copy_of(bert, tmp_path), tmp_path / "run"
    words = "--backbone timm/test_resnet --weights none --image-size 32 --batch-size 8 --workers 0 --device cpu".split()
    words += f"--data {question_table} --output {run} --epochs 1 --head-options.width 16".split()
    words += f"--head-options.question-encoder transformer --head-options.language-model {folder}".split()
    assert main(["vqa", "train", *words]) == 0
    before = BertModel.from_pretrained(folder).state_dict()
    shutil.rmtree(folder)
    after = load_model(run).head.encoder.network.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in after)
    # what it says of the whole text isn't read, so that nothing teaches it
    assert before.keys() - after.keys() == {"pooler.dense.weight", "pooler.dense.bias"}
    image = str(pictures / "val" / "red" / "00.png")
    capsys.readouterr()
    use = ["--model", str(run), "--images", image, "--question", "What colour is it?", "--workers", "0"]
    assert main(["vqa", "predict", *use, "--device", "cpu"]) == 0
    assert len(json.loads(capsys.readouterr().out)["answers"]) == 1


def test_without_a_network_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONETRUNK_OFFLINE", "1")
    message = (
        "The language model 'distilbert/never-fetched' is not on this machine and ONETRUNK_OFFLINE=1 forbids "
        "downloading.*https://huggingface.co/distilbert/never-fetched.*--head-options.language-model FOLDER.*lstm"
    )
    with pytest.raises(UserError, match=message):
        read_language_model(options("distilbert/never-fetched"))


def test_a_name_that_can_be_none_is_refused() -> None:
    with pytest.raises(UserError, match="there is no such folder, and it can't be a name on the Hugging Face hub"):
        find_language_model("no/such/folder", works_offline="")


@pytest.mark.parametrize("file", ["config.json", "tokenizer.json", "model.safetensors"])
def test_what_a_folder_lacks_is_named(bert: Path, tmp_path: Path, file: str) -> None:
    folder = copy_of(bert, tmp_path)
    (folder / file).unlink()
    with pytest.raises(UserError, match=f"the folder has no {file}"):
        read_language_model(options(folder))


@pytest.mark.parametrize(
    ("file", "named"), [("config.json", "config.json"), ("tokenizer.json", "the tokenizer"), ("model.safetensors",) * 2]
)
def test_damaged_files_are_named(bert: Path, tmp_path: Path, file: str, named: str) -> None:
    folder = copy_of(bert, tmp_path)
    (folder / file).write_text("{")
    with pytest.raises(UserError, match=f"{named} can't be read"):
        read_language_model(options(folder))


def test_a_model_that_lacks_tensors_is_refused(bert: Path, tmp_path: Path) -> None:
    folder = copy_of(bert, tmp_path)
    BertConfig.from_pretrained(folder, num_hidden_layers=2).save_pretrained(folder)
    with pytest.raises(UserError, match=r"model.safetensors can't be read: it lacks \d+ tensors, such as encoder"):
        read_language_model(options(folder))


def test_two_networks_in_one_are_refused(bert: Path, tmp_path: Path) -> None:
    folder = copy_of(bert, tmp_path)
    T5Config().save_pretrained(folder)
    with pytest.raises(UserError, match="architecture 't5', which isn't one network from a text to a vector a token"):
        read_language_model(options(folder))


def test_questions_must_not_be_longer_than_it_reads(bert: Path) -> None:
    with pytest.raises(UserError, match=r"reads 40 tokens, and questions of .*max-tokens 39 .* Use at most 38"):
        read_language_model(options(bert, max_tokens=39))


def test_a_tokenizer_of_another_model_is_refused(bert: Path, tmp_path: Path) -> None:
    folder = copy_of(bert, tmp_path)
    BertConfig.from_pretrained(folder, vocab_size=5).save_pretrained(folder)
    with pytest.raises(UserError, match="its tokenizer has 10 tokens and the model only 5"):
        read_language_model(options(folder))


def test_a_tokenizer_without_an_end_is_refused(bert: Path, tmp_path: Path) -> None:
    folder = copy_of(bert, tmp_path)
    PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_file(str(folder / "tokenizer.json"))).save_pretrained(
        folder
    )
    with pytest.raises(UserError, match="its tokenizer has no token for the end of a text"):
        read_vocabulary(folder, "bert")

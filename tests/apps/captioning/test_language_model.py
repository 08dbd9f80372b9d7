"""Pretrained language models as decoders: what is read of them, what is refused, and that they learn."""

import json
import shutil
from pathlib import Path

import pytest
import torch
import transformers
from onetrunk.apps.captioning.head import CaptionHead, build_head, rebuild_head
from onetrunk.apps.captioning.language_model import open_language_model
from onetrunk.apps.captioning.options import HeadOptions
from onetrunk.backbones import UserError
from onetrunk.datasets import Context
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

SIZES = torch.tensor([[64, 64]] * 2)
CONTEXT = Context((64, 64), SIZES, SIZES)
END = "<|endoftext|>"
CAPTIONS = [("A red disc on grey noise.",), ("Two dogs, one of them small, run!",)]


def save_tokenizer(folder: Path, **special: str) -> int:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=280,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([text for texts in CAPTIONS for text in texts] * 3, trainer)
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)
    return tokenizer.get_vocab_size()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A language model shaped like GPT-2, with random weights and more rows than tokens."""
    folder = tmp_path_factory.mktemp("language-model")
    size = save_tokenizer(folder, bos_token=END, eos_token=END)
    config = transformers.GPT2Config(
        vocab_size=size + 8, n_positions=48, n_embd=32, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0
    )
    torch.manual_seed(0)
    model = transformers.GPT2LMHeadModel(config)
    model.generation_config = transformers.GenerationConfig(do_sample=True, temperature=3.0, max_length=5)
    model.save_pretrained(folder)
    return folder


def make(folder: Path) -> CaptionHead:
    torch.manual_seed(0)
    options = HeadOptions(language_model=str(folder), max_tokens=30)
    texts = [text for texts in CAPTIONS for text in texts]
    return build_head("transformer", ["c5"], [16], None, options, seen=texts)


def maps() -> dict[str, torch.Tensor]:
    return {"c5": torch.randn(2, 16, 3, 3, generator=torch.Generator().manual_seed(0)) * 10}


def test_its_weights_and_tokens_are_taken_and_only_sight_is_new(folder: Path) -> None:
    decoder, vocabulary = open_language_model(str(folder), max_tokens=30)
    original = transformers.GPT2LMHeadModel.from_pretrained(folder).state_dict()
    found = decoder.state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in original.items())
    assert all("cross" in name for name in found.keys() - original.keys())
    assert vocabulary.kind == "language_model"
    assert vocabulary.start == vocabulary.end == vocabulary.pad
    text = "A red disc, on <|endoftext|> Grün noise."
    assert vocabulary.decode(vocabulary.encode([text], max_tokens=100).ids.tolist()) == [text]


def test_it_says_captions_back_with_case_and_punctuation(folder: Path) -> None:
    head = make(folder).train()
    optimizer = torch.optim.AdamW(head.parameters(), lr=1e-2)
    for module in head.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    for _ in range(80):
        loss = head.loss(head(maps(), CONTEXT), CONTEXT, {"captions": CAPTIONS})["words"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    head.eval()
    head.shows_attention = True
    output = head(maps(), CONTEXT)
    assert output["texts"] == [text for texts in CAPTIONS for text in texts]
    assert output["seen"].tolist() == [True, True]
    row = head.predict(output, CONTEXT)[0]
    assert row["words"] == ["A", "red", "disc", "on", "grey", "noise."]
    assert row["attention"].shape == (6, 3, 3)


def test_it_drops_values_in_training_and_none_afterwards(folder: Path) -> None:
    head = make(folder)
    assert not head.decoder.training  # as from_pretrained hands it over
    head.train()
    head.grid.dropout.p = 0.0
    cells = head(maps(), CONTEXT)

    def loss() -> float:
        return head.loss(cells, CONTEXT, {"captions": CAPTIONS})["words"].item()

    assert loss() != loss()
    head.eval()
    assert loss() == loss()


def test_what_it_recommends_for_stories_is_not_done(folder: Path) -> None:
    head = make(folder).eval()
    head.decoder.lm_head.weight.data *= 30
    first, second = head(maps(), CONTEXT), head(maps(), CONTEXT)
    assert first["texts"] == second["texts"]
    assert max(len(tokens) for tokens in first["tokens"]) > 5
    assert all(int(tokens.max()) < len(head.vocabulary) for tokens in first["tokens"])


def test_a_model_file_needs_neither_folder_nor_network(folder: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("ONETRUNK_OFFLINE", "1")
    copy = shutil.copytree(folder, tmp_path / "copy")
    head = make(copy).eval()
    plain = json.loads(json.dumps(head.description()))
    assert str(copy) not in json.dumps(plain["decoder"])
    shutil.rmtree(copy)
    rebuilt = rebuild_head(plain, [16])
    rebuilt.load_state_dict(head.state_dict())
    assert rebuilt.eval()(maps(), CONTEXT)["texts"] == head(maps(), CONTEXT)["texts"]


def test_nothing_is_printed(folder: Path, capfd) -> None:
    make(folder).eval()(maps(), CONTEXT)
    assert capfd.readouterr() == ("", "")


def test_a_name_without_a_network_says_what_to_put_where(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ONETRUNK_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match="ONETRUNK_OFFLINE=1 forbids downloading") as caught:
        open_language_model("some/never-fetched", max_tokens=30)
    message = str(caught.value)
    assert "https://huggingface.co/some/never-fetched" in message
    assert "put them into a folder and give it: --head-options.language-model FOLDER" in message
    assert "What works offline: a folder" in message
    assert "\n" not in message


def test_a_hub_that_does_not_answer(monkeypatch) -> None:
    monkeypatch.delenv("ONETRUNK_OFFLINE", raising=False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UserError, match=r"'some/never-fetched' is not on this machine and downloading failed \(.+\)"):
        open_language_model("some/never-fetched", max_tokens=30)


def test_neither_a_folder_nor_a_name() -> None:
    with pytest.raises(UserError, match="there is no such folder, and it can't be a name on the Hugging Face hub"):
        open_language_model("no/such/folder", max_tokens=30)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("config.json", r"the folder has no config.json, for its shape. It needs"),
        ("model.safetensors", r"has no model.safetensors or .*its weights; pickled ones \(pytorch_model.bin\) are not"),
        ("tokenizer.json", r"has no tokenizer.json or vocab.json, for its tokenizer"),
    ],
)
def test_files_that_lack(folder: Path, tmp_path: Path, file: str, message: str) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / file).unlink()
    (copy / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(UserError, match=message):
        open_language_model(str(copy), max_tokens=30)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("config.json", "config.json can't be read: "),
        ("model.safetensors", "model.safetensors can't be read: "),
        ("tokenizer.json", "the tokenizer can't be read: "),
    ],
)
def test_files_that_are_damaged(folder: Path, tmp_path: Path, file: str, message: str) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / file).write_bytes(b"{nonsense")
    with pytest.raises(UserError, match=message):
        open_language_model(str(copy), max_tokens=30)


def test_weights_of_another_model(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"n_layer": 3}))
    with pytest.raises(
        UserError, match=r"model.safetensors can't be read: it lacks \d+ tensors, such as transformer.h"
    ):
        open_language_model(str(copy), max_tokens=30)


def test_a_shape_that_can_not_look(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / "config.json").write_text(json.dumps({"model_type": "llama", "hidden_size": 32}))
    with pytest.raises(UserError, match="of the architecture 'llama', which has no layers that look at a picture"):
        open_language_model(str(copy), max_tokens=30)


def test_captions_longer_than_it_reads(folder: Path) -> None:
    with pytest.raises(UserError, match=r"reads 48 tokens, and captions of --head-options.max-tokens 47 .*at most 46"):
        open_language_model(str(folder), max_tokens=47)


def test_a_tokenizer_that_never_ends(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    save_tokenizer(copy)
    with pytest.raises(UserError, match="no token for the end of a text"):
        open_language_model(str(copy), max_tokens=30)


def test_a_tokenizer_of_a_larger_model(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"vocab_size": 99}))
    with pytest.raises(UserError, match="its tokenizer has 280 tokens and the model only 99"):
        open_language_model(str(copy), max_tokens=30)


def test_channels_that_places_can_not_be_told_in(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"n_embd": 30}))
    with pytest.raises(UserError, match="has tokens of 30 channels; a multiple of 4 is needed"):
        open_language_model(str(copy), max_tokens=30)

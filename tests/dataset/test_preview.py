"""A dataset as a model sees it: each token, its id, its mask and who wrote it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from rich.console import Console

from llmft.chat import Chat
from llmft.config import ConfigError, compose
from llmft.dataset.preview import content_spans, grid, main, prompt_tokens, response_tokens, statistics
from llmft.model.characters import character_tokenizer
from llmft.types import Task, Trace


@pytest.fixture
def chatml(tokens):
    """The character tokenizer with a template that writes words of its own."""
    from copy import deepcopy

    tokenizer = deepcopy(tokens.tokenizer)
    tokenizer.chat_template = (
        "{% for m in messages %}[{{ m.role }}]{{ m.content | trim }}\n{% endfor %}"
        "{% if add_generation_prompt %}[assistant]{% endif %}"
    )
    return Chat(tokenizer)


@pytest.fixture(scope="module")
def bpe_folder(tmp_path_factory):
    """A byte-level tokenizer with ChatML and a model's config, without weights."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = ["<|im_start|>", "<|im_end|>", *alphabet]
    tokenizer = Tokenizer(models.BPE(vocab={word: index for index, word in enumerate(words)}, merges=[]))
    tokenizer.add_special_tokens(words[:2])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>")
    fast.chat_template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    folder = tmp_path_factory.mktemp("bpe")
    fast.save_pretrained(folder)
    LlamaConfig(vocab_size=len(words), max_position_embeddings=1024).save_pretrained(folder)
    return folder


def test_who_wrote_which_token_of_a_prompt(chatml):
    messages = ({"role": "system", "content": "Add."}, {"role": "user", "content": " 1+2= "})
    row = prompt_tokens(chatml, Task("t", messages, "math"))
    assert [token.id for token in row] == list(chatml.prompt(messages))
    assert not any(token.trained for token in row)
    by_writer = [(token.writer, token.text) for token in row]
    expected = [("template", "[system]"), ("system", "Add."), ("template", "⏎[user]"), ("user", "1+2=")]
    expected.append(("template", "⏎[assistant]"))
    assert by_writer == [(writer, char) for writer, text in expected for char in text]


def test_a_response_is_trained_to_its_end_token(tokens):
    row = response_tokens(tokens, "8 3#1")
    assert "".join(token.text for token in row[:-1]) == "8·3#1"
    assert [token.writer for token in row] == ["response"] * 5 + ["end"]
    assert all(token.trained for token in row)
    assert row[-1].id == tokens.eos_id


def test_contents_are_found_in_their_order():
    messages = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "a"},
        {"role": "odd", "content": "b"},
    ]
    assert list(content_spans("<a><a><b>", messages)) == [(1, 2, "user"), (4, 5, "assistant"), (7, 8, "user")]


def test_the_grid_wraps_and_leaves_out_the_middle(tokens):
    row = response_tokens(tokens, "0123456789" * 4)
    lines = [line.plain for line in grid(row, width=30, limit=1000)]
    assert all(len(line) <= 30 for line in lines)
    assert len(lines) % 3 == 0
    assert "".join(lines[0::3]).split() == [token.text for token in row]
    assert "".join(lines[1::3]).split() == [str(token.id) for token in row]
    assert "".join(lines[2::3]).split() == ["1"] * len(row)
    cut = " ".join(line.plain for line in grid(row, width=200, limit=6))
    assert f"… {len(row) - 6} more …" in cut


def test_statistics():
    assert statistics(range(1, 102)) == ("1", "51", "96", "101")
    assert statistics([7]) == ("7", "7", "7", "7")
    assert statistics([]) == ("-",) * 4


def run(monkeypatch, capsys, *arguments: str) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["preview", *arguments])
    monkeypatch.setenv("COLUMNS", "120")
    code = main()
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.parametrize("dataset", ["lab_addition", "lab_paths_base"])
def test_the_lab_is_shown_without_weights(monkeypatch, capsys, dataset):
    code, out, _ = run(monkeypatch, capsys, f"dataset={dataset}", "model=scratch", "--tasks", "1", "dataset.limit=20")
    assert code == 0
    assert "<bos>" in out
    assert "<eos>" in out
    assert "response by" in out
    assert "lengths in tokens" in out


def test_gsm8k_with_a_model_folder(monkeypatch, capsys, shared, bpe_folder):
    data = shared("data/gsm8k/train.jsonl").parent
    arguments = ["dataset=gsm8k", f"dataset.path={data}", "model=hf", f"model.path={bpe_folder}", "--split", "test"]
    code, out, _ = run(monkeypatch, capsys, *arguments, "--tasks", "1")
    assert code == 0
    assert "test-1  math  answer='18'  row=test.jsonl:1" in out
    assert "<|im_start|>" in out
    assert "the model attends to 1024" in " ".join(out.split())


def test_what_cannot_be_shown_is_said(monkeypatch, capsys, tmp_path, tiny_folder):
    (tmp_path / "train.jsonl").write_text(json.dumps({"question": "a?", "answer": "#### 1"}) + "\n")
    arguments = ["dataset=gsm8k", f"dataset.path={tmp_path}", "model=hf", f"model.path={tiny_folder}"]
    code, _, err = run(monkeypatch, capsys, *arguments, "dataset.prompt_column=qestion")
    assert code == 2
    assert "did you mean 'question'?" in err
    code, _, err = run(monkeypatch, capsys, *arguments[:3], "model.path=/nowhere")
    assert code == 2
    assert "model.path" in err


def test_brackets_in_data_are_not_markup(tokens):
    from llmft.dataset.preview import print_task

    console = Console(record=True, width=100, file=open("/dev/null", "w"))  # noqa: SIM115
    task = Task("[red]t", ({"role": "user", "content": "[bold]"},), "math", answer="[1, 2]", meta={"row": "[x]"})
    print_task(console, tokens, task, 50)
    assert "[red]t  math  answer='[1, 2]'  row=[x]" in console.export_text()


def test_thoughts_that_the_prompt_opened_are_not_opened_again():
    from llmft.dataset.preview import print_task

    tokenizer = character_tokenizer()
    tokenizer.chat_template = "{{ messages[0]['content'] }}{{ '<think>\n' }}"
    task = Task("t", ({"role": "user", "content": "1+1="},), "math", traces=(Trace("<think>\ntwo</think>#2"),))
    console = Console(record=True, width=100, file=open("/dev/null", "w"))  # noqa: SIM115
    print_task(console, Chat(tokenizer), task, 50)
    told = console.export_text()
    assert "prompt, 12 tokens" in told
    assert "response by 'data', 14 tokens" in told


def test_colours_tell_who_wrote_it(tokens):
    from llmft.dataset.preview import STYLES

    assert len(set(STYLES.values())) >= 6
    (line, *_) = grid(response_tokens(tokens, "1"), 80, 10)
    assert [str(span.style) for span in line.spans] == [STYLES["response"], STYLES["end"]]


@pytest.mark.slow
def test_as_a_module():
    command = [sys.executable, "-m", "llmft.dataset.preview", "model=scratch", "--tasks", "1", "dataset.limit=5"]
    assert "lengths in tokens" in subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_an_unknown_option_is_refused():
    with pytest.raises(ConfigError, match="lab_paths"):
        compose(["dataset=lab_pathz"])

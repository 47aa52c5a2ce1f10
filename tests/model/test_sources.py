import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from llmft.model.hf import HF
from llmft.seeds import Seeds

OPTIONS = {
    "revision": None,
    "dtype": "float32",
    "attention": "sdpa",
    "gradient_checkpointing": False,
    "chat_template": None,
    "trust_remote_code": False,
}


def test_text_comes_back_whole(tokens):
    text = "478+356= ~!\n  two  spaces"
    ids = tokens.response(text)
    assert ids[-1] == tokens.eos_id
    assert len(ids) == len(text) + 1
    assert tokens.text(ids) == text


def test_what_is_not_ascii_is_dropped(tokens):
    assert tokens.text(tokens.response("caf\u00e9 \u2019s\t5\u00d75=25")) == "caf s55=25"


def test_a_prompt_has_one_start_token_and_ends_where_the_answer_begins(tokens):
    ids = tokens.prompt([{"role": "user", "content": "1+2="}])
    assert ids[0] == 1
    assert ids.count(1) == 1
    assert ids == (1, *tokens.response("1+2=", end=False))


def test_a_saved_folder_is_read_by_transformers_and_by_us(tiny_folder, tiny_source, tokens):
    ids = torch.tensor([tokens.prompt([{"role": "user", "content": "1+2="}])])
    ours = HF(path=str(tiny_folder), **OPTIONS)
    assert ours.faults() == []
    assert ours.context() == 256
    policy = ours.load(quantization=None, adapter=None, seeds=Seeds(1))
    theirs = AutoModelForCausalLM.from_pretrained(tiny_folder)
    original = tiny_source.load(quantization=None, adapter=None, seeds=Seeds(0))
    assert torch.equal(policy.model(ids).logits, theirs(ids).logits)
    assert torch.equal(policy.model(ids).logits, original.model(ids).logits)
    assert AutoTokenizer.from_pretrained(tiny_folder)("1+2=").input_ids == tokens.tokenizer("1+2=").input_ids


def test_the_same_seed_draws_the_same_weights_and_another_draws_others(tiny_source):
    def weights(seed):
        return torch.cat(
            [p.flatten() for p in tiny_source.load(quantization=None, adapter=None, seeds=Seeds(seed)).parameters()]
        )

    assert torch.equal(weights(3), weights(3))
    assert not torch.equal(weights(3), weights(4))


@pytest.mark.parametrize(("strip", "why"), [("eos_token", "no end token"), ("chat_template", "no chat template")])
def test_a_tokenizer_that_cannot_serve_is_refused_before_weights(tiny_folder, tmp_path, strip, why):
    tokenizer = AutoTokenizer.from_pretrained(tiny_folder)
    setattr(tokenizer, strip, None)
    AutoModelForCausalLM.from_pretrained(tiny_folder).config.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    (fault,) = HF(path=str(tmp_path), **OPTIONS).faults()  # the folder holds no weights at all
    assert why in fault
    assert fault.startswith(f"model.path={tmp_path}: ")


@pytest.mark.parametrize("path", ["no/such/folder", "./missing", "/nowhere"])
def test_a_missing_folder_is_named(path):
    (fault,) = HF(path=path, **OPTIONS).faults()
    assert "no such folder" in fault


def test_a_hub_that_cannot_be_reached_is_told(tmp_path, tiny_folder):
    (fault,) = HF(path="nobody/nothing", **OPTIONS).faults()  # tests are offline
    assert fault.startswith("model.path=nobody/nothing: its tokenizer cannot be read (")
    AutoModelForCausalLM.from_pretrained(tiny_folder).config.save_pretrained(tmp_path)
    (fault,) = HF(path=str(tmp_path), **OPTIONS).faults()
    assert fault.startswith(f"model.path={tmp_path}: its tokenizer cannot be read (")


def test_gradient_checkpointing_changes_no_gradient(tiny_folder):
    def gradient(checkpointing: bool):
        source = HF(path=str(tiny_folder), **{**OPTIONS, "dtype": "float64", "gradient_checkpointing": checkpointing})
        policy = source.load(quantization=None, adapter=None, seeds=Seeds(0)).train()
        policy.model(torch.arange(3, 20)[None]).logits.logsumexp(-1).sum().backward()
        return torch.cat([p.grad.flatten() for p in policy.parameters()])

    torch.testing.assert_close(gradient(True), gradient(False), rtol=1e-9, atol=1e-12)


def test_a_base_that_is_not_there_is_not_asked_of_a_hub():
    assert HF(path="bases/none", **OPTIONS).faults() == [
        "model.path=bases/none: the lab has no such base for this dataset; name a model of yours, for instance "
        "model=hf model.path=FOLDER"
    ]

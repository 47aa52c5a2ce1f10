import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llmft.model.policy import CausalPolicy
from llmft.sampler.cache import Slab
from llmft.sampler.hf import HFGenerate
from llmft.sampler.native import Native
from llmft.types import Sampling

GREEDY = Sampling(temperature=0.0, max_new_tokens=24)
SAMPLED = Sampling(temperature=1.0, max_new_tokens=24)
ARCHITECTURES = ["llama", "qwen2", "qwen3", "gpt2", "mistral", "gemma3"]
F32, F64 = torch.float32, torch.float64
# With eager attention (Bloom has no other) transformers casts its padding mask from float64 to float32, where it overflows to NaN.
MODELS = [(name, dtype) for name in ARCHITECTURES for dtype in (F32, F64)] + [("llama_eager", F32), ("bloom", F32)]


def ids(completions):
    return [[completion.token_ids for completion in group] for group in completions]


def flat(completions):
    return [completion for group in completions for completion in group]


def full_forward_logps(model, prompt, completion, temperature=1.0):
    row = torch.tensor([[*prompt, *completion.token_ids]])
    with torch.no_grad():
        logits = model(row).logits[0, len(prompt) - 1 : -1]
    logp = torch.log_softmax(logits / temperature, dim=-1)
    return logp.gather(-1, row[0, len(prompt) :, None])[:, 0].tolist()


@pytest.mark.parametrize(("name", "dtype"), MODELS)
def test_greedy_tokens_are_those_of_generate(name, dtype, make_policy, letters, prompts):
    policy = make_policy(name, dtype)
    native = Native(max_rows=64, policy=policy, tokens=letters).generate(prompts, 1, GREEDY, range(6))
    reference = HFGenerate(max_rows=64, policy=policy, tokens=letters).generate(prompts, 1, GREEDY, range(6))
    assert ids(native) == ids(reference)
    assert [group[0].finish for group in native] == [group[0].finish for group in reference]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_sampled_completions_are_those_of_generate_with_the_same_numbers(name, make_policy, letters, prompts):
    sampling = Sampling(temperature=0.8, max_new_tokens=20, top_p=0.9, top_k=12)
    policy = make_policy(name)
    native = Native(max_rows=64, policy=policy, tokens=letters).generate(prompts, 3, sampling, range(6))
    reference = HFGenerate(max_rows=7, policy=policy, tokens=letters).generate(prompts, 3, sampling, range(6))
    assert ids(native) == ids(reference)
    for mine, theirs in zip(flat(native), flat(reference), strict=True):
        assert mine.logps == pytest.approx(theirs.logps, abs=1e-4)  # generate() rounds logits to float32


@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.0])
@pytest.mark.parametrize(("name", "dtype"), MODELS)
def test_logps_are_those_of_a_full_forward(name, dtype, temperature, make_policy, letters, prompts):
    tolerance = 1e-9 if dtype == F64 else 1e-5
    policy = make_policy(name, dtype)
    sampling = Sampling(temperature=temperature, max_new_tokens=24)
    completed = Native(max_rows=5, policy=policy, tokens=letters).generate(prompts, 2, sampling, range(6))
    for prompt, group in zip(prompts, completed, strict=True):
        for completion in group:
            expected = full_forward_logps(policy.model, prompt, completion, temperature or 1.0)
            assert completion.logps == pytest.approx(expected, abs=tolerance)


@settings(max_examples=15, deadline=None)
@given(
    order=st.permutations(range(6)),
    keep=st.integers(1, 6),
    max_rows=st.integers(1, 13),
    counts=st.lists(st.integers(0, 4), min_size=6, max_size=6),
    name=st.sampled_from(["llama", "gpt2", "mistral"]),
)
def test_completions_do_not_depend_on_their_company(order, keep, max_rows, counts, name, make_policy, letters, prompts):
    policy = make_policy(name)
    sampling = Sampling(temperature=1.0, max_new_tokens=12)
    everything = Native(max_rows=100, policy=policy, tokens=letters).generate(prompts, 4, sampling, range(100, 106))
    chosen = order[:keep]
    some = Native(max_rows=max_rows, policy=policy, tokens=letters).generate(
        [prompts[i] for i in chosen], [counts[i] for i in chosen], sampling, [100 + i for i in chosen]
    )
    assert ids(some) == [group[: counts[i]] for i, group in ((i, ids(everything)[i]) for i in chosen)]


@settings(max_examples=15, deadline=None)
@given(
    limits=st.lists(st.integers(1, 20), min_size=6, max_size=6),
    sampler=st.sampled_from([Native, HFGenerate]),
    max_rows=st.integers(1, 13),
)
def test_a_prompt_s_limit_cuts_its_completions_and_changes_nothing_else(
    limits, sampler, max_rows, make_policy, letters, prompts
):
    policy = make_policy("llama")
    sampling = Sampling(temperature=1.0, max_new_tokens=12)
    whole = Native(max_rows=100, policy=policy, tokens=letters).generate(prompts, 2, sampling, range(6))
    cut = sampler(max_rows=max_rows, policy=policy, tokens=letters).generate(prompts, 2, sampling, range(6), limits)
    for some, all_of_it, limit in zip(cut, whole, limits, strict=True):
        assert [one.token_ids for one in some] == [one.token_ids[:limit] for one in all_of_it]
        for one, other in zip(some, all_of_it, strict=True):
            assert one.logps == pytest.approx(other.logps[:limit], abs=1e-4)
            assert one.finish == (other.finish if len(other.token_ids) <= limit else "length")


def test_nothing_is_computed_beyond_a_prompt_s_limit(make_policy, letters, prompts):
    policy, steps = make_policy("llama"), []

    def count(module, args, kwargs):
        if kwargs["past_key_values"].get_seq_length():
            steps.append(kwargs["input_ids"].shape[0])

    hook = policy.model.register_forward_pre_hook(count, with_kwargs=True)
    limits = [1, 2, 5, 5, 9, 12]
    written = flat(Native(max_rows=100, policy=policy, tokens=letters).generate(prompts, 1, SAMPLED, range(6), limits))
    hook.remove()
    assert sum(steps) == sum(len(one.token_ids) - 1 for one in written)  # a prompt's pass gives the first token
    assert len({len(one.token_ids) for one in written}) > 3


@pytest.mark.parametrize("sampler", [Native, HFGenerate])
def test_room_is_needed_for_each_prompt_with_its_own_limit(sampler, make_policy, letters):
    """128 positions: 120 + 8 and 8 + 120 fit, though 120 + 120 would not."""
    made = sampler(max_rows=4, policy=make_policy("llama"), tokens=letters)
    long, short, sampling = [5] * 120, [5] * 8, Sampling(temperature=1.0, max_new_tokens=120)
    first, second = made.generate([long, short], 1, sampling, range(2), [8, 120])
    assert len(first[0].token_ids) <= 8
    assert len(second[0].token_ids) <= 120
    with pytest.raises(ValueError, match="max_new_tokens=9: with a prompt of 120 tokens it needs 129"):
        made.generate([long, short], 1, sampling, range(2), [9, 120])
    for limits in ([8], [8, 0]):
        with pytest.raises(ValueError, match="limits="):
            made.generate([long, short], 1, sampling, range(2), limits)


def test_a_long_queue_moves_columns_and_still_gives_the_same(make_policy, letters, prompts):
    """Two places for 60 completions: rows enter late, columns move to the left many times."""
    policy = make_policy("qwen2")
    wide = Native(max_rows=100, policy=policy, tokens=letters).generate(prompts, 10, SAMPLED, range(6))
    narrow = Native(max_rows=2, policy=policy, tokens=letters).generate(prompts, 10, SAMPLED, range(6))
    assert ids(wide) == ids(narrow)
    assert np.concatenate([c.logps for c in flat(wide)]) == pytest.approx(
        np.concatenate([c.logps for c in flat(narrow)]), abs=1e-9
    )


@pytest.mark.parametrize("max_rows", [2, 12])
def test_memory_that_was_never_written_is_never_read(max_rows, make_policy, letters, prompts, monkeypatch):
    policy = make_policy("qwen2")
    clean = Native(max_rows=max_rows, policy=policy, tokens=letters).generate(prompts, 10, SAMPLED, range(6))
    new_empty, empty_like, lay_out = torch.Tensor.new_empty, torch.empty_like, Slab.lay_out

    def lay_out_over_nan(slab, *arguments, **options):
        for spare in slab.spare.values():
            spare.fill_(torch.nan)
        lay_out(slab, *arguments, **options)

    monkeypatch.setattr(torch.Tensor, "new_empty", lambda self, *shape: new_empty(self, *shape).fill_(torch.nan))
    monkeypatch.setattr(torch, "empty_like", lambda tensor: empty_like(tensor).fill_(torch.nan))
    monkeypatch.setattr(Slab, "lay_out", lay_out_over_nan)
    poisoned = Native(max_rows=max_rows, policy=policy, tokens=letters).generate(prompts, 10, SAMPLED, range(6))
    assert poisoned == clean


@pytest.mark.parametrize("sampling", [SAMPLED, Sampling(0.05, 24), GREEDY], ids=["apart", "together", "greedy"])
@pytest.mark.parametrize("max_rows", [1, 3, 20, 100])
def test_nothing_is_computed_twice_or_for_nothing(max_rows, sampling, make_policy, letters, prompts):
    """A prompt is computed once, and so is what its completions have in common, if all of them fit."""
    policy = make_policy("llama")
    steps, starts = [], []

    def count(module, args, kwargs):
        ids = kwargs["input_ids"]
        (steps if kwargs["past_key_values"].get_seq_length() else starts).append(ids.shape[0])

    hook = policy.model.register_forward_pre_hook(count, with_kwargs=True)
    completed = Native(max_rows=max_rows, policy=policy, tokens=letters).generate(prompts, 5, sampling, range(6))
    hook.remove()
    written = [[one.token_ids[:end] for one in group for end in range(1, len(one.token_ids))] for group in completed]
    alone, shared = sum(map(len, written)), sum(len(set(group)) for group in written)
    assert shared <= sum(steps) <= alone
    assert max(steps) <= max_rows
    if max_rows == 1:
        assert sum(steps) == alone
    if max_rows == 100:
        assert sum(steps) == shared
        assert shared < 0.8 * alone or sampling == SAMPLED
        assert starts == [len(prompts)]
        assert len(steps) == 23


@pytest.mark.parametrize("temperature", [0.0, 0.05, 1.0])
@pytest.mark.parametrize("name", ["llama", "mistral", "gpt2"])
def test_completions_that_part_late_are_those_that_were_never_together(
    name, temperature, make_policy, letters, prompts
):
    """With one place there is no other completion to be together with."""
    policy, sampling = make_policy(name), Sampling(temperature, 24)
    alone = Native(max_rows=1, policy=policy, tokens=letters).generate(prompts, 6, sampling, range(6))
    for max_rows in (5, 100):
        together = Native(max_rows=max_rows, policy=policy, tokens=letters).generate(prompts, 6, sampling, range(6))
        assert ids(together) == ids(alone)
        for mine, theirs in zip(flat(together), flat(alone), strict=True):
            assert mine.logps == pytest.approx(theirs.logps, abs=1e-9)
            assert mine.finish == theirs.finish
    parted = [len({one[0] for one in group}) for group in ids(alone)], [len(set(group)) for group in ids(alone)]
    assert temperature != 0.05 or sum(parted[0]) < sum(parted[1])  # some began alike and ended apart


@pytest.mark.parametrize("max_rows", [2, 5, 100])
def test_looking_rarely_for_ended_rows_changes_nothing(max_rows, make_policy, letters, prompts, monkeypatch):
    """On a GPU rows are written past their end until the next look, and each completion is a row of its own."""
    from llmft.sampler import native

    policy = make_policy("llama")
    often = Native(max_rows=max_rows, policy=policy, tokens=letters).generate(prompts, 10, SAMPLED, range(6))
    assert any(completion.finish == "end" for group in often for completion in group)
    init = native.Loop.__init__

    def rarely(self, *args, **kwargs):
        init(self, *args, **kwargs)
        self.patience, self.together = 7, False

    monkeypatch.setattr(native.Loop, "__init__", rarely)
    seldom = Native(max_rows=max_rows, policy=policy, tokens=letters).generate(prompts, 10, SAMPLED, range(6))
    assert ids(often) == ids(seldom)
    assert [c.finish for c in flat(often)] == [c.finish for c in flat(seldom)]


def test_completions_of_one_prompt_differ_and_streams_matter(make_policy, letters, prompts):
    native = Native(max_rows=64, policy=make_policy("llama"), tokens=letters)
    one = native.generate(prompts, 4, SAMPLED, range(6))
    other = native.generate(prompts, 4, SAMPLED, range(6, 12))
    assert all(len(set(group)) > 1 for group in ids(one))
    assert ids(one) != ids(other)
    assert ids(one) == ids(native.generate(prompts, 4, SAMPLED, range(6)))


def test_limits_and_ends(make_policy, letters, prompts):
    native = Native(max_rows=64, policy=make_policy("llama"), tokens=letters)
    completed = flat(native.generate(prompts, 16, Sampling(1.5, 24), range(6)))
    for completion in completed:
        assert len(completion.token_ids) == len(completion.logps) <= 24
        assert (completion.finish == "end") == (completion.token_ids[-1] == 2)
        assert 2 not in completion.token_ids[:-1]
        assert completion.finish == "end" or len(completion.token_ids) == 24
    assert {completion.finish for completion in completed} == {"end", "length"}
    one = flat(native.generate(prompts, 3, Sampling(1.0, 1), range(6)))
    assert all(len(completion.token_ids) == 1 for completion in one)


def test_the_end_token_may_come_first(make_policy, letters, prompts):
    policy = make_policy("gpt2")
    free = Native(max_rows=4, policy=policy, tokens=letters).generate(prompts, 1, GREEDY, range(6))

    class FirstIsEnd(type(letters)):
        eos_id = free[1][0].token_ids[0]

    for sampler in (Native, HFGenerate):
        group = sampler(max_rows=4, policy=policy, tokens=FirstIsEnd()).generate(prompts, 1, GREEDY, range(6))[1]
        assert group[0].token_ids == free[1][0].token_ids[:1]
        assert group[0].finish == "end"


@pytest.mark.parametrize("max_rows", [3, 100])
@pytest.mark.parametrize("sampler", [Native, HFGenerate])
def test_a_completion_ends_with_the_first_stop_string_it_writes(sampler, max_rows, make_policy, letters, prompts):
    policy = make_policy("llama")
    free = flat(Native(max_rows=64, policy=policy, tokens=letters).generate(prompts, 12, SAMPLED, range(6)))
    long = max(free, key=lambda completion: len(completion.token_ids))
    stops = (letters.text(long.token_ids[4:7]), letters.text(long.token_ids[9:10]))
    sampling = Sampling(1.0, 24, stop=stops)
    stopped = flat(sampler(max_rows=max_rows, policy=policy, tokens=letters).generate(prompts, 12, sampling, range(6)))
    assert any(completion.finish == "stop" for completion in stopped)
    for whole, cut in zip(free, stopped, strict=True):
        texts = [letters.text(whole.token_ids[:end]) for end in range(len(whole.token_ids) + 1)]
        length = next((end for end, text in enumerate(texts) if any(stop in text for stop in stops)), None)
        assert cut.token_ids == whole.token_ids[:length]
        assert cut.finish == ("stop" if length else whole.finish)


@pytest.mark.parametrize("sampler", [Native, HFGenerate])
def test_the_policy_is_left_as_it_was(sampler, letters, prompts, make_policy):
    policy = CausalPolicy(make_policy("gpt2").model)
    policy.train()
    policy.model.transformer.h[1].eval()  # somebody froze a part
    modes = [module.training for module in policy.modules()]
    config, state = policy.model.generation_config, {k: v.clone() for k, v in policy.state_dict().items()}
    parameter = next(policy.parameters())
    parameter.grad = torch.ones_like(parameter)
    first = sampler(max_rows=8, policy=policy, tokens=letters).generate(prompts, 2, SAMPLED, range(6))
    second = sampler(max_rows=8, policy=policy, tokens=letters).generate(prompts, 2, SAMPLED, range(6))
    assert ids(first) == ids(second)  # GPT-2 has dropout, which must be off
    assert [module.training for module in policy.modules()] == modes
    assert policy.model.generation_config is config
    assert all(torch.equal(value, state[key]) for key, value in policy.state_dict().items())
    assert torch.equal(parameter.grad, torch.ones_like(parameter))
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()
    parameter.grad = None
    policy.model(torch.tensor([prompts[1]])).logits.sum().backward()  # sampling left nothing that cannot be trained
    policy.zero_grad(set_to_none=True)
    policy.eval()


def test_what_a_folder_says_about_generating_does_not_reach_the_experiment(letters, prompts, make_policy, monkeypatch):
    from transformers import GenerationConfig

    policy = make_policy("qwen2")
    plain = HFGenerate(max_rows=8, policy=policy, tokens=letters).generate(prompts, 1, GREEDY, range(6))
    monkeypatch.setattr(policy.model, "generation_config", GenerationConfig(repetition_penalty=5.0, min_new_tokens=9))
    assert ids(HFGenerate(max_rows=8, policy=policy, tokens=letters).generate(prompts, 1, GREEDY, range(6))) == ids(
        plain
    )


def test_the_mode_comes_back_when_sampling_fails(letters, make_policy, monkeypatch):
    policy = make_policy("llama")
    policy.train()
    native = Native(max_rows=8, policy=policy, tokens=letters)
    monkeypatch.setattr(native.tokens, "pad_id", "not an id", raising=False)
    with pytest.raises(TypeError):
        native.generate([[3, 4], [5]], 2, SAMPLED, [0, 1])
    assert policy.training
    assert not torch.is_inference_mode_enabled()
    policy.eval()


def test_it_samples_from_the_live_weights(letters, prompts, make_policy):
    policy = CausalPolicy(make_policy("llama").model)
    native = Native(max_rows=8, policy=policy, tokens=letters)
    before = native.generate(prompts, 1, GREEDY, range(6))
    head = policy.model.lm_head.weight
    with torch.no_grad():
        head.mul_(-1)
    native.sync(policy, 1)
    after = native.generate(prompts, 1, GREEDY, range(6))
    with torch.no_grad():
        head.mul_(-1)
    assert ids(before) != ids(after)
    assert ids(before) == ids(native.generate(prompts, 1, GREEDY, range(6)))


def test_an_adapter_takes_part(letters, prompts):
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=48,
            vocab_size=64,
            initializer_range=0.2,
        )
    ).double()
    bare = Native(max_rows=8, policy=CausalPolicy(model), tokens=letters).generate(prompts, 1, GREEDY, range(6))
    adapted = CausalPolicy(get_peft_model(model, LoraConfig(r=4, init_lora_weights=False)).double())
    native = Native(max_rows=8, policy=adapted, tokens=letters).generate(prompts, 1, GREEDY, range(6))
    assert ids(native) != ids(bare)
    assert ids(native) == ids(
        HFGenerate(max_rows=8, policy=adapted, tokens=letters).generate(prompts, 1, GREEDY, range(6))
    )


def test_a_model_with_another_state_is_refused(letters):
    from transformers import AutoModelForCausalLM, MambaConfig

    model = AutoModelForCausalLM.from_config(
        MambaConfig(vocab_size=64, hidden_size=16, num_hidden_layers=2, state_size=4)
    )
    with pytest.raises(ValueError, match=r"sampler=native: MambaForCausalLM keeps .* use sampler=hf"):
        Native(max_rows=8, policy=CausalPolicy(model), tokens=letters)


@pytest.mark.parametrize("sampler", [Native, HFGenerate])
def test_bad_calls_are_refused_in_words(sampler, letters, make_policy):
    made = sampler(max_rows=8, policy=make_policy("llama"), tokens=letters)
    with pytest.raises(ValueError, match=r"max_new_tokens=120: with a prompt of 10 tokens it needs 130 .* has 128"):
        made.generate([[3] * 10], 1, Sampling(1.0, 120), [0])
    with pytest.raises(ValueError, match=r"prompts \[1\] are empty"):
        made.generate([[3], []], 1, SAMPLED, [0, 1])
    with pytest.raises(ValueError, match="2 prompts, 2 numbers of completions and 1 streams"):
        made.generate([[3], [4]], 1, SAMPLED, [0])
    assert made.generate([], 1, SAMPLED, []) == []
    assert made.generate([[3], [4]], [0, 0], SAMPLED, [0, 1]) == [[], []]


def test_broken_weights_are_named(letters, make_policy):
    policy = make_policy("qwen3", torch.float32)
    weight = policy.model.lm_head.weight
    kept = weight.detach().clone()
    with torch.no_grad():
        weight.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match="logits are not finite"):
        Native(max_rows=8, policy=policy, tokens=letters).generate([[3, 4]], 2, SAMPLED, [0])
    with torch.no_grad():
        weight.copy_(kept)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_the_tokens_are_the_same(letters, prompts, make_policy):
    policy = make_policy("llama")
    here = Native(max_rows=5, policy=policy, tokens=letters).generate(prompts, 4, SAMPLED, range(6))
    policy.cuda()
    there = Native(max_rows=5, policy=policy, tokens=letters).generate(prompts, 4, SAMPLED, range(6))
    policy.cpu()
    assert ids(here) == ids(there)

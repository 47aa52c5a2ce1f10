"""Rollout speed: useful tokens per second of the native sampler against transformers' generate().

    python benchmarks/rollout.py [--json FILE] [--repeats 9] [--threads 1]

Both sides run the same weights on the same prompts: 8 of 24 tokens, with 8 completions each. How long completions get is a
property of the model: the bias of its head gives the end token a chance that depends on the step, so that both sides draw
lengths from the same distribution: *equal* (48, no end), *uniform* between 4 and 96, or *geometric* with mean 24, cut at 96.
A token is useful up to and including the end token. The sides take turns and the first repeats are dropped. The native
side also returns the log-probability of every token; the last columns are generate() with logits kept to do the same.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
import transformers
from torch import Tensor, nn

from llmft.model.policy import CausalPolicy
from llmft.sampler.native import Native
from llmft.types import Sampling

PROMPTS, COMPLETIONS, PROMPT_TOKENS, WARM_UP = 8, 8, 24, 3
MODELS = {
    "tiny": {"hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 384},
    "5M": {"hidden_size": 256, "num_hidden_layers": 6, "num_attention_heads": 8, "intermediate_size": 768},
}
BARS = {
    ("tiny", "equal"): 1.3,
    ("5M", "equal"): 1.3,
    ("tiny", "uniform"): 2.2,
    ("5M", "uniform"): 1.7,
    ("tiny", "geometric"): 2.2,
    ("5M", "geometric"): 1.7,
}
NEW_TOKENS = {"equal": 48, "uniform": 96, "geometric": 96}
GENERATE = {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0, "use_cache": True}


def hazards(lengths: str) -> list[float]:
    """The chance that a completion ends with its token t, given that it did not before."""
    if lengths == "equal":
        return [0.0] * NEW_TOKENS["equal"]
    if lengths == "geometric":
        return [1 / 24] * NEW_TOKENS["geometric"]
    return [0.0 if token < 4 else 1 / (97 - token) for token in range(1, 97)]


class PlannedEnd(nn.Linear):
    """A head whose bias gives the end token its chance at each step; it is called once per step, by either side."""

    def plan(self, chances: list[float], eos_id: int) -> None:
        self.step = 0
        self.biases = torch.zeros(len(chances), self.out_features)
        odds = torch.tensor([chance / max(1 - chance, 1e-9) for chance in chances])
        self.biases[:, eos_id] = (odds * (self.out_features - 1)).log()  # small random weights: all others are alike

    def forward(self, input: Tensor) -> Tensor:
        bias = self.biases[self.step]
        self.step += 1
        return nn.functional.linear(input, self.weight, bias)


class Tokens:
    """What the sampler needs to know of a tokenizer."""

    eos_id, pad_id = 2, 0

    def prompt(self, messages, tools=()):
        raise NotImplementedError

    def response(self, text, *, end=True):
        raise NotImplementedError

    def text(self, token_ids) -> str:
        return " ".join(map(str, token_ids))


def make_model(name: str) -> transformers.LlamaForCausalLM:
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        **MODELS[name], vocab_size=128, max_position_embeddings=256, pad_token_id=0, bos_token_id=1, eos_token_id=2
    )
    model = transformers.LlamaForCausalLM(config).eval()
    head = PlannedEnd(config.hidden_size, config.vocab_size, bias=False)
    head.weight = model.lm_head.weight
    model.lm_head = head
    return model


def by_native(model, prompts: Tensor, lengths: str, repeat: int) -> int:
    sampler = Native(max_rows=PROMPTS * COMPLETIONS, policy=CausalPolicy(model), tokens=Tokens())
    streams = [repeat * PROMPTS + index for index in range(PROMPTS)]
    completed = sampler.generate(prompts.tolist(), COMPLETIONS, Sampling(1.0, NEW_TOKENS[lengths]), streams)
    return sum(len(completion.token_ids) for group in completed for completion in group)


def by_generate(model, prompts: Tensor, lengths: str, repeat: int, *, logps: bool = False) -> int:
    torch.manual_seed(repeat)
    repeated = prompts.repeat_interleave(COMPLETIONS, 0)
    out = model.generate(
        repeated,
        attention_mask=torch.ones_like(repeated),
        max_new_tokens=NEW_TOKENS[lengths],
        eos_token_id=2,
        pad_token_id=0,
        return_dict_in_generate=True,
        output_logits=logps,
        **GENERATE,
    )
    written = out.sequences[:, PROMPT_TOKENS:]
    if logps:
        chosen = torch.stack(out.logits, 1).log_softmax(-1).gather(-1, written[..., None])
        chosen.tolist()
    ended = (written == 2).int()
    return int((ended.cumsum(1) - ended == 0).sum())


def measure(sides: dict[str, Callable[[int], int]], model, lengths: str, repeats: int) -> dict[str, list[float]]:
    """Useful tokens per second of each side, the sides taking turns."""
    speeds: dict[str, list[float]] = {name: [] for name in sides}
    for repeat in range(WARM_UP + repeats):
        for name, side in sides.items():
            model.lm_head.plan(hazards(lengths), 2)
            start = time.perf_counter()
            tokens = side(repeat)
            seconds = time.perf_counter() - start
            if repeat >= WARM_UP:
                speeds[name].append(tokens / seconds)
    return speeds


def case(name: str, lengths: str, repeats: int) -> dict:
    model = make_model(name)
    prompts = torch.randint(3, 128, (PROMPTS, PROMPT_TOKENS), generator=torch.Generator().manual_seed(1))
    sides = {
        "native": lambda repeat: by_native(model, prompts, lengths, repeat),
        "generate": lambda repeat: by_generate(model, prompts, lengths, repeat),
        "generate+logps": lambda repeat: by_generate(model, prompts, lengths, repeat, logps=True),
    }
    speeds = measure(sides, model, lengths, repeats)
    median = {side: statistics.median(values) for side, values in speeds.items()}
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return {
        "model": name,
        "parameters": parameters,
        "lengths": lengths,
        "tokens_per_s": {side: round(value) for side, value in median.items()},
        "ratio": round(median["native"] / median["generate"], 2),
        "ratio_with_logps": round(median["native"] / median["generate+logps"], 2),
        "bar": BARS[name, lengths],
        "all": {side: [round(value) for value in values] for side, values in speeds.items()},
    }


def machine(threads: int) -> dict:
    return {
        "threads": threads,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "python": platform.python_version(),
        "processor": platform.processor() or platform.machine(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="also write everything here")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    transformers.logging.set_verbosity_error()
    print(f"{machine(arguments.threads)}")
    print(
        f"generate({', '.join(f'{key}={value}' for key, value in GENERATE.items())}, prompts repeated, pad token set)"
    )
    print(f"native(max_rows={PROMPTS * COMPLETIONS}), useful tokens/s, median of {arguments.repeats}\n")
    print(
        f"{'model':6}{'lengths':11}{'native':>9}{'generate':>10}{'ratio':>7}{'bar':>6}{'generate with logps':>21}{'ratio':>7}"
    )
    results = []
    for name, lengths in BARS:
        row = case(name, lengths, arguments.repeats)
        results.append(row)
        speed = row["tokens_per_s"]
        print(
            f"{name:6}{lengths:11}{speed['native']:9}{speed['generate']:10}{row['ratio']:7}{row['bar']:6}"
            f"{speed['generate+logps']:21}{row['ratio_with_logps']:7}",
            flush=True,
        )
    if arguments.json:
        arguments.json.write_text(json.dumps({"machine": machine(arguments.threads), "results": results}, indent=1))


if __name__ == "__main__":
    main()

"""What reaches the sampler, and what becomes of its completions."""

from llmft.protocols import Drawn
from llmft.rollout.single import Single
from llmft.seeds import Seeds
from llmft.types import Author, Completion, Sampling, Task


class Recorder:
    """A sampler that answers with the prompt's last token and its own count, and remembers what it was asked."""

    def generate(self, prompts, n, sampling, streams):
        self.asked = (prompts, n, sampling, streams)
        return [
            [Completion((prompt[-1], 20 + j, 2), (-0.1, -0.2, -0.3), "end") for j in range(count)]
            for prompt, count in zip(prompts, n, strict=True)
        ]


def test_prompts_streams_and_rollouts(tokens):
    sampler = Recorder()
    single = Single(temperature=0.8, max_new_tokens=16, top_p=0.9, top_k=5, stop=[";"], sampler=sampler, tokens=tokens)
    assert single.sampling == Sampling(0.8, 16, 0.9, 5, (";",))
    tasks = [Task(name, ({"role": "user", "content": name},), "math") for name in ("1+1=", "9-2=")]
    seeds = Seeds(3).child("step", 4)
    groups = single.collect([Drawn(40, tasks[0]), Drawn(42, tasks[1])], [2, 1], seeds)

    prompts, n, sampling, streams = sampler.asked
    assert prompts == [tokens.prompt(task.messages) for task in tasks]
    assert n == [2, 1]
    assert sampling is single.sampling
    assert streams == [seeds.stream("rollout", 40), seeds.stream("rollout", 42)]

    assert [len(group) for group in groups] == [2, 1]
    rollout = groups[0][1]
    assert rollout.task is tasks[0]
    assert rollout.prompt_ids == prompts[0]
    assert rollout.token_ids == (prompts[0][-1], 21, 2)
    assert rollout.logps == (-0.1, -0.2, -0.3)
    assert rollout.authors == (Author.POLICY,) * 3
    assert rollout.text == tokens.text(rollout.token_ids)  # without the end token
    assert rollout.text.startswith("=")
    assert (rollout.source, rollout.finish, rollout.score, rollout.advantages) == ("policy", "end", None, None)

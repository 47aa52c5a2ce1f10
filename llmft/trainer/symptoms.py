"""What a run that fails looks like, and why it probably does.

A symptom is a function of what was seen so far, and of the thresholds: it returns what to tell, or None. To add one,
write it, put it into `SYMPTOMS`, and its threshold, if it has one, into `health.py` and its YAML.

The known failures and ranges are those of https://arxiv.org/abs/2503.14476 (groups without signal, entropy, length),
https://arxiv.org/abs/2505.22617 (entropy) and https://fengyao.notion.site/off-policy-rl (sampler and trainer apart).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from llmft.trainer.health import Health
from llmft.trainer.seen import Seen

SOON = 3  # steps after which what is wrong from the start is told


def equal_rewards(seen: Seen, at: Health, weights: Mapping[str, float]) -> str | None:
    """Nothing to compare in any group."""
    share, right = seen.mean("train/no_signal"), seen.mean("train/accuracy")
    if share is None or share < at.no_signal:
        return None
    start = f"the rewards of {share:.0%} of the groups were all equal, so that nothing is learned"
    if right is not None and right >= at.solved:
        return f"{start}: the tasks are solved, or nearly, with {right:.0%} of the responses right; take harder ones"
    if right is not None and right <= 1 - at.solved:
        return (
            f"{start}: the tasks are too hard, {right:.0%} of the responses are right, or the reward does not see what "
            "is right (look into samples.jsonl); take easier tasks, a larger algorithm.group_size, begin with SFT, or take "
            "algorithm=luffy if the tasks have traces"
        )
    return (
        f"{start}: each task is either always solved or never, or the policy hardly varies; raise "
        "rollout.temperature or algorithm.group_size, or take other tasks"
    )


def entropy_collapse(seen: Seen, at: Health, weights: Mapping[str, float]) -> str | None:
    """The policy no longer varies what it says, though it could still be more often right."""
    left, right = seen.grown("train/entropy"), seen.mean("train/accuracy")
    if left is None or left >= at.entropy_left or (right or 0.0) >= at.solved:
        return None
    return (
        f"the entropy has fallen to {left:.1%} of where it began: the policy no longer explores; lower optimizer.lr, "
        "raise algorithm.clip_high (0.28 is DAPO's), or set algorithm.entropy_coef or algorithm.kl_coef"
    )


def exploding_lengths(seen: Seen, at: Health, weights: Mapping[str, float]) -> str | None:
    """Longer and longer, until most is cut off."""
    grown, cut, before = seen.grown("train/length_mean"), seen.mean("train/truncated"), seen.began("train/truncated")
    if grown is None or cut is None or before is None or grown < at.length_growth or cut - before < at.truncated:
        return None
    return (
        f"responses are {grown:.1f} times as long as at first, and {cut:.0%} are cut off, not {before:.0%}: length "
        "pays, or the end is unlearned; try algorithm=dr_grpo (no length in the denominators), "
        "algorithm.overlong_buffer, or a lower optimizer.lr"
    )


def cut_responses(seen: Seen, at: Health, weights: Mapping[str, float]) -> str | None:
    """What is trained on does not end, from the start."""
    cut, sampled = seen.began("train/truncated", least=SOON), "train/reward_mean" in seen.last
    if cut is None or cut < (at.truncated if sampled else at.cut_answers):
        return None
    if sampled:
        return (
            f"{cut:.0%} of the responses are cut off before their answer: rollout.max_new_tokens is too small, or the "
            "model does not write its end token (is the chat template its own?)"
        )
    return (
        f"{cut:.0%} of the answers are cut off, and the model does not learn to end them: raise "
        "algorithm.max_length, or leave long ones out"
    )


def constant_part(seen: Seen, at: Health, weights: Mapping[str, float]) -> str | None:
    """A part of the reward that tells nothing apart. What an algorithm adds, such as a penalty, may well never vary."""
    counted = {name: range_ for name, range_ in seen.parts.items() if not weights or weights.get(name, 0.0) != 0}
    stuck = {name: low for name, (low, high, count) in counted.items() if low == high and count >= at.constant_part}
    if not stuck or len(counted) == 1:  # one part alone is the whole reward, and `equal_rewards` says more of it
        return None
    which = ", ".join(f"{name} always {value:g}" for name, value in stuck.items())
    return (
        f"the reward has parts that never vary ({which}), in {at.constant_part} responses and more: what they ask for "
        "is always met, never met, or never seen; look into samples.jsonl, or set their reward.weights to 0"
    )


def apart(seen: Seen, at: Health, weights: Mapping[str, float]) -> str | None:
    """The sampler is another model than the one that is trained."""
    gap = seen.mean("train/logp_gap", least=SOON)
    if gap is None or gap < at.logp_gap:
        return None
    return (
        f"sampler and trainer disagree by {gap:.3f} nats per token on the tokens just sampled: another precision, "
        "weights or an adapter that were not synced, another template or temperature, or dropout; compare with "
        "sampler=hf and trainer.precision=32-true"
    )


def refills_exhausted(seen: Seen, at: Health, weights: Mapping[str, float]) -> str | None:
    """Dynamic sampling that asks again and again, and finds nothing to learn from."""
    share, missing = seen.share("train/refill_missing", least=1), seen.mean("train/refill_missing", least=1)
    if share is None or share == 0 or share < at.refills_short:
        return None
    right = seen.mean("train/accuracy", least=1)
    what = (
        "too hard or too easy" if right is None else f"too {'easy' if right > 0.5 else 'hard'} ({right:.0%} is right)"
    )
    return (
        f"refilling stopped at its cap in {share:.0%} of the last steps, {missing:.1f} groups short: the tasks are "
        f"{what} for the policy; take others, a larger algorithm.group_size, or raise algorithm.refills"
    )


def failing_rewards(seen: Seen, at: Health, weights: Mapping[str, float]) -> str | None:
    """The machinery behind the reward breaks often."""
    share = seen.share("train/failed")
    if share is None or share == 0 or share < at.failed:
        return None
    return (
        f"the reward failed on some response in {share:.0%} of the steps: its machinery breaks (the metrics "
        "train/failed/... count the reasons); these responses are left out"
    )


def skipped_updates(seen: Seen, at: Health, weights: Mapping[str, float]) -> str | None:
    """A loss or gradient that is not finite was passed over."""
    if not any(seen.last.get("train/nonfinite", ())):
        return None
    return (
        "an update was skipped, since its loss or gradient was not finite: the learning rate is too high, a half "
        "precision overflows, or a row of the data is broken; nonfinite.json has the batch"
    )


def far_from_reference(seen: Seen, at: Health, weights: Mapping[str, float]) -> str | None:
    """The policy has left the model that it began with."""
    kl = seen.mean("train/kl")
    if kl is None or kl < at.kl:
        return None
    return (
        f"the policy is {kl:.2f} nats per token from the reference: it has become another model, and may have found a "
        "flaw of the reward (look into samples.jsonl); lower optimizer.lr, or raise algorithm.kl_coef"
    )


def growing_gradient(seen: Seen, at: Health, weights: Mapping[str, float]) -> str | None:
    """Training diverges."""
    grown = seen.grown("train/grad_norm")
    if grown is None or grown < at.grad_growth:
        return None
    return (
        f"the gradient is {grown:.0f} times as long as at first: training diverges; lower optimizer.lr, or "
        "trainer.max_grad_norm"
    )


def long_gradients(seen: Seen, at: Health, weights: Mapping[str, float]) -> str | None:
    """The bound on the gradient leaves out what the run should learn from."""
    share, norm = seen.share("train/skipped_updates"), seen.mean("train/grad_norm")
    if share is None or share == 0 or share < at.skipped:
        return None
    return (
        f"updates were left out in {share:.0%} of the last steps, for a gradient above trainer.skip_grad_norm (its norm "
        f"is {norm or 0.0:.3g} in the mean): raise the bound, or lower optimizer.lr if the norm has grown"
    )


def foreign_traces(seen: Seen, at: Health, weights: Mapping[str, float]) -> str | None:
    """What others wrote is as unlikely to the policy as it was at first."""
    name = "train/off_policy_prob"
    first, last, enough = seen.began(name), seen.mean(name), seen.steps.get(name, 0) >= 2 * seen.window
    if first is None or last is None or not enough or last >= at.off_policy_prob:
        return None
    if last > 0 and last >= first * at.prob_growth:
        return None
    return (
        f"the policy gives the tokens of traces a probability of {last:.3f} in the mean, and it does not grow: are they "
        "written in another chat template, form or language than the model's (look into samples.jsonl)? Else "
        "optimizer.lr is too low, or loss.off_gamma too small: a token far less likely than gamma hardly pulls"
    )


def unread_traces(seen: Seen, at: Health, weights: Mapping[str, float]) -> str | None:
    """Traces that earn nothing pull the policy nowhere, or away from them."""
    right = seen.mean("train/accuracy/trace", least=SOON)
    if right is None or right > at.trace_accuracy:
        return None
    return (
        f"{right:.0%} of the traces are right by the reward: it does not read their form (python -m "
        "llmft.dataset.preview shows them; a trace needs its answer where the reward looks for it, and its <think> as "
        "the template has it), they are cut at rollout.max_new_tokens, or they belong to other questions"
    )


def idle_replay(seen: Seen, at: Health, weights: Mapping[str, float]) -> str | None:
    """Nothing is replayed, long after the start."""
    name = "guidance/replayed"
    if seen.steps.get(name, 0) < at.replay_idle or seen.mean(name) != 0:
        return None
    start, right = f"nothing was replayed in {seen.window} steps", seen.mean("train/accuracy") or 0.0
    if seen.mean("guidance/guiding") == 0:
        return (
            f"{start}, and nothing before: {right:.0%} of the responses of a step are right, and replay begins above "
            "its start_accuracy; lower that, take easier tasks, or begin with SFT or traces"
        )
    return (
        f"{start}: the pool holds no question. {right:.0%} of the responses are right, and kept is what is solved in "
        f"some responses and not in all: take {'harder' if right > 0.5 else 'easier'} tasks, or algorithm=grpo"
    )


Symptom = Callable[[Seen, Health, Mapping[str, float]], str | None]
SYMPTOMS: Mapping[str, Symptom] = {
    one.__name__: one
    for one in (
        equal_rewards,
        entropy_collapse,
        exploding_lengths,
        cut_responses,
        constant_part,
        apart,
        refills_exhausted,
        failing_rewards,
        skipped_updates,
        far_from_reference,
        growing_gradient,
        long_gradients,
        foreign_traces,
        unread_traces,
        idle_replay,
    )
}

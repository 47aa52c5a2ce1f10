"""The composition root: check, build the parts, train, return the objective.

python train.py
python train.py algorithm=sft reward=math model=hf model.path=FOLDER
python train.py -m seed=1,2,3
"""

from __future__ import annotations

from omegaconf import DictConfig

from llmft.config import apply_extras, build, check, launch, part
from llmft.seeds import Seeds
from llmft.trainer.launcher import Sweep
from llmft.trainer.signals import at_once
from llmft.trainer.start import Start


def main(cfg: DictConfig) -> float:
    """One job: refuse what cannot be, then train, on as many processes as the trainer has devices."""
    with at_once(None):
        check(cfg)
        apply_extras(cfg)
        from llmft.trainer.ranks import on_ranks

        start = Start.from_hydra(cfg)
        backend = "gloo" if cfg.trainer.accelerator == "cpu" else "nccl"
        return on_ranks(cfg.trainer.devices, backend, fit, cfg, start)


def fit(cfg: DictConfig, start: Start) -> float:
    """One process of a run: build the parts, cheap ones first, and hand each what it needs."""
    from contextlib import closing
    from functools import partial

    from llmft.dataset.stream import TaskStream
    from llmft.trainer.opening import open_run
    from llmft.trainer.preflight import preflight

    seeds, chosen = Seeds(cfg.seed), part(cfg.algorithm)
    checked = preflight(
        dataset=part(cfg.dataset),
        source=part(cfg.model),
        reward=part(cfg.reward),
        guidance=partial(build, cfg.guidance, temperature=cfg.rollout.temperature),
        evaluation=part(cfg.evaluation),
        algorithm=partial(chosen.func.faults, settings=chosen.keywords),
        group_size=cfg.algorithm.get("group_size"),
        new_tokens=cfg.rollout.max_new_tokens,
    )
    splits, source, tokens, reward, guidance, evaluation = checked
    with closing(reward), open_run(start, checked) as run, at_once(run.path):
        if run.finished:
            return run.value()
        policy = source.load(
            quantization=build(cfg.quantization), adapter=build(cfg.adapter), seeds=seeds.child("model")
        )
        memory = build(cfg.memory)
        sampler = build(cfg.sampler, policy=policy, tokens=tokens)
        rollouts = build(cfg.rollout, sampler=sampler, tokens=tokens, memory=memory)
        guidance.begin(policy=policy, folder=run.path / "guidance")
        parts = {"policy": policy, "tokens": tokens, "rollouts": rollouts, "reward": reward, "guidance": guidance}
        algorithm = build(cfg.algorithm, **parts, loss=build(cfg.loss))
        trainer = build(
            cfg.trainer,
            policy=policy,
            tokens=tokens,
            tasks=TaskStream(splits.train, seeds.child("tasks")),
            algorithm=algorithm,
            rollouts=rollouts,
            evaluation=evaluation,
            sampler=sampler,
            optimizer=part(cfg.optimizer),
            schedule=build(cfg.schedule),
            seeds=seeds,
            run=run,
            callbacks=build(cfg.callbacks) or {},
            loggers=build(cfg.logger) or {},
        )
        trainer.fit()
        return run.value()


if __name__ == "__main__":
    launch(main, sweep=Sweep)

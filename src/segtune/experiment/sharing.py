"""A step that several processes of one machine share: how many there are, and what each takes of it."""

from __future__ import annotations

from segtune.config import AnyConfig
from segtune.core.errors import ConfigError
from segtune.engine import processes
from segtune.engine.config import share_of_step


def settle_processes(config: AnyConfig) -> AnyConfig:
    """The configuration with the number of processes that there are in the place of `auto`.

    Raises:
        ConfigError: There are others than `run.num_processes` says, or they cannot share the images of a step.
    """
    wanted, found = config.run.num_processes, processes.world()
    if wanted == 1:
        return config
    if wanted not in ("auto", found):
        raise ConfigError(
            "other processes than the run asks for", where="run.num_processes", expected=str(wanted), found=str(found),
            fix="`segtune train` starts them itself; torchrun has to be told the same number",
        )  # fmt: skip
    if share_of_step(config.train, found) is None:
        raise ConfigError(
            "the processes cannot share the images of a step", where="train.batch_size",
            expected=f"a multiple of {found}, or such a train.accumulate", found=str(config.train.batch_size),
        )  # fmt: skip
    return config.model_copy(update={"run": config.run.model_copy(update={"num_processes": found})})


def own_share(config: AnyConfig) -> AnyConfig:
    """The configuration for one of the processes that share the images of a step."""
    share = share_of_step(config.train, processes.world())
    if config.run.num_processes == 1 or share is None:  # under a launcher each takes what the recipe says
        return config
    train = config.train.model_copy(update={"batch_size": share[0], "accumulate": share[1]})
    return config.model_copy(update={"train": train})

"""Many radiographs on the machines of a Ray cluster, by actors of Ray Data, one on each core (`ray_actor.py`).

Blocks of images start here and their results return here: no core is needed to read or write tables, so that actors on
all cores starve nobody, and one process writes the results: nothing is lost, and nothing there twice.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, Final

from carpal.errors import BackendError, ConfigError, need
from carpal.inference.pipeline import Job
from carpal.inference.ray_actor import BlockReader, Ledger, Work

LOCAL: Final = "local"
BLOCK: Final = 16
"""Images that an actor takes at a time: seconds of work, and what is read again when it dies."""
WAVE: Final = 100_000
"""Images whose names are in memory, here and in Ray; actors start anew for the next."""
KNOCK: Final = 10.0
"""Seconds within which the head of a cluster must answer."""
STORE: Final = 256 * 2**20
"""Shared memory of a Ray of our own; names and lines are small."""


def read_on_ray(jobs: Iterable[Job], work: Work, address: str, workers: int | None) -> Iterator[tuple[str, list[str]]]:
    """Reads every job and yields image and lines of JSON as they come, in no order; an image that fails stops nothing.

    `address` is that of a cluster ("auto" for the one that this machine belongs to), or "local" for a Ray that ends
    with this. `workers` is the number of actors, None for one on each core. Raises BackendError where Ray is missing,
    cannot be reached, or its machines cannot do the work, ConfigError for an address that is none.
    """
    jobs = iter(jobs)
    wave = list(islice(jobs, WAVE))
    if not wave:  # nothing left to do: Ray is not even started
        return
    with _session(address, workers) as ray:
        actors = workers or int(ray.cluster_resources().get("CPU", 0))
        if not actors:
            raise BackendError(f"The Ray at {address} has no cores - start workers there with `ray start`")
        ledger = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(Ledger).remote()
        while wave:
            waiting = {job.image for job in wave}
            try:
                for image, lines in _read_wave(ray, wave, work, ledger, actors):
                    waiting.discard(image)
                    yield image, lines
            except ray.exceptions.RayError as error:
                raise BackendError(f"Ray could not go on - {_cause(error)} - mend it and run it again") from error
            if waiting:
                raise BackendError(f"Ray lost {len(waiting)} images, one is {min(waiting)} - run it again")
            wave = list(islice(jobs, WAVE))


def _read_wave(ray: Any, wave: Sequence[Job], work: Work, ledger: Any, actors: int) -> Iterator[tuple[str, list[str]]]:
    arrow = need("pyarrow", feature="--ray", extra="scale")
    size = min(BLOCK, max(1, len(wave) // (4 * actors)))
    blocks = [_block(arrow, wave[start : start + size]) for start in range(0, len(wave), size)]
    results = ray.data.from_arrow(blocks).map_batches(
        BlockReader,
        fn_constructor_args=(work, ledger),
        batch_size=None,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(size=min(actors, len(blocks))),
        num_cpus=1,
    )
    for table in results.iter_batches(batch_size=None, batch_format="pyarrow"):
        images = map(os.fsdecode, table["image"].to_pylist())
        yield from zip(images, table["lines"].to_pylist(), strict=True)


def _block(arrow: Any, jobs: Sequence[Job]) -> Any:
    """A table of images, as the bytes of their names, and of stated sexes."""
    images = arrow.array([os.fsencode(job.image) for job in jobs], arrow.binary())
    return arrow.table(
        [images, arrow.array([job.sex and str(job.sex) for job in jobs], arrow.string())], ["image", "sex"]
    )


@contextmanager
def _session(address: str, workers: int | None) -> Iterator[Any]:
    """A connection to Ray, which tells nobody of it."""
    if address not in (LOCAL, "auto"):
        _knock(address)
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # its native half writes past Python's logging
    if address == LOCAL:  # its ports are open to whoever can reach them, so it has a key that nobody else knows
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    ray = need("ray", feature="--ray", extra="scale")
    need("ray.data", feature="--ray", extra="scale")
    own = {"num_cpus": workers, "object_store_memory": STORE, "include_dashboard": False} if address == LOCAL else {}
    try:
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR, **own)
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise _unreachable(address, _cause(error)) from error
    try:
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = context.print_on_execution_start = False
        logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # it prints what it raises, too
        yield ray
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """Raises where nobody is at an address; Ray itself would try for minutes."""
    host, colon, port = address.rpartition(":")
    if "://" in address or not (host and colon and port.isdecimal()):
        raise ConfigError(f"--ray is local, auto or the HOST:PORT of a cluster's head - got {address}")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=KNOCK).close()
    except (OSError, OverflowError) as error:
        raise _unreachable(address, str(error)) from error


def _unreachable(address: str, reason: str) -> BackendError:
    return BackendError(
        f"The Ray at {address} cannot be reached - {reason} - call carpal on a machine where `ray start "
        "--address=HOST:PORT` ran, with --ray auto (and RAY_AUTH_MODE=token where it wants one), or use --ray local"
    )


def _cause(error: BaseException) -> str:
    """The last line that says something: Ray sends the worker's whole stack."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else repr(error)

"""What a task on a Dask cluster and the command that submitted it say to each other."""

from __future__ import annotations

import queue
import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from distributed import Client, Future, Queue, get_client, get_worker

from poster_ml.cluster import GONE
from poster_ml.errors import ClusterError

_LISTENS_SECONDS = 3  # a task without an answer for so long looks whether its command is still there


class Inbox:
    """What tasks say to the command that submitted them, and their ends, in one queue."""

    def __init__(self, client: Client) -> None:
        """Opens an inbox under a name of its own."""
        self.topic = f"poster-ml-{client.id}"  # one inbox per client: how a task sees that it is gone
        self._client = client
        self._queue: queue.Queue[Any] = queue.Queue()
        client.subscribe_topic(self.topic, lambda event: self._queue.put(event[1]))

    def submit(self, key: str, function: Callable[..., Any], *arguments: Any) -> Future:
        """Runs `function(topic, *arguments)` on a worker, again where that worker dies."""
        unique = f"{key}-{uuid.uuid4().hex}"  # Dask would answer for a key that it has seen
        future = self._client.submit(function, self.topic, *arguments, key=unique, pure=False)
        future.add_done_callback(self._queue.put)
        return future

    def next(self, seconds: float = 2.0) -> Any:
        """Returns a task's message (a dict), or a `Future` that has ended, or None where nothing came.

        Raises: ClusterError where the scheduler is gone.
        """
        try:
            return self._queue.get(timeout=seconds)
        except queue.Empty:
            if self._client.status != "running":
                raise ClusterError(GONE) from None
            return None

    def answer(self, message: dict[str, Any], value: Any) -> None:
        """Answers a message of `ask_command`."""
        Queue(message["answer"], client=self._client).put(value)


def ask_command(topic: str, message: dict[str, Any]) -> Any:
    """Within a task: says something to the command and waits for the answer.

    Raises: TimeoutError where the command is gone.
    """
    name = f"{topic}-{uuid.uuid4().hex}"  # of this question: one that was killed leaves no answer to the next
    client = get_client()
    answers = Queue(name, client=client)
    get_worker().log_event(topic, {**message, "answer": name})

    def listens(dask_scheduler: Any) -> bool:
        return any(topic.endswith(command) for command in dask_scheduler.clients)

    try:
        while True:
            with suppress(TimeoutError):
                return answers.get(timeout=_LISTENS_SECONDS)
            if not client.run_on_scheduler(listens):
                raise TimeoutError(f"nobody listens to {topic}")
    finally:
        answers.close()


def own_address() -> str:
    """Within a task: returns the address of the worker that runs it."""
    return str(get_worker().address)

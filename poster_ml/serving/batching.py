"""Requests that wait for the network at the same time share its next forward pass.

A request that finds the network free runs at once. While it runs, others line up, and the first of
them takes along all that stand there; where several do, it waits a moment for those that are being
decoded. So one client is as fast as alone, and many clients come closer to the throughput of a batch
(benchmarks/serving.py).
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future

import numpy as np

_FOR_OTHERS = 0.003  # seconds; 6 and 12 ms were no faster at 4 and 16 clients

_Waiting = tuple[np.ndarray, "Future[np.ndarray]"]


class SharedForward:
    """Runs a network for several threads, what waits together.

    Args:
        forward: (B, S, S, 3) uint8 to (B,); called by one thread at a time.
        most: posters per pass, at least 1; one request with more is run as it is.

    Attributes: `lock`, held during a pass, for whoever else wants the processor for itself.
    """

    def __init__(self, forward: Callable[[np.ndarray], np.ndarray], most: int) -> None:
        self.lock = threading.Lock()
        self._forward = forward
        self._most = most
        self._line: deque[_Waiting] = deque()

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Returns what `forward` says of these posters; raises what it raises."""
        mine: Future[np.ndarray] = Future()
        self._line.append((pixels, mine))
        with self.lock:
            while not mine.done():  # unless another thread took it along
                if len(self._line) > 1:
                    time.sleep(_FOR_OTHERS)
                self._run(self._next())
        return mine.result()

    def _next(self) -> list[_Waiting]:
        """Takes from the line what fits into one pass, at least the first; only the lock's holder takes."""
        batch = [self._line.popleft()]
        count = len(batch[0][0])
        while self._line and count + len(self._line[0][0]) <= self._most:
            batch.append(self._line.popleft())
            count += len(batch[-1][0])
        return batch

    def _run(self, batch: list[_Waiting]) -> None:
        requests = [pixels for pixels, _ in batch]
        try:
            answers = self._forward(requests[0] if len(requests) == 1 else np.concatenate(requests))
        except Exception as error:
            for _, future in batch:
                future.set_exception(error)
            return
        ends = np.cumsum([len(pixels) for pixels in requests])
        for (_, future), answer in zip(batch, np.split(answers, ends[:-1]), strict=True):
            future.set_result(answer)

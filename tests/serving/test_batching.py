"""Requests that wait together share a pass, and each gets its own answer."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from poster_ml.serving.batching import SharedForward


class SlowNetwork:
    """Answers with the sum of each poster; the first pass waits until it is let go."""

    def __init__(self) -> None:
        self.passes: list[int] = []
        self.begun, self.go_on = threading.Event(), threading.Event()

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        self.passes.append(len(pixels))
        self.begun.set()
        assert self.go_on.wait(30)
        if (pixels == 99).any():
            raise ValueError("a poster of 99")
        return pixels.reshape(len(pixels), -1).sum(axis=1).astype(float)


def posters(*levels: int) -> np.ndarray:
    return np.stack([np.full((2, 2, 3), level, np.uint8) for level in levels])


def ask_while_busy(network: SlowNetwork, most: int, requests: list[np.ndarray]) -> list:
    """Starts a first request, lines up the others behind it, and lets the network go on."""
    forward = SharedForward(network, most)
    with ThreadPoolExecutor(len(requests) + 1) as pool:
        first = pool.submit(forward, posters(1))
        assert network.begun.wait(30)
        others = [pool.submit(forward, request) for request in requests]
        while len(forward._line) < len(requests):
            pass
        network.go_on.set()
        assert first.result(30).tolist() == [12.0]
        return [other.exception(30) or other.result(30).tolist() for other in others]


def test_what_waits_goes_in_one_pass_and_each_gets_its_own():
    network = SlowNetwork()
    answers = ask_while_busy(network, 64, [posters(2), posters(3, 4), posters(5)])
    assert answers == [[24.0], [36.0, 48.0], [60.0]]
    assert network.passes == [1, 4]


def test_a_pass_has_no_more_posters_than_it_may():
    network = SlowNetwork()
    answers = ask_while_busy(network, 3, [posters(number) for number in range(2, 9)])
    assert answers == [[12.0 * number] for number in range(2, 9)]
    assert sorted(network.passes) == [1, 1, 3, 3]


def test_a_request_larger_than_a_pass_is_run_as_it_is():
    network = SlowNetwork()
    network.go_on.set()
    assert SharedForward(network, 2)(posters(1, 2, 3)).tolist() == [12.0, 24.0, 36.0]
    assert network.passes == [3]


def test_an_error_reaches_those_of_the_pass_and_the_next_one_runs():
    network = SlowNetwork()
    answers = ask_while_busy(network, 2, [posters(99), posters(2), posters(3), posters(4)])
    assert [str(answer) for answer in answers[:2]] == ["a poster of 99"] * 2
    assert answers[2:] == [[36.0], [48.0]]


@pytest.mark.parametrize("clients", [1, 16])
def test_many_clients_get_what_they_would_get_alone(clients):
    network = SlowNetwork()
    network.go_on.set()
    forward = SharedForward(network, 8)
    levels = np.random.default_rng(0).integers(0, 90, (clients * 20, 3))
    with ThreadPoolExecutor(clients) as pool:
        answers = list(pool.map(lambda row: forward(posters(*row)).tolist(), levels.tolist()))
    assert answers == (levels * 12.0).tolist()

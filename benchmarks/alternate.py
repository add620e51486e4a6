"""Several training loops in one process, a step of each in turn, so that noise on the machine meets all alike."""

import statistics
import threading
import time
from collections.abc import Callable, Mapping

Turn = Callable[[], None]


class Alternation:
    """Runs each loop in a thread of its own, of which one is awake at a time.

    Args:
        loops: by name, a function that trains and calls its argument after each step.
        warmup: steps of each loop that are not counted.
    """

    def __init__(self, loops: Mapping[str, Callable[[Turn], None]], warmup: int = 3) -> None:
        self._loops, self._warmup = dict(loops), warmup
        self.seconds: dict[str, list[float]] = {name: [] for name in loops}

    def run(self, rounds: int) -> None:
        """Take `rounds` counted steps of every loop."""
        names = list(self._loops)
        awake = {name: threading.Semaphore(0) for name in names}
        following = dict(zip(names, [*names[1:], names[0]], strict=True))
        over, errors = threading.Event(), list[BaseException]()

        def loop(name: str) -> None:
            started = 0.0

            def turn() -> None:
                nonlocal started
                now = time.perf_counter()
                if started:
                    self.seconds[name].append(now - started)
                if name == names[-1] and len(self.seconds[name]) >= rounds + self._warmup:
                    over.set()
                awake[following[name]].release()
                awake[name].acquire()
                if over.is_set():
                    raise _Over
                started = time.perf_counter()

            try:
                awake[name].acquire()
                if over.is_set():
                    return
                self._loops[name](turn)
            except _Over:
                pass
            except BaseException as error:
                errors.append(error)
                over.set()
            finally:
                awake[following[name]].release()

        threads = [threading.Thread(target=loop, args=(name,)) for name in names]
        for thread in threads:
            thread.start()
        awake[names[0]].release()
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]
        self.seconds = {name: seconds[self._warmup :][:rounds] for name, seconds in self.seconds.items()}

    def milliseconds(self, name: str) -> float:
        """Median of a loop's steps."""
        return 1e3 * statistics.median(self.seconds[name])

    def ratio(self, name: str, peer: str) -> tuple[float, float, float]:
        """Median, lower and upper quartile of a loop's time over its peer's, step by step."""
        pairs = [a / b for a, b in zip(self.seconds[name], self.seconds[peer], strict=True)]
        lower, middle, upper = statistics.quantiles(pairs, n=4)
        return middle, lower, upper


class _Over(BaseException):
    """Leaves a training loop; not an Exception, so that no framework catches it."""

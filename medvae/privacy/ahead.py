"""The noise of a step, drawn while its gradients are taken.

Noise is a function of the key, the stream, the step and the size alone, so it need not wait for
the sum that it is added to. On a GPU it is drawn while the GPU computes. On a processor it would
take time from the gradients; one more thread would not draw faster either (measured: two threads
take as long as one, because both wait for the interpreter's lock).
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from medvae.privacy.discrete import Integers
from medvae.privacy.noise import NoiseSource


@dataclass(frozen=True)
class Wanted:
    """What noise is asked for: the arguments of `NoiseSource.discrete_gaussian`."""

    count: int
    sigma: float
    stream: str
    step: int


@dataclass(frozen=True)
class Begun:
    """Noise that a thread draws, and the pool that holds this one thread."""

    wanted: Wanted
    drawn: Future[Integers]
    pool: ThreadPoolExecutor

    def end(self) -> Future[Integers]:
        """The noise or its failure, once the thread is gone: not only its task is done."""
        self.pool.shutdown(wait=True)
        return self.drawn


class NoiseAhead:
    """Noise of at most one step, drawn by a thread that ends with it.

    `take` gives the same values as the source itself, whatever was begun before.
    """

    def __init__(self, noise: NoiseSource) -> None:
        self._noise = noise
        self._begun: Begun | None = None

    def begin(self, request: Wanted) -> None:
        """Start to draw; what was begun before is dropped."""
        self.drop()
        pool = ThreadPoolExecutor(1, thread_name_prefix="noise")
        try:
            self._begun = Begun(request, pool.submit(self._draw, request), pool)
        finally:
            # It takes no second task, and its thread ends after the one that it has.
            pool.shutdown(wait=False)

    def settle(self) -> None:
        """Wait for what was begun; raises what went wrong there, and nothing is left then."""
        if self._begun is None:
            return
        failure = self._begun.end().exception()
        if failure is not None:
            self._begun = None
            raise failure

    def take(self, request: Wanted) -> Integers:
        """int64 [count]: what was begun if it is what is wanted, or else drawn now."""
        begun, self._begun = self._begun, None
        if begun is not None:
            drawn = begun.end()
            if begun.wanted == request:
                return drawn.result()
        return self._draw(request)

    def drop(self) -> None:
        """Forget what was begun, once its thread has ended: two never hold memory at once."""
        begun, self._begun = self._begun, None
        if begun is not None:
            begun.end()

    def _draw(self, request: Wanted) -> Integers:
        return self._noise.discrete_gaussian(
            request.count, request.sigma, stream=request.stream, step=request.step
        )

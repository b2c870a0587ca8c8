"""The latencies that a pair probe of the synthetic machine sees."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from scx_vsched.topology.synthetic.intervals import Interval
    from scx_vsched.topology.synthetic.spec import SyntheticSpec

__all__ = ["Transfers"]


class Transfers:
    """Draws latencies around true ones, with the noise of the spec."""

    def __init__(self, spec: SyntheticSpec, seed: int, rng: np.random.Generator) -> None:
        self._spec = spec
        self._seed = seed
        self._rng = rng
        self._factors: dict[tuple[int, int], float] = {}

    def seen(
        self,
        true_ns: float,
        pair: tuple[int, int],
        together: list[Interval],
        end_ns: int,
        samples: int,
    ) -> tuple[list[float], int]:
        """The latencies in ns seen while both ran, and when the last one was, or `end_ns`."""
        noise, rng = self._spec.noise, self._rng
        true = true_ns * self._factor(pair)
        if rng.random() < noise.spoilt:
            true *= 1.3 * 7.7 ** rng.random()
        values = true * np.exp(noise.sample * rng.standard_normal(samples))
        values *= np.where(rng.random(samples) < noise.outliers, 2 * 25 ** rng.random(samples), 1)
        away = rng.random(samples) < noise.preempted
        away_ns = np.where(away, 2000 * 100 ** rng.random(samples), 0)
        costs = self._spec.costs
        done = np.cumsum(costs.transfers * values + away_ns + costs.sample_ns)
        values += away_ns
        latencies: list[float] = []
        passed = 0
        for start, end in together:
            upto = int(np.searchsorted(done, passed + (end - start), side="right"))
            latencies.extend(float(value) for value in values[len(latencies) : upto])
            if upto >= samples:
                return latencies, start + int(done[samples - 1]) - passed
            passed += end - start
            if end < end_ns:
                # the transfer under way ends only when both are back
                values[upto] += end_ns - end
        return latencies, end_ns

    def _factor(self, pair: tuple[int, int]) -> float:
        key = (min(pair), max(pair))
        if key not in self._factors:
            drawn = np.random.default_rng([self._seed, *key]).standard_normal()
            self._factors[key] = float(np.exp(self._spec.noise.pair * np.clip(drawn, -2.5, 2.5)))
        return self._factors[key]

"""``auto``: uses the first available backend that reproduces the golden vectors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from edge_mer.contract.errors import GpuError, MissingExtra, ModelError
from edge_mer.runtime.backend import Backend, Graph
from edge_mer.runtime.golden import self_test
from edge_mer.runtime.model_file import read_model

Open = Callable[[], Backend]


class Auto:
    """Implements ``edge_mer.runtime.backend.Backend``.

    ``candidates``: best first; the last is the reference, which always exists. A candidate that failed once is not
    tried again: ``refused`` holds the reason, with figures.
    """

    def __init__(self, candidates: Mapping[str, Open]) -> None:
        self._open = dict(candidates)
        self._opened: dict[str, Backend] = {}
        self._reference = list(candidates)[-1]
        self._used: dict[str, None] = {}
        self.refused: dict[str, str] = {}

    @property
    def name(self) -> str:
        """The backend in use; both when a late refusal split the models."""
        return "+".join(self._used) or next(n for n in self._open if n not in self.refused)

    def load(self, path: Path) -> Graph:
        """Raises ModelError when the file is bad, or when even the reference fails its self-test."""
        golden = "golden" in read_model(path).metadata
        for name in [n for n in self._open if n not in self.refused and n != self._reference]:
            try:
                graph = self._backend(name).load(path)
                self_test(graph)
            except (GpuError, MissingExtra, ModelError) as error:
                self.refused[name] = f"{path.name}: {error}"
                continue
            self._used[name] = None
            return graph
        graph = self._backend(self._reference).load(path)
        if golden:  # a model of another exporter may have none; then only the reference runs it
            try:
                self_test(graph)
            except ModelError as error:
                raise ModelError(f"{path}: {error} on {self._reference}, the reference; restore the file") from error
        self._used[self._reference] = None
        return graph

    def describe(self) -> dict[str, str]:
        """Facts of the backend in use, and ``refused``: the other available backends, and why they are not used."""
        used = list(self._used) or [next(n for n in self._open if n not in self.refused)]
        facts = {**self._backend(used[-1]).describe(), "backend": self.name}
        refused = "; ".join(f"{name} ({why})" for name, why in self.refused.items())
        return {**facts, "refused": refused} if refused else facts

    def _backend(self, name: str) -> Backend:
        if name not in self._opened:
            self._opened[name] = self._open[name]()
        return self._opened[name]

"""TensorRT on Jetson and data-centre GPUs, TensorRT-RTX on desktop RTX: the same code with cached engines."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from edge_mer.contract.errors import EdgeMerError, GpuError, ModelError, missing_extra
from edge_mer.runtime.cuda import Cuda
from edge_mer.runtime.engines import EngineCache, Key, Options
from edge_mer.runtime.model_file import ModelFile, read_model
from edge_mer.runtime.tensorrt_build import Progress, build, make_logger
from edge_mer.runtime.tensorrt_graph import EngineGraph

TENSORRT, RTX = "tensorrt", "tensorrt-rtx"
# The package's module, and the extra of this project that installs it.
_MODULES: Final = {TENSORRT: ("tensorrt", "tensorrt"), RTX: ("tensorrt_rtx", "rtx")}


@dataclass(eq=False)
class TensorRT:
    """Implements ``edge_mer.runtime.backend.Backend``. ``name`` is ``tensorrt`` or ``tensorrt-rtx``.

    ``may_build``: workers must start within seconds, so they only use cached engines; commands build them.
    """

    name: str
    cache: EngineCache
    options: Options = field(default_factory=Options)
    may_build: bool = False
    progress: Progress | None = None
    cuda: Cuda | None = None
    module: Any = None
    uncaptured: dict[str, str] = field(default_factory=dict)

    def load(self, path: Path) -> EngineGraph:
        """From the cache, or built where that is allowed; a plan that does not fit this GPU is built again.

        Raises GpuError without a usable GPU, ModelError for a bad model or a missing engine.
        """
        with self._as_gpu_error():
            return self._loaded(path)

    def _loaded(self, path: Path) -> EngineGraph:
        model, trt, cuda = read_model(path), self._trt(), self._cuda()
        device = cuda.device()
        key = self._key(model)
        plan, fresh = self._plan(key, model)
        logger = make_logger(trt)
        runtime = trt.Runtime(logger)
        engine = runtime.deserialize_cuda_engine(plan)
        if engine is None and not fresh:
            self.cache.drop(key)
            plan, _ = self._plan(key, model)
            engine = runtime.deserialize_cuda_engine(plan)
        if engine is None:
            reason = logger.errors[-1] if logger.errors else "no reason given"
            raise ModelError(f"{path.name}: its engine does not load on {device.name}: {reason}")
        graph = EngineGraph(trt, engine, model, cuda)
        if graph.uncaptured is not None:
            self.uncaptured[path.name] = graph.uncaptured
        return graph

    def build(self, path: Path) -> tuple[Key, bool]:
        """Build the engine of this model if it is not cached; returns the key, and whether it was built.

        TensorRT-RTX builds without a GPU: its plans fit every RTX card from Ampere on.
        """
        with self._as_gpu_error():
            model = read_model(path)
            key = self._key(model)
            return key, self._plan(key, model)[1]

    def key(self, path: Path) -> Key:
        """The key of this model's engine on this machine. Raises GpuError, MissingExtra, ModelError."""
        return self._key(read_model(path))

    def describe(self) -> dict[str, str]:
        """Versions and device: everything that could change a result bit."""
        facts = {"backend": self.name, "version": str(self._trt().__version__), "machine": platform.machine()}
        try:
            device = self._cuda().device()
        except EdgeMerError as error:
            return {**facts, "device": str(error)}
        captured = ", ".join(sorted(self.uncaptured))
        return {
            **facts,
            "device": device.name,
            "capability": device.capability,
            "driver": str(device.driver),
            "cuda_graph": f"not for {captured}" if captured else "yes",
            "options": ", ".join(f"{n}={getattr(self.options, n)}" for n in self.options.__struct_fields__),
        }

    def _plan(self, key: Key, model: ModelFile) -> tuple[bytes, bool]:
        """The plan, and whether it was built just now."""
        if (plan := self.cache.get(key)) is not None:
            return plan, False
        if not self.may_build:
            raise ModelError(
                f"no engine for {key.model} ({key.precision}, {key.runtime} {key.version}, GPU "
                f"{key.capability or 'RTX'}); run: edge-mer engine build"
            )
        with self.cache.building(key):
            if (plan := self.cache.get(key)) is not None:
                return plan, False
            began = time.monotonic()
            plan = build(self._trt(), model, self.options, self.progress)
            self.cache.put(key, plan, time.monotonic() - began)
        return plan, True

    def _key(self, model: ModelFile) -> Key:
        return Key(
            model=model.path.name,
            sha256=model.sha256,
            precision=model.precision,
            runtime=self.name,
            version=str(self._trt().__version__),
            capability="" if self.name == RTX else self._cuda().device().capability,
            machine=platform.machine(),
            options=self.options,
        )

    @contextmanager
    def _as_gpu_error(self) -> Iterator[None]:
        """Convert errors of NVIDIA's bindings (any type, for an unsuitable driver or library) to GpuError."""
        try:
            yield
        except EdgeMerError:
            raise
        except Exception as error:
            raise GpuError(f"{self.name} failed: {type(error).__name__}: {error}") from error

    def _trt(self) -> Any:
        if self.module is None:
            module, extra = _MODULES[self.name]
            try:
                self.module = import_module(module)
            except ModuleNotFoundError:
                raise missing_extra(module, extra) from None
            except (ImportError, OSError, RuntimeError) as error:
                raise GpuError(f"{module} is installed and does not load: {error}") from error
        return self.module

    def _cuda(self) -> Cuda:
        if self.cuda is None:
            self.cuda = Cuda()
        return self.cuda

"""Compiles an ONNX model with TensorRT 10.3 to 11.x or TensorRT-RTX in the same way.

The network is strongly typed, so only the ONNX file defines the precision (casts for FP16, Q/DQ for INT8): no precision
flag and no calibrator is used, which 11.x no longer has.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edge_mer.contract.errors import GpuError, ModelError
from edge_mer.runtime.engines import Options
from edge_mer.runtime.model_file import ModelFile

Progress = Callable[[str, int, int], None]
"""Called with the name of a phase, steps done and steps in all."""

_MEGABYTE = 2**20


def build(trt: Any, model: ModelFile, options: Options, progress: Progress | None = None) -> bytes:
    """The plan. Raises ModelError where the parser or the builder refuses, GpuError when GPU memory runs out."""
    logger = make_logger(trt)
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(model.content, str(model.path)):
        raise ModelError(f"{model.path}: refused by the parser of {name_of(trt)}: {_first_error(parser)}")
    config = builder.create_builder_config()
    # TF32 keeps 10 bits of each product: an FP32 model must stay FP32.
    config.clear_flag(trt.BuilderFlag.TF32)
    config.builder_optimization_level = options.level
    if options.workspace_mb is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_mb * _MEGABYTE)
    if options.dla_core is not None:
        _use_dla(trt, builder, config, options.dla_core)
    if progress is not None:
        config.progress_monitor = _monitor(trt, progress)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise _build_error(trt, model, logger.errors)
    return bytes(plan)


def make_logger(trt: Any) -> Any:
    """A logger that prints nothing and collects error messages in ``errors``."""

    class Logger(trt.ILogger):  # type: ignore[misc]  # the base comes from an optional package
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                self.errors.append(message.strip())

    return Logger()


def name_of(trt: Any) -> str:
    """As in "tensorrt 10.3.0"."""
    return f"{trt.__name__} {trt.__version__}"


def _use_dla(trt: Any, builder: Any, config: Any, core: int) -> None:
    if core >= builder.num_DLA_cores:
        raise GpuError(f"models.dla_core is {core}, but this GPU has {builder.num_DLA_cores} DLA cores")
    config.default_device_type = trt.DeviceType.DLA
    config.DLA_core = core
    config.set_flag(trt.BuilderFlag.GPU_FALLBACK)


def _first_error(parser: Any) -> str:
    if not parser.num_errors:
        return "no reason given"
    error = parser.get_error(0)
    return f"{error.desc()} (node {error.node()}, {error.node_operator()})".replace("\n", " ")


def _build_error(trt: Any, model: ModelFile, errors: list[str]) -> ModelError | GpuError:
    reason = errors[-1] if errors else "no reason given"
    if any("memory" in e.lower() and ("out of" in e.lower() or "insufficient" in e.lower()) for e in errors):
        return GpuError(
            f"{model.path.name}: out of GPU memory while {name_of(trt)} built its engine; end other "
            "programs that use the GPU, or: --set models.workspace_mb=256"
        )
    return ModelError(f"{model.path}: {name_of(trt)} cannot build it: {reason}")


def _monitor(trt: Any, progress: Progress) -> Any:
    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]  # the base comes from an optional package
        """Receives nested phases; reports the outermost one. Ctrl-C ends the build at the next step."""

        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.steps: dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self.steps[phase_name] = num_steps

        def step_complete(self, phase_name: str, step: int) -> bool:
            if phase_name == next(iter(self.steps), None):
                progress(phase_name, step, self.steps[phase_name])
            return True

        def phase_finish(self, phase_name: str) -> None:
            self.steps.pop(phase_name, None)

    return Monitor()

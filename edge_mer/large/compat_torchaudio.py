"""Every torchaudio on PyPI is a CUDA build: beside a CPU torch its import raises OSError, and so does transformers'.

``repair_import`` loads it without its native part. Call it before the first import of transformers.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType


def repair_import() -> bool:
    """Returns whether it was needed. Nothing on disk changes; forced alignment and RNN-T loss stay unavailable."""
    if "torchaudio" in sys.modules or find_spec("torchaudio") is None:
        return False
    try:
        import_module("torchaudio")
    except OSError:
        for name in [n for n in sys.modules if n.partition(".")[0] == "torchaudio"]:
            del sys.modules[name]
        sys.modules["torchaudio._extension"] = _without_native_part()
        import_module("torchaudio")
        return True
    return False


def _without_native_part() -> ModuleType:
    """The module that torchaudio uses when it was built without extension."""

    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("this needs torchaudio's native part, which does not load beside this torch")

    module = ModuleType("torchaudio._extension")
    module.__dict__.update(
        _IS_TORCHAUDIO_EXT_AVAILABLE=False,
        _IS_ALIGN_AVAILABLE=False,
        _check_cuda_version=lambda: None,
        fail_if_no_align=lambda function: refuse,
    )
    return module

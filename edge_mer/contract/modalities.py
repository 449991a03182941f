"""The table of modalities: one row each. Topics, combinations, processes, consent and display texts follow from it.

Messages and trained models use the order of this table. Besides its row and the two names under TYPE_CHECKING, a
modality needs its raw message (edge_mer.contract.raw), its capture process, its encoder with an adapter, and fusion
graphs that were trained with it; in edge_mer.config a section only for more keys than a device. Its German words on the
page are rows of edge_mer/gateway/page/strings.toml.

``EDGE_MER_MODALITIES`` names modules whose ``ROWS`` are added (edge_mer.contract.extra_rows). Set it before the
interpreter starts: message types are made from this table when they are first imported. Use a separate state directory:
processes without the variable cannot read the receipts of such a modality.
"""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Final, Literal, get_args

from edge_mer.contract.extra_rows import extra_rows
from edge_mer.contract.modality_row import ModalityRow, Words
from edge_mer.contract.raw import RawAudio, RawText, RawVideo

KB, MB = 1_000, 1_000_000

_AUDIO = ModalityRow(
    name="audio",
    letter="a",
    raw=RawAudio,
    raw_rate_hz=31.25,
    raw_bytes=64 * KB,
    feature_rate_hz=8,
    feature_bytes=256 * KB,
    source="microphone",
    process="microphone",
    capture="edge_mer.capture.microphone",
    adapter="edge_mer.perception.audio_adapter",
    models=("speech.onnx", "audio.onnx"),
    neutral_tokens=20,
    weak="is_weak_voice",
    channel="voice",
    foxglove="foxglove.RawAudio",
    dtype="int16",
    words=Words(
        sensor="Microphone",
        channel="voice",
        active="Listening",
        icon="M12 3a3 3 0 0 0-3 3v5a3 3 0 0 0 6 0V6a3 3 0 0 0-3-3ZM6 11a6 6 0 0 0 12 0M12 17v4M9 21h6",
        question="May the microphone be opened? Audio is processed on this machine and not stored.",
        nothing="no speech",
        stale="no data",
        indicator="on while the microphone is open: led:NAME or command:PROGRAM",
        large_encoder="large encoder (Wav2Vec2, WavLM): folder, or hub id that was pulled",
    ),
)
_VIDEO = ModalityRow(
    name="video",
    letter="v",
    raw=RawVideo,
    raw_rate_hz=15,
    raw_bytes=2 * MB,
    feature_rate_hz=5,
    feature_bytes=256 * KB,
    source="camera",
    process="camera",
    capture="edge_mer.capture.camera",
    adapter="edge_mer.perception.face_adapter",
    models=("yunet.onnx", "face.onnx"),
    posterior=True,
    neutral_tokens=50,
    weak="is_weak_video",
    channel="face",
    foxglove="foxglove.CompressedImage",
    dtype="uint8",
    words=Words(
        sensor="Camera",
        channel="face",
        active="Watching",
        icon="M4 7h10a2 2 0 0 1 2 2v6a2 2 0 0 1-2 2H4a2 2 0 0 1-2-2V9a2 2 0 0 1 2-2ZM16 11l6-3v8l-6-3",
        question="May the camera be opened? Video is processed on this machine and not stored.",
        nothing="no face",
        stale="no data",
        indicator="on while the camera is open",
        large_encoder="large encoder (ViT expression classifier): folder or pulled hub id",
    ),
)
_TEXT = ModalityRow(
    name="text",
    letter="t",
    raw=RawText,
    raw_rate_hz=10,
    raw_bytes=256 * KB,
    feature_rate_hz=10,
    feature_bytes=1 * MB,
    made_from=("audio",),
    stands_alone=True,
    source="asr",
    process="transcript",
    capture="edge_mer.capture.transcript",
    adapter="edge_mer.perception.text_adapter",
    models=("text.onnx", "text.vocab"),
    segments=True,
    max_age_s=2.0,
    channel="text",
    words=Words(
        sensor="Words",
        channel="words",
        active="Transcribing",
        icon="M4 5h16a1 1 0 0 1 1 1v10a1 1 0 0 1-1 1H10l-5 4v-4H4a1 1 0 0 1-1-1V6a1 1 0 0 1 1-1ZM7 9h10M7 13h6",
        question="May speech and typed text be processed as words?",
        nothing="no words",
        stale="no recent words",
        indicator="on while speech or typed text is processed",
        large_encoder="large encoder (RoBERTa, DeBERTa): folder or pulled hub id",
    ),
)


ROWS: Final[tuple[ModalityRow, ...]] = (_AUDIO, _VIDEO, _TEXT, *extra_rows("EDGE_MER_MODALITIES"))
_LETTERS: Final = [row.letter for row in ROWS]
if not len({row.name for row in ROWS}) == len(set(_LETTERS)) == len("".join(_LETTERS)) == len(ROWS):
    raise AssertionError(f"every modality needs a name and one letter that no other has: {_LETTERS}")


def _combinations(letters: list[str]) -> tuple[str, ...]:
    """Every choice of letters, the largest first: the order of the MCULoRA code."""
    sizes = range(len(letters), 0, -1)
    return tuple("".join(some) for size in sizes for some in combinations(sorted(letters), size))


_NAMED: Final = (*_combinations(_LETTERS), "none")

if TYPE_CHECKING:
    Modality = Literal["audio", "video", "text"]
    Combination = Literal["atv", "at", "av", "tv", "a", "t", "v", "none"]
else:
    Modality = Literal[tuple(row.name for row in ROWS)]
    Combination = Literal[_NAMED]

MODALITIES: Final[tuple[Modality, ...]] = get_args(Modality)
# The trained combinations; "none" has no model.
COMBINATIONS: Final[tuple[Combination, ...]] = get_args(Combination)[:-1]
# The combination of all modalities.
ALL: Final[Combination] = COMBINATIONS[0]
TABLE: Final[dict[Modality, ModalityRow]] = dict(zip(MODALITIES, ROWS, strict=True))
LETTER: Final[dict[Modality, str]] = {m: row.letter for m, row in TABLE.items()}
# The model files of all encoders and of fusion, in FP32.
MODEL_FILES: Final = (*(name for row in ROWS for name in row.models), *(f"fusion.{c}.onnx" for c in COMBINATIONS))

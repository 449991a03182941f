"""The table of speech recognisers: one row each. Configuration, consent, masks, erasing and doctor follow from it.

It is in this package because configuration and the privacy switch, which do not import capture, use it too. Besides its
row and its names under TYPE_CHECKING, a recogniser needs its module and, where it needs a package, an extra in
pyproject.toml.

An installed package adds a row by an entry point (edge_mer.contract.plugins); its module is imported in every process,
so it must import nothing but this one. ``EDGE_MER_RECOGNISERS`` names modules whose ``ROWS`` are added
(edge_mer.contract.extra_rows).
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from edge_mer.contract.errors import ConfigError
from edge_mer.contract.extra_rows import extra_rows
from edge_mer.contract.plugins import RECOGNISERS as PLUGINS
from edge_mer.contract.plugins import installed_plugins

# Of a recogniser whose row says nothing else: between speech and noise of Whisper (edge_mer/capture/README.md).
LEAST_CONFIDENCE: Final = 0.45
# The text.source with which text.engine selects the recogniser.
ASR: Final = "asr"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecogniserRow:
    """One recogniser. ``module`` defines ``load(argument)``; only the decoding process imports it.

    ``source``: the value of ``text.source`` that selects it: "asr", where ``text.engine`` names it, or its own value.
    ``argument``: the key of ``[text]`` that ``load`` gets; ``wants`` describes its value, None where it is optional.
    ``server``: the argument is the address (host:port) of a server of this name.

    ``languages``: ISO 639-1 codes that it transcribes; ``takes_language``: ``load`` gets ``text.language`` as its
    second argument. ``least_confidence``: with less, the words of a segment are dropped.

    ``from_microphone``: its words are recognised from raw/audio, so that a mask of the microphone masks them too;
    without it, it gets no audio. ``leaves_host``: audio is sent to another host, which needs the consent ``scope``;
    ``question`` asks for it (``{server}``: the argument), ``consent`` is its name in a status.

    ``package``: the package that must be importable; ``extra``: the extra that installs it.
    """

    name: str
    module: str
    source: str = ASR
    argument: str | None = None
    wants: str | None = None
    server: str | None = None
    languages: tuple[str, ...] = ("en",)
    takes_language: bool = False
    least_confidence: float = LEAST_CONFIDENCE
    from_microphone: bool = True
    leaves_host: bool = False
    scope: Scope | None = None
    question: str = ""
    consent: str = ""
    package: str | None = None
    extra: str | None = None

    def __post_init__(self) -> None:
        if self.leaves_host != (self.scope is not None):
            raise AssertionError(f"{self.name}: audio that leaves the host needs a consent scope; otherwise set none")

    def checked(self, argument: str | None) -> str | None:
        """``argument`` as ``load`` takes it. Raises ConfigError naming the key and its expected value."""
        if self.server is not None:
            host, _, port = (argument or "").rpartition(":")
            if not host or not port.isdigit():
                raise ConfigError(f"text.{self.argument} must be host:port of a {self.server} server, got {argument!r}")
        elif self.wants is not None and not argument:
            raise ConfigError(f"text.{self.argument} is not set: name {self.wants}")
        return argument


def _plugin_rows() -> tuple[RecogniserRow, ...]:
    """Rows of installed packages. One that cannot be loaded is left out here; ``edge-mer doctor`` names it."""
    found = []
    for plugin in installed_plugins(PLUGINS).values():
        with suppress(ConfigError):
            if isinstance(row := plugin.load(), RecogniserRow):
                found.append(row)
    return tuple(found)


ROWS: Final[tuple[RecogniserRow, ...]] = (
    RecogniserRow(
        name="pocketsphinx",
        module="edge_mer.capture.asr.pocketsphinx",
        argument="model",
        least_confidence=0.1,  # its scale: a product over words of their share in the lattice
        package="pocketsphinx",
        extra="asr-lite",
    ),
    RecogniserRow(
        name="faster-whisper",
        module="edge_mer.capture.asr.faster_whisper",
        argument="model",
        takes_language=True,
        package="faster_whisper",
        extra="asr-faster",
    ),
    RecogniserRow(
        name="sherpa-onnx",
        module="edge_mer.capture.asr.sherpa",
        argument="model",
        wants="the folder of a streaming transducer for sherpa-onnx",
        package="sherpa_onnx",
        extra="asr-sherpa",
    ),
    RecogniserRow(
        name="whisper",
        module="edge_mer.capture.asr.whisper",
        argument="model",
        takes_language=True,
        wants="a Whisper model: a local path, or a hub id that was pulled",
        package="transformers",
        extra="asr",
    ),
    RecogniserRow(
        name="wyoming",
        module="edge_mer.capture.asr.wyoming",
        source="wyoming",
        argument="wyoming",
        takes_language=True,
        server="Wyoming",
        leaves_host=True,
        scope="wyoming",
        question="May audio be SENT to the Wyoming server {server}?",
        consent="audio sent to the Wyoming server",
    ),
    *extra_rows("EDGE_MER_RECOGNISERS"),
    *_plugin_rows(),
)

RECOGNISERS: Final[dict[str, RecogniserRow]] = {row.name: row for row in ROWS}
# Consent scopes besides those of the modalities.
SCOPES: Final[dict[str, RecogniserRow]] = {row.scope: row for row in ROWS if row.scope is not None}
_SOURCES: Final = (ASR, "typed", "recorded", *(row.source for row in ROWS if row.source != ASR), "off")
_ENGINES: Final = tuple(row.name for row in ROWS if row.source == ASR)

# Values of text.source and text.engine, and the scopes.
if TYPE_CHECKING:
    TextSource = Literal["asr", "typed", "recorded", "wyoming", "off"]
    Engine = Literal["pocketsphinx", "faster-whisper", "sherpa-onnx", "whisper"]
    Scope = Literal["wyoming"]
else:
    TextSource = Literal[_SOURCES]
    Engine = Literal[_ENGINES]
    Scope = Literal[tuple(SCOPES)]


def recogniser_of(source: str, engine: str) -> RecogniserRow | None:
    """The recogniser that ``text.source`` and ``text.engine`` select; None where speech is not recognised."""
    wanted = engine if source == ASR else source
    return next((row for row in ROWS if row.source == source and wanted in (row.name, row.source)), None)


def is_from_microphone(source: str, engine: str) -> bool:
    """Whether words of this choice are recognised from raw/audio; true for an unknown engine of an older version."""
    row = recogniser_of(source, engine)
    return source == ASR if row is None else row.from_microphone

"""One typed TOML config: pydantic-settings reads the file, the environment and the command line, in that order.

``edge-mer config`` shows every value and its origin. Environment: ``EDGE_MER__AUDIO__DEVICE=2``.
"""

from __future__ import annotations

import difflib
import os
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar
from urllib.parse import quote

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictInt,
    ValidationError,
    create_model,
    field_validator,
)

from edge_mer.contract.errors import ConfigError
from edge_mer.contract.modalities import MODALITIES, TABLE, Modality
from edge_mer.contract.modality_row import ModalityRow
from edge_mer.contract.places import user_directory
from edge_mer.contract.recognisers import Engine, RecogniserRow, TextSource, recogniser_of
from edge_mer.contract.room_address import FORM, read_room

PREFIX = "EDGE_MER__"
# Limits of a usable signal: dB, mean grey of 255, share of the frame's height.
VOICE_OVER_NOISE_DB: Final = 10.0
DARK, BRIGHT, SMALL_FACE = 40.0, 215.0, 1 / 6


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


S = TypeVar("S", bound=BaseModel)


def per_modality(field: Callable[[ModalityRow], Any]) -> Callable[[type[S]], type[S]]:
    """Adds one key for each modality that the class does not have yet; ``field``: its (type, default)."""

    def complete(section: type[S]) -> type[S]:
        missing = {name: field(row) for name, row in TABLE.items() if name not in section.model_fields}
        return create_model(
            section.__name__, __base__=section, __module__=section.__module__, __doc__=section.__doc__, **missing
        )

    return complete


def sensor_section(row: ModalityRow) -> tuple[type[Section], Section]:
    """The section of a modality without its own keys."""
    choice: Any = Literal.__getitem__((row.source, "off"))
    made = create_model(
        f"{row.name.title()}Config",
        __base__=Section,
        __module__=__name__,
        source=(choice, row.source),
        device=(StrictInt | str | None, Field(None, description=f"device of the {row.words.sensor.lower()}")),
    )
    return made, made()


Rotation = Annotated[Literal[0, 90, 180, 270, "auto"], BeforeValidator(lambda v: int(v) if str(v).isdigit() else v)]


class RunConfig(Section):
    directory: str | None = Field(None, description="runtime directory of the sockets (0700); default is per user")
    room: str | None = Field(
        None,
        pattern=r"^[^\x00-\x1f\x7f]{1,64}$",
        description="name of the room, as Kitchen, in all that leaves this host; default: the host name",
    )

    @property
    def room_name(self) -> str:
        return self.room or socket.gethostname()


class AudioConfig(Section):
    source: Literal["microphone", "file", "url", "off"] = "microphone"
    device: StrictInt | str | None = Field(None, description="PortAudio device; see `edge-mer devices`")
    url: str | None = Field(
        None, description="RTSP, HTTP or HLS stream with source url; default: the camera's own (video.device)"
    )


class VideoConfig(Section):
    source: Literal["camera", "file", "off"] = "camera"
    device: StrictInt | str = Field(
        0, description="camera index, or URL of an MJPEG/HTTP or RTSP stream or of a picture"
    )
    rotate: Rotation = Field(0, description="degrees clockwise: 0, 90, 180, 270, or auto: as faces are found upright")
    fps: float = Field(15, gt=0, le=15)
    width: int = Field(640, ge=64, le=1920, description="frames wider than this are scaled down before JPEG")
    quality: int = Field(85, ge=10, le=100, description="JPEG quality")
    people: int = Field(
        4, ge=1, le=4, description="faces that are followed, each as a person of its own; 1: the largest"
    )
    live: bool = Field(True, description="a live source never repeats a picture: key frames of equal bytes mean frozen")


class TextConfig(Section):
    source: TextSource = "asr"
    engine: Engine = "pocketsphinx"
    model: str | None = Field(None, description="Whisper: name of a pulled model, or local path")
    language: str | None = Field(
        None, pattern=r"^[a-z]{2}$", description="language of the speech (ISO 639-1); default: as the recogniser finds"
    )
    path: str | None = Field(None, description="recorded transcript with word times (JSON)")
    wyoming: str | None = Field(None, description="host:port of a Wyoming server; audio leaves this host")

    @property
    def recogniser(self) -> RecogniserRow | None:
        """None where speech is not recognised: words are typed, recorded or off."""
        return recogniser_of(self.source, self.engine)


def _utf8_path(path: Any) -> Any:
    """A file name that is not UTF-8 as an address, in which it can be written; anything else unchanged."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return "file://" + quote(os.path.abspath(os.fsencode(str(path))))
    return path


class FileConfig(Section):
    path: Annotated[str | None, BeforeValidator(_utf8_path)] = Field(
        None, description="audio/video file that plays as microphone and camera"
    )
    loop: bool = False
    audio_track: int | None = Field(
        None, ge=1, description="audio track of the file, counted from 1; default: the one marked as default"
    )


@per_modality(lambda row: (str | None, Field(None, description=row.words.large_encoder)))
class PerceptionConfig(Section):
    placement: Literal["separate", "together"] = "separate"
    yunet: str | None = Field(None, description="deprecated: a YuNet file that OpenCV reads instead of the shipped one")


class ModelsConfig(Section):
    directory: str | None = Field(None, description="directory of ONNX files; default: those shipped in the package")
    backend: Literal["auto", "tensorrt", "tensorrt-rtx", "onnxruntime-cuda", "onnxruntime", "torch"] = Field(
        "auto", description="auto: the fastest that is installed and passes its self-test; a named one is used or fails"
    )
    precision: Literal["fp32", "fp16", "int8"] = Field(
        "fp32", description="precision of the models; fp32 where a model has no other"
    )
    engines: str | None = Field(None, description="directory of compiled engines; default ~/.cache/edge_mer/engines")
    engine_level: int = Field(3, ge=0, le=5, description="builder optimization level; higher searches longer")
    workspace_mb: int | None = Field(None, ge=1, description="GPU memory that the engine builder may use")
    dla_core: int | None = Field(None, ge=0, description="deep learning accelerator of a Jetson; the GPU runs the rest")
    allow_noncommercial: bool = Field(True, description="false refuses weights trained on non-commercial data")


class FusionConfig(Section):
    window_s: float = Field(4.0, gt=0, le=30)
    hop_s: float = Field(0.5, ge=0.1, le=5)
    lateness_s: float = Field(1.0, ge=0, description="features later than this behind the newest are dropped")
    horizon_s: float = Field(2.0, ge=0, description="how long late text may revise an estimate")
    smoothing_s: float = Field(0.5, ge=0, description="time constant of the output average; 0 is off")
    min_tokens: float = Field(0.25, gt=0, le=1, description="share of valid tokens that makes a modality present")
    baseline: bool = Field(False, description="use the personal neutral of `edge-mer baseline learn` on this host")
    hysteresis_hops: int = Field(2, ge=1, description="hops of missing quality before a modality is dropped")
    max_age_s: dict[Modality, float] = Field(
        {m: row.max_age_s for m, row in TABLE.items()},
        description="age of the newest token after which a modality is absent",
    )


HOURS: Final = {"per_hour": 1.0, "per_day": 24.0, "per_week": 168.0}


def _one_period(budget: Any) -> Any:
    if budget == "off" or (len(budget) == 1 and min(budget.values()) > 0):
        return budget
    raise ValueError(f"name one number above 0 of {', '.join(HOURS)}, or off")


Budget = Annotated[
    Literal["off"] | dict[Literal["per_hour", "per_day", "per_week"], float], AfterValidator(_one_period)
]
ONE_A_DAY: Final[Budget] = {"per_day": 1.0}


class EventsConfig(Section):
    """How many wrong events of each label may occur, as { per_week = 1 }; `edge-mer events` shows what comes of it."""

    happy: Budget = ONE_A_DAY
    sad: Budget = ONE_A_DAY
    angry: Budget = ONE_A_DAY
    fear: Budget = ONE_A_DAY
    disgust: Budget = ONE_A_DAY
    surprise: Budget = ONE_A_DAY
    positive: Budget = Field("off", description="very positive sentiment")
    negative: Budget = Field("off", description="very negative sentiment")
    minimum_s: float = Field(1.0, ge=0, le=60, description="evidence must last so long before an event begins")
    gap_s: float = Field(2.0, ge=0, le=60, description="without an estimate for this time, an event ends")

    def per_hour(self, label: str) -> float | None:
        """Wrong events per hour that are allowed; None where the event is off."""
        budget = getattr(self, label)
        return None if budget == "off" else next(n / HOURS[period] for period, n in budget.items())


class PrivacyConfig(Section):
    lease_s: float = Field(2.0, gt=0.2, le=10)
    state: str | None = Field(None, description="directory of keys and privacy state; default ~/.local/state/edge_mer")


class RemoteConfig(Section):
    listen: str | None = Field(None, description="address for paired phones and hubs, as tcp://192.168.1.5:7650")


class SensorsConfig(Section):
    """Measurements of `edge-mer calibrate` in this room; without them, defaults apply."""

    date: str | None = Field(None, pattern=r"^\d{4}-\d\d-\d\d$", description="day of the calibration")
    noise_floor_db: float | None = Field(None, ge=-100, le=0, description="of the microphone, dB below full scale")
    voice_db: float | None = Field(None, ge=-100, le=0, description="level of the voice, dB below full scale")
    exposure: float | None = Field(None, ge=0, le=255, description="mean grey of the camera's frames")
    face_size: float | None = Field(None, ge=0, le=1, description="height of the face, as a share of the frame")
    offset_s: float = Field(0.0, ge=-1, le=1, description="how much later video arrives than its audio")

    @property
    def is_weak_voice(self) -> bool:
        """Whether the voice is too close to the noise floor; False where it was not measured."""
        noise, voice = self.noise_floor_db, self.voice_db
        return noise is not None and voice is not None and voice - noise < VOICE_OVER_NOISE_DB

    @property
    def is_weak_video(self) -> bool:
        """Whether faces are small or badly lit; False where they were not measured."""
        light, size = self.exposure, self.face_size
        return (light is not None and not DARK <= light <= BRIGHT) or (size is not None and size < SMALL_FACE)


class HubConfig(Section):
    """TCP for hubs; nothing listens by default. Add keys with ``edge-mer keys allow`` or ``keys pair``."""

    publish: str | None = Field(None, description="address of the public topics, as tcp://192.168.1.5:7651")
    requests: str | None = Field(None, description="address of describe, schema, status, mask, unmask: tcp://...:7652")
    plaintext: bool = Field(
        False, description="no CURVE and no keys: every program on this host can read it; loopback only"
    )


class MqttConfig(Section):
    """Home Assistant's discovery over MQTT; no connection is made by default."""

    address: str | None = Field(None, description="broker: mqtt://HOST:1883, or mqtts://HOST:8883 for TLS")
    username: str | None = None
    password_file: str | None = Field(None, description="file whose first line is the password")
    ca: str | None = Field(None, description="certificate authority of the broker (PEM); default: those of the system")
    certificate: str | None = Field(None, description="certificate of this client (PEM), where the broker asks for one")
    key: str | None = Field(None, description="its private key (PEM)")
    protocol: Literal["3.1.1", "5"] = Field("3.1.1", description="version of MQTT")
    base_topic: str = Field("edge_mer", pattern=r"^[\w/-]+$", description="begin of all topics but discovery")
    discovery: str = Field("homeassistant", pattern=r"^[\w/-]+$", description="Home Assistant's discovery prefix")
    steady_s: float = Field(2.0, ge=0, description="an emotion is shown once it is stable for this time")
    min_confidence: float = Field(0.5, ge=0, le=1, description="emotions below it are not shown")
    forget_s: float = Field(10.0, ge=0, description="without a confident emotion for this time, none is shown")
    guest_hours: float = Field(3.0, gt=0, le=720, description="how long the guest button masks all modalities")
    require_grant: bool = Field(
        False, description="unmask over MQTT only with a signed grant as payload (edge_mer/privacy/README.md)"
    )


class PageConfig(Section):
    """The web page and, under /metrics, Prometheus; nothing listens by default. `edge-mer page` shows the link."""

    address: str | None = Field(None, description="http://127.0.0.1:7653, or https://192.168.1.5:7653 for the LAN")
    names: tuple[str, ...] = Field((), description="further host names that browsers may use, without port")
    certificate: str | None = Field(None, description="certificate of https (PEM)")
    key: str | None = Field(None, description="its private key (PEM)")
    language: Literal["auto", "en", "de"] = Field("auto", description="auto: English or German, as the browser asks")


def _room(text: str) -> str:
    read_room(text)
    return text


RoomName = Annotated[str, Field(pattern=r"^[^\W_][\w .-]{0,31}$")]


class HouseConfig(Section):
    """Several rooms as one house (edge_mer/gateway/house/README.md); off by default."""

    rooms: dict[RoomName, Annotated[str, AfterValidator(_room)]] = Field(
        {}, max_length=64, description=f"name = {FORM}; the process house then reads and masks them"
    )
    page: str | None = Field(
        None, description="http(s) address of the page of all rooms; names, certificate and key as in [page]"
    )
    share_voice: bool = Field(
        False, description="in a room: publish the level of voice for the house (needs the consent `house`)"
    )

    @field_validator("rooms")
    @classmethod
    def _distinct(cls, rooms: dict[str, str]) -> dict[str, str]:
        seen: dict[str, str] = {}
        for name, text in rooms.items():
            other = seen.setdefault(read_room(text).host, name)
            if other != name:
                raise ValueError(f"{other} and {name} have the same HOST; each room has a key of its own")
        return rooms


class HistoryConfig(Section):
    """Hourly shares of labels, kept by the page's process; only with the consent `history` in the deployment file."""

    keep_days: float = Field(90, gt=0, le=3650, description="days of the history older than this are erased")


class ButtonConfig(Section):
    source: str | None = Field(
        None,
        description="evdev:/dev/input/event3, gpio:/dev/gpiochip0:17 or keyboard:/dev/tty1: masks, unmasks, locks",
    )


@per_modality(lambda row: (str | None, Field(None, description=row.words.indicator)))
class IndicatorConfig(Section):
    """``led:NAME`` of /sys/class/leds, or ``command:PROGRAM``, which is called with the modality and on or off."""


class RecordConfig(Section):
    path: str | None = None
    raw: bool = Field(False, description="also record raw media (needs consent)")
    min_free_mb: int = Field(200, ge=0, description="recording stops when the disk has less free space")
    encrypt: bool = Field(True, description="encrypt raw and feature channels with a key for each modality")
    keys: str | None = Field(None, description="directory of these keys; default: session_keys in privacy.state")
    keep_days: float = Field(
        0, ge=0, description="delete older sessions in the folder of record.path, with their keys; 0 keeps them"
    )
    keep_gb: float = Field(0, ge=0, description="delete the oldest sessions there above this total; 0 keeps them")


class ReplayConfig(Section):
    path: str | None = Field(None, description="session file that the player publishes on the bus")
    speed: float | Literal["max"] = Field(1.0, description="1 is the original timing")
    topics: tuple[str, ...] = Field((), description="play only these topics; default: all recorded topics")


class PluginsConfig(Section):
    """Installed packages of others that take part; `edge-mer doctor` lists what is installed."""

    sources: dict[Modality, str] = Field({}, description="entry points of edge_mer.sources, in place of our devices")
    encoders: dict[Modality, str] = Field({}, description="entry points of edge_mer.encoders, in place of ours")
    outlets: tuple[str, ...] = Field((), description="entry points of edge_mer.outlets that run")


@per_modality(sensor_section)
class Config(Section):
    run: RunConfig = RunConfig()
    audio: AudioConfig = AudioConfig()
    video: VideoConfig = VideoConfig()
    text: TextConfig = TextConfig()
    file: FileConfig = FileConfig()
    perception: PerceptionConfig = PerceptionConfig()
    models: ModelsConfig = ModelsConfig()
    fusion: FusionConfig = FusionConfig()
    events: EventsConfig = EventsConfig()
    sensors: SensorsConfig = SensorsConfig()
    privacy: PrivacyConfig = PrivacyConfig()
    remote: RemoteConfig = RemoteConfig()
    hub: HubConfig = HubConfig()
    mqtt: MqttConfig = MqttConfig()
    page: PageConfig = PageConfig()
    house: HouseConfig = HouseConfig()
    history: HistoryConfig = HistoryConfig()
    button: ButtonConfig = ButtonConfig()
    indicator: IndicatorConfig = IndicatorConfig()
    record: RecordConfig = RecordConfig()
    replay: ReplayConfig = ReplayConfig()
    plugins: PluginsConfig = PluginsConfig()


Layer = tuple[str, Mapping[str, Any]]


def default_path() -> Path:
    """Raises ConfigError where no home directory is known."""
    return user_directory("XDG_CONFIG_HOME", ".config", "--config") / "edge_mer.toml"


def load(path: Path | None = None, overrides: Mapping[str, Any] | None = None) -> tuple[Config, dict[str, str]]:
    """Resolve the config, and map every ``section.key`` to the origin of its value.

    Raises ConfigError for an unreadable file, an unknown key (naming the nearest known one) or a bad value.
    """
    layers: list[Layer] = []
    chosen = path or _default_file()
    if chosen is not None:
        layers.append((str(chosen), _from_file(chosen)))
    layers.append(("environment", _from_environment()))
    layers.append(("command line", overrides or {}))
    merged: dict[str, dict[str, Any]] = {}
    origin = {f"{s}.{k}": "default" for s, section in Config.model_fields.items() for k in _keys(section.annotation)}
    for name, layer in layers:
        for section, values in layer.items():
            _check_names(name, section, values)
            merged.setdefault(section, {}).update(values)
            origin.update({f"{section}.{key}": name for key in values})
    try:
        return Config.model_validate(merged), origin
    except ValidationError as error:
        raise ConfigError(_explain(error, origin)) from error


def _default_file() -> Path | None:
    """The user's config file, if it exists."""
    try:
        path = default_path()
    except ConfigError:
        return None
    return path if path.exists() else None


def _from_file(path: Path) -> dict[str, Any]:
    from pydantic_settings import BaseSettings, TomlConfigSettingsSource

    if path.is_dir():
        raise ConfigError(f"{path} is a folder; name the file in it")
    if not path.is_file():
        raise ConfigError(f"{path}: no such file; write one with: edge-mer config --write {path}")
    try:
        return dict(TomlConfigSettingsSource(BaseSettings, toml_file=path)())
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: {error}") from error


def _from_environment() -> dict[str, Any]:
    from pydantic_settings import BaseSettings, EnvSettingsSource

    class Environment(BaseSettings, Config):  # type: ignore[misc]  # both carry a model_config
        """The config as read from the environment; workers get theirs resolved and never import this."""

    for name in os.environ:
        if name.upper().startswith(PREFIX):
            section, _, key = name[len(PREFIX) :].lower().partition("__")
            _check_names("environment", section, {key: ""})
    source = EnvSettingsSource(Environment, env_prefix=PREFIX, env_nested_delimiter="__")
    try:
        return dict(source())
    except ValueError as error:
        raise ConfigError(f"environment: {error}") from error


def _keys(section: Any) -> list[str]:
    return list(section.model_fields)


def _check_names(origin: str, section: str, values: Any) -> None:
    if section not in Config.model_fields:
        raise ConfigError(f"{origin}: unknown section [{section}]{_nearest(section, list(Config.model_fields))}")
    if not isinstance(values, Mapping):
        raise ConfigError(f"{origin}: [{section}] must be a table of keys, got {values!r}")
    known = _keys(Config.model_fields[section].annotation)
    for key in values:
        if key not in known:
            raise ConfigError(f"{origin}: unknown key {section}.{key}{_nearest(key, known)}")


def _nearest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else f"; known: {', '.join(known)}"


def _explain(error: ValidationError, origin: Mapping[str, str]) -> str:
    lines = []
    for fault in error.errors():
        place = ".".join(map(str, fault["loc"]))
        where = origin.get(".".join(map(str, fault["loc"][:2])), "default")
        lines.append(f"{where}: {place}: {fault['msg']}, got {fault['input']!r}")
    return "\n".join(lines)


def is_off(config: Config, modality: Modality) -> bool:
    return bool(getattr(config, modality).source == "off")


def sources_off(config: Config) -> frozenset[Modality]:
    return frozenset(m for m in MODALITIES if is_off(config, m))


def plays_with_file(config: Config, modality: Modality) -> bool:
    """Whether the process ``file`` plays this modality. A recorded transcript plays there with its audio or video,
    because they must share t0."""
    source = getattr(config, modality).source
    others = [getattr(config, m).source for m in MODALITIES if m != modality]
    return source == "file" or (source == "recorded" and "file" in others)


def is_stream(address: int | str) -> bool:
    """Whether a camera of this address is read over the network, and not by OpenCV."""
    return isinstance(address, str) and "://" in address and "!" not in address


def in_one_stream(config: Config) -> bool:
    """Whether the process ``stream`` reads picture and sound of one network camera over one connection."""
    both = config.video.source == "camera" and config.audio.source == "url" and is_stream(config.video.device)
    own = not {"audio", "video"} & config.plugins.sources.keys()
    return both and own and config.audio.url in (None, config.video.device)

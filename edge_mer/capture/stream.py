"""Network cameras: packets of an RTSP, HTTP or other address through PyAV, and what is wrong with one, in words."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from http.client import HTTPException
from typing import Any, Final
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, build_opener

import av
from av.container import InputContainer

from edge_mer.contract.errors import DeviceError

# The read limit is the last resort: the camera's own rate ends a stalled stream earlier.
OPEN_TIMEOUT_S, READ_TIMEOUT_S, ASK_TIMEOUT_S = 15, 60, 3
# RTSP over UDP loses packets without an error; sound, which has a mask of its own, is not requested. The frame rate,
# which FFmpeg would take a second or two to measure, is not needed.
OPTIONS: Final = {"rtsp_transport": "tcp", "allowed_media_types": "video", "fpsprobesize": "0"}

ANSWERS: Final[dict[type[Exception], str]] = {
    av.error.HTTPUnauthorizedError: "it wants a user and password, or refuses this one (401)",
    av.error.HTTPForbiddenError: "it forbids the access (403)",
    av.error.HTTPNotFoundError: "it has no such path (404)",
    av.error.HTTPTooManyRequestsError: "it has too many clients (429)",
    av.error.HTTPServerError: "it is not able to answer now (5xx)",
    av.error.ConnectionRefusedError: "it refuses the connection, nothing listens there",
    av.error.TimeoutError: "it does not answer",
    av.error.ExitError: "it does not answer",
}
REDIRECTS = {301, 302, 303, 307, 308}
# How FFmpeg's names of still pictures end, its name of JPEG parts over HTTP, and of JPEG with anything in between.
STILL: Final = "_pipe"
PARTS: Final = "mpjpeg"
BARE: Final = "mjpeg"


class StreamEnded(DeviceError):
    """The stream cannot be opened, or it ended. The text follows the name of the camera."""


def is_web(url: str) -> bool:
    return url.lower().startswith(("http://", "https://"))


def open_stream(url: str, form: str | None = None) -> tuple[InputContainer, av.VideoStream]:
    """``form``: FFmpeg's name of the format; None: it finds out. Raises StreamEnded."""
    logging.getLogger("libav").setLevel(logging.CRITICAL)
    try:
        container = av.open(url, format=form, options=OPTIONS, timeout=(OPEN_TIMEOUT_S, READ_TIMEOUT_S))
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise StreamEnded(f"cannot be opened: {reason_of(error, url)}") from error
    stream = next((s for s in container.streams.video if s.codec_context is not None), None)
    if stream is None:
        container.close()
        raise StreamEnded("cannot be opened: it has no video that can be decoded")
    stream.codec_context.thread_count = 1
    return container, stream


def packets(container: InputContainer, stream: av.VideoStream) -> Iterator[av.Packet[Any]]:
    """Until the end of the stream. Raises StreamEnded when it broke off."""
    demuxed = container.demux(stream)
    while True:
        try:
            packet = next(demuxed, None)
        except (av.error.FFmpegError, OSError) as error:
            if container.format.name.endswith(STILL):
                return  # without a Content-Length its end looks like an error
            raise StreamEnded(f"broke off: {ANSWERS.get(type(error), 'its connection ended')}") from error
        if packet is None or not packet.size:
            return
        yield packet


def reason_of(error: Exception, url: str) -> str:
    """Why an address cannot be opened; a web server that sends no video is asked what it sends instead."""
    if (answer := ANSWERS.get(type(error))) is not None:
        return answer
    if is_web(url) and (answer := _web_answer(url)) is not None:
        return answer
    return "it sends no video" if isinstance(error, av.error.InvalidDataError) else "the stream does not begin"


def _web_answer(url: str) -> str | None:
    parts = urlsplit(url)
    plain = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()  # urllib takes no password in an address
    try:
        with build_opener(ProxyHandler({})).open(plain, timeout=ASK_TIMEOUT_S) as response:
            kind = response.headers.get_content_type()
    except HTTPError as error:
        return "it redirects for ever" if error.code in REDIRECTS else f"it answers with the error {error.code}"
    except (OSError, HTTPException, ValueError):
        return None
    if kind in ("text/html", "application/xhtml+xml"):
        return "it answers with a web page instead of video: another path, or a login?"
    return f"it sends no video, but {kind}"

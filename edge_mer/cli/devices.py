"""``edge-mer devices``: microphones and cameras that the config can name."""

from __future__ import annotations

import typer

from edge_mer.capture.device_list import Found, cameras, microphones
from edge_mer.contract.errors import DeviceError


def devices() -> None:
    """List microphones and cameras without opening any."""
    typer.echo("microphones (audio.device)")
    try:
        _list(microphones(), "no microphone found; plug one in, or play a file: edge-mer demo --media FILE")
    except DeviceError as error:
        typer.echo(f"  {error}")
    typer.echo("cameras (video.device)")
    _list(cameras(), "no camera found; plug one in, or set video.device to the URL of an MJPEG or RTSP camera")


def _list(found: list[Found], nothing: str) -> None:
    for device in found:
        typer.echo(f"  {device.key:<14} {device.name}")
    if not found:
        typer.echo(f"  {nothing}")

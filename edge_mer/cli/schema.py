"""``edge-mer schema``: JSON Schema of the public topics, for clients in any language."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from edge_mer.cli.topic import known
from edge_mer.contract.schema import topic_schema
from edge_mer.contract.services import SERVICES


def schema(
    topic: Annotated[str | None, typer.Argument(help="one topic; default: every public one")] = None,
) -> None:
    """Print the JSON Schema of message headers.

    Envelope and body are one flat object.
    """
    names = [known(topic)] if topic else [s.topic for s in SERVICES.values() if s.public]
    schemas = {name: topic_schema(name) for name in names}
    typer.echo(json.dumps(schemas[names[0]] if topic else schemas, indent=2))

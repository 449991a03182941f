"""Who may unmask over MQTT, as text for ``status`` and ``doctor``."""

from __future__ import annotations

from edge_mer.config import MqttConfig

ACL = "see the access list in edge_mer/privacy/README.md"


def access_notes(section: MqttConfig, accepted: bool) -> tuple[str, ...]:
    """``accepted``: the broker has accepted this client, which without a user name proves that it accepts anybody."""
    found = []
    if accepted and section.username is None:
        found.append(f"the broker accepts anonymous clients: anybody who reaches it may switch the sensors; {ACL}")
    if section.require_grant:
        found.append("unmasking over MQTT needs a signed grant")
    else:
        found.append(f"the broker's access list decides who may unmask over MQTT; {ACL}, or set mqtt.require_grant")
    return tuple(found)

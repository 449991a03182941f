"""The MQTT client of paho, which reports the end of its network thread. paho says nothing: no message would come."""

from __future__ import annotations

from collections.abc import Callable

from paho.mqtt.client import Client, MQTTv5, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode


class WatchedClient(Client):
    """``ended``: called in the network thread when it ends, with the reason; also after ``disconnect``."""

    def __init__(self, client_id: str, ended: Callable[[str], object], protocol: str = "3.1.1") -> None:
        version = MQTTv5 if protocol == "5" else MQTTv311
        super().__init__(CallbackAPIVersion.VERSION2, client_id=client_id, protocol=version)
        self._ended = ended

    def loop_forever(self, timeout: float = 1.0, retry_first_connection: bool = False) -> MQTTErrorCode:
        reason = "it stopped"
        try:
            return super().loop_forever(timeout, retry_first_connection)
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            return MQTTErrorCode.MQTT_ERR_UNKNOWN
        finally:
            self._ended(reason)

    def abandon(self) -> None:
        """Close the connection of a client whose thread has ended; the broker then publishes the last will."""
        if (connection := self.socket()) is not None:
            connection.close()

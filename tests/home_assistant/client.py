"""A small client of Home Assistant: onboarding and flows over HTTP, states over its WebSocket."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import aiohttp

State = dict[str, Any]
REGISTRIES = ("entity_registry_updated", "device_registry_updated")


class HomeAssistant:
    """``states`` follows every change; ``at`` is when each entity last changed here (monotonic seconds)."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.states: dict[str, State] = {}
        self.at: dict[str, float] = {}
        self._token: dict[str, Any] = {}
        self._http: aiohttp.ClientSession | None = None
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._listener: asyncio.Task[None] | None = None
        self._ids = itertools.count(1)
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._changed = asyncio.Condition()
        self._registry_changes = 0

    async def onboard(self) -> None:
        """The first user, and the steps of the first start."""
        async with aiohttp.ClientSession() as http:
            await self._until_answers(http, "/api/onboarding")
            user = {"client_id": f"{self.address}/", "name": "test", "username": "test", "password": "test-1234"}
            made = await self._post(http, "/api/onboarding/users", json=user | {"language": "en"})
            grant = {"grant_type": "authorization_code", "code": made["auth_code"], "client_id": f"{self.address}/"}
            self._token = await self._post(http, "/auth/token", data=grant)
            where = {"client_id": f"{self.address}/", "redirect_uri": f"{self.address}/"}
            for step, body in (("core_config", {}), ("analytics", {}), ("integration", where)):
                await self._post(http, f"/api/onboarding/{step}", json=body)

    async def connect(self) -> None:
        """Follow all states from now on; call it again after a restart."""
        await self.close()
        self._http = aiohttp.ClientSession()
        await self._until_answers(self._http, "/auth/providers")  # the other is gone once somebody is onboarded
        refresh = {"grant_type": "refresh_token", "refresh_token": self._token["refresh_token"]}
        self._token |= await self._post(self._http, "/auth/token", data=refresh | {"client_id": f"{self.address}/"})
        self._socket = await self._http.ws_connect(f"{self.address}/api/websocket", max_msg_size=0)
        await self._socket.receive_json()
        await self._socket.send_json({"type": "auth", "access_token": self._token["access_token"]})
        assert (await self._socket.receive_json())["type"] == "auth_ok"
        self._listener = asyncio.create_task(self._listen(self._socket))
        for kind in ("state_changed", *REGISTRIES):
            await self.ask("subscribe_events", event_type=kind)
        self.states = {s["entity_id"]: s for s in await self.ask("get_states")}

    async def close(self) -> None:
        if self._listener is not None:
            self._listener.cancel()
            with suppress(asyncio.CancelledError):
                await self._listener
        if self._http is not None:
            await self._http.close()
        self._listener = self._http = None

    async def ask(self, kind: str, **fields: Any) -> Any:
        """One command of the WebSocket API, and its result."""
        assert self._socket is not None
        number = next(self._ids)
        self._answers[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": number, "type": kind, **fields})
        try:
            return await asyncio.wait_for(self._answers[number], 30)
        finally:
            del self._answers[number]

    async def call(self, service: str, entity: str, **data: Any) -> None:
        domain, name = service.split(".")
        await self.ask("call_service", domain=domain, service=name, service_data=data, target={"entity_id": entity})

    async def flow(self, handler: str, *steps: dict[str, Any]) -> dict[str, Any]:
        """A config flow with the answers to its forms."""
        assert self._http is not None
        place = "/api/config/config_entries/flow"
        found = await self._post(self._http, place, json={"handler": handler})
        for step in steps:
            found = await self._post(self._http, f"{place}/{found['flow_id']}", json=step)
        return found

    async def save_automation(self, name: str, body: dict[str, Any]) -> None:
        """Written to automations.yaml, as the editor does it, and loaded."""
        assert self._http is not None
        await self._post(self._http, f"/api/config/automation/config/{name}", json=body)

    async def until(self, entity: str, test: Callable[[str], bool], timeout_s: float) -> float:
        """Wait until the state passes; returns when it came (monotonic seconds). AssertionError at the timeout."""
        deadline = time.monotonic() + timeout_s

        def passes() -> bool:
            return entity in self.states and test(self.states[entity]["state"])

        async with self._changed:
            try:
                await asyncio.wait_for(self._changed.wait_for(passes), max(0.0, deadline - time.monotonic()))
            except asyncio.TimeoutError:
                found = self.states.get(entity, {}).get("state")
                raise AssertionError(f"{entity} is {found!r} after {timeout_s:g} s") from None
        return self.at.get(entity, time.monotonic())

    async def until_registered(self, test: Callable[[], Awaitable[bool]], timeout_s: float, what: str) -> None:
        """Ask ``test`` now and after every change of entities and devices. AssertionError at the timeout."""
        deadline = time.monotonic() + timeout_s
        while True:
            seen = self._registry_changes
            if await test():
                return
            async with self._changed:
                left = max(0.0, deadline - time.monotonic())
                try:
                    changed = self._changed.wait_for(lambda seen=seen: self._registry_changes > seen)  # type: ignore[misc]
                    await asyncio.wait_for(changed, left)
                except asyncio.TimeoutError:
                    raise AssertionError(f"{what} after {timeout_s:g} s") from None

    async def _listen(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        async for message in socket:
            body = message.json()
            if body["type"] == "result" and body["id"] in self._answers:
                answer = self._answers[body["id"]]
                if body["success"]:
                    answer.set_result(body["result"])
                else:
                    answer.set_exception(AssertionError(body["error"]))
            elif body["type"] == "event" and body["event"].get("event_type") in REGISTRIES:
                async with self._changed:
                    self._registry_changes += 1
                    self._changed.notify_all()
            elif body["type"] == "event" and (data := body["event"].get("data")) and "new_state" in data:
                async with self._changed:
                    entity, state = data["entity_id"], data["new_state"]
                    self.at[entity] = time.monotonic()
                    if state is None:
                        self.states.pop(entity, None)
                    else:
                        self.states[entity] = state
                    self._changed.notify_all()

    async def _until_answers(self, http: aiohttp.ClientSession, path: str, timeout_s: float = 120) -> None:
        deadline = time.monotonic() + timeout_s
        while True:
            with suppress(aiohttp.ClientError, asyncio.TimeoutError):
                async with http.get(self.address + path, timeout=aiohttp.ClientTimeout(5)) as answer:
                    if answer.status == 200:
                        return
            assert time.monotonic() < deadline, "Home Assistant does not answer"
            await asyncio.sleep(0.5)

    async def _post(self, http: aiohttp.ClientSession, path: str, **options: Any) -> Any:
        token = self._token.get("access_token")
        headers = {"Authorization": f"Bearer {token}"} if token and path != "/auth/token" else {}
        async with http.post(self.address + path, headers=headers, **options) as answer:
            assert answer.status < 300, f"{path}: {answer.status} {await answer.text()}"
            return await answer.json()

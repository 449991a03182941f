"""The end of a process is what the kernel says, never its silence, and never that of another with its number."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import msgspec
import pytest

from edge_mer.contract.control import ProcessId
from edge_mer.host import process_handle
from edge_mer.host.process_handle import open_process, process_id


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


@pytest.fixture(params=["pidfd", "no such system call", "not permitted"])
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """An old kernel, and a seccomp filter, have no pidfd."""
    errors = {"no such system call": errno.ENOSYS, "not permitted": errno.EPERM}

    def refused(pid: int) -> int:
        raise OSError(errors[request.param], os.strerror(errors[request.param]))

    if request.param in errors:
        monkeypatch.setattr(os, "pidfd_open", refused)
    return str(request.param)


def known(process: subprocess.Popen[bytes]) -> ProcessId:
    found = process_id(process.pid)
    assert found is not None
    return found


def stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)


def end(process: subprocess.Popen[bytes]) -> None:
    """It stays a zombie: its parent has not waited for it."""
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)


def test_a_running_and_a_stopped_process_have_not_ended(sleeper: subprocess.Popen[bytes], kernel: str) -> None:
    handle, _ = open_process(known(sleeper))
    assert handle is not None
    assert (handle.ended, handle.stopped) == (False, False)
    stop(sleeper)
    assert (handle.ended, handle.stopped) == (False, True)
    handle.kill()
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)
    assert (handle.ended, handle.stopped) == (True, False)


def test_the_end_is_seen_before_and_after_the_parent_waits(sleeper: subprocess.Popen[bytes], kernel: str) -> None:
    id_ = known(sleeper)
    handle, _ = open_process(id_)
    assert handle is not None
    end(sleeper)
    assert handle.ended
    sleeper.wait()
    assert handle.ended
    assert open_process(id_) == (None, True)


def test_a_later_process_of_the_same_number_is_another(sleeper: subprocess.Popen[bytes], kernel: str) -> None:
    earlier = msgspec.structs.replace(known(sleeper), started=1)
    assert open_process(earlier) == (None, True)


def test_numbers_of_another_namespace_prove_nothing(sleeper: subprocess.Popen[bytes]) -> None:
    elsewhere = msgspec.structs.replace(known(sleeper), namespace="pid:[1]")
    assert open_process(elsewhere) == (None, False)
    assert open_process(None) == (None, False)


def test_a_process_hidden_from_this_user_proves_nothing(
    sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    id_ = known(sleeper)
    monkeypatch.setattr(process_handle, "stat_of", lambda pid: None)
    assert open_process(id_) == (None, False)


def test_handles_leave_no_descriptor_behind(sleeper: subprocess.Popen[bytes]) -> None:
    before = os.listdir("/proc/self/fd")
    handle, _ = open_process(known(sleeper))
    assert handle is not None
    handle.close()
    open_process(msgspec.structs.replace(known(sleeper), started=1))
    assert os.listdir("/proc/self/fd") == before

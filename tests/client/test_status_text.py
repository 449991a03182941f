"""What ``edge-mer status`` says of masks."""

from __future__ import annotations

import datetime

from edge_mer.client.status_text import clock_text, privacy_lines
from edge_mer.contract.messages import PrivacyState

AT = datetime.datetime(2026, 11, 27, 18, 40)
AT_US = round(AT.timestamp() * 1e6)


def test_the_end_of_a_timed_mask_and_what_keeps_a_receipt_back_are_shown() -> None:
    complaint = "audio: record-7 did not confirm the purge (process 7)"
    state = PrivacyState("masked", "masked", 0, 5, None, "masked by anna", (complaint,), AT_US)
    timed, late = privacy_lines({"audio": state}, 12_000_000)
    assert timed == f"  audio  masked  for 12 s, until {clock_text(AT_US)}, masked by anna"
    assert late.strip() == f"no receipt: {complaint}"
    plain = PrivacyState("live", "live", 0, 5, None, None)
    assert privacy_lines({"audio": plain}) == ["  audio  live"]


def test_a_time_of_another_day_has_its_date() -> None:
    assert clock_text(AT_US, AT.date()) == "18:40"
    assert clock_text(AT_US, AT.date() - datetime.timedelta(days=1)) == "27 Nov 18:40"

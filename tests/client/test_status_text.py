"""What ``edge-mer status`` says of masks."""

from __future__ import annotations

import datetime

from edge_mer.client.status_text import clock_text, people_lines, privacy_lines
from edge_mer.contract.messages import PrivacyState
from edge_mer.contract.people import MaskedPeople

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


def test_masked_persons_are_named_beside_what_keeps_their_receipt_back() -> None:
    complaint = "recorder did not confirm the mask of persons (process 7)"
    people = MaskedPeople(("p2", "p3"), False, "life", 0, 5, "masked by anna", (complaint,))
    line, late = people_lines(people, 12_000_000)
    assert line == "  person p2, p3 masked  for 12 s, masked by anna; the camera stays open"
    assert late.strip() == f"no receipt: {complaint}"
    assert "everybody in view" in people_lines(MaskedPeople(everybody=True))[0]
    assert people_lines(MaskedPeople(mask_epoch=6)) == people_lines(None) == []


def test_a_time_of_another_day_has_its_date() -> None:
    assert clock_text(AT_US, AT.date()) == "18:40"
    assert clock_text(AT_US, AT.date() - datetime.timedelta(days=1)) == "27 Nov 18:40"

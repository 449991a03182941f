"""The deployment file: homes only, consent per matter and person, and an unreadable file is no consent."""

from __future__ import annotations

import datetime
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_mer.contract.domain import MODALITIES
from edge_mer.contract.errors import PrivacyError
from edge_mer.privacy.consent.consent_file import (
    CONSENT_SCOPES,
    FILE,
    Consent,
    Deployment,
    HubConsent,
    home_consent,
    in_toml,
    in_words,
    read_deployment,
    write_deployment,
)
from tests.privacy.test_memory import reasons, requested
from tests.switch_bench import TODAY, SwitchBench

GOOD = Deployment(
    "home",
    True,
    HubConsent(("audio",)),
    (
        Consent("audio", 'Anna "A." Müller', TODAY),
        Consent("video", "Ben", TODAY, datetime.date(2027, 1, 31)),
    ),
)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    write_deployment(tmp_path / FILE, GOOD)
    assert read_deployment(tmp_path / FILE) == GOOD
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600


people = st.text(st.characters(exclude_categories=["Cs"]))
consents = st.builds(
    Consent, st.sampled_from(CONSENT_SCOPES), people, st.dates(datetime.date(1, 1, 1)), st.none() | st.dates()
)
deployments = st.builds(
    Deployment,
    st.just("home"),
    st.booleans(),
    st.builds(HubConsent, st.lists(st.sampled_from(MODALITIES), unique=True).map(tuple)),
    st.lists(consents, max_size=4).map(tuple),
)


@given(deployments)
def test_every_deployment_reads_back_and_explains_itself(deployment: Deployment) -> None:
    text = in_toml(deployment)
    assert msgspec.toml.decode(text, type=Deployment) == deployment
    for comment in ("# Who in this home agreed", "  # true: after a restart", "  # masking needs no permission"):
        assert comment in text


@pytest.mark.parametrize("place", ["workplace", "education", "shop", ""])
def test_only_homes_and_the_refusal_points_to_the_law(tmp_path: Path, place: str) -> None:
    with pytest.raises(PrivacyError, match=r"2024/1689 \(AI Act\), Article 5\(1\)\(f\)"):
        write_deployment(tmp_path / FILE, Deployment(place))
    assert not (tmp_path / FILE).exists()
    (tmp_path / FILE).write_text(f'place = "{place}"\n')
    with pytest.raises(PrivacyError, match="Article 5"):
        read_deployment(tmp_path / FILE)


@pytest.mark.parametrize(
    "text",
    ["", "place = 7", 'place = "home"\nwhat = 1', 'place = "home"\n[[consent]]\nmatter = "smell"\nwho="A"', "\xff["],
)
def test_a_damaged_file_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_bytes(text.encode("latin-1"))
    with pytest.raises(PrivacyError, match=r"deployment\.toml"):
        read_deployment(tmp_path / FILE)


def test_without_a_file_nothing_opens_and_the_reason_says_what_to_do(tmp_path: Path) -> None:
    bench = SwitchBench(tmp_path, deployment=None)
    bench.ask("unmask", "audio")
    bench.turn()
    assert "or edge-mer consent audio,video,text" in bench.answers()[0].text
    assert "or edge-mer consent audio,video,text" in (reasons(bench)["audio"] or "")


def test_consent_that_is_withdrawn_or_damaged_masks_within_a_second(tmp_path: Path) -> None:
    bench = SwitchBench(tmp_path)
    write_deployment(tmp_path / FILE, home_consent("Anna", ("audio", "text"), TODAY))
    bench.run(600_000)
    assert requested(bench) == {"audio": "live", "video": "masked", "text": "live"}
    assert reasons(bench)["video"] == "no consent: nobody in this home agreed to video"
    (tmp_path / FILE).write_text("place = ")
    bench.run(600_000)
    assert requested(bench) == dict.fromkeys(MODALITIES, "masked")


def test_a_switch_in_a_workplace_opens_nothing(tmp_path: Path) -> None:
    bench = SwitchBench(tmp_path)
    (tmp_path / FILE).write_text((tmp_path / FILE).read_text().replace('"home"', '"workplace"'))
    bench.run(600_000)
    assert requested(bench) == dict.fromkeys(MODALITIES, "masked")
    assert "Article 5(1)(f)" in (reasons(bench)["audio"] or "")


def test_everybody_who_is_named_must_still_agree(tmp_path: Path) -> None:
    wall = SwitchBench(tmp_path).clock.wall_us()
    past = datetime.date.fromtimestamp(wall / 1e6) - datetime.timedelta(days=1)
    both = Deployment("home", consent=(Consent("audio", "Anna", TODAY), Consent("audio", "Ben", TODAY, past)))
    assert both.refusal("audio", wall) == f"Ben's consent to audio ended on {past}"
    assert in_words(both, wall)[0].endswith(
        f"Ben agreed on {TODAY}, until {past} (over: {both.refusal('audio', wall)})"
    )

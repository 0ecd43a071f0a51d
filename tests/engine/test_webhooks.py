"""Small rules of the webhooks; the webhooks themselves are tested in whole calls."""

import pytest

from engine.webhooks import caller_of


@pytest.mark.parametrize("number", ["", "+266696687", "anonymous", "Anonymous", "Restricted", "unavailable"])
def test_every_way_to_withhold_a_number_is_anonymous(number: str) -> None:
    assert caller_of(number) == "anonymous"


@pytest.mark.parametrize("number", ["+13125550142", "client:desk", "sip:desk@example.com"])
def test_a_number_or_address_is_kept_as_it_is(number: str) -> None:
    assert caller_of(number) == number

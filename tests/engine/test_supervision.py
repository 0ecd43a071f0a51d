"""How often a stream may lose its CallActor, and how long who lost something waits."""

import pytest

from engine.settings import Settings
from engine.supervision import AT_ONCE_S, BackOff, CallActors, Losses, Sockets, Supervision

POLICY = CallActors(tries=3, steady_s=10.0, host_steady_s=2.0, hosts=12, search_s=5.0)


def goes_on(*ran_s: float, with_host: bool = False) -> list[bool]:
    """Whether another may be tried after each loss of one that had run for so long."""
    losses = Losses(POLICY)
    return [losses.lost(one, with_host=with_host) for one in ran_s]


def test_the_third_failure_in_a_row_is_the_last() -> None:
    assert goes_on(0.0, 0.0, 0.0) == [True, True, False]


def test_who_has_run_for_a_while_starts_the_count_anew() -> None:
    assert goes_on(0.0, 0.0, 10.0, 0.0, 0.0, 0.0) == [True, True, True, True, True, False]
    assert goes_on(0.0, 0.0, 9.9) == [True, True, False]


def test_one_that_was_lost_with_its_host_needs_less_to_be_steady() -> None:
    assert all(goes_on(*[2.0] * 11, with_host=True))
    assert goes_on(1.9, 1.9, 1.9, with_host=True)[-1] is False


def test_a_call_that_ends_its_hosts_slowly_is_given_up_though_none_failed_in_a_row() -> None:
    assert goes_on(*[60.0] * 12, with_host=True) == [True] * 11 + [False]


def test_without_a_host_to_lose_a_call_may_go_on_for_ever() -> None:
    assert all(goes_on(*[60.0] * 100))


@pytest.mark.parametrize(("attempt", "pause_s"), [(0, 0.1), (1, 0.2), (4, 1.6), (5, 2.0), (5000, 2.0)])
def test_pauses_double_up_to_the_longest_a_fifth_more_or_less(attempt: int, pause_s: float) -> None:
    pauses = [BackOff(0.1, 2.0).pause_s(attempt) for _ in range(200)]
    assert min(pauses) >= pause_s * 0.79
    assert max(pauses) <= pause_s * 1.21
    assert max(pauses) - min(pauses) > pause_s * 0.2, "who lost it together comes back together"


def test_the_policy_is_what_the_settings_say() -> None:
    told = Settings(_env_file=None, call_tries=5, host_empty_s=7.0, call_streams=1)  # type: ignore[call-arg]
    policy = Supervision.by(told)
    assert (policy.calls.tries, policy.hosts.empty_s, policy.streams) == (5, 7.0, 1)


def test_a_lost_socket_is_replaced_at_once_and_then_ever_later_but_for_another_vendors() -> None:
    sockets = Sockets()
    sockets.lost(60.0, useful=True)
    assert sockets.pause_s(elsewhere=False) <= AT_ONCE_S
    sockets.lost(0.0, useful=False)
    assert 0.08 <= sockets.pause_s(elsewhere=False) <= 0.12
    for _ in range(20):
        sockets.lost(0.1, useful=True)
    assert 1.6 <= sockets.pause_s(elsewhere=False) <= 2.4
    assert sockets.pause_s(elsewhere=True) <= AT_ONCE_S
    sockets.lost(2.0, useful=True)
    assert sockets.pause_s(elsewhere=False) <= AT_ONCE_S


def test_a_socket_that_ends_is_no_failure_unless_nothing_came_of_it_or_it_is_one_of_many() -> None:
    sockets = Sockets()
    assert [sockets.lost(60.0, useful=True) for _ in range(20)] == [False] * 20
    assert sockets.lost(60.0, useful=False)
    assert not sockets.lost(2.0, useful=True)
    assert [sockets.lost(1.9, useful=True) for _ in range(4)] == [False, False, True, True]

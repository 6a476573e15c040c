"""The tape: quiet by default, addressed by stream and number, replayed from its deviations."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from palaver.actors.simulation import Quiet, Recorded, Seeded, Source, Tape

STREAMS = st.sampled_from(["order/a", "order/b", "delay/a>b", "crash/a"])
CHOICES = st.lists(st.tuples(STREAMS, st.integers(1, 9)), max_size=200)


def played(source: Source, choices: list[tuple[str, int]]) -> tuple[list[int], Tape]:
    tape = Tape(source)
    return [tape.choose(name, options, 0.3) for name, options in choices], tape


@given(CHOICES)
def test_the_quiet_choice_is_zero(choices: list[tuple[str, int]]) -> None:
    values, tape = played(Quiet(), choices)
    assert not any(values)
    assert not tape.deviations


@given(CHOICES, st.integers(0, 1000))
def test_a_seed_is_repeated_by_itself_and_by_its_deviations(
    choices: list[tuple[str, int]], seed: int
) -> None:
    values, tape = played(Seeded(seed), choices)
    assert all(0 <= value < options for value, (_, options) in zip(values, choices, strict=True))
    assert played(Seeded(seed), choices)[0] == values
    again, recorded = played(Recorded(tape.deviations, seed), choices)
    assert again == values
    assert recorded.deviations == tape.deviations


@given(CHOICES, st.integers(0, 1000), st.data())
def test_without_one_deviation_all_others_stay(
    choices: list[tuple[str, int]], seed: int, data: st.DataObject
) -> None:
    _, tape = played(Seeded(seed, swarm=False), choices)
    if not tape.deviations:
        return
    left_out = data.draw(st.sampled_from(list(tape.deviations)))
    rest = {where: value for where, value in tape.deviations.items() if where != left_out}
    _, shorter = played(Recorded(rest, seed), choices)
    assert shorter.deviations == rest


def test_what_is_recorded_and_not_there_any_more_becomes_the_last_option() -> None:
    tape = Tape(Recorded({("order/a", 0): 7}))
    assert tape.choose("order/a", 3) == 2


def test_one_option_is_no_choice() -> None:
    tape = Tape(Recorded({("order/a", 0): 1}))
    assert tape.choose("order/a", 1) == 0
    assert tape.choose("order/a", 2) == 1
    assert tape.choices == 1


def test_all_choices_are_observed_if_asked_for() -> None:
    tape = Tape(Quiet(), observe=True)
    tape.choose("order/a", 3)
    tape.choose("order/a", 2)
    assert tape.options == {("order/a", 0): 3, ("order/a", 1): 2}


def test_values_come_from_the_seed_and_the_name_and_are_no_choices() -> None:
    tapes = [Tape(Seeded(1)), Tape(Recorded({}, 1)), Tape(Seeded(2))]
    drawn = [tape.random("keys").random() for tape in tapes]
    assert drawn[0] == drawn[1] != drawn[2]
    assert tapes[0].random("keys").random() != tapes[0].random("nonces").random()
    assert tapes[0].choices == 0


def test_swarm_testing_switches_whole_kinds_off() -> None:
    silent = 0
    for seed in range(40):
        tape = Tape(Seeded(seed))
        silent += not any(tape.choose("crash/a", 2, 0.5) for _ in range(100))
    assert 5 < silent < 35


def test_rates_are_kept_and_may_be_replaced() -> None:
    def share(source: Source) -> float:
        tape = Tape(source)
        return sum(tape.choose("crash/a", 5, 0.2) > 0 for _ in range(5000)) / 5000

    assert 0.15 < share(Seeded(1, swarm=False)) < 0.25
    assert share(Seeded(1, swarm=False, rates={"crash": 0.0})) == 0.0
    assert share(Seeded(1, swarm=False, rates={"crash": 1.0})) == 1.0


def test_what_people_do_is_never_switched_off() -> None:
    for seed in range(20):
        tape = Tape(Seeded(seed))
        assert sum(tape.choose("work/a", 2, 0.5) for _ in range(100)) > 25

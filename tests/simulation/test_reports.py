"""A report shows what happened and changes nothing of it; it is whole, short, and keeps secrets."""

from __future__ import annotations

import asyncio
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import driven_scenarios as scenarios
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palaver.actors.runtime import Node, ProcessContext
from palaver.actors.runtime.lifecycle import Monitor
from palaver.actors.runtime.population import Population
from palaver.actors.runtime.process import Process
from palaver.actors.simulation.driving.runner import Runner
from palaver.actors.simulation.driving.shrinking import shrink
from palaver.actors.simulation.driving.tapes import RecordedTape
from palaver.actors.simulation.reporting.failure import Report, SimulationFailed
from palaver.actors.simulation.reporting.labels import Labels
from palaver.actors.simulation.reporting.sequence import draw_sequence, lanes_of
from palaver.actors.simulation.reporting.watching import Watch
from palaver.actors.simulation.reporting.words import Words
from palaver.actors.simulation.world import Line, Recorded, Seeded, World, run

WATCHED = {
    (owner, name): owner.__dict__[name]
    for owner, names in {
        ProcessContext: ("send", "cast", "call", "send_request", "link", "monitor"),
        Node: ("_post", "call"),
        Process: ("exit_signal",),
        Monitor: ("down",),
        Population: ("start_process", "remove"),
        World: ("close",),
    }.items()
    for name in names
}


def are_restored() -> bool:
    return all(owner.__dict__[name] is method for (owner, name), method in WATCHED.items())


@given(st.integers(0, 10**6))
@settings(max_examples=25)
def test_watching_changes_nothing(seed: int) -> None:
    plain = run(scenarios.rough, Seeded(seed))
    with Watch() as watch:
        watched = run(scenarios.rough, Seeded(seed), prepare=watch.prepare)
    assert watched.hash == plain.hash
    assert watched.steps == plain.steps
    assert watched.tape.deviations == plain.tape.deviations
    assert str(watched.failure) == str(plain.failure)
    assert len(watched.trace.lines) > len(plain.trace.lines)
    assert are_restored()


def test_everything_is_put_back_when_a_run_raises() -> None:
    async def interrupted(world: Any) -> None:
        raise KeyboardInterrupt

    watch = Watch()
    restored: list[bool] = []

    def prepare(world: World) -> None:
        watch.prepare(world)
        restored.append(are_restored())

    with pytest.raises(KeyboardInterrupt), watch:
        run(interrupted, prepare=prepare)
    assert restored == [False]
    assert are_restored()


def kinds(scenario: Any, seed: int = 0) -> set[str]:
    with Watch() as watch:
        outcome = run(scenario, Seeded(seed), prepare=watch.prepare)
    return {line.kind for line in outcome.trace.lines}


def test_every_kind_of_signal_is_seen() -> None:
    assert kinds(scenarios.rough) >= {
        "call",
        "reply",
        "request",
        "response",
        "cast",
        "timer",
        "spawn",
        "spawn_link",
        "monitor",
        "exit",
        "exits",
        "down",
        "crash",
        "host",
        "deviation",
    }


def report_of(scenario: Any, **options: Any) -> Report:
    runner = Runner.of(scenario)
    for seed in range(1000):
        outcome = runner(Seeded(seed))
        if outcome.failure is not None:
            shrunk = shrink(runner, outcome)
            return Report(runner, shrunk.tape, seed=seed, shrunk=shrunk, **options)
    raise AssertionError("no seed fails")


def test_the_text_says_everything_a_person_needs() -> None:
    report = report_of(scenarios.office)
    text = report.text
    assert "driven_scenarios:office: Violation at 1.000000 s" in text
    assert "cat is never the first: ['cat'" in text
    assert "driven_scenarios.py" in text
    assert f"found with seed {report.seed}" in text
    assert "deviations became 1" in text
    assert "what deviated from the quiet run (1):" in text
    assert "order/town #" in text
    assert "town/cat ran before town/ann" in text
    assert "it parted from the quiet run at" in text
    assert re.search(r"- town/office \(driven_scenarios.Ticket\): idle", text)
    assert f"palaver simulate --replay '{report.tape}'" in text
    assert "failure: scenario cat is never the first" in text
    assert len(text.splitlines()) < 75


def test_the_diagram_fits() -> None:
    report = report_of(scenarios.rough)
    drawing = draw_sequence(report.facts.lines, about=str(report.facts.failure))
    assert all(len(line) <= 100 for line in drawing.splitlines())
    assert len(drawing.splitlines()) < 55
    assert "deviation" not in drawing or "*" in drawing


LABELS = st.builds(
    lambda host, name: f"{host}/{name}",
    st.sampled_from("abc"),
    st.text(st.characters(codec="ascii", categories=["L"]), min_size=1, max_size=30),
)


@given(
    st.lists(
        st.builds(
            Line,
            st.floats(0, 1e6),
            st.sampled_from(["send", "call", "deviation", "fault", "bytes", "exits", "failure"]),
            LABELS,
            st.text(max_size=300).map(lambda text: " ".join(text.split())),
            st.none() | LABELS,
        ),
        max_size=120,
    ),
    st.integers(1, 6),
)
def test_any_diagram_fits(lines: list[Line], lanes: int) -> None:
    lines = [
        line._replace(text="#1: words") if line.kind == "deviation" else line for line in lines
    ]
    drawing = draw_sequence(lines, max_lanes=lanes)
    assert all(len(line) <= 100 for line in drawing.splitlines())
    assert len(drawing.splitlines()) <= 36 + 12 + 4


def test_those_who_are_named_in_the_failure_come_first() -> None:
    lines = [Line(0.0, "send", "a/one", "x", "a/two")] * 20
    lines += [Line(1.0, "send", "a/three", "y", "a/three")]
    assert lanes_of(lines)[-1] == "a/three"
    assert lanes_of(lines, about="three is wrong")[0] == "a/three"


def test_crash_reports_are_shown() -> None:
    text = report_of(scenarios.rough).text
    assert "crash reports (the last 2 of" in text
    assert "broken by a message" in text


def test_what_a_server_hides_is_hidden_unless_asked() -> None:
    async def vault(world: World) -> None:
        await scenarios.bank(world, scenarios.Vault)
        world.fail("always")

    runner = Runner.of(vault)
    tape = RecordedTape("vault")
    for text in (Report(runner, tape).text, Report(runner, tape).html):
        assert "112" not in text
        assert "written" not in text
        assert "hidden" in text
    assert "'write', 112" in Report(runner, tape, secrets=True).text


def test_a_quiet_run_that_fails_is_told_so() -> None:
    async def broken(world: World) -> None:
        world.fail("always")

    assert (
        "nothing deviated: the quiet run fails" in Report(Runner.of(broken), RecordedTape("b")).text
    )


def test_a_report_that_cannot_be_made_says_why_and_how_to_replay() -> None:
    class Broken:
        name = "m:f"

        def __call__(self, *_: Any, **__: Any) -> Any:
            raise OSError("no more memory")

    failed = SimulationFailed(Report(Broken(), RecordedTape("m:f", 3)))  # type: ignore[arg-type]
    assert "no more memory" in str(failed)
    assert "pt1~m:f~3~~" in str(failed)


def test_different_traces_of_one_tape_are_warned_of() -> None:
    runs = iter(range(100))

    async def hidden(world: World) -> None:
        world.trace.note("run", "scenario", str(next(runs)))
        world.fail("always")

    report = report_of(hidden)
    assert "the same tape gave different traces" in report.text
    assert "the same tape gave different traces" in report.html


# -- the page ---------------------------------------------------------------------------------

VOID = {"meta", "input", "br", "col", "link", "img", "hr"}


class Page(HTMLParser):
    """Checks that every element is closed, in order; gathers texts and attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def parsed(html: str) -> Page:
    page = Page()
    page.feed(html)
    page.close()
    assert page.open == []
    return page


def test_the_page_is_whole_and_needs_nothing_else(tmp_path: Path) -> None:
    report = report_of(scenarios.rough)
    path = report.save(tmp_path / "deep" / "page.html")
    html = path.read_text("utf-8")
    page = parsed(html)
    assert not re.search(r"""(src|href)\s*=\s*["'](?!#)|@import|url\(|https?:""", html)
    text = " ".join(page.texts)
    for one in report.facts.deviations:
        assert one.said in text
    assert str(report.tape) in text
    names = {tag for tag, _ in page.tags}
    assert {"main", "h1", "table", "details", "summary", "title"} <= names
    # Anchors lead somewhere.
    ids = {attributes.get("id") for _, attributes in page.tags}
    for tag, attributes in page.tags:
        if tag == "a":
            assert str(attributes["href"])[1:] in ids
    assert "prefers-color-scheme: dark" in html


def test_every_row_of_the_diagram_is_as_wide_as_its_head() -> None:
    html = report_of(scenarios.rough).html
    table = html[html.index('<table class="sequence"') :]
    table = table[: table.index("</table>")]
    lanes = int(re.search(r"--lanes:(\d+)", table).group(1))  # type: ignore[union-attr]
    rows = re.findall(r"<tr .*?</tr>", table[table.index("<tbody>") :], re.DOTALL)
    assert rows
    for row in rows:
        spans = [int(span or 1) for span in re.findall(r'<td(?: colspan="(\d+)")?', row)]
        assert sum(spans) == lanes


def test_what_programs_say_cannot_become_markup() -> None:
    evil = "<script>alert(1)</script>\"'&"

    class Evil(scenarios.Fragile):
        def handle_cast(self, message: Any) -> None:
            raise ValueError(evil)

    async def scenario(world: World) -> None:
        async def boot(host: Any) -> None:
            node = await host.node()
            server = await node.start_server(Evil, 0, name=evil)
            node.cast(server, evil)

        await world.host("a", boot).start()
        await world.sleep(1.0)
        world.fail(evil)

    html = Report(Runner.of(scenario), RecordedTape(evil)).html
    parsed(html)
    assert "<script>alert" not in html
    assert html.count("<script>") == 1


def test_a_process_has_one_label_and_keeps_it_when_it_is_started_anew() -> None:
    async def scenario(world: World) -> None:
        async def boot(host: Any) -> None:
            node = await host.node()
            server = await node.start_server(scenarios.Fragile, 0, name="frail")
            other = await node.start_server(scenarios.Fragile, 0)
            node.cast(server, "first")
            node.cast(other, "second")

        host = world.host("a", boot)
        await host.start()
        await world.sleep(1.0)
        await host.restart()
        await world.sleep(1.0)

    with Watch() as watch:
        outcome = run(scenario, prepare=watch.prepare)
    lines = [watch.labels.line(line) for line in outcome.trace.lines]
    crashed = [line.who for line in lines if line.kind == "crash"]
    assert crashed == ["a/frail", "a/Fragile.2", "a/frail", "a/Fragile.2@2"]
    assert [line.who for line in lines if line.kind == "exits"] == crashed


def test_objects_elsewhere_in_memory_are_no_difference_from_the_quiet_run() -> None:
    class Plain(scenarios.Fragile):
        def handle_cast(self, message: Any) -> None: ...

    async def scenario(world: World) -> None:
        async def boot(host: Any) -> None:
            node = await host.node()
            server = await node.start_server(Plain, 0)
            node.cast(server, object())

        await world.host("a", boot).start()
        if world.tape.choose("order/late", 2):
            world.fail("never so")

    report = Report(Runner.of(scenario), RecordedTape("s", 0, {("order/late", 0): 1}))
    comparison = report.facts.comparison
    assert comparison is not None
    assert comparison.only_here == []
    assert comparison.only_quiet == []


async def talking(world: World) -> None:
    """One host sends another some bytes, and asks a thread and a timer."""
    got = bytearray()

    class Sink(asyncio.Protocol):
        def data_received(self, data: bytes) -> None:
            got.extend(data)

    async def listen(host: Any) -> None:
        await asyncio.get_running_loop().create_server(Sink, "b", 80)

    async def speak(host: Any) -> None:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_connection(asyncio.Protocol, "b", 80)
        transport.write(b"hello" * 100)
        await asyncio.sleep(1.0)
        await loop.run_in_executor(None, len, "abc")

    await world.host("b", listen).start()
    await world.host("a", speak).start()
    await world.sleep(5.0)
    assert got == b"hello" * 100


@pytest.mark.parametrize(
    ("stream", "value", "words"),
    [
        ("late/a", 3, "a was 5 ms late for a timer"),
        ("delay/a>b", 5, "bytes from a to b came 250 ms later"),
        ("split/a>b", 1, "bytes from a to b came in pieces"),
        ("executor/scenario", 4, "work in a thread took 20 ms"),
        ("drift/a", 3, "the clock of a runs at 1.01 of its rate"),
    ],
)
def test_deviations_are_said_in_words(stream: str, value: int, words: str) -> None:
    tape = Recorded({(stream, number): value for number in range(20)})
    with Watch() as watch:
        outcome = run(talking, tape, prepare=watch.prepare)
    assert outcome.failure is None
    assert words in watch.said.values()


def test_every_kind_of_the_world_and_the_disks_has_words() -> None:
    words = Words(Labels())
    world = World()
    for kind in ("slice", "late", "executor", "delay", "split", "loss", "drift", "disk-full"):
        assert "option" not in words.of(world, f"{kind}/a>b", 2, 1)
    assert words.of(world, "mine/a", 5, 3) == "option 3 of 5"

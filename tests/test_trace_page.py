"""The trace as a page (--html): what is in the file, and what a person can do with it in a real browser."""

from __future__ import annotations

import json
import re
import subprocess

import pytest
from browser import CHROMIUM, Browser
from made_up import BEGIN, LOOSE, SHELL, call, tell

from tracer.log.events import Born, Ended, Executed, Signal
from tracer.log.page import Page

SHIFT, ALT = 8, 1


def page(tmp_path, *events, command=("sh", "-c", "cat /none")):
    tell(Page(tmp_path / "page.html", list(command)), *events)
    return tmp_path / "page.html"


def data(file) -> dict:
    text = file.read_text("utf-8")
    return json.loads(re.search(r'<script id="data" type="application/json">(.*?)</script>', text, re.S)[1])


# -- the file ---------------------------------------------------------------------------------------


def test_every_call_and_event_is_in_it_in_the_order_of_begins(tmp_path):
    found = data(page(tmp_path, *SHELL))
    assert [found["names"][name] for name in found["name"]] == [
        "execve", "clone", "wait4", "execve", "openat", "exit_group", "event end", "event SIGCHLD", "clone3", "read", "futex",
        "exit_group", "event end", "event end",
    ]  # fmt: skip
    assert found["begin"][0] == 1000 and sum(found["begin"]) == 101_000


def test_a_text_is_in_it_once(tmp_path):
    found = data(page(tmp_path, *(call("read", "3", '"same"', at=n) for n in range(100))))
    assert found["texts"].count('3, "same"') == 1


def test_lanes_are_the_tree_of_tasks(tmp_path):
    lanes = data(page(tmp_path, *SHELL))["lanes"]
    assert [(lane["tid"], lane["pid"], lane["depth"], lane["parent"], lane["how"]) for lane in lanes] == [
        (10, 10, 0, -1, "exited with 3"), (11, 11, 1, 0, "exited with 1"), (12, 10, 1, 0, "exited with 3"),
    ]  # fmt: skip
    assert lanes[1]["programs"] == [[21000, "/bin/cat"]]


def test_nothing_that_was_traced_can_end_the_script_it_stands_in(tmp_path):
    file = page(tmp_path, *SHELL, command=("echo", "</script><script>alert(1)</script><!--"))
    text = file.read_text()
    assert text.count("</script>") == 2
    assert "<!--" not in text
    assert data(file)["command"].startswith("echo </script>")


def test_a_name_that_is_not_utf_8_is_escaped(tmp_path):
    assert data(page(tmp_path, *LOOSE))["lanes"][0]["programs"] == [[150000, "/srv/n\\xffme"]]


def test_a_trace_without_events_is_a_page_too(tmp_path):
    assert data(page(tmp_path))["lanes"] == []


def test_it_loads_nothing(tmp_path):
    assert not re.search(r'(src|href)\s*=|@import|url\(|fetch\(|https?://', page(tmp_path, *SHELL).read_text())


# -- in a browser -----------------------------------------------------------------------------------

in_browser = [
    pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed (apt-get install chromium)"),
]  # fmt: skip


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


@pytest.fixture
def shell(chromium, tmp_path):
    """The page of SHELL."""
    return opened(chromium, page(tmp_path, *SHELL))


def opened(chromium: Browser, file) -> Browser:
    chromium.said.clear()
    chromium.open(file)
    chromium.settle()
    return chromium


def search(browser: Browser, text: str) -> None:
    browser.evaluate("document.querySelector('#search').focus()")
    browser.evaluate("document.querySelector('#search').select()")
    browser.type(text)
    browser.key("Enter")


def view(browser: Browser) -> tuple[float, float]:
    return tuple(browser.evaluate("[int80.state.a, int80.state.b]"))


def lane_point(browser: Browser, lane: int, moment: float) -> tuple[float, float]:
    """Where in the window a lane is at a time in microseconds."""
    left, top, width = place(browser, "#lanes")
    a, b = view(browser)
    return left + (moment - a) / (b - a) * width, top + lane * 46 + 28


def place(browser: Browser, selector: str) -> tuple[float, float, float]:
    return browser.evaluate(f"(box => [box.x, box.y, box.width])(document.querySelector('{selector}').getBoundingClientRect())")


class TestInABrowser:
    pytestmark = in_browser

    def test_the_header_says_what_was_traced_and_counts(self, shell):
        assert shell.text("#command") == "sh -c cat /none"
        assert [shell.text(f"#{name}") for name in ("calls", "failures", "processes", "tasks")] == [
            "calls10", "error1", "processes2", "tasks3",
        ]  # fmt: skip
        assert shell.text("#duration") == "101 ms"
        assert shell.evaluate("document.title") == "sh -c cat /none · int80 trace"

    def test_it_asks_for_nothing_and_complains_of_nothing(self, shell):
        assert len(shell.asked) == 1
        assert shell.said == []

    def test_the_log_reads_as_the_lines_do(self, shell):
        rows = shell.evaluate("[...document.querySelectorAll('.row .call')].map(row => row.textContent)")
        assert rows[0] == 'execve("/bin/sh", ["sh"], 0x7ff /* 3 vars */) = 0'
        assert 'openat(AT_FDCWD, "/none", O_RDONLY) = -1 ENOENT (text)' in rows
        assert "--- SIGCHLD {si_signo=SIGCHLD} ---" in rows and rows[-1] == "+++ exited with 3 +++"

    def test_a_search_finds_text_across_arguments_and_goes_from_hit_to_hit(self, shell):
        search(shell, "EXIT")
        assert shell.text("#found") == "1 of 6"  # exit_group twice, three ends, WIFEXITED
        shell.key("Enter")
        assert shell.text("#found") == "2 of 6"
        shell.key("Enter", SHIFT)
        shell.key("Enter", SHIFT)
        assert shell.text("#found") == "6 of 6"
        assert shell.text("#pin .call") == "+++ exited with 3 +++"

    def test_a_search_in_vain_says_so(self, shell):
        search(shell, "nowhere to be found")
        assert shell.text("#found") == "none"

    def test_a_class_can_be_left_out_and_looked_at_alone(self, shell):
        shell.click_on('[data-group="event"]')
        assert shell.text("#shown") == "10 of 14 shown"
        shell.click_on('[data-group="file"]', ALT)
        assert shell.text("#shown").startswith("1 of ")
        shell.click_on('[data-group="file"]', ALT)
        assert shell.text("#shown") == ""

    def test_errors_only_leaves_the_failures(self, shell):
        shell.key("e")
        assert shell.text("#shown").startswith("1 of ")
        assert "ENOENT" in shell.text(".row")
        shell.key("e")
        assert shell.text("#shown") == ""

    def test_a_click_on_a_name_shows_that_process_with_its_threads(self, shell):
        shell.click_on(".label")
        names = shell.evaluate("[...document.querySelectorAll('.label')].map(label => label.textContent)")
        assert names == ["sh10exit 3", "thread12"]
        shell.click_on(".label")
        assert shell.evaluate("document.querySelectorAll('.label').length") == 3

    def test_hovering_shows_the_call_and_leaving_hides_it(self, shell):
        shell.mouse("Moved", *lane_point(shell, 1, 30_250))
        assert shell.text("#tip .call").startswith('openat(AT_FDCWD, "/none"')
        assert shell.text("#tip .quiet") == "0.030000 s  ·  500 µs  ·  cat 11"
        shell.mouse("Moved", 5, 5)
        assert shell.evaluate("document.querySelector('#tip').hidden")

    def test_a_click_keeps_a_call_and_escape_lets_it_go(self, shell):
        shell.click(*lane_point(shell, 0, 25_000))
        assert shell.text("#pin .call").startswith("wait4(-1")
        assert "30 ms" in shell.text("#pin dl")
        shell.key("Escape")
        assert "Click a call" in shell.text("#pin")

    def test_arrows_go_from_call_to_call_and_brackets_within_a_task(self, shell):
        shell.key("Escape")
        for _ in range(3):
            shell.key("ArrowDown")
        assert shell.text("#pin .call").startswith("wait4(")
        shell.key("]")
        assert shell.text("#pin .call").startswith("--- SIGCHLD")
        shell.key("ArrowUp")
        assert shell.text("#pin .call") == "+++ exited with 1 +++"
        shell.key("}")
        assert shell.text("#pin .call").startswith("openat(")

    def test_keys_zoom_and_pan_and_show_the_whole_again(self, shell):
        whole = view(shell)
        shell.key("+")
        closer = view(shell)
        assert closer[1] - closer[0] == pytest.approx((whole[1] - whole[0]) * 0.6)
        shell.key("ArrowRight")
        assert view(shell)[0] > closer[0] and view(shell)[1] - view(shell)[0] == pytest.approx(closer[1] - closer[0])
        shell.key("0")
        assert view(shell) == pytest.approx(whole)

    def test_the_wheel_zooms_at_the_pointer_and_dragging_pans(self, shell):
        x, y = lane_point(shell, 1, 30_250)
        before = view(shell)
        shell.mouse("Wheel", x, y, deltaX=0, deltaY=-200)
        shell.settle()
        closer = view(shell)
        assert closer[1] - closer[0] < before[1] - before[0]
        assert lane_point(shell, 1, 30_250)[0] == pytest.approx(x, abs=2)
        shell.mouse("Pressed", x, y, button="left", clickCount=1)
        shell.mouse("Moved", x + 100, y, button="left", buttons=1)
        shell.mouse("Released", x + 100, y, button="left", clickCount=1)
        assert lane_point(shell, 1, 30_250)[0] == pytest.approx(x + 100, abs=2)

    def test_a_span_is_chosen_in_the_overview(self, shell):
        left, top, width = place(shell, "#overview")
        shell.mouse("Pressed", left + width * 0.25, top + 20, button="left", clickCount=1)
        shell.mouse("Moved", left + width * 0.4, top + 20, button="left", buttons=1)
        shell.mouse("Moved", left + width * 0.5, top + 20, button="left", buttons=1)
        shell.mouse("Released", left + width * 0.5, top + 20, button="left", clickCount=1)
        assert view(shell) == pytest.approx((101_000 * 0.25, 101_000 * 0.5), rel=0.02)

    def test_dark_and_light_follow_the_reader(self, shell):
        shades = []
        for scheme in ("light", "dark"):
            shell.scheme(scheme)
            shades.append(shell.evaluate("getComputedStyle(document.body).backgroundColor"))
        shell.scheme("light")
        assert shades == ["rgb(255, 255, 255)", "rgb(20, 24, 30)"]

    def test_what_a_program_wrote_is_text_and_not_markup(self, shell):
        search(shell, "</script><b>")
        assert shell.text("#found") == "1 of 1"
        assert shell.evaluate("document.querySelectorAll('#pin .call b').length") == 1  # the call's name

    def test_a_trace_without_events_opens(self, chromium, tmp_path):
        browser = opened(chromium, page(tmp_path))
        assert browser.text("#calls") == "calls0"
        browser.key("ArrowDown")
        assert browser.said == []

    def test_a_hundred_thousand_calls_can_be_searched_and_filtered(self, chromium, tmp_path):
        browser = opened(chromium, page(tmp_path, *many(100_000)))
        assert browser.text("#calls") == "calls100,000"
        search(browser, "/file/77777\"")
        assert browser.text("#found") == "1 of 1"
        assert '"/file/77777"' in browser.text("#pin .call") and '"/file/77777"' in browser.text(".row.pinned")
        browser.key("Escape")
        browser.evaluate("document.activeElement.blur()")
        browser.key("e")
        assert browser.text("#shown") == "1,000 of 100,025 shown"
        assert browser.said == []
        measured = browser.evaluate("""(async () => {
            document.getElementById("errors").click();
            const frames = [];
            for (let n = 0; n < 20; n++) {
                document.body.dispatchEvent(new KeyboardEvent("keydown", { key: n % 2 ? "-" : "+", bubbles: true }));
                await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
                frames.push(int80.frame);
            }
            return [int80.load, frames.sort((a, b) => a - b)[10], frames[19]];
        })()""")
        print("100,000 calls: loaded in {:.0f} ms, a frame takes {:.1f} ms, at most {:.1f} ms".format(*measured))


def many(calls: int):
    """Calls of 24 processes, of which one in a hundred fails."""
    yield Born(BEGIN, 100, 100, 0, "command")
    yield Executed(BEGIN, 100, 100, "/usr/bin/make")
    for tid in range(101, 124):
        yield Born(BEGIN, tid, tid, 100, "fork")
    names = ("openat", "read", "mmap", "close", "sendto", "futex", "rt_sigaction", "wait4")
    for n in range(calls):
        more = {"value": -2, "error": "ENOENT"} if n % 100 == 0 else {"value": n % 9}
        yield call(names[n % 8], "AT_FDCWD", f'"/file/{n}"', at=n * 2e-5, took=(n % 17) * 1e-5, tid=100 + n % 24, **more)
    yield Signal(BEGIN + 2, 100, "SIGCHLD", "{}")
    for tid in range(100, 124):
        yield Ended(BEGIN + 2.5, tid, tid, 0, None)


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed (apt-get install chromium)")
def test_the_command_writes_a_page_that_opens(int80, chromium, tmp_path):
    file = tmp_path / "page.html"
    command = [*int80, "trace", "--html", str(file), "sh", "-c", "cat /none; exit 3"]
    done = subprocess.run(command, capture_output=True, timeout=60)
    assert done.returncode == 3
    browser = opened(chromium, file)
    assert browser.text("#processes") == "processes2"
    search(browser, '"/none"')
    assert "of" in browser.text("#found")
    assert browser.said == []

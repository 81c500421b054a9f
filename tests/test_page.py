"""Laws of the page as it is built: languages, settings, what is private; no browser."""

import re
import string
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import gradio as gr
import pytest

from app.errors import BadInput
from app.live.server import LiveServer
from app.types.turn import TALKER_SAMPLING, FileInput, TextInput, TurnInput, TurnSettings
from components.page import build_page
from components.pages import PageState
from components.settings import SOUNDS, AnswerControls, build_advanced, build_sound, build_speak, settings_from
from components.tabs import turn_input
from components.texts import LANGUAGES, REGIONS, Texts, i18n
from components.tray import tray_html
from tests.fake_engine import fake_service
from tests.test_carry import CHOSEN

ROOT = Path(__file__).parents[1]


def fields_of(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory):
    service = fake_service(tmp_path_factory.mktemp("data"), loading_s=0.0)
    yield build_page(service, probe=lambda path: None, live=LiveServer(service))
    service.close()


@pytest.mark.parametrize("language", ["zh", "ru"])
def test_every_language_has_every_sentence_with_the_same_figures(language: str):
    english, other = LANGUAGES["en"], LANGUAGES[language]
    assert set(english) == set(other), set(english) ^ set(other)
    for key, text in english.items():
        assert fields_of(text) == fields_of(other[key]), key
        assert other[key].strip(), key


def test_every_sentence_that_the_page_names_exists():
    named = set()
    for path in (ROOT / "components").glob("*.py"):
        named |= set(re.findall(r'(?:i18n|texts|self\.texts)\("([a-z_0-9]+)"', path.read_text(encoding="utf-8")))
    assert named and named <= set(LANGUAGES["en"]), named - set(LANGUAGES["en"])


def test_labels_are_translated_for_every_region():
    assert set(i18n.translations) == {region for regions in REGIONS.values() for region in regions}


@pytest.mark.parametrize(
    ("language", "shown"), [("en", "1,234,567"), ("zh", "1,234,567"), ("ru", "1\u202f234\u202f567")]
)
def test_figures_are_written_as_the_language_does(language: str, shown: str):
    assert Texts(language).count(1_234_567) == shown


def test_the_page_builds_and_keeps_its_events_to_itself(demo):
    events = demo.fns.values()
    assert len(events) > 10
    public = [event.name for event in events if event.api_visibility == "public"]
    assert not public, public


def test_no_event_of_the_page_waits_for_another_tab(demo):
    # A leaving page is not queued at all.
    queued = [event for event in demo.fns.values() if event.queue and event.fn is not None and event.name != "leave"]
    bounded = [event.name for event in queued if event.concurrency_limit is not None]
    assert not bounded, bounded


def test_nothing_on_the_page_comes_from_elsewhere(demo):
    from components.style import launch_options

    options = launch_options()
    addresses = re.findall(r"https?://[^\s'\")]+", str(options["head"]) + options["theme"]._get_theme_css())
    assert set(addresses) <= {"http://www.w3.org/2000/svg"}, set(addresses)
    assert options["theme"]._font_css == [] or not "".join(map(str, options["theme"]._font_css)).strip()


@pytest.fixture(scope="module")
def answer() -> AnswerControls:
    with gr.Blocks():
        return build_advanced(build_speak(), build_sound(TurnSettings()), TurnSettings())


@pytest.mark.parametrize("settings", [TurnSettings(), CHOSEN], ids=["default", "chosen"])
def test_widgets_that_show_settings_ask_for_them(answer: AnswerControls, settings: TurnSettings):
    shown = answer.shown(settings)
    assert set(shown) == set(answer.outputs)
    assert settings_from(settings.voice, [shown[widget] for widget in answer.all]) == settings


def test_the_sound_is_named_where_the_settings_are_one_of_its_choices(answer: AnswerControls):
    for name, (ode_points, guidance) in SOUNDS.items():
        assert answer.shown(TurnSettings(ode_points=ode_points, guidance=guidance))[answer.sound] == name
    assert answer.shown(TurnSettings(ode_points=17))[answer.sound] is None


def test_what_a_slider_does_not_reach_is_shown_at_its_end(answer: AnswerControls):
    wide = replace(TALKER_SAMPLING, temperature=9.0, top_k=10**400, top_p=0.001, max_new_tokens=10**6)
    shown = answer.shown(TurnSettings(ode_points=100, guidance=10.0, talker=wide))
    assert (shown[answer.ode_points], shown[answer.guidance]) == (50, 3.0)
    stage = answer.talker
    figures = [shown[widget] for widget in (stage.temperature, stage.top_k, stage.top_p, stage.max_new_tokens)]
    assert figures == [2.0, 200, 0.05, 8192]


@pytest.mark.parametrize("seed", ["-1", "1.5", "x", "99999999999"])
def test_an_odd_seed_is_refused(answer: AnswerControls, seed: str):
    shown = answer.shown(TurnSettings()) | {answer.seed: seed}
    with pytest.raises(BadInput):
        settings_from(None, [shown[widget] for widget in answer.all])


def test_a_turn_holds_what_was_attached_and_then_the_text_as_typed():
    captured = (["/u/a.png", "/u/b.wav"], "/u/clip.webm", "/u/shot.jpg", "/u/voice.wav")
    sent = turn_input(" hello ", captured, False)
    files = [FileInput(Path("/u/a.png")), FileInput(Path("/u/b.wav")), FileInput(Path("/u/clip.webm"), "video")]
    files += [FileInput(Path("/u/shot.jpg"), "image"), FileInput(Path("/u/voice.wav"), "audio")]
    assert sent == TurnInput((*files, TextInput(" hello ")), use_video_sound=False)


def test_a_bad_attachment_says_so_in_its_place():
    def probe(path: Path):
        raise BadInput("The file cannot be read: send another one.")

    tray = tray_html(turn_input("", (["/u/<x>.png"], None, None, None), True), probe, lambda: None, Texts("en"))
    assert "The file cannot be read" in tray and "&lt;x&gt;.png" in tray


def test_generations_only_grow_and_late_reports_find_their_turn():
    state = PageState("s")
    for turn in range(1, 20):
        state = state.begin(turn)
        assert dict(state.turns)[state.generation] == turn
    assert state.generation == 19 and len(state.turns) < 19


def test_importing_the_launcher_does_nothing_and_needs_no_gradio():
    code = "import sys, launch_demo; print('gradio' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False", run.stdout


def test_an_impossible_flag_ends_with_one_sentence():
    run = subprocess.run(
        [sys.executable, "launch_demo.py", "--dtype", "int1"], cwd=ROOT, capture_output=True, text=True
    )
    assert run.returncode == 2 and run.stderr.strip().count("\n") == 0, run.stderr


def test_a_data_folder_that_holds_something_else_ends_with_one_sentence_and_is_left_as_it_is(tmp_path):
    store = tmp_path / "conversations.sqlite3"
    store.write_text("no database")
    run = subprocess.run(
        [sys.executable, "launch_demo.py", "--data-dir", str(tmp_path)], cwd=ROOT, capture_output=True, text=True
    )
    assert run.returncode == 2 and run.stderr.strip().count("\n") == 0 and store.name in run.stderr, run.stderr
    assert store.read_text() == "no database"

"""Every sentence that the program says in English and the page shows has a translation, which changes no value."""

import ast
import html
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from string import Formatter
from types import SimpleNamespace

import gradio as gr
import pytest

import app.errors
from app.errors import BadInput
from app.media.decode import _NOUNS
from app.media.source import ACCEPTED
from app.types.turn import FileInput, TurnInput
from components.banner import banner_html
from components.coming import Coming
from components.live_talk import LiveTalk
from components.pages import PageState
from components.recalling import Recalling
from components.refusal import refused
from components.texts import LANGUAGES, TRANSLATORS, Texts
from components.texts.sentences import Template, parsed
from components.tray import tray_html
from components.voices import build_voices

ROOT = Path(__file__).resolve().parent.parent
# Modules whose errors never reach the page, and why.
ELSEWHERE = {
    "app/config.py": "the flags are checked before there is a page",
    "app/flags.py": "the flags are read before there is a page",
    "app/cli.py": "the command line has no page",
    "app/messages.py": "only the command line reads messages from a file",
    "app/live/protocol.py": "what the page's own script sends makes sense; others read the socket in English",
}
# Arguments that pass a sentence on: it was collected where it was made, or is in the page's language already.
PASSED_ON = re.compile(r"(error|event)\.message|texts\('\w+'\)|trouble")
# Holes that hold a number though their format does not say so.
NUMBERS = re.compile(r"len\(.*\)|num_\w+( - 1)?|(limits\.max|_?MAX|_?MIN)_\w+.*|VERSION|width|height", re.IGNORECASE)
TRANSLATED = sorted(set(LANGUAGES) - {"en"})
ENGLISH = {entry: parsed(entry) for entry in TRANSLATORS["ru"].sentences}
# What may stand in a file's name or an error of the system.
NASTY = (
    '"photo.png"',
    '"{0} {} {n} {subject} {{"',
    r'"(.*) [a-z]+ \d $ ^ | ? \\1"',
    '"<b>&amp;</b>"',
    "two\nlines",
    '"a has 1 MB and at most 2 MB can be sent; cut or compress it first."',
    '"b is empty; record or export it again."',
    '"c has frames of 5 x 6 pixels"',
    '"The picture" or "drop the oldest turn"',
    "12,345.6",
    "",
)


@dataclass(frozen=True)
class Said:
    """A sentence in the code: its fixed text, and the expressions in its holes with their formats."""

    fixed: tuple[str, ...]
    holes: tuple[tuple[str, str], ...]
    place: str


def error_classes(trees: Iterable[ast.Module]) -> set[str]:
    known = {"DemoError", "TurnFailed"}
    classes = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    while more := {one.name for one in classes for base in one.bases if ast.unparse(base) in known} - known:
        known |= more
    return known


def template_of(node: ast.expr) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]] | None:
    """Fixed text and holes of a string, an f-string or a sum of them; None for all else."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return (node.value,), ()
    if isinstance(node, ast.JoinedStr):
        fixed, holes = [""], []
        for piece in node.values:
            if isinstance(piece, ast.Constant):
                fixed[-1] += piece.value
            else:
                spec = "" if piece.format_spec is None else ast.unparse(piece.format_spec)
                holes.append((ast.unparse(piece.value), spec))
                fixed.append("")
        return tuple(fixed), tuple(holes)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = template_of(node.left), template_of(node.right)
        if left is not None and right is not None:
            return (*left[0][:-1], left[0][-1] + right[0][0], *right[0][1:]), left[1] + right[1]
    return None


def sentences_in(argument: ast.expr, tree: ast.Module, place: str) -> Iterator[Said]:
    """What an error's argument may say. Fails where that cannot be seen."""
    if PASSED_ON.fullmatch(ast.unparse(argument)):
        return
    if (found := template_of(argument)) is not None:
        yield Said(*found, place)
    elif isinstance(argument, ast.BoolOp | ast.IfExp):
        values = argument.values if isinstance(argument, ast.BoolOp) else [argument.body, argument.orelse]
        for value in values:
            yield from sentences_in(value, tree, place)
    elif ast.unparse(argument).startswith("getattr(event, 'message', "):
        yield from sentences_in(argument.args[2], tree, place)
    else:
        name = argument.attr if isinstance(argument, ast.Attribute) else getattr(argument, "id", None)
        values = list(assigned(tree, name))
        assert values, f"{place}: nobody sees what {ast.unparse(argument)} says; let it be a string where it is raised"
        for value in values:
            if not (isinstance(value, ast.Constant) and value.value == ""):
                yield from sentences_in(value, tree, place)


def assigned(tree: ast.AST, name: str | None) -> Iterator[ast.expr]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and any(ast.unparse(target) == name for target in node.targets):
            yield node.value


def said_by_code() -> list[Said]:
    paths = sorted(path for folder in ("app", "components") for path in (ROOT / folder).rglob("*.py"))
    trees = {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text(encoding="utf-8")) for path in paths}
    classes = error_classes(trees.values())
    found = []
    for name, tree in trees.items():
        if name in ELSEWHERE:
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in classes:
                # The message of a TurnFailed comes behind its turn and time.
                arguments = [*node.args, *(keyword.value for keyword in node.keywords)]
                place = 2 if ast.unparse(node.func) == "TurnFailed" else 0
                found += sentences_in(arguments[place], tree, f"{name}:{node.lineno}")
    return found


SAID = said_by_code()


def test_the_code_says_something_and_every_class_of_error_is_looked_at():
    assert len(SAID) > 100
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in (ROOT / "app").rglob("*.py")]
    known = error_classes(trees)
    assert {name for name, kind in vars(app.errors).items() if isinstance(kind, type)} <= known
    assert {"Unexpected", "StorageFailed"} <= known
    assert all((ROOT / name).is_file() for name in ELSEWHERE), ELSEWHERE


def holes_of(translation: str) -> list[str]:
    return sorted(name for _, name, _, _ in Formatter().parse(translation) if name is not None)


@pytest.mark.parametrize("language", TRANSLATED)
def test_every_sentence_that_can_reach_the_page_has_a_translation(language: str):
    known = {parsed(entry).fixed for entry in TRANSLATORS[language].sentences}
    missing = {said.place: "{}".join(said.fixed) for said in SAID if said.fixed not in known}
    assert not missing, missing


@pytest.mark.parametrize("language", TRANSLATED)
def test_no_translation_is_left_of_a_sentence_that_nobody_says(language: str):
    fixed = {said.fixed for said in SAID}
    left = [entry for entry in TRANSLATORS[language].sentences if parsed(entry).fixed not in fixed]
    assert not left, left


def test_every_language_knows_the_same_templates():
    for language in TRANSLATED:
        translator = TRANSLATORS[language]
        assert list(translator.sentences) == list(ENGLISH), language
        assert {name: list(words) for name, words in translator.words.items()} == {
            name: list(words) for name, words in TRANSLATORS["ru"].words.items()
        }, language


def test_what_is_taken_for_a_number_is_one():
    templates = {template.fixed: template for template in ENGLISH.values()}
    for said in SAID:
        for hole, (expression, spec) in zip(templates[said.fixed].holes, said.holes, strict=True):
            is_number = bool(spec) or NUMBERS.fullmatch(expression) is not None
            if expression.isupper() and hole in TRANSLATORS["ru"].words:
                continue
            assert (hole == "n") == is_number, (said.place, expression, spec, hole)


@pytest.mark.parametrize("language", TRANSLATED)
def test_a_translation_has_exactly_the_holes_of_its_template(language: str):
    translator = TRANSLATORS[language]
    for catalogue in (translator.sentences, *translator.words.values()):
        for entry, translation in catalogue.items():
            assert holes_of(translation) == [str(place) for place in range(len(parsed(entry).holes))], entry
            assert translation.strip(), entry


# -- words that are translated within a sentence ----------------------------------------------------------------------


def strings(node: ast.AST) -> set[str]:
    """All that strings and f-strings in it say, the holes as `{}`."""
    if (found := template_of(node)) is not None:
        return {"{}".join(found[0])}
    return set().union(*(strings(child) for child in ast.iter_child_nodes(node)))


def tree_of(path: str) -> ast.Module:
    return ast.parse((ROOT / path).read_text(encoding="utf-8"))


def body_of(path: str, name: str) -> ast.Module:
    """A function without its docstring."""
    found = next(n for n in ast.walk(tree_of(path)) if isinstance(n, ast.FunctionDef) and n.name == name)
    has_docstring = ast.get_docstring(found) is not None
    return ast.Module(found.body[has_docstring:], [])


def given_to(path: str, name: str, place: int) -> set[str]:
    """The strings that a function gets as its argument `place`."""
    calls = (node for node in ast.walk(tree_of(path)) if isinstance(node, ast.Call))
    arguments = (call.args[place] for call in calls if ast.unparse(call.func).endswith(name) and len(call.args) > place)
    return set().union(*map(strings, arguments))


def defaults_of(path: str, name: str) -> set[str]:
    function = next(n for n in ast.walk(tree_of(path)) if isinstance(n, ast.FunctionDef) and n.name == name)
    return set().union(*map(strings, function.args.defaults))


def words_in_code() -> dict[str, set[str]]:
    """What the code can put into each kind of hole, its own holes as `{}`."""
    fit, settings = "app/session/fit.py", "app/session/settings.py"
    loop = next(
        node for node in ast.walk(body_of("app/media/decode.py", "_check_seconds")) if isinstance(node, ast.For)
    )
    checks = next(assigned(body_of(settings, "_check_sampling"), "checks"))
    return {
        "cut": (strings(body_of(fit, "_cuts")) | strings(body_of(fit, "_shorter"))) - {"", " or "},
        "size": strings(body_of(fit, "_size")),
        "kind": set(_NOUNS.values()),
        "kinds": strings(loop.iter),
        "lasts": set().union(*map(strings, assigned(body_of("app/media/audio.py", "too_long"), "lasts"))),
        "subject": given_to("app/media/video.py", "fitted_size", 5)
        | defaults_of("app/media/image.py", "fit_image")
        | strings(body_of("app/media/source.py", "shown_name").body[-1].value.body),
        "accepted": {ACCEPTED},
        "setting": set().union(*map(strings, checks.keys)),
        "stage": given_to(settings, "_check_sampling", 1),
        "deed": given_to("app/session/session.py", "refuse_if_busy", 0),
        "busy": set().union(*map(strings, assigned(body_of("app/session/core.py", "new_turn"), "what"))),
    }


@pytest.mark.parametrize("language", TRANSLATED)
def test_words_within_a_sentence_are_those_that_the_code_says(language: str):
    words = TRANSLATORS[language].words
    known = {name: {"{}".join(parsed(entry).fixed) for entry in catalogue} for name, catalogue in words.items()}
    assert known.pop("cuts") == {"{} or {}", "{}"}  # how `_cuts` joins them
    assert known == words_in_code()


# -- there and back ---------------------------------------------------------------------------------------------------


def filled(template: Template, values: Iterable[str]) -> str:
    first, *rest = template.fixed
    return first + "".join(value + fixed for value, fixed in zip(values, rest, strict=True))


def sample(hole: str, words: dict) -> list[str]:
    """Values of a hole, by its kind."""
    if hole == "n":
        return ["12", "1,234", "0.5", "1e+06"]
    if hole == "":
        return ["x"]
    entries = (parsed(entry) for entry in words[hole])
    return [filled(entry, (sample(inner, words)[0] for inner in entry.holes)) for entry in entries]


@pytest.mark.parametrize("language", TRANSLATED)
@pytest.mark.parametrize("entry", ENGLISH)
def test_every_value_is_found_again_in_the_translation(language: str, entry: str):
    template, translator, texts = ENGLISH[entry], TRANSLATORS[language], Texts(language)
    plain = [sample(hole, translator.words)[0] for hole in template.holes]
    for place, hole in enumerate(template.holes or [None]):
        # Nobody can tell where a value ends that has in it the text which stands before it.
        before = template.fixed[1 : place + 1]
        values = [] if hole is None else [*NASTY] if hole == "" else sample(hole, translator.words)
        if hole == "" and place == 0:
            values.append(filled(template, plain))
        for value in [one for one in values if not any(text in one for text in before)] or [None]:
            given = list(plain)
            if value is not None:
                given[place] = value
            message = filled(template, given)
            shown = texts.sentence(message)
            wanted = translator.sentences[entry].format(*map(translator.filled, template.holes, given))
            assert shown == wanted, (message, shown)
            assert hole != "" or value is None or value in shown, (message, shown)
            assert Texts("en").sentence(message) == message


@pytest.mark.parametrize("language", TRANSLATED)
def test_no_english_is_left_in_a_translation_but_names(language: str):
    """Flags, commands, the names of formats and of the model's parts stay as they are."""
    names = re.compile(
        r"--[\w-]+( int[48]| auto| cpu| graphs| flash_attention_2)?|`[^`]+`"
        r"|[\w./-]*(Qwen|spk_dict|requirements)[\w./-]*"
        r"|\b(auto|bos_token|torch\.save|safetensors|bitsandbytes|flash-attn|pip install -r|zip|x|Hub|[A-Z][\w.]*)\b"
    )
    translator = TRANSLATORS[language]
    for catalogue in (translator.sentences, *translator.words.values()):
        for entry, translation in catalogue.items():
            left = re.search(r"[A-Za-z]{2,}", names.sub("", re.sub(r"\{\d\}", "", translation)))
            assert left is None, (entry, translation, left)


@pytest.mark.parametrize("language", TRANSLATED)
def test_buttons_and_settings_are_named_as_the_page_names_them(language: str):
    labels = {re.sub(r"[«»“”]", "", label) for label in LANGUAGES[language].values()}
    translator = TRANSLATORS[language]
    named = {name for text in translator.sentences.values() for name in re.findall(r"[«“]([^«»“”{}]+)[»”]", text)}
    named |= {name for text in translator.words["cut"].values() for name in re.findall(r"[«“]([^»”]+)[»”]", text)}
    named |= {*translator.words["setting"].values(), *translator.words["stage"].values()}
    # What the two labels have in common.
    alike = {"Предел токенов": "Предел токенов текста", "词元上限": "文字词元上限"}
    missing = {name for name in named if alike.get(name, name) not in labels}
    assert not missing, missing


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(
    "message", ["", "Write something or add a file, then send.", "{0} {", '"a.png" is empty', "Ответ."]
)
def test_an_unknown_sentence_is_shown_as_it_is(language: str, message: str):
    assert Texts(language).sentence(message) == message


def test_russian_numbers_are_written_as_the_page_writes_them():
    message = (
        "The text has 1,234,567 characters and at most 100,000 can be sent; shorten it or send it in several messages."
    )
    shown = Texts("ru").sentence(message)
    assert "1\u202f234\u202f567," in shown and "100\u202f000;" in shown, shown
    shown = Texts("ru").sentence("The turn needs 1.5 GB of memory and 80.0 MB are free: send less at once.")
    assert "1,5 ГБ" in shown and "80,0 МБ" in shown and shown.endswith(": отправьте меньше за раз."), shown


def test_advice_is_a_choice_in_every_language():
    message = (
        "The turn needs 9,000 tokens behind 30,000 in the conversation and the model holds 32,768:"
        " drop the 3 oldest turns or shorten the video to 4 s."
    )
    assert Texts("ru").sentence(message).endswith("(ходов: 3) или сократите видео до 4 с.")
    assert Texts("zh").sentence(message).endswith("请忘掉最早的 3 轮，或把视频缩短到 4 秒。")


# -- where it is shown ------------------------------------------------------------------------------------------------

EMPTY = '"<i>.wav" is empty; record or export it again.'
EMPTY_RU = "&quot;&lt;i&gt;.wav&quot; — пустой файл; запишите или сохраните его заново."


def refuse(*_):
    raise BadInput(EMPTY)


def test_a_refusal_is_translated_and_then_escaped():
    page = SimpleNamespace(notice="notice", forget="forget")
    assert EMPTY_RU in refused(page, Texts("ru"), "bad_input", EMPTY)["notice"]


def test_the_banner_says_in_the_language_of_the_page_why_there_is_no_model():
    failure = BadInput("--device is cuda but this machine has none that PyTorch can use; choose --device cpu.")
    service = SimpleNamespace(ready=SimpleNamespace(is_set=lambda: True), failure=failure)
    assert "выберите --device cpu." in banner_html(service, Texts("ru"))
    assert "请选择 --device cpu。" in banner_html(service, Texts("zh"))


def test_the_tray_says_once_and_in_the_language_of_the_page_what_is_wrong(tmp_path: Path):
    turn_input = TurnInput((FileInput(tmp_path / "a.wav", None),))
    assert tray_html(turn_input, refuse, refuse, Texts("ru")).count(EMPTY_RU) == 1


def test_what_else_is_refused_is_said_in_the_language_of_the_page():
    """No page is opened, no list is shown, no live talk begins."""
    service = SimpleNamespace(default_settings=None, listed=refuse, transcript=refuse)
    page = SimpleNamespace(banner="banner")
    showing = SimpleNamespace(service=service, page=page, texts=lambda request: Texts("ru"), opened=refuse)
    request, state = SimpleNamespace(username=None), PageState("a")
    assert EMPTY_RU in Recalling(showing, None).look_back(state, "", request)
    (news,) = Coming(showing, None, None).open(None, None, state, request)
    assert EMPTY_RU in news["banner"]
    assert html.unescape(EMPTY_RU) in json.loads(LiveTalk(showing, None).ticket(request, state, "", ""))["error"]


def test_a_preview_that_fails_says_why_in_the_language_of_the_browser():
    def refuse_voice(voice: str):
        raise BadInput("The checkpoint made no sound for this voice: choose another one.")

    with gr.Blocks():
        picker = build_voices(refuse_voice)
    for header, wanted in {"ru": "выберите другой.", "zh-CN": "请选择另一个。", "fr": "choose another one."}.items():
        request = SimpleNamespace(headers={"accept-language": header})
        assert picker.listen.preview("Ethan", request)["message"].endswith(wanted), header

"""The settings of a turn as widgets, and back into `TurnSettings`; knows no session."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from app.errors import BadInput
from app.types.turn import Sampling, TurnSettings
from components.texts import i18n

MAX_SEED = 2**31 - 1
# Solver points and guidance of each choice; docs/performance.md has what the cheaper ones cost. The first is published.
SOUNDS = {"best": (10, 0.5), "balanced": (5, 0.5), "fastest": (3, 0.5)}
TAKE_SOUND_JS = f"(sound) => ({json.dumps(SOUNDS)})[sound]"
NAME_SOUND_JS = f"""(points, guidance) => {{
    const named = Object.entries({json.dumps(SOUNDS)}).find(([, at]) => at[0] === points && at[1] === guidance);
    return named ? named[0] : null;
}}"""


@dataclass(frozen=True)
class SamplingControls:
    """One stage's sampling; `all` in the order of the fields of `Sampling`."""

    do_sample: gr.Checkbox
    temperature: gr.Slider
    top_k: gr.Slider
    top_p: gr.Slider
    repetition_penalty: gr.Slider
    max_new_tokens: gr.Slider

    @property
    def all(self) -> list[gr.components.Component]:
        return [self.do_sample, self.temperature, self.top_k, self.top_p, self.repetition_penalty, self.max_new_tokens]


@dataclass(frozen=True)
class AnswerControls:
    """How the next turn is answered, the voice apart. `all` in the order that `settings_from` reads. `sound` names what
    `ode_points` and `guidance` are, or nothing where they are none of its choices; `sound_taken`: they have followed
    a choice. `vocoder` holds both, for a checkpoint whose vocoder solves something."""

    speak: gr.Checkbox
    sound: gr.Radio
    sound_taken: gr.events.Dependency
    seed: gr.Textbox
    ode_points: gr.Slider
    guidance: gr.Slider
    vocoder: gr.Accordion
    thinker: SamplingControls
    talker: SamplingControls

    @property
    def all(self) -> list[gr.components.Component]:
        return [self.speak, self.seed, self.ode_points, self.guidance, *self.thinker.all, *self.talker.all]

    @property
    def outputs(self) -> list[gr.components.Component]:
        return [self.sound, *self.all]

    def shown(self, settings: TurnSettings) -> dict[gr.components.Component, Any]:
        """Values of `outputs`; what a slider does not reach is shown at its end."""
        seed = "" if settings.seed is None else str(settings.seed)
        values = [settings.speak, seed, settings.ode_points, settings.guidance]
        values += [*vars(settings.thinker).values(), *vars(settings.talker).values()]
        within = {widget: _within(widget, value) for widget, value in zip(self.all, values, strict=True)}
        return {self.sound: sound_of(settings)} | within

    def shown_of_checkpoint(self, settings: TurnSettings) -> dict[gr.components.Component, Any]:
        """Those of `shown` on which checkpoints differ."""
        alike = (self.speak, self.seed)
        return {widget: value for widget, value in self.shown(settings).items() if widget not in alike}

    def without_solver(self) -> dict[gr.components.Component, Any]:
        return {self.sound: gr.Radio(visible=False), self.vocoder: gr.Accordion(visible=False)}


@dataclass(frozen=True)
class PromptControls:
    """`taken_back`: the default is in its place again."""

    text: gr.Textbox
    warning: gr.HTML
    reset: gr.Button
    taken_back: gr.events.Dependency


def build_speak() -> gr.Checkbox:
    return gr.Checkbox(True, label=i18n("speak"), info=i18n("speak_info"), elem_id="speak")


def build_sound(defaults: TurnSettings) -> gr.Radio:
    return gr.Radio(
        [(i18n(f"sound_{name}"), name) for name in SOUNDS],
        value=sound_of(defaults),
        label=i18n("sound"),
        info=i18n("sound_info"),
        elem_id="sound",
    )


def build_video_sound() -> gr.Checkbox:
    return gr.Checkbox(True, label=i18n("video_sound"), info=i18n("video_sound_info"), elem_id="video-sound")


def build_system_prompt(default: str) -> PromptControls:
    """The prompt with a warning that is there while it is not the default."""
    text = gr.Textbox(
        default,
        label=i18n("system_prompt"),
        info=i18n("system_prompt_info"),
        lines=4,
        max_lines=8,
        elem_id="system-prompt",
    )
    with gr.Column(visible=False, elem_id="system-prompt-changed") as changed:
        warning = gr.HTML(i18n("system_prompt_warning"), elem_classes="warning", apply_default_css=False)
        reset = gr.Button(i18n("system_prompt_reset"), size="sm", elem_id="system-prompt-reset")
    quiet = {"show_progress": "hidden", "api_visibility": "private", "queue": False}
    text.change(lambda prompt: gr.update(visible=prompt.strip() != default.strip()), text, changed, **quiet)
    taken_back = reset.click(lambda: default, None, text, **quiet)
    return PromptControls(text, warning, reset, taken_back)


def build_advanced(speak: gr.Checkbox, sound: gr.Radio, defaults: TurnSettings) -> AnswerControls:
    with gr.Accordion(i18n("advanced"), open=False, elem_id="advanced"):
        # A number field would show an empty seed as 0, and send it.
        seed = gr.Textbox("", label=i18n("seed"), info=i18n("seed_info"), max_length=10, max_lines=1, elem_id="seed")
        thinker = _build_sampling("thinker", defaults.thinker, "max_text_tokens", 4096)
        talker = _build_sampling("talker", defaults.talker, "max_codec_tokens", 8192)
        with gr.Accordion(i18n("vocoder"), open=False, elem_classes="stage") as vocoder:
            ode_points = gr.Slider(
                2,
                50,
                defaults.ode_points,
                step=1,
                label=i18n("ode_points"),
                info=i18n("ode_points_info"),
                elem_id="ode-points",
            )
            guidance = gr.Slider(
                0.0,
                3.0,
                defaults.guidance,
                step=0.05,
                label=i18n("guidance"),
                info=i18n("guidance_info"),
                elem_id="guidance",
            )
    # In the browser alone, so that a message that is sent at once has what was chosen. A choice moves the sliders, and
    # a slider that is moved names the choice or takes it away.
    alone = {"show_progress": "hidden", "api_visibility": "private", "queue": False}
    sound_taken = sound.input(None, sound, [ode_points, guidance], js=TAKE_SOUND_JS, **alone)
    for slider in (ode_points, guidance):
        slider.change(None, [ode_points, guidance], sound, js=NAME_SOUND_JS, **alone)
    return AnswerControls(speak, sound, sound_taken, seed, ode_points, guidance, vocoder, thinker, talker)


def _build_sampling(stage: str, defaults: Sampling, limit: str, most: int) -> SamplingControls:
    with gr.Accordion(i18n(stage), open=False, elem_classes="stage"):
        return SamplingControls(
            gr.Checkbox(
                defaults.do_sample, label=i18n("do_sample"), info=i18n("do_sample_info"), elem_id=f"{stage}-do-sample"
            ),
            gr.Slider(
                0.05, 2.0, defaults.temperature, step=0.05, label=i18n("temperature"), elem_id=f"{stage}-temperature"
            ),
            gr.Slider(
                0, 200, defaults.top_k, step=1, label=i18n("top_k"), info=i18n("top_k_info"), elem_id=f"{stage}-top-k"
            ),
            gr.Slider(
                0.05,
                1.0,
                defaults.top_p,
                step=0.05,
                label=i18n("top_p"),
                info=i18n("top_p_info"),
                elem_id=f"{stage}-top-p",
            ),
            gr.Slider(
                1.0,
                2.0,
                defaults.repetition_penalty,
                step=0.01,
                label=i18n("repetition_penalty"),
                elem_id=f"{stage}-repetition-penalty",
            ),
            gr.Slider(1, most, defaults.max_new_tokens, step=1, label=i18n(limit), elem_id=f"{stage}-max-new-tokens"),
        )


def _within(widget: gr.components.Component, value: Any) -> Any:
    return min(max(value, widget.minimum), widget.maximum) if isinstance(widget, gr.Slider) else value


def sound_of(settings: TurnSettings) -> str | None:
    """Which of `SOUNDS` it is, None for none."""
    asked = (settings.ode_points, settings.guidance)
    return next((name for name, sound in SOUNDS.items() if sound == asked), None)


def settings_from(voice: str | None, values: Sequence[Any]) -> TurnSettings:
    """The settings that a voice and the values of `AnswerControls.all` ask for; raises `BadInput` for an odd seed."""
    speak, seed, ode_points, guidance, *sampling = values
    middle = len(sampling) // 2
    return TurnSettings(
        voice=voice or "",
        speak=bool(speak),
        thinker=_sampling(sampling[:middle]),
        talker=_sampling(sampling[middle:]),
        seed=_seed(seed),
        ode_points=int(ode_points),
        guidance=float(guidance),
    )


def _seed(text: str | None) -> int | None:
    if not (text or "").strip():
        return None
    try:
        seed = int(text)
    except ValueError:
        seed = -1
    if not 0 <= seed <= MAX_SEED:
        raise BadInput(f"The seed must be a whole number from 0 to {MAX_SEED}, or empty.")
    return seed


def _sampling(values: Sequence[Any]) -> Sampling:
    do_sample, temperature, top_k, top_p, repetition_penalty, max_new_tokens = values
    return Sampling(
        bool(do_sample), float(temperature), int(top_k), float(top_p), float(repetition_penalty), int(max_new_tokens)
    )

"""The live tab: a microphone that listens all the time, a camera if one likes; knows no socket and no model.

The browser's part is assets/js/live*.js. Its component's value is a ticket `{"path", "ticket"}` or `{"error"}`; its
events are `ticket` (one is wanted), `turn` (a message is over and this turn answers it) and `cut` (a reply was spoken
over, so that its record is shorter now).
"""

import html
import json
from pathlib import Path
from typing import Any

import gradio as gr

ASSETS = Path(__file__).resolve().parent.parent / "assets"
SCRIPTS = ("player_resampler.js", "live_microphone.js", "live_camera.js", "language.js", "live.js")
LABELS = {
    "en": {
        "start": "Start talking",
        "stop": "Stop listening",
        "state_off": "Talk as with a person: it hears you while you speak, and you may interrupt it.",
        "state_opening": "Connecting…",
        "state_listening": "Listening",
        "state_hearing": "Hearing you",
        "state_thinking": "Thinking",
        "state_speaking": "Speaking. Talk to interrupt.",
        "tokens": "{number} tokens heard so far",
        "underruns": "Gaps in the sound: {number}",
        "level": "Level of your microphone",
        "camera": "Camera",
        "hands": "Hands-free",
        "hold": "Hold to talk",
        "silence": "Silence that ends a message (ms)",
        "echo": "Echo cancellation",
        "noise": "Noise suppression",
        "gain": "Automatic gain",
        "more": "Options",
        "hint": "Headphones keep it from hearing itself.",
        "sent": "Pictures sent",
        "refused": "The browser may not use the microphone: allow it beside the page's address, then start again.",
        "no_microphone": "No microphone was found: connect one, then start again.",
        "no_camera": "The camera cannot be used: connect or allow one, then switch it on again.",
        "lost": "The connection is lost: start again.",
    },
    "zh": {
        "start": "开始对话",
        "stop": "停止聆听",
        "state_off": "像与人交谈一样：你说话时它就在听，你也可以随时打断它。",
        "state_opening": "正在连接…",
        "state_listening": "正在聆听",
        "state_hearing": "听到你说话",
        "state_thinking": "思考中",
        "state_speaking": "正在说话，开口即可打断",
        "tokens": "已听到 {number} 个 token",
        "underruns": "播放中断：{number}",
        "level": "麦克风音量",
        "camera": "摄像头",
        "hands": "免按键",
        "hold": "按住说话",
        "silence": "结束一句话的静音（毫秒）",
        "echo": "回声消除",
        "noise": "降噪",
        "gain": "自动增益",
        "more": "选项",
        "hint": "戴上耳机，它就不会听到自己的声音。",
        "sent": "已发送的画面",
        "refused": "浏览器未获准使用麦克风：请在地址栏旁允许，然后重新开始。",
        "no_microphone": "未找到麦克风：请连接后重新开始。",
        "no_camera": "无法使用摄像头：请连接或允许使用，然后重新打开。",
        "lost": "连接已断开：请重新开始。",
    },
    "ru": {
        "start": "Начать разговор",
        "stop": "Больше не слушать",
        "state_off": "Говорите как с человеком: модель слушает, пока вы говорите, и её можно перебить.",
        "state_opening": "Соединение…",
        "state_listening": "Слушает",
        "state_hearing": "Слышит вас",
        "state_thinking": "Думает",
        "state_speaking": "Говорит. Чтобы перебить, начните говорить.",
        "tokens": "услышано токенов: {number}",
        "underruns": "провалов звука: {number}",
        "level": "Громкость микрофона",
        "camera": "Камера",
        "hands": "Без кнопки",
        "hold": "Удерживайте и говорите",
        "silence": "Тишина, которая завершает фразу (мс)",
        "echo": "Подавление эха",
        "noise": "Шумоподавление",
        "gain": "Автоусиление",
        "more": "Параметры",
        "hint": "С наушниками модель не услышит саму себя.",
        "sent": "Отправленные кадры",
        "refused": "Браузеру нельзя использовать микрофон: разрешите это рядом с адресом страницы и начните снова.",
        "no_microphone": "Микрофон не найден: подключите его и начните снова.",
        "no_camera": "Камеру нельзя использовать: подключите или разрешите её и включите снова.",
        "lost": "Соединение потеряно: начните снова.",
    },
}
TEMPLATE = """
<div class="live-talk" data-state="off" data-translations="{translations}">
<div class="live-row"><button type="button" class="live-toggle" aria-pressed="false"></button>
<span class="live-state" role="status" aria-live="polite"></span><span class="live-tokens"></span>
<span class="live-underruns"></span></div>
<meter class="live-level" min="0" max="1" low="0.02" high="0.9" optimum="0.5" value="0"></meter>
<button type="button" class="live-hold" data-word="hold" hidden></button>
<div class="live-row live-choices">
<label><input type="checkbox" class="live-hands" checked><span data-word="hands"></span></label>
<label><input type="checkbox" class="live-camera"><span data-word="camera"></span></label>
<span class="live-hint" data-word="hint"></span></div>
<div class="live-seen"><video class="live-video" muted playsinline></video>
<div><span class="live-sent" data-word="sent"></span><div class="live-shots"></div></div></div>
<details><summary data-word="more"></summary><div class="live-row live-choices">
<label><span data-word="silence"></span>
<input type="number" class="live-silence" min="200" max="3000" step="50" value="600"></label>
<label><input type="checkbox" class="live-echo" checked><span data-word="echo"></span></label>
<label><input type="checkbox" class="live-noise" checked><span data-word="noise"></span></label>
<label><input type="checkbox" class="live-gain" checked><span data-word="gain"></span></label></div></details>
<p class="live-error" role="alert"></p></div>
"""


def build_live() -> gr.HTML:
    """The component; it must stay in the page, since the talk goes on while another tab is looked at."""
    source = [(ASSETS / "js" / name).read_text(encoding="utf-8") for name in SCRIPTS]
    worklet = (ASSETS / "js" / "live_worklet.js").read_text(encoding="utf-8")
    constants = f"const MICROPHONE_WORKLET = {json.dumps(worklet)};\n"
    translations = html.escape(json.dumps(LABELS, ensure_ascii=False), quote=True)
    template = TEMPLATE.strip().replace("{translations}", translations)
    style = (ASSETS / "live.css").read_text(encoding="utf-8")
    # Gradio evaluates both as Handlebars and as JavaScript template strings, comments included.
    assert not any(mark in template + style for mark in ("`", "${", "{{", "\\")), "a template mark in the live tab"
    return gr.HTML(
        value="",
        elem_id="live",
        html_template=template,
        css_template=style,
        js_on_load=constants + "\n".join(source),
        apply_default_css=False,
    )


def ticket_value(path: str, ticket: str) -> str:
    return json.dumps({"path": path, "ticket": ticket})


def refusal_value(message: str) -> str:
    return json.dumps({"error": message})


def read_turn(data: Any) -> int | None:
    """The turn in an event's data, None when the browser sent something else."""
    turn = data.get("turn") if isinstance(data, dict) else None
    return turn if isinstance(turn, int) and not isinstance(turn, bool) and turn > 0 else None

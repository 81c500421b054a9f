// Plays the preview of a voice. Runs as js_on_load of the buttons' component (element, server are Gradio's).
// One voice at a time; pressing the sounding one stops it. The speech of a running reply is not touched.
const sound = new Audio();
let chosen = null;

function show(button, state) {
  if (!button) return;
  button.dataset.state = state;
  button.setAttribute('aria-pressed', String(state === 'sounding'));
}

function hush() {
  sound.pause();
  show(chosen, 'idle');
  chosen = null;
}

async function hear(button) {
  hush();
  chosen = button;
  show(button, 'waiting');
  const answer = await server.preview(button.dataset.voice).catch(() => null);
  if (chosen !== button) return;
  if (!answer || !answer.url) {
    hush();
    show(button, 'failed');
    if (answer && answer.message) button.title = answer.message;
    return;
  }
  sound.src = answer.url;
  await sound.play().then(() => show(button, 'sounding'), hush);
}

sound.addEventListener('ended', hush);
element.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-voice]');
  if (!button) return;
  if (button === chosen) hush();
  else hear(button);
});

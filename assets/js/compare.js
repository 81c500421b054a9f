// Plays one reply in several voices at once and lets one of them be heard. Runs as js_on_load of the comparison's
// component (element, trigger, watch are Gradio's). Knows no session.
//
// All waves run from the same moment through a gain each: a switch is a cross-fade between two that are at the same
// sample, so that nothing is missing or comes twice.
const FADE_S = 0.005;
// What is scheduled reaches the audio thread within this time.
const LEAD_S = 0.05;

class Chorus {
  constructor(buffers) {
    this.buffers = buffers;
    this.context = new AudioContext({ sampleRate: buffers[0].sampleRate });
    this.output = this.context.createGain();
    this.output.connect(this.context.destination);
    this.voices = []; // {source, gain} per wave, while they run
    this.heard = 0;
    this.place = 0; // seconds, while nothing sounds
    this.startedAt = null; // when second 0 of all waves was or would have been
    this.fadedAt = 0;
  }

  get isPlaying() { return this.startedAt !== null; }
  get duration() { return Math.max(...this.buffers.map((buffer) => buffer.duration)); }
  get now() {
    return this.isPlaying ? Math.max(0, this.context.currentTime - this.startedAt) : this.place;
  }

  async play() {
    await this.context.resume();
    if (this.isPlaying) return;
    const at = this.nextFade();
    this.startedAt = at - this.place;
    this.voices = this.buffers.map((buffer, column) => {
      const [source, level] = [this.context.createBufferSource(), this.context.createGain()];
      const isHeard = column === this.heard;
      level.gain.value = isHeard && this.place === 0 ? 1 : 0;
      source.buffer = buffer;
      source.connect(level).connect(this.output);
      source.start(at, Math.min(this.place, buffer.duration));
      return { source, gain: level.gain };
    });
    // In the middle of a word a wave would begin with a click.
    if (this.place > 0) this.fade(this.heard, 0, 1, at);
  }

  hear(column) {
    const was = this.heard;
    this.heard = column;
    if (!this.isPlaying || was === column) return;
    const at = this.nextFade();
    this.fade(was, 1, 0, at);
    this.fade(column, 0, 1, at);
  }

  pause() {
    if (!this.isPlaying) return;
    const at = this.nextFade();
    this.fade(this.heard, 1, 0, at);
    for (const { source } of this.voices) source.stop(at + FADE_S);
    this.place = Math.min(Math.max(0, at - this.startedAt), this.duration);
    this.startedAt = null;
  }

  // One fade begins where the one before it has ended, so each goes from a level that is known.
  nextFade() {
    const { sampleRate, currentTime } = this.context;
    const at = Math.ceil(Math.max(currentTime + LEAD_S, this.fadedAt) * sampleRate) / sampleRate;
    this.fadedAt = at + FADE_S;
    return at;
  }

  fade(column, from, to, at) {
    const { gain } = this.voices[column];
    gain.setValueAtTime(from, at);
    gain.linearRampToValueAtTime(to, at + FADE_S);
  }

  dispose() {
    this.pause();
    setTimeout(() => this.context.close(), 1000 * (LEAD_S + 2 * FADE_S));
  }
}

class Comparison {
  constructor(section) {
    this.section = section;
    this.playButton = section.querySelector('[data-play]');
    this.range = section.querySelector('input[type=range]');
    this.clock = section.querySelector('output');
    this.columns = [...section.querySelectorAll('[data-column]')];
    this.chorus = null;
    this.ready = this.load().catch(() => this.giveUp());
    this.range.addEventListener('input', () => this.seek(this.range.value / 1000));
  }

  async load() {
    const waves = [...this.section.querySelectorAll('[data-wave]')].map((item) => item.dataset.wave);
    const bytes = await Promise.all(waves.map(async (url) => (await fetch(url)).arrayBuffer()));
    // The rate stands in a WAV's header; decoded at another one, samples would no longer be those of the file.
    const rate = new DataView(bytes[0]).getUint32(24, true);
    const offline = new OfflineAudioContext(1, 1, rate);
    this.chorus = new Chorus(await Promise.all(bytes.map((each) => offline.decodeAudioData(each))));
    this.columns.forEach((button, column) => drawWave(button.querySelector('canvas'), this.chorus.buffers[column]));
    this.show();
  }

  // A wave that is not there any more, or is none.
  giveUp() {
    const bar = this.section.querySelector('.compare-bar');
    bar.setAttribute('role', 'alert');
    bar.textContent = this.section.dataset.gone;
  }

  async toggle() {
    await this.ready;
    if (!this.chorus) return;
    if (this.chorus.isPlaying) this.chorus.pause();
    else {
      if (window.omniPlayer) window.omniPlayer.stop();
      if (this.chorus.place >= this.chorus.buffers[this.chorus.heard].duration) this.chorus.place = 0;
      await this.chorus.play();
      this.follow();
    }
    this.show();
  }

  async hear(column) {
    await this.ready;
    if (!this.chorus) return;
    this.chorus.hear(column);
    this.show();
    if (!this.chorus.isPlaying) await this.toggle();
  }

  async seek(share) {
    await this.ready;
    if (!this.chorus) return;
    const wasPlaying = this.chorus.isPlaying;
    this.chorus.pause();
    this.chorus.place = share * this.chorus.duration;
    if (wasPlaying) await this.chorus.play();
    this.show();
  }

  follow() {
    if (!this.chorus.isPlaying || !this.section.isConnected) return;
    if (this.chorus.now >= this.chorus.buffers[this.chorus.heard].duration) {
      this.chorus.pause();
      this.chorus.place = 0;
    }
    this.show();
    requestAnimationFrame(() => this.follow());
  }

  show() {
    const { isPlaying, now, duration, heard } = this.chorus;
    this.section.dataset.state = isPlaying ? 'playing' : 'ready';
    this.playButton.setAttribute('aria-pressed', String(isPlaying));
    this.range.value = Math.round((1000 * now) / duration);
    this.section.style.setProperty('--place', now / duration);
    const [one, two] = [now, duration].map((s) => `${Math.floor(s / 60)}:${String(Math.floor(s % 60)).padStart(2, '0')}`);
    this.clock.textContent = `${one} / ${two}`;
    this.columns.forEach((button, column) => button.setAttribute('aria-pressed', String(column === heard)));
  }

  dispose() {
    if (this.chorus) this.chorus.dispose();
  }
}

function drawWave(canvas, buffer) {
  const [width, height] = [canvas.width = 2 * canvas.clientWidth, canvas.height = 2 * canvas.clientHeight];
  const samples = buffer.getChannelData(0);
  const pen = canvas.getContext('2d');
  pen.fillStyle = getComputedStyle(canvas).color;
  const bars = Math.floor(width / 6);
  for (let bar = 0; bar < bars; bar++) {
    let peak = 0;
    const end = Math.floor(((bar + 1) * samples.length) / bars);
    for (let i = Math.floor((bar * samples.length) / bars); i < end; i++) peak = Math.max(peak, Math.abs(samples[i]));
    const tall = Math.max(4, peak * height);
    pen.fillRect(bar * 6, (height - tall) / 2, 4, tall);
  }
}

let comparison = null;
function begin() {
  if (comparison) comparison.dispose();
  const section = element.querySelector('section.compare');
  comparison = section ? new Comparison(section) : null;
  // On a low screen it would be below the edge of the panel, and the click that asked for it seem to do nothing.
  if (section) section.scrollIntoView({ block: 'nearest' });
  window.omniCompare = comparison;
}

element.addEventListener('click', (event) => {
  const button = event.target.closest('button');
  if (!button) return;
  if ('save' in button.dataset) trigger('save', {});
  else if (button.dataset.best !== undefined) trigger('best', { column: Number(button.dataset.best) });
  else if (comparison && button.dataset.column !== undefined) comparison.hear(Number(button.dataset.column));
  else if (comparison && 'play' in button.dataset) comparison.toggle();
});
watch('value', () => requestAnimationFrame(begin));

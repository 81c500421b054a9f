// A live conversation: microphone and camera up, events and speech down. docs/live-protocol.md tells the messages.
//
// Runs as js_on_load of its gr.HTML component (element, props, trigger, watch are Gradio's), after the other live_*.js.
// The page answers `trigger('ticket')` with a value {path, ticket}; `trigger('turn', ...)` makes it draw a turn.
// Speech goes to window.omniPlayer. Window API for tests: window.omniLive (state, stats).
const [SOUND, PICTURE] = [1, 2];
const RETRY_MS = 1000;
const MAX_RETRIES = 30;
const NUM_SHOTS = 6;

class LiveTalk {
  constructor(element) {
    const find = (name) => element.querySelector('.live-' + name);
    this.box = find('talk');
    this.words = JSON.parse(this.box.dataset.translations);
    this.parts = Object.fromEntries(
      ['toggle', 'state', 'level', 'tokens', 'underruns', 'camera', 'hold', 'hands', 'silence', 'hint', 'video', 'shots', 'echo', 'noise', 'gain', 'error']
        .map((name) => [name, find(name)]));
    this.stats = { pieces: 0, pictures: 0, turns: 0, cuts: 0, hushes: 0, retries: 0 };
    this.state = 'off';
    this.wanted = false;
    this.turn = null; // the newest
    this.hushed = null; // the turn whose speech waits whether somebody means to interrupt it
    this.underruns = new Map(); // of each turn
    this.microphone = new LiveMicrophone({
      onPiece: (piece) => this.sendSound(piece),
      onLevel: (level) => { this.parts.level.value = level; },
    });
    this.camera = new LiveCamera({ video: this.parts.video, onPicture: (blob) => this.sendPicture(blob), perSecond: 2 });
    this.listen();
    this.show('off');
  }

  listen() {
    const { toggle, camera, hold, hands, silence } = this.parts;
    toggle.addEventListener('click', () => (this.wanted ? this.stop() : this.start()));
    camera.addEventListener('change', () => this.useCamera());
    const talk = (on) => this.command(on ? 'talk' : 'talk_end');
    hold.addEventListener('pointerdown', () => talk(true));
    for (const end of ['pointerup', 'pointercancel']) hold.addEventListener(end, () => talk(false));
    hold.addEventListener('keydown', (event) => { if (event.key === ' ' && !event.repeat) { event.preventDefault(); talk(true); } });
    hold.addEventListener('keyup', (event) => { if (event.key === ' ') talk(false); });
    for (const part of [hands, silence]) part.addEventListener('change', () => this.sendOptions());
    for (const name of ['echo', 'noise', 'gain']) {
      this.parts[name].addEventListener('change', () => { if (this.wanted) { this.microphone.stop(); this.openMicrophone(); } });
    }
    this.onPlayed = ({ detail }) => this.tellPlayed(detail);
    window.addEventListener('omniplayed', this.onPlayed);
  }

  // -- on and off

  async start() {
    this.hangUp();
    this.wanted = true;
    this.stats.retries = 0;
    this.complain('');
    this.show('opening');
    try {
      await this.openMicrophone();
    } catch (error) {
      this.complain(error.name === 'NotAllowedError' ? 'refused' : 'no_microphone');
      this.stop();
      return;
    }
    await this.useCamera();
    trigger('ticket', {});
  }

  // Microphone and camera fall silent at once; a reply that is on its way is still heard to its end.
  stop() {
    this.wanted = false;
    this.microphone.stop();
    this.camera.stop();
    this.box.classList.remove('with-camera');
    this.parts.level.value = 0;
    this.showTokens(0);
    if (this.state !== 'thinking' && this.state !== 'speaking') this.hangUp();
    this.show('off');
  }

  hangUp() {
    const { socket } = this;
    this.socket = null;
    this.release();
    if (this.turn !== null && window.omniPlayer) window.omniPlayer.receiveLive({ turn: this.turn, end: true });
    if (socket) socket.close(1000);
  }

  // Nobody will tell any more whether the reply is to be silent.
  release() {
    if (this.hushed !== null && window.omniPlayer) window.omniPlayer.hold(this.hushed, false);
    this.hushed = null;
  }

  openMicrophone() {
    const { echo, noise, gain } = this.parts;
    return this.microphone.start({ echo: echo.checked, noise: noise.checked, gain: gain.checked });
  }

  async useCamera() {
    const on = this.parts.camera.checked && this.wanted;
    this.box.classList.toggle('with-camera', on);
    this.camera.stop();
    if (!on) return;
    try {
      await this.camera.start();
    } catch {
      this.parts.camera.checked = false;
      this.box.classList.remove('with-camera');
      this.complain('no_camera');
    }
  }

  // -- the socket

  connect({ path, ticket, error }) {
    if (error) {
      this.complain('', error);
      this.stop();
      return;
    }
    if (!this.wanted || !ticket) return;
    const root = (window.gradio_config && window.gradio_config.root) || window.location.origin;
    const url = new URL(root.replace(/[/]$/, '') + path, window.location.href);
    url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
    url.search = new URLSearchParams({ ticket });
    const socket = new WebSocket(url);
    socket.binaryType = 'arraybuffer';
    this.socket = socket;
    this.openedAt = performance.now();
    socket.onopen = () => {
      this.sendOptions();
      this.camera.shoot(); // whoever speaks at once is seen too
    };
    socket.onmessage = ({ data }) => (typeof data === 'string' ? this.onEvent(JSON.parse(data)) : this.onSpeech(data));
    socket.onclose = (event) => this.onClosed(socket, event);
  }

  onClosed(socket, { code, reason }) {
    if (this.socket !== socket) return;
    this.socket = null;
    this.release();
    if (!this.wanted) return;
    if (code === 4001 || code === 4400) {
      this.complain('', reason);
      this.stop();
      return;
    }
    if (this.stats.retries++ >= MAX_RETRIES) {
      this.complain('lost');
      this.stop();
      return;
    }
    this.show('opening');
    setTimeout(() => { if (this.wanted) trigger('ticket', {}); }, RETRY_MS);
  }

  get isOpen() {
    return !!this.socket && this.socket.readyState === WebSocket.OPEN;
  }

  command(type, fields) {
    if (this.isOpen) this.socket.send(JSON.stringify({ type, ...fields }));
  }

  sendOptions() {
    const { hands, silence, hold } = this.parts;
    hold.hidden = hands.checked;
    this.command('options', { hands_free: hands.checked, silence_ms: Number(silence.value) });
  }

  sendBinary(kind, bytes) {
    if (!this.isOpen) return false;
    const message = new Uint8Array(8 + bytes.byteLength);
    const view = new DataView(message.buffer);
    view.setUint8(0, kind);
    view.setUint32(4, Math.max(0, Math.round(performance.now() - this.openedAt)), true);
    message.set(new Uint8Array(bytes), 8);
    this.socket.send(message);
    return true;
  }

  sendSound(piece) {
    this.stats.pieces++;
    this.sendBinary(SOUND, piece.buffer);
  }

  async sendPicture(blob) {
    if (!this.sendBinary(PICTURE, await blob.arrayBuffer())) return;
    this.stats.pictures++;
    const image = document.createElement('img');
    image.src = URL.createObjectURL(blob);
    image.alt = '';
    image.onload = () => URL.revokeObjectURL(image.src);
    this.parts.shots.append(image);
    while (this.parts.shots.children.length > NUM_SHOTS) this.parts.shots.firstChild.remove();
  }

  // -- what comes down

  onEvent(event) {
    const player = window.omniPlayer;
    if (event.type === 'ready') {
      this.stats.retries = 0;
      // What was played while the line was lost.
      if (this.played) this.tellPlayed(this.played);
    }
    else if (event.type === 'state') this.onState(event.state);
    else if (event.type === 'fed') this.showTokens(event.tokens);
    else if (event.type === 'turn') {
      this.stats.turns++;
      this.turn = event.turn;
      this.showTokens(0);
      if (player) player.markSubmit();
      trigger('turn', { turn: event.turn });
    } else if (event.type === 'end') {
      if (event.how === 'done' && player) player.receiveLive({ turn: event.turn, end: true });
    } else if (event.type === 'hush') {
      this.stats.hushes++;
      this.hushed = event.turn;
      if (player) player.hold(event.turn, true);
    } else if (event.type === 'go_on') this.release();
    else if (event.type === 'cut') {
      this.stats.cuts++;
      this.hushed = null;
      if (player) player.stopLive(event.turn);
      trigger('cut', { turn: event.turn });
    } else if (event.type === 'error') this.complain('', event.message);
  }

  onState(state) {
    if (this.wanted) this.show(state);
    else if (state === 'listening') this.hangUp();
  }

  onSpeech(data) {
    const view = new DataView(data);
    const numbers = new Int16Array(data, 16);
    const samples = new Float32Array(numbers.length);
    for (let i = 0; i < numbers.length; i++) samples[i] = numbers[i] / 32767;
    const packet = {
      turn: view.getUint32(4, true), start: view.getUint32(8, true), rate: view.getUint32(12, true), samples,
      holdS: view.getUint16(2, true) / 1000,
    };
    if (window.omniPlayer) window.omniPlayer.receiveLive(packet);
  }

  tellPlayed(played) {
    this.played = played;
    const { turn, samples, underruns, kind } = played;
    this.underruns.set(turn, underruns);
    this.showUnderruns();
    if (kind === 'held') this.command('hushed', { turn, samples });
    else this.command('played', { turn, samples, is_playing: kind !== 'final' });
  }

  // -- what is shown

  language() {
    return wantedLanguage(this.words);
  }

  show(state) {
    this.state = state;
    this.box.dataset.state = state;
    const words = this.words[this.language()];
    this.parts.state.textContent = words['state_' + state] || state;
    this.parts.toggle.textContent = this.wanted ? words.stop : words.start;
    this.parts.toggle.setAttribute('aria-pressed', String(this.wanted));
    for (const part of element.querySelectorAll('[data-word]')) part.textContent = words[part.dataset.word];
    this.parts.level.setAttribute('aria-label', words.level);
  }

  showTokens(number) {
    const words = this.words[this.language()];
    this.parts.tokens.textContent = number ? words.tokens.replace('{number}', number) : '';
  }

  showUnderruns() {
    const number = [...this.underruns.values()].reduce((sum, one) => sum + one, 0);
    this.parts.underruns.textContent = this.words[this.language()].underruns.replace('{number}', number);
  }

  complain(key, words) {
    this.parts.error.textContent = words || (key && this.words[this.language()][key]) || '';
  }

  dispose() {
    this.stop();
    this.hangUp();
    window.removeEventListener('omniplayed', this.onPlayed);
  }
}

if (window.omniLive) window.omniLive.dispose();
window.omniLive = new LiveTalk(element);
watch('value', () => { if (props.value) window.omniLive.connect(JSON.parse(props.value)); });

// Plays the speech that a gr.HTML value carries: checks the order of the packets, keeps the figures, shows the state.
//
// Runs as js_on_load of that component (element, props, trigger, watch are Gradio's), after the other player_*.js and
// after RING_SOURCE and WORKLET_SOURCE. Knows no session and no conversation. Window API: see components/player.py.
const PHASE_AFTER = { first: 'speaking', dry: 'buffering', resumed: 'speaking', final: 'idle' };
// What comes over the live socket before the page has heard of its turn; more than a reply's first seconds never wait.
const MAX_EARLY = 200;
// The fade of a stop takes 10 ms; an output that has not told of its end by now never will.
const HALT_MS = 2000;

class SpeechPlayer {
  constructor(element, sendReport) {
    this.strip = element.querySelector('.voice-strip');
    this.label = element.querySelector('.voice-label');
    this.button = element.querySelector('.voice-mute');
    this.translations = JSON.parse(this.strip.dataset.translations || '{}');
    this.sendReport = sendReport;
    this.stats = this.freshStats(-1); // of the newest generation
    this.unreported = new Map(); // the figures of every generation that the ring has not finished
    this.floor = -1; // this generation and older ones are over
    this.submittedAt = null;
    this.tickets = new Map();
    this.generations = new Map(); // of the turns whose speech comes over the live socket
    this.early = [];
    this.halts = []; // who waits for the end of a reply that was stopped: {generation, resolve}
    this.meter = new VoiceMeter(element.querySelector('canvas'), this.strip);
    this.output = new SpeechOutput({
      ringSource: RING_SOURCE,
      workletSource: WORKLET_SOURCE,
      onFact: (fact) => this.onFact(fact),
      onChange: () => this.show(),
    });
    this.button.addEventListener('click', () => { this.muted = !this.muted; });
    this.phase = 'idle';
    this.show();
  }

  // `turn`: whose reply is spoken, 0 for words that belong to none.
  freshStats(generation, turn = 0) {
    return {
      generation, turn, receivedSamples: 0, receivedPackets: 0, lostSamples: 0, lostPackets: 0, duplicates: 0,
      renderedSamples: 0, nonSilentSamples: 0, underruns: 0, queuedSamples: 0, ended: false, how: '',
      rate: 0, submittedAt: null, firstPacketAt: null, firstSoundAt: null, stoppedAt: null, endedAt: null,
      stalePackets: this.stats ? this.stats.stalePackets : 0,
    };
  }

  // One value of the component: {generation, seq, start, rate, pcm, end?} or {generation, stop}. The first one may say
  // whose speech it is and that it comes over the live socket: {turn, live}; that with the first samples, how long they
  // are to wait: {hold_s}.
  receive(text) {
    if (!text) return;
    const packet = JSON.parse(text);
    if (packet.stop) return this.stop(packet.generation);
    if (packet.generation <= this.floor || packet.generation < this.stats.generation) {
      this.stats.stalePackets++;
      return;
    }
    if (packet.generation > this.stats.generation) this.begin(packet);
    if (packet.seq < this.expectedSeq || this.stats.ended) {
      this.stats.duplicates++;
      return;
    }
    this.stats.lostPackets += packet.seq - this.expectedSeq;
    this.expectedSeq = packet.seq + 1;
    if (packet.pcm) this.push(packet);
    if (packet.end) this.end(packet);
  }

  begin({ generation, turn, live }) {
    this.stats = this.freshStats(generation, turn);
    this.expectedSeq = 0;
    this.expectedStart = 0;
    this.resampler = null;
    this.stats.submittedAt = this.submittedAt;
    this.submittedAt = null;
    this.unreported.set(generation, this.stats);
    this.output.order({ type: 'begin', generation });
    this.setPhase('waiting');
    if (!live) return;
    this.generations.set(turn, generation);
    for (const late of this.early.splice(0)) this.receiveLive(late);
  }

  // Speech or the end of a turn from the live socket: {turn, start, rate, samples, holdS} or {turn, end}.
  receiveLive(packet) {
    const generation = this.generations.get(packet.turn);
    if (generation === undefined) {
      this.early.push(packet);
      if (this.early.length > MAX_EARLY) this.early.shift();
      return;
    }
    if (generation <= this.floor || generation < this.stats.generation || this.stats.ended) return;
    if (packet.end) this.end({ generation, start: this.expectedStart });
    else this.queue(generation, packet.start, packet.rate, packet.samples, packet.holdS);
  }

  // Falls silent over 10 ms and keeps its place, or goes on. How far it had come is told as an `omniplayed` event.
  hold(turn, on) {
    const generation = this.generations.get(turn);
    if (generation !== undefined) this.output.order({ type: 'hold', generation, on });
    // An output that does not run renders nothing, so nothing would tell.
    if (on && (generation === undefined || !this.output.running)) {
      const { renderedSamples, underruns } = this.unreported.get(generation) || this.freshStats(generation);
      this.tellPlayed({ turn, samples: renderedSamples, underruns, kind: 'held' });
    }
  }

  // The reply of a live turn is over, wherever it is.
  stopLive(turn) {
    const generation = this.generations.get(turn);
    if (generation !== undefined) this.stop(generation);
  }

  push({ generation, start, rate, pcm, hold_s: holdS }) {
    this.queue(generation, start, rate, decodePcm(pcm), holdS);
  }

  queue(generation, start, rate, samples, holdS) {
    const lost = start - this.expectedStart;
    this.expectedStart = start + samples.length;
    this.stats.lostSamples += Math.max(0, lost);
    this.stats.receivedSamples += samples.length;
    this.stats.receivedPackets++;
    this.stats.firstPacketAt = this.stats.firstPacketAt || performance.timeOrigin + performance.now();
    this.stats.rate = rate;
    this.output.run(rate);
    if (rate !== this.output.sampleRate) {
      this.resampler = this.resampler || new SpeechResampler(rate, this.output.sampleRate);
      samples = this.resampler.push(samples);
    }
    this.output.order({ type: 'push', generation, samples, afterGap: lost > 0, holdS });
    this.show();
  }

  end({ generation, start }) {
    this.stats.lostSamples += Math.max(0, start - this.expectedStart);
    this.stats.ended = true;
    if (this.resampler) this.output.order({ type: 'push', generation, samples: this.resampler.flush() });
    this.output.order({ type: 'end', generation });
    if (this.stats.receivedSamples === 0) this.setPhase('idle');
  }

  // Silence within 10 ms; what is queued is dropped, and so is all that still comes of `generation` and older ones.
  stop(generation = this.stats.generation) {
    this.floor = Math.max(this.floor, generation);
    if (generation >= this.stats.generation) {
      this.stats.stoppedAt = this.stats.stoppedAt || performance.timeOrigin + performance.now();
      this.setPhase('idle');
    }
    this.output.order({ type: 'stop', generation });
  }

  // Stops, and gives the last report of the newest reply once its fade is over: how much of it was heard, to the sample.
  async halt() {
    const { stats } = this;
    this.stop();
    if (this.output.running && this.unreported.has(stats.generation)) {
      await new Promise((resolve) => {
        this.halts.push({ generation: stats.generation, resolve });
        setTimeout(resolve, HALT_MS);
      });
      this.halts = this.halts.filter(({ generation }) => generation !== stats.generation);
    }
    return this.reportOf(stats);
  }

  onFact(fact) {
    if (fact.type === 'recorded') return this.resolveRecording(fact);
    const stats = this.unreported.get(fact.generation);
    const inSpeech = (frames) => (stats.rate ? Math.floor((frames * stats.rate) / this.output.sampleRate) : frames);
    stats.renderedSamples = inSpeech(fact.rendered);
    stats.nonSilentSamples = inSpeech(fact.nonSilent);
    stats.queuedSamples = inSpeech(fact.queued);
    stats.underruns = fact.underruns;
    if (fact.type === 'held' || fact.type === 'progress' || fact.type === 'final') this.tellLive(fact, stats);
    // The browser's clock of a device that has just faltered runs ahead; nothing sounds before it is here.
    if (fact.type === 'first') stats.firstSoundAt = Math.max(stats.firstPacketAt, this.output.epochOf(fact.frame));
    if (fact.type === 'final') {
      Object.assign(stats, { how: fact.how, endedAt: this.output.epochOf(fact.frame), queuedSamples: 0 });
      this.unreported.delete(fact.generation);
    }
    if (stats === this.stats && !stats.stoppedAt && fact.type in PHASE_AFTER) this.setPhase(PHASE_AFTER[fact.type]);
    if (fact.type !== 'first' && fact.type !== 'final') return;
    const halts = fact.type === 'final' ? this.halts.filter(({ generation }) => generation === fact.generation) : [];
    for (const { resolve } of halts) resolve();
    if (halts.length === 0) this.sendReport(this.reportOf(stats));
  }

  // How far the speech of a live turn has come, for whoever talks to the server.
  tellLive(fact, stats) {
    for (const [turn, generation] of this.generations) {
      if (generation !== fact.generation) continue;
      this.tellPlayed({ turn, samples: stats.renderedSamples, underruns: stats.underruns, kind: fact.type });
    }
  }

  tellPlayed(detail) {
    window.dispatchEvent(new CustomEvent('omniplayed', { detail }));
  }

  reportOf(stats) {
    const { submittedAt, firstSoundAt } = stats;
    return {
      generation: stats.generation,
      first_packet_epoch_ms: stats.firstPacketAt,
      first_sound_epoch_ms: firstSoundAt,
      first_sound_after_submit_s: submittedAt && firstSoundAt ? (firstSoundAt - submittedAt) / 1000 : null,
      num_underruns: stats.underruns,
      played_samples: stats.renderedSamples,
      lost_samples: stats.lostSamples,
      how: stats.how,
      final: stats.how !== '',
    };
  }

  // The page calls it when a turn is sent, so that the first sound is timed by one clock, the browser's.
  markSubmit() {
    this.submittedAt = performance.timeOrigin + performance.now();
  }

  setPhase(phase) {
    this.phase = phase;
    this.show();
  }

  // idle, waiting, speaking, buffering; or gesture: speech is here, and the browser wants a click before it may sound.
  get state() {
    const hasSpeech = this.phase !== 'idle' && this.stats.receivedSamples > 0;
    return hasSpeech && this.output.blocked ? 'gesture' : this.phase;
  }

  show() {
    const { state } = this;
    if (!this.output) return;
    this.meter.setActive(state === 'speaking', this.output.analyser);
    if (state === this.shown) return;
    this.shown = state;
    this.strip.dataset.state = state;
    this.showLabels();
    window.dispatchEvent(new CustomEvent('omniplayer', { detail: { state, generation: this.stats.generation } }));
  }

  showLabels() {
    const words = this.translations[wantedLanguage(this.translations)] || {};
    this.label.textContent = words[this.state] || '';
    this.strip.setAttribute('aria-label', words.idle || '');
    this.button.setAttribute('aria-label', (this.muted ? words.unmute : words.mute) || '');
    this.button.title = this.button.getAttribute('aria-label');
    this.button.setAttribute('aria-pressed', String(this.muted));
  }

  setVolume(volume) {
    this.output.volume = Math.min(1, Math.max(0, volume));
    this.output.applyVolume();
  }

  get muted() {
    return this.output.muted;
  }

  set muted(muted) {
    this.output.muted = !!muted;
    this.output.applyVolume();
    this.showLabels();
  }

  // Keeps (up to memory) every sample rendered from now on; `await recorded()` gives them as one Float32Array.
  record(on) {
    this.output.order({ type: 'record', on });
  }

  recorded() {
    const ticket = this.tickets.size + Math.random();
    return new Promise((resolve) => {
      this.tickets.set(ticket, resolve);
      this.output.order({ type: 'recorded', ticket });
    });
  }

  resolveRecording({ ticket, blocks }) {
    const wave = new Float32Array(blocks.reduce((sum, block) => sum + block.length, 0));
    let offset = 0;
    for (const block of blocks) {
      wave.set(block, offset);
      offset += block.length;
    }
    this.tickets.get(ticket)(wave);
    this.tickets.delete(ticket);
  }

  dispose() {
    this.output.dispose();
    this.meter.dispose();
  }
}

// Little-endian 16-bit PCM in base64 to samples in [-1, 1].
function decodePcm(base64) {
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  const samples = new Float32Array(bytes.length / 2);
  for (let i = 0; i < samples.length; i++) samples[i] = view.getInt16(2 * i, true) / 32767;
  return samples;
}

if (window.omniPlayer) window.omniPlayer.dispose();
window.omniPlayer = new SpeechPlayer(element, (report) => trigger('report', report));
watch('value', () => window.omniPlayer.receive(props.value));

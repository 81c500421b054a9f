// The way from the ring to the loudspeaker: an AudioContext that starts when the browser allows it; knows no reply.
//
// Browsers let a page sound only after a gesture, so every pointer or key press tries again until the context runs.
// Orders wait in a list until there is a ring to receive them.
const GESTURES = ['pointerdown', 'pointerup', 'keydown', 'click', 'touchend'];
const START_MS = 400; // a context that is allowed to run does so well within this

class SpeechOutput {
  // `ringSource`, `workletSource`: text of player_ring.js and player_worklet.js. `onFact`: what the ring reports.
  constructor({ ringSource, workletSource, onFact, onChange }) {
    Object.assign(this, { ringSource, workletSource, onFact, onChange });
    this.context = null;
    this.send = null;
    this.waiting = [];
    this.volume = 1;
    this.muted = false;
    this.askedAt = 0;
    this.rate = 24000; // of the last speech; before there was any, the rate that these models speak with
    this.tryToRun = () => this.run(this.rate);
    for (const name of GESTURES) document.addEventListener(name, this.tryToRun, { capture: true, passive: true });
  }

  get running() {
    return !!this.context && this.context.state === 'running';
  }

  // The browser waits for a gesture: the context was asked to run and does not.
  get blocked() {
    return !!this.context && !this.running && performance.now() - this.askedAt >= START_MS;
  }

  get sampleRate() {
    return this.context ? this.context.sampleRate : 0;
  }

  // Makes the context on first use. Its rate is that of the speech wherever the browser grants it.
  run(rate) {
    this.rate = rate;
    if (!this.context) {
      const wanted = (window.omniPlayerOptions || {}).contextRate || rate;
      try {
        this.context = new AudioContext({ sampleRate: wanted, latencyHint: 'interactive' });
      } catch (error) {
        if (error.name !== 'NotSupportedError') throw error;
        this.context = new AudioContext({ latencyHint: 'interactive' });
      }
      this.context.onstatechange = this.onChange;
      this.gain = this.context.createGain();
      this.analyser = this.context.createAnalyser();
      this.analyser.fftSize = 1024;
      this.gain.connect(this.context.destination);
      this.applyVolume();
      this.connect();
    }
    if (this.running) return;
    if (this.askedAt === 0) this.askedAt = performance.now();
    setTimeout(this.onChange, START_MS);
    this.context.resume().catch(() => {}); // refused until a gesture; onstatechange tells when it runs
  }

  async connect() {
    let node = null;
    if (this.context.audioWorklet) {
      node = await this.worklet().catch((error) => console.warn(`no audio worklet (${error}), using a script node`));
    }
    node = node || this.scriptNode();
    if (this.disposed) return;
    node.connect(this.analyser);
    node.connect(this.gain);
    this.node = node;
    for (const order of this.waiting.splice(0)) this.send(order);
  }

  async worklet() {
    const source = new Blob([this.ringSource, '\n', this.workletSource], { type: 'text/javascript' });
    const url = URL.createObjectURL(source);
    await this.context.audioWorklet.addModule(url);
    URL.revokeObjectURL(url);
    const node = new AudioWorkletNode(this.context, 'speech', { numberOfInputs: 0, outputChannelCount: [1] });
    node.port.onmessage = (event) => this.onFact(event.data);
    this.send = (order) => node.port.postMessage(order, order.samples ? [order.samples.buffer] : []);
    return node;
  }

  // Pages served over plain http to another machine have no AudioWorklet; the same ring then runs on the main thread.
  scriptNode() {
    const Ring = Function(`${this.ringSource}\nreturn SpeechRing;`)();
    const ring = new Ring(this.context.sampleRate, this.onFact);
    const node = this.context.createScriptProcessor(1024, 1, 1);
    let frame = 0;
    node.onaudioprocess = ({ outputBuffer, playbackTime }) => {
      this.frameOffset = Math.round(playbackTime * this.context.sampleRate) - frame;
      ring.render(outputBuffer.getChannelData(0), frame);
      frame += outputBuffer.length;
    };
    this.send = (order) => ring.receive(order);
    return node;
  }

  order(order) {
    if (this.send) this.send(order);
    else this.waiting.push(order);
  }

  // Epoch milliseconds at which a frame leaves the device, as far as the browser knows.
  epochOf(frame) {
    const seconds = (frame + (this.frameOffset || 0)) / this.context.sampleRate;
    const heard = this.context.getOutputTimestamp ? this.context.getOutputTimestamp() : {};
    if (heard.performanceTime > 0 && heard.contextTime > 0) {
      return performance.timeOrigin + heard.performanceTime + (seconds - heard.contextTime) * 1000;
    }
    const latency = this.context.outputLatency || this.context.baseLatency || 0;
    return performance.timeOrigin + performance.now() + (seconds - this.context.currentTime + latency) * 1000;
  }

  applyVolume() {
    if (this.gain) this.gain.gain.setTargetAtTime(this.muted ? 0 : this.volume, this.context.currentTime, 0.01);
  }

  dispose() {
    this.disposed = true;
    for (const name of GESTURES) document.removeEventListener(name, this.tryToRun, { capture: true });
    if (this.context) this.context.close().catch(() => {});
  }
}

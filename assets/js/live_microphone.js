// The microphone as 16 kHz pieces of 40 ms, resampled here where the browser insists on another rate; knows no socket.
//
// `MICROPHONE_WORKLET`: text of live_worklet.js. Needs SpeechResampler.
const LIVE_RATE = 16000;
const LIVE_PIECE = 640;

class LiveMicrophone {
  // `onPiece(Int16Array)` every 40 ms; `onLevel(0..1)` with it.
  constructor({ onPiece, onLevel }) {
    Object.assign(this, { onPiece, onLevel });
    this.rest = [];
    this.numRest = 0;
  }

  async start(options) {
    const wanted = {
      echoCancellation: options.echo, noiseSuppression: options.noise, autoGainControl: options.gain, channelCount: 1,
    };
    this.stream = await navigator.mediaDevices.getUserMedia({ audio: wanted });
    try {
      this.context = new AudioContext({ sampleRate: LIVE_RATE });
      this.source = this.context.createMediaStreamSource(this.stream);
    } catch {
      // Firefox takes a microphone only at its own rate.
      if (this.context) this.context.close();
      this.context = new AudioContext();
      this.source = this.context.createMediaStreamSource(this.stream);
    }
    if (this.context.sampleRate !== LIVE_RATE) this.resampler = new SpeechResampler(this.context.sampleRate, LIVE_RATE);
    const url = URL.createObjectURL(new Blob([MICROPHONE_WORKLET], { type: 'text/javascript' }));
    await this.context.audioWorklet.addModule(url);
    URL.revokeObjectURL(url);
    this.node = new AudioWorkletNode(this.context, 'microphone', { numberOfOutputs: 0 });
    this.node.port.onmessage = (event) => this.take(event.data);
    this.source.connect(this.node);
    await this.context.resume();
  }

  take(samples) {
    const heard = this.resampler ? this.resampler.push(samples) : samples;
    this.rest.push(heard);
    this.numRest += heard.length;
    while (this.numRest >= LIVE_PIECE) this.give();
  }

  give() {
    const piece = new Int16Array(LIVE_PIECE);
    let [filled, peak] = [0, 0];
    while (filled < LIVE_PIECE) {
      const first = this.rest[0];
      const count = Math.min(first.length, LIVE_PIECE - filled);
      for (let i = 0; i < count; i++) {
        const sample = Math.max(-1, Math.min(1, first[i]));
        peak = Math.max(peak, Math.abs(sample));
        piece[filled + i] = Math.round(sample * 32767);
      }
      filled += count;
      if (count === first.length) this.rest.shift();
      else this.rest[0] = first.subarray(count);
    }
    this.numRest -= LIVE_PIECE;
    this.onLevel(peak);
    this.onPiece(piece);
  }

  stop() {
    if (this.node) this.node.port.onmessage = null;
    if (this.context) this.context.close();
    if (this.stream) for (const track of this.stream.getTracks()) track.stop();
    this.context = this.node = this.stream = null;
  }
}

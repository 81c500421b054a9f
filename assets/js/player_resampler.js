// Streaming windowed-sinc resampler, for browsers that refuse a context at the rate of the speech; knows nothing else.
//
// Whole input and split input give the same samples: one table of `up` phases, and the history that a phase reaches
// back into. `flush()` gives what the last half window still owes.
class SpeechResampler {
  constructor(fromRate, toRate, halfTaps = 16) {
    let [a, b] = [fromRate, toRate];
    while (b) [a, b] = [b, a % b];
    this.up = toRate / a;
    this.down = fromRate / a;
    const cutoff = Math.min(1, toRate / fromRate);
    this.half = Math.ceil(halfTaps / cutoff);
    this.phases = Array.from({ length: this.up }, (_, phase) => this.kernel(phase / this.up, cutoff));
    this.history = new Float32Array(this.half); // silence before the first sample
    this.next = 0; // index of the next output sample
    this.origin = -this.half; // input index of history[0]
  }

  // Weights of the input samples -half+1 .. half around an output that lies `fraction` behind input sample 0.
  kernel(fraction, cutoff) {
    const taps = new Float64Array(2 * this.half);
    let sum = 0;
    for (let k = 0; k < taps.length; k++) {
      const t = k - this.half + 1 - fraction;
      const window = 0.5 + 0.5 * Math.cos((Math.PI * t) / (this.half + 1));
      const x = Math.PI * t * cutoff;
      taps[k] = (x === 0 ? 1 : Math.sin(x) / x) * window;
      sum += taps[k];
    }
    return taps.map((tap) => tap / sum);
  }

  push(samples) {
    const input = new Float32Array(this.history.length + samples.length);
    input.set(this.history);
    input.set(samples, this.history.length);
    const out = [];
    for (;;) {
      const whole = Math.floor((this.next * this.down) / this.up);
      const start = whole - this.half + 1 - this.origin;
      if (start + 2 * this.half > input.length) break;
      const taps = this.phases[(this.next * this.down) % this.up];
      let sum = 0;
      for (let k = 0; k < taps.length; k++) sum += taps[k] * input[start + k];
      out.push(sum);
      this.next++;
    }
    const keep = Math.max(0, Math.floor((this.next * this.down) / this.up) - this.half + 1 - this.origin);
    this.history = input.slice(keep);
    this.origin += keep;
    return Float32Array.from(out);
  }

  flush() {
    return this.push(new Float32Array(this.half));
  }
}

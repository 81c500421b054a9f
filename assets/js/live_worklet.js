// Passes the microphone's blocks on, some at a time.
class MicrophoneProcessor extends AudioWorkletProcessor {
  constructor() {
    super();
    this.block = new Float32Array(512);
    this.filled = 0;
  }

  process([input]) {
    const channel = input[0];
    if (!channel) return true;
    for (let i = 0; i < channel.length; i++) {
      this.block[this.filled++] = channel[i];
      if (this.filled < this.block.length) continue;
      this.port.postMessage(this.block, [this.block.buffer]);
      this.block = new Float32Array(512);
      this.filled = 0;
    }
    return true;
  }
}

registerProcessor('microphone', MicrophoneProcessor);

// Runs a SpeechRing on the audio thread; the source of player_ring.js stands before this one in the same module.
class SpeechProcessor extends AudioWorkletProcessor {
  constructor() {
    super();
    this.ring = new SpeechRing(sampleRate, (fact) => this.port.postMessage(fact));
    this.port.onmessage = (event) => this.ring.receive(event.data);
  }

  process(inputs, outputs) {
    const [first, ...others] = outputs[0];
    this.ring.render(first, currentFrame);
    for (const channel of others) channel.set(first);
    return true;
  }
}

registerProcessor('speech', SpeechProcessor);

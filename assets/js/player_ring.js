// The speech that waits to be heard, one reply at a time; renders blocks of samples and knows no browser, no wire, no page.
//
// Sound never steps: the gain slews to 0 over the last 3 ms that are queued (the end of a reply, or a queue that runs
// dry), back to 1 when sound comes again, and to 0 over 10 ms on a stop or a hold. Replies carry a growing generation
// number; nothing of a stopped or older generation is rendered once the fade is over. A held reply keeps its place.
const FADE_S = 0.003;
const STOP_FADE_S = 0.01;
const SILENCE = 1e-4; // about 3 steps of 16-bit sound
const PROGRESS_S = 0.2;

class Reply {
  constructor(generation) {
    this.generation = generation;
    this.startFrame = 0; // nothing of it is heard before
    this.chunks = [];
    this.offset = 0; // samples of chunks[0] that are played already
    this.queued = 0;
    this.rendered = 0;
    this.nonSilent = 0;
    this.underruns = 0;
    this.ended = false;
    this.stopping = false;
    this.dry = false;
    this.held = false;
    this.toldHeld = false;
  }

  take() {
    const chunk = this.chunks[0];
    const sample = chunk[this.offset++];
    if (this.offset === chunk.length) {
      this.chunks.shift();
      this.offset = 0;
    }
    this.queued--;
    this.rendered++;
    return sample;
  }
}

class SpeechRing {
  // `post(fact)` hears of: first (sound), dry, resumed, progress, held (silent now), final (ended | stopped | replaced).
  constructor(sampleRate, post) {
    this.post = post;
    this.fade = Math.max(1, Math.round(FADE_S * sampleRate));
    this.stopFade = Math.max(1, Math.round(STOP_FADE_S * sampleRate));
    this.progressFrames = Math.round(PROGRESS_S * sampleRate);
    this.sampleRate = sampleRate;
    this.frame = 0; // of the context, at the start of the block to come
    this.gain = 0;
    this.reply = null; // is heard
    this.next = null; // waits for the fade of `reply`
    this.newest = -1;
    this.recording = null;
  }

  receive(order) {
    if (order.type === 'begin') this.begin(order.generation);
    else if (order.type === 'push') this.push(order.generation, order.samples, order.afterGap, order.holdS);
    else if (order.type === 'end') this.end(order.generation);
    else if (order.type === 'stop') this.stop(order.generation);
    else if (order.type === 'hold') this.hold(order.generation, order.on);
    else if (order.type === 'record') this.recording = order.on ? [] : null;
    else if (order.type === 'recorded') this.post({ type: 'recorded', ticket: order.ticket, blocks: this.recording || [] });
  }

  begin(generation) {
    if (generation <= this.newest) return;
    this.newest = generation;
    const reply = new Reply(generation);
    if (this.next) this.report('final', this.next, { how: 'replaced' });
    this.next = null;
    if (this.reply) {
      this.reply.how = this.reply.how || 'replaced';
      this.reply.stopping = true;
      this.next = reply;
    } else {
      this.reply = reply;
    }
  }

  find(generation) {
    return [this.reply, this.next].find((reply) => reply && reply.generation === generation && !reply.stopping);
  }

  // `holdS`: with the first samples, how long they are to wait.
  push(generation, samples, afterGap, holdS) {
    const reply = this.find(generation);
    if (!reply || samples.length === 0) return;
    if (afterGap) this.smooth(reply, samples);
    if (reply.rendered === 0 && reply.queued === 0) {
      reply.startFrame = this.frame + Math.round((holdS || 0) * this.sampleRate);
    }
    if (reply.dry) {
      // An underrun is counted when sound follows it; silence before the end of a reply is none.
      reply.dry = false;
      reply.underruns++;
      this.report('resumed', reply);
    }
    reply.chunks.push(samples);
    reply.queued += samples.length;
  }

  // Samples are missing between the queue and `samples`: fade out of the one and into the other.
  smooth(reply, samples) {
    const last = reply.chunks[reply.chunks.length - 1];
    if (last) {
      const length = Math.min(this.fade, last.length);
      for (let i = 1; i <= length; i++) last[last.length - i] *= (i - 1) / length;
    }
    for (let i = 0; i < Math.min(this.fade, samples.length); i++) samples[i] *= i / this.fade;
  }

  end(generation) {
    const reply = this.find(generation);
    if (!reply) return;
    reply.ended = true;
    reply.startFrame = Math.min(reply.startFrame, this.frame); // all is here, there is nothing to wait for
  }

  stop(generation) {
    this.newest = Math.max(this.newest, generation);
    if (this.next && this.next.generation <= generation) {
      this.report('final', this.next, { how: 'stopped' });
      this.next = null;
    }
    if (this.reply && this.reply.generation <= generation) {
      this.reply.how = 'stopped';
      this.reply.stopping = true;
    }
  }

  hold(generation, on) {
    const reply = this.find(generation);
    if (!reply) return;
    reply.held = on;
    reply.toldHeld = false;
  }

  tellHeld(reply, frame) {
    if (reply.toldHeld) return 0;
    reply.toldHeld = true;
    this.report('held', reply, { frame });
    return 0;
  }

  report(type, reply, more) {
    const { generation, rendered, nonSilent, underruns, queued } = reply;
    this.post({ type, generation, rendered, nonSilent, underruns, queued, frame: this.frame, ...more });
  }

  finish(how, frame) {
    this.report('final', this.reply, { how, frame });
    this.reply = this.next;
    this.next = null;
    this.gain = 0;
  }

  // Fills `out` (mono, one block of the context that starts at `frame`).
  render(out, frame) {
    this.frame = frame;
    for (let i = 0; i < out.length; i++) out[i] = this.sample(frame + i);
    this.frame = frame + out.length;
    if (this.recording) this.recording.push(out.slice());
    const reply = this.reply;
    if (reply && reply.queued > 0 && this.frame % this.progressFrames < out.length) this.report('progress', reply);
  }

  sample(frame) {
    const reply = this.reply;
    if (!reply) return 0;
    if (reply.queued === 0 || frame < reply.startFrame) {
      this.gain = 0;
      if (reply.stopping) this.finish(reply.how, frame);
      else if (reply.held && !reply.ended) return this.tellHeld(reply, frame);
      else if (reply.queued > 0) return 0;
      else if (reply.ended) this.finish('ended', frame);
      else if (reply.rendered > 0 && !reply.dry) {
        reply.dry = true;
        this.report('dry', reply);
      }
      return 0;
    }
    if (reply.held && !reply.stopping && this.gain < 1e-9) return this.tellHeld(reply, frame);
    // Where less is queued than the fade takes, it is over with the last sample.
    if (reply.stopping || reply.held) this.gain -= Math.max(1 / this.stopFade, this.gain / reply.queued);
    else if (reply.queued <= this.fade) this.gain -= 1 / this.fade;
    else this.gain += 1 / this.fade;
    this.gain = Math.min(1, Math.max(0, this.gain));
    if (reply.stopping && this.gain < 1e-9) {
      this.finish(reply.how, frame);
      return 0;
    }
    const heard = reply.take() * this.gain;
    if (heard > SILENCE || heard < -SILENCE) {
      if (reply.nonSilent++ === 0) this.report('first', reply, { frame });
    }
    return heard;
  }
}

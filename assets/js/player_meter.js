// Draws the voice strip: a quiet line that becomes a scrolling level while speech sounds; knows no reply.
//
// With reduced motion asked for, nothing scrolls: evenly tall bars stand while speech sounds, and go when it ends.
const BAR_PX = 3;
const GAP_PX = 3;
const BAR_MS = 60;

class VoiceMeter {
  constructor(canvas, root) {
    this.canvas = canvas;
    this.root = root;
    this.levels = [];
    this.peak = 0;
    this.lastBar = 0;
    this.active = false;
    this.analyser = null;
    this.still = window.matchMedia('(prefers-reduced-motion: reduce)');
    this.resized = new ResizeObserver(() => this.draw());
    this.resized.observe(canvas);
    this.themed = new MutationObserver(() => this.draw());
    this.themed.observe(document.body, { attributes: true, attributeFilter: ['class'] });
  }

  setActive(active, analyser) {
    this.analyser = analyser;
    if (active === this.active) return;
    this.active = active;
    if (!this.timer) this.tick(performance.now());
  }

  tick(now) {
    this.timer = 0;
    if (this.analyser && this.active) {
      this.wave = this.wave || new Float32Array(this.analyser.fftSize);
      this.analyser.getFloatTimeDomainData(this.wave);
      let sum = 0;
      for (const sample of this.wave) sum += sample * sample;
      this.peak = Math.max(this.peak, Math.sqrt(sum / this.wave.length));
    }
    if (now - this.lastBar >= BAR_MS) {
      this.levels.push(this.active ? this.peak : 0);
      this.levels = this.levels.slice(-600);
      this.peak = 0;
      this.lastBar = now;
      this.draw();
    }
    // After the speech the bars scroll out; then the strip rests and costs nothing.
    const rests = !this.active && (this.still.matches || this.levels.slice(-this.numBars).every((level) => level === 0));
    if (!rests) this.timer = requestAnimationFrame((time) => this.tick(time));
    else this.draw();
  }

  get numBars() {
    return Math.max(1, Math.floor(this.canvas.clientWidth / (BAR_PX + GAP_PX)));
  }

  draw() {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    if (!width || !height) return;
    const scale = window.devicePixelRatio || 1;
    if (this.canvas.width !== Math.round(width * scale)) this.canvas.width = Math.round(width * scale);
    if (this.canvas.height !== Math.round(height * scale)) this.canvas.height = Math.round(height * scale);
    const paint = this.canvas.getContext('2d');
    const colours = getComputedStyle(this.root);
    paint.setTransform(scale, 0, 0, scale, 0, 0);
    paint.clearRect(0, 0, width, height);
    const bars = this.numBars;
    for (let i = 0; i < bars; i++) {
      const level = this.still.matches ? (this.active ? 0.08 : 0) : this.levels[this.levels.length - bars + i] || 0;
      // Loudness is heard by its logarithm: -48 dB is the line, 0 dB the full height.
      const share = level > 0 ? Math.min(1, Math.max(0, 1 + Math.log10(level) / 2.4)) : 0;
      const tall = Math.max(BAR_PX, share * height);
      paint.fillStyle = colours.getPropertyValue(share > 0 ? '--voice-bar' : '--voice-line');
      paint.beginPath();
      paint.roundRect(i * (BAR_PX + GAP_PX), (height - tall) / 2, BAR_PX, tall, BAR_PX / 2);
      paint.fill();
    }
  }

  dispose() {
    cancelAnimationFrame(this.timer);
    this.resized.disconnect();
    this.themed.disconnect();
  }
}

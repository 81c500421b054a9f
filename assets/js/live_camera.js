// The camera as JPEGs, some a second; knows no socket.
const CAMERA_WIDTH = 640;

class LiveCamera {
  // `onPicture(blob)`: every picture that is sent.
  constructor({ video, onPicture, perSecond }) {
    Object.assign(this, { video, onPicture, perSecond });
    this.canvas = document.createElement('canvas');
  }

  async start() {
    this.stream = await navigator.mediaDevices.getUserMedia({ video: { width: CAMERA_WIDTH, facingMode: 'user' } });
    this.video.srcObject = this.stream;
    await this.video.play();
    this.timer = setInterval(() => this.shoot(), 1000 / this.perSecond);
    this.shoot();
  }

  shoot() {
    const { videoWidth, videoHeight } = this.video;
    if (!videoWidth || this.isBusy) return;
    const scale = Math.min(1, CAMERA_WIDTH / videoWidth);
    this.canvas.width = Math.round(videoWidth * scale);
    this.canvas.height = Math.round(videoHeight * scale);
    this.canvas.getContext('2d').drawImage(this.video, 0, 0, this.canvas.width, this.canvas.height);
    this.isBusy = true;
    this.canvas.toBlob((blob) => {
      this.isBusy = false;
      if (blob && this.timer) this.onPicture(blob);
    }, 'image/jpeg', 0.8);
  }

  stop() {
    clearInterval(this.timer);
    this.timer = null;
    if (this.stream) for (const track of this.stream.getTracks()) track.stop();
    this.video.srcObject = null;
  }
}

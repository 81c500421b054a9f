"""Live conversation over one WebSocket: sound and pictures up, events and speech down."""

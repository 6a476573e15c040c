"""HTTP beside the WebSocket: media for clients, metrics, health and administration."""

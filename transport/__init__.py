"""What is between machines: the wire, the listening edge, the client library, media over HTTP."""

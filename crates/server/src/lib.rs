//! HTTP API, live stream, authentication, metrics, wiring.

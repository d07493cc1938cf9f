//! The registry as an image store (OCI distribution specification).

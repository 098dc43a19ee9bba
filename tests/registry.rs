//! Registries to ask.

pub mod hostile;

//! The lookup of images against registries.

mod authorities;
mod hostile;

//! The command line.

/// Runs the command line and returns its exit code.
pub fn main() -> std::process::ExitCode {
    unimplemented!()
}

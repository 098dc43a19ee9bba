//! `ashore`, also found as `kubectl-ashore`.

fn main() -> std::process::ExitCode {
    ashore::cli::main()
}

//! Why the demo could not be shown, and what to do about it.

use std::path::PathBuf;

/// Why the demo could not be shown.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// A program of ours has not been built.
    #[error("{0}: not built; `make demo` builds it")]
    NotBuilt(PathBuf),
    /// The kernel gives us no namespaces.
    #[error(
        "{reason}.\n\
         Run it as root (sudo {demo}), or allow user namespaces, whichever of these there is:\n\
         \x20 sudo sysctl -w user.max_user_namespaces=15000\n\
         \x20 sudo sysctl -w kernel.unprivileged_userns_clone=1                # Debian\n\
         \x20 sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0    # Ubuntu 23.10 and later"
    )]
    NoSandbox {
        /// Why.
        reason: &'static str,
        /// This program.
        demo: String,
    },
    /// A system call failed.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The C compiler.
    #[error("cannot compile {file} with `{compiler}`: {said}")]
    Compiler {
        /// The program's source.
        file: &'static str,
        /// The compiler: `cc`, or what `CC` says.
        compiler: String,
        /// What it said.
        said: String,
    },
    /// `ashore serve` ended, or did not get ready.
    #[error("`ashore serve` {0}")]
    Serve(String),
    /// The webhook's answer is not what an API server could use.
    #[error("the webhook's answer: {0}")]
    Answer(String),
    /// The certificate could not be made.
    #[error("making a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// The pod's manifest lacks something.
    #[error("the pod: {0}")]
    Pod(String),
    /// A container did not do what it should.
    #[error("container {who}: {what}")]
    Container {
        /// Its name.
        who: String,
        /// What did not happen, and what it wrote.
        what: String,
    },
}

/// What a program wrote, to follow what it did.
pub(crate) fn wrote(output: &str) -> String {
    match output.trim_end() {
        "" => "; it wrote nothing".into(),
        output => format!("; it wrote:\n{output}"),
    }
}

/// Says what was tried when a system call failed.
pub(crate) trait Context<T> {
    /// The same result, with what was tried.
    fn context(self, what: impl Into<String>) -> Result<T, Failure>;
}

impl<T> Context<T> for std::io::Result<T> {
    fn context(self, what: impl Into<String>) -> Result<T, Failure> {
        self.map_err(|source| Failure::Io { what: what.into(), source })
    }
}

//! What `ashore-init --help` and `--version` print.

/// The version, as the workspace has it.
pub const VERSION: &str = concat!("ashore-init ", env!("CARGO_PKG_VERSION"), "\n");

/// The help: what it is for, each flag with its default, and examples to copy.
pub const HELP: &str = "\
ashore-init: a PID 1 that gives every process its stop signal and the time to finish, and leaves last

Usage: ashore-init [flags] -- PROGRAM [ARG...]   run PROGRAM (main) under it
       ashore-init copy DIR                      put itself into DIR

Main gets the stop signal; when it has gone, those it left behind are asked, top-down; ashore-init stays until the last has
gone or the grace period is nearly over.

Flags (durations: 500ms, 5s, 1m30s, a bare number is seconds; signals: TERM, SIGTERM, 15, RTMIN+3):
  --grace D           when the runtime kills: docker stop -t, terminationGracePeriodSeconds. A second (or a tenth) before,
                      who is left is named and killed. Default: no deadline
  --strategy S        cascade (default): main, then top-down; broadcast: all at once; main: main alone until it exits
  --spread D          how long that order is kept before all get SIGTERM. Default: half of the grace period, else 5s
  --delay D           hold the stop signal back: load balancers stop sending first
  --linger D          the rest's time when main exits unasked, and an exec's processes'. Default: 5s
  --stop-signal S,S   what is a stop besides TERM and INT: the image's STOPSIGNAL (nginx: QUIT)
  --rewrite S=S,S=S   what main gets in place of a signal (uWSGI: TERM=INT)
  --exit-map N=N,N=N  exit codes in place of main's, after a requested stop (143=0)
  --report W          report to the termination message: always, forced (if somebody was killed; default), never
  --report-file FILE  that file; it must be there, and empty. Default: /dev/termination-log
  --verbose, -v       say what is sent to whom
  --help, --version

Exit code: main's own; 128+N: signal N ended it; 127: PROGRAM not found; 126: it cannot be executed; 2: a word is wrong.
";

//! What `ashore-init --help` and `--version` print.

/// The version, as the workspace has it.
pub const VERSION: &str = concat!("ashore-init ", env!("CARGO_PKG_VERSION"), "\n");

/// The help: what it is for, each flag with its default, and examples to copy.
pub const HELP: &str = "\
ashore-init: a PID 1 that gives every process its stop signal and the time to finish, and leaves last

Usage: ashore-init [flags] -- PROGRAM [ARG...]   run PROGRAM under it
       ashore-init copy DIR                      put itself into DIR, for other containers to use

When a container stops, its runtime signals PID 1 alone, and kills the rest when PID 1 has gone. Under ashore-init main (the
program) gets the signal; when it has gone, those that it left behind are asked, top-down; ashore-init stays until the last one
has gone or the grace period is nearly over, names who was not ready, and ends with main's own exit code.

Flags (durations: 500ms, 5s, 1m30s, a bare number is seconds; signals: TERM, SIGTERM, 15, RTMIN+3):
  --grace D           how long after the stop signal the runtime kills: docker stop -t, terminationGracePeriodSeconds.
                      A second (or a tenth) before, who is left is named and killed. Default: no deadline of our own
  --strategy S        cascade: main first, then top-down (default); broadcast: everyone at once; main: main alone until it exits
  --spread D          how long that order is kept before everyone gets SIGTERM. Default: half of the grace period, else 5s
  --delay D           hold the stop signal back, so that load balancers stop sending first. Default: 0
  --linger D          how long the rest has when main exits unasked, and processes of an exec have at any end. Default: 5s
  --stop-signal S,S   what else counts as a request to stop, besides TERM and INT: the image's STOPSIGNAL (nginx: QUIT)
  --rewrite S=S,S=S   what main gets in place of a signal (uWSGI, unicorn: TERM=QUIT)
  --exit-map N=N,N=N  what to exit with in place of main's code, after a requested stop only (143=0)
  --report W          write a report to the termination message: always, forced (when somebody was killed; default) or never
  --report-file FILE  where that is. Default: /dev/termination-log; it must be there, and empty
  --verbose, -v       say on standard error what is sent to whom
  --help, --version

Examples:
  docker run --init=false IMAGE ashore-init --grace 10s -- myapp      (docker stop waits 10 s)
  ENTRYPOINT [\"/ashore-init\", \"--grace=10s\", \"--stop-signal=QUIT\", \"--\", \"nginx\", \"-g\", \"daemon off;\"]

Exit code: main's own, 128+N if signal N ended it; 127: PROGRAM was not found; 126: it cannot be executed; 2: a word above is wrong.
";

//! The benchmark's own command line.

use crate::error::Error;
use std::path::PathBuf;

pub(crate) const HELP: &str = "\
bench-init: ashore-init beside tini, dumb-init and catatonit, measured in turns on the same machine

Usage: bench-init [--rounds N | --quick] [--init FILE] [--json FILE] [--only NAME,NAME] [--check]

  --rounds N   starts of each init, 20 to 100000; the other figures take a share of it. Default: 2000
  --quick      the same as --rounds 200
  --init FILE  the ashore-init to measure. Default: target/release/ashore-init, else target/init/ashore-init
  --json FILE  write the figures there, too
  --only N,N   some of the figures: size, idle, start, last, report, crowd, orphans
  --check      exit 1 if a figure is over its bound; those that are times of this machine are only marked

Needs root, or user namespaces; peers that are not installed are shown as missing (Debian: tini dumb-init catatonit).";

/// The figures' names, in the order of the table.
pub(crate) const NAMES: [&str; 7] = ["size", "idle", "start", "last", "report", "crowd", "orphans"];

/// What was asked for.
pub(crate) struct Options {
    pub(crate) rounds: u32,
    pub(crate) init: PathBuf,
    pub(crate) json: Option<PathBuf>,
    pub(crate) only: Option<Vec<String>>,
    pub(crate) check: bool,
    pub(crate) help: bool,
}

impl Options {
    pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, Error> {
        let mut options = Self { rounds: 2000, init: built_init(), json: None, only: None, check: false, help: false };
        while let Some(flag) = words.next() {
            let mut value = || words.next().ok_or_else(|| Error::Usage(format!("{flag}: a value is missing")));
            match flag.as_str() {
                "--rounds" => {
                    let value = value()?;
                    let rounds = value.parse().ok().filter(|rounds| (20..=100_000).contains(rounds));
                    options.rounds = rounds.ok_or_else(|| Error::Usage(format!("--rounds: \"{value}\"; expected 20 to 100000")))?;
                }
                "--quick" => options.rounds = 200,
                "--init" => options.init = value()?.into(),
                "--json" => options.json = Some(value()?.into()),
                "--only" => {
                    let names: Vec<String> = value()?.split(',').map(String::from).collect();
                    if let Some(unknown) = names.iter().find(|name| !NAMES.contains(&name.as_str())) {
                        return Err(Error::Usage(format!("--only: \"{unknown}\"; expected {}", NAMES.join(", "))));
                    }
                    options.only = Some(names);
                }
                "--check" => options.check = true,
                "--help" | "-h" => options.help = true,
                // `cargo bench` adds it.
                "--bench" => {}
                _ => return Err(Error::Usage(format!("unknown flag: \"{flag}\""))),
            }
        }
        Ok(options)
    }
}

fn built_init() -> PathBuf {
    let target = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../target"));
    let release = target.join("release/ashore-init");
    if release.exists() { release } else { target.join("init/ashore-init") }
}

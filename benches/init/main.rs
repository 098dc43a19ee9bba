//! `bench-init`: what ashore-init costs, beside the inits that Debian has, all measured in turns in the same run.

mod bench;
mod container;
mod contender;
mod error;
mod figures;
mod memory;
mod options;
mod table;

use error::Error;
use options::Options;
use std::process::ExitCode;

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("bench-init: {error}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<ExitCode, Error> {
    let options = Options::parse(std::env::args().skip(1))?;
    if options.help {
        println!("{}", options::HELP);
        return Ok(ExitCode::SUCCESS);
    }
    let contenders = contender::all(&options.init)?;
    container::become_root()?;
    let bench = bench::Bench { contenders, memory: memory::Memory::new()?, rounds: options.rounds };

    let mut rows = Vec::new();
    let figures = [figures::size, figures::idle, figures::start, figures::last, figures::report, figures::crowd, figures::orphans];
    for (name, figure) in options::NAMES.iter().zip(figures) {
        if options.only.as_ref().is_none_or(|only| only.iter().any(|wanted| wanted == name)) {
            rows.extend(figure(&bench)?);
        }
    }
    let machine = machine();
    print!(
        "{machine}; {} starts of each, in turns; times are medians, counts the most of any round\n\n{}",
        options.rounds,
        table::markdown(&bench.contenders, &rows)
    );
    let missing = figures::missing(&bench.contenders);
    if !missing.is_empty() {
        println!("\nmissing: {}", missing.join(", "));
    }
    if let Some(path) = &options.json {
        let text = format!("{:#}\n", table::json(&machine, options.rounds, &bench.contenders, &rows));
        std::fs::write(path, text).map_err(|source| Error::System { what: path.display().to_string(), source })?;
    }
    let broken = rows.iter().any(table::Row::is_broken);
    Ok(if options.check && broken { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The machine, in words that another's can be compared with.
fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let info = read("/proc/cpuinfo");
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split(':').nth(1)).unwrap_or(std::env::consts::ARCH).trim();
    let release = read("/proc/sys/kernel/osrelease");
    let release = release.trim().split('-').next().unwrap_or_default();
    format!("{cores} cores, {model}, Linux {release}")
}

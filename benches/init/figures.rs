//! The figures, one function each.

use crate::bench::{Bench, progress};
use crate::container::{Container, KILLED, OneProcessor, Proc, now};
use crate::contender::{ASHORE, Contender, NO_INIT, TINI, TINI_STATIC};
use crate::error::{Error, system};
use crate::table::Summary::{Median, Most, Rare};
use crate::table::{Bound, Cell, Row, Unit, compare};
use std::path::Path;
use std::time::Duration;

/// How many processes a stop is to reach.
const CROWD: u32 = 1000;
/// How many processes are killed in the stops that are reported; of the last a report names only some.
const REPORTED: [u32; 3] = [1, 10, 100];
/// How many orphans PID 1 is to reap.
const ORPHANS: u32 = 10_000;
/// How long the idle inits are watched.
const WATCH: Duration = Duration::from_secs(5);
/// How long what came with the start is waited for, before anything that is to be still is looked at.
const SETTLE: Duration = Duration::from_millis(300);

const fn measured(value: f64) -> Cell {
    Cell::Measured { value, ratio: None, note: None }
}

/// The program's size.
pub(crate) fn size(bench: &Bench) -> Result<Vec<Row>, Error> {
    let cells = bench.ask(|contender| {
        let Some(path) = &contender.path else { return Ok(Cell::Without("-")) };
        let length = std::fs::metadata(path).map_err(|source| Error::System { what: path.display().to_string(), source })?.len();
        let note = needs_libraries(path).then(|| "and libc".into());
        Ok(Cell::Measured { value: length as f64, ratio: None, note })
    })?;
    Ok(vec![Row { figure: "size of the program, bytes".into(), unit: Unit::Bytes, bound: Bound::of("32,768", 32_768.0), cells }])
}

/// What an init costs while nothing happens: memory, and wake-ups, for which all are watched at the same time.
pub(crate) fn idle(bench: &Bench) -> Result<Vec<Row>, Error> {
    let mut running = Vec::new();
    for contender in &bench.contenders {
        running.push(if contender.is_here() && contender.is_init() {
            let mut container = Container::start(contender, "idle", None, Proc::Own, &bench.memory)?;
            container.wait_ready(1)?;
            Some(container)
        } else {
            None
        });
    }
    std::thread::sleep(SETTLE);
    let pids: Vec<Option<i32>> = running.iter().map(|running| running.as_ref().map(Container::pid)).collect();
    let switches = |pid: i32| Ok(field(pid, "status", "voluntary_ctxt_switches:")? + field(pid, "status", "nonvoluntary_ctxt_switches:")?);
    let before: Vec<Option<u64>> = pids.iter().map(|pid| pid.map(switches).transpose()).collect::<Result<_, Error>>()?;
    let seconds = WATCH.as_secs() as u32;
    for second in 0..seconds {
        progress("idle, seconds", second, seconds);
        std::thread::sleep(Duration::from_secs(1));
    }
    progress("idle, seconds", seconds, seconds);

    let mut cells = Vec::new();
    for (at, pid) in pids.iter().enumerate() {
        cells.push(match (*pid, before[at]) {
            (Some(pid), Some(before)) => measured((switches(pid)? - before) as f64),
            _ => Cell::Without(if at == NO_INIT { "-" } else { "missing" }),
        });
    }
    Ok(vec![resident(bench)?, Row { figure: "wake-ups while idle, 5 s".into(), unit: Unit::Count, bound: Bound::of("0", 0.0), cells }])
}

/// What an idle init keeps in memory. It differs from start to start by a page or two, since the kernel puts the stack anywhere.
fn resident(bench: &Bench) -> Result<Row, Error> {
    let [mut cells, own] = bench.take_turns("resident, idle", 9, [Median; 2], |contender| {
        if !contender.is_init() {
            return Ok(Err("-"));
        }
        let mut container = Container::start(contender, "idle", None, Proc::Own, &bench.memory)?;
        container.wait_ready(1)?;
        std::thread::sleep(SETTLE / 10);
        // Exact, where the counters in `status` may be late by some pages.
        let kilobytes = |name| field(container.pid(), "smaps_rollup", name).map(|value| value as f64);
        Ok(Ok([kilobytes("Rss:")?, kilobytes("Anonymous:")?]))
    })?;
    for (cell, own) in cells.iter_mut().zip(own) {
        if let (Cell::Measured { note, .. }, Cell::Measured { value: own, .. }) = (cell, own) {
            *note = Some(format!("{own} its own"));
        }
    }
    Ok(Row { figure: "resident, idle".into(), unit: Unit::Kilobytes, bound: Bound::of("64 kB", 64.0), cells })
}

/// From just before the container's first process is made to main's first instructions.
pub(crate) fn start(bench: &Bench) -> Result<Vec<Row>, Error> {
    let [mut cells] = bench.take_turns("start of main", bench.rounds, [Median], |contender| {
        let container = Container::start(contender, "start", None, Proc::Inherited, &bench.memory)?;
        let began = container.began;
        let (_, code) = container.wait()?;
        let first = bench.memory.first().ok_or(Error::NotRun { contender: contender.name.into(), part: "start".into(), code })?;
        Ok(Ok([(first - began) as f64]))
    })?;
    compare(&mut cells, TINI_STATIC);
    Ok(vec![Row { figure: "start of main through it, p50".into(), unit: Unit::Micros, bound: Bound::of_ratio(0.5, "tini-static"), cells }])
}

/// From the last process's end to when the container's end is seen.
pub(crate) fn last(bench: &Bench) -> Result<Vec<Row>, Error> {
    let rounds = (bench.rounds / 40).max(5);
    let mut rows = Vec::new();
    for (part, what) in [("last-main", "main is the last"), ("last-worker", "a worker outlives main")] {
        let [cells] = bench.take_turns(&format!("the last one's end, {what}"), rounds, [Median], |contender| {
            let mut container = Container::start(contender, part, None, Proc::Own, &bench.memory)?;
            container.wait_ready(1)?;
            container.stop()?;
            let (seen, _) = container.wait()?;
            Ok(bench.memory.last().map(|last| [seen.saturating_sub(last) as f64]).ok_or("killed the worker"))
        })?;
        rows.push(Row {
            figure: format!("last process's end to init's exit, p50: {what}"),
            unit: Unit::Micros,
            bound: Bound::of_time("1 ms", 1e6),
            cells,
        });
    }
    Ok(rows)
}

/// What a report costs: how long a container takes to end when main has gone and others do not mind SIGTERM, with a report, and
/// without one. A peer says nothing, and waits for nobody.
pub(crate) fn report(bench: &Bench) -> Result<Vec<Row>, Error> {
    let file = std::env::temp_dir().join(format!("ashore-report-{}", std::process::id()));
    let rows: Result<Vec<_>, Error> = REPORTED.iter().map(|count| reported(bench, *count, &file)).collect();
    let _ = std::fs::remove_file(&file);
    Ok(rows?.into_iter().flatten().collect())
}

fn reported(bench: &Bench, count: u32, file: &Path) -> Result<Vec<Row>, Error> {
    let path = file.display().to_string();
    let ways =
        ["always", "never"].map(|when| bench.contenders[ASHORE].with(&["--linger", "1ms", "--report", when, "--report-file", &path, "--"]));
    let end = |way: &Contender| {
        std::fs::write(file, "").map_err(|source| Error::System { what: path.clone(), source })?;
        let (ended, _) = Container::start(way, KILLED, Some(count), Proc::Own, &bench.memory)?.wait()?;
        Ok(bench.memory.last().map_or(0.0, |last| ended.saturating_sub(last) as f64))
    };
    let rounds = (bench.rounds / 4).max(5);
    let figures = bench.take_turns(&format!("a report, {count} killed"), rounds, [Median, Rare, Median, Rare], |contender| {
        if contender.name != bench.contenders[ASHORE].name {
            return Ok(Ok([end(contender)?; 4]));
        }
        let (with, without) = (end(&ways[0])?, end(&ways[1])?);
        Ok(Ok([with, with, without, without]))
    })?;
    let [median, rare, median_without, rare_without] = figures;
    let mut rows = Vec::new();
    for (with, without, what) in [(median, median_without, "p50"), (rare, rare_without, "p99")] {
        let mut later = vec![Cell::Without("-"); with.len()];
        if let (Cell::Measured { value: with, .. }, Cell::Measured { value: without, .. }) = (&with[ASHORE], &without[ASHORE]) {
            later[ASHORE] = measured(with - without);
        }
        let row = |part: &str, bound, cells| Row {
            figure: format!("{count} left behind are killed: {part}, {what}"),
            unit: Unit::Micros,
            bound,
            cells,
        };
        rows.push(row("main's end to the container's", None, with));
        rows.push(row("of it for the report", Bound::of_time("1 ms", 1e6), later));
    }
    Ok(rows)
}

/// A stop that many processes have to hear of, each of which ends at once when it does.
pub(crate) fn crowd(bench: &Bench) -> Result<Vec<Row>, Error> {
    let rounds = (bench.rounds / 200).max(3);
    let mut rows = Vec::new();
    // Without an init, main leaving its children behind would have them killed: what is compared with is the least that a PID 1 can do.
    for (part, alone, what) in
        [("crowd-forward", "crowd-forward", "main passes it on and waits"), ("crowd-leave", "crowd-sweep", "main leaves at once")]
    {
        let [mut times, killed] = bench.take_turns(&format!("1,000 processes, {what}"), rounds, [Median, Most], |contender| {
            let part = if contender.is_init() { part } else { alone };
            let mut container = Container::start(contender, part, Some(CROWD), Proc::Own, &bench.memory)?;
            container.wait_ready(CROWD as i32 + 1)?;
            let asked = container.stop()?;
            let (ended, _) = container.wait()?;
            let killed = f64::from(CROWD) - f64::from(bench.memory.ended());
            Ok(Ok([ended.saturating_sub(asked) as f64, killed]))
        })?;
        // The time of a stop that kills is not the time of the same thing.
        for (time, killed) in times.iter_mut().zip(&killed) {
            if matches!(killed, Cell::Measured { value, .. } if *value > 0.0) {
                *time = Cell::Without("killed them");
            }
        }
        compare(&mut times, NO_INIT);
        let bound = Bound::of_ratio(1.5, "no init");
        // The least that a PID 1 can do is less than the same: it asks nobody who is in charge, nor how each wants to be asked.
        let bound = if part == alone { bound } else { bound.map(Bound::only_marked) };
        rows.push(Row { figure: format!("1,000 processes, {what}: the whole stop"), unit: Unit::Millis, bound, cells: times });
        rows.push(Row {
            figure: "of these, killed before they had ended".into(),
            unit: Unit::Count,
            bound: Bound::of("0", 0.0),
            cells: killed,
        });
    }
    Ok(rows)
}

/// Processes whose parents have gone: is each reaped, and at what cost.
pub(crate) fn orphans(bench: &Bench) -> Result<Vec<Row>, Error> {
    let rounds = (bench.rounds / 600).max(1);
    let _one = OneProcessor::take()?;
    let [zombies, mut cost] = bench.take_turns("10,000 orphans", rounds, [Most, Median], |contender| {
        if !contender.is_init() {
            return Ok(Err("-"));
        }
        let mut container = Container::start(contender, "orphans", Some(ORPHANS), Proc::Own, &bench.memory)?;
        container.wait_ended(ORPHANS as i32)?;
        container.wait_ready(1)?;
        let reaped_by = now() + SETTLE.as_nanos() as u64;
        let pid = container.pid();
        let mut left = zombies_of(pid)?;
        while left > 0 && now() < reaped_by {
            std::thread::sleep(Duration::from_millis(5));
            left = zombies_of(pid)?;
        }
        let spent = cpu_time(pid)?;
        container.stop()?;
        container.wait()?;
        Ok(Ok([left as f64, spent as f64]))
    })?;
    compare(&mut cost, TINI);
    Ok(vec![
        Row { figure: "10,000 orphans: zombies left".into(), unit: Unit::Count, bound: Bound::of("0", 0.0), cells: zombies },
        Row {
            figure: "10,000 orphans: CPU time of the init, one processor".into(),
            unit: Unit::Millis,
            bound: Bound::of_ratio(1.0, "tini"),
            cells: cost,
        },
    ])
}

fn read(pid: i32, file: &str) -> Result<String, Error> {
    let path = format!("/proc/{pid}/{file}");
    std::fs::read_to_string(&path).map_err(|source| Error::System { what: path, source })
}

/// A number from a file of `name: value` lines.
fn field(pid: i32, file: &str, name: &str) -> Result<u64, Error> {
    let text = read(pid, file)?;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok());
    value.ok_or_else(|| Error::System { what: format!("/proc/{pid}/{file}"), source: std::io::Error::other(format!("has no {name}")) })
}

/// How many children of this process have ended and are not reaped.
fn zombies_of(pid: i32) -> Result<u64, Error> {
    let children = read(pid, &format!("task/{pid}/children"))?;
    let is_zombie = |child: &&str| {
        let stat = std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
        stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z'))
    };
    Ok(children.split_whitespace().filter(is_zombie).count() as u64)
}

/// The processor time of this process alone, in ns.
fn cpu_time(pid: i32) -> Result<u64, Error> {
    let mut clock = 0;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: both results are alive.
    if unsafe { libc::clock_getcpuclockid(pid, &raw mut clock) } != 0 || unsafe { libc::clock_gettime(clock, &raw mut time) } != 0 {
        return Err(system("clock_getcpuclockid"));
    }
    Ok(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
}

/// Whether this ELF program names a dynamic loader (a PT_INTERP segment, elf(5); 64-bit, this machine's byte order).
fn needs_libraries(path: &Path) -> bool {
    const PT_INTERP: u32 = 3;
    let bytes = std::fs::read(path).unwrap_or_default();
    let half = |at: usize| bytes.get(at..at + 2).map_or(0, |b| usize::from(u16::from_ne_bytes([b[0], b[1]])));
    let table = bytes.get(32..40).and_then(|b| b.try_into().ok()).map_or(0, u64::from_ne_bytes) as usize;
    let (size, count) = (half(54), half(56));
    let mut kinds = (0..count).filter_map(|at| bytes.get(table + at * size..)?.first_chunk().copied().map(u32::from_ne_bytes));
    kinds.any(|kind| kind == PT_INTERP)
}

/// What is missing, for a line below the table.
pub(crate) fn missing(contenders: &[Contender]) -> Vec<String> {
    contenders.iter().filter_map(|contender| contender.missing.map(|package| format!("{} (Debian: {package})", contender.name))).collect()
}

//! What every figure is measured with: the contenders, taken in turns so that whatever disturbs the machine disturbs all alike.

use crate::contender::Contender;
use crate::error::Error;
use crate::memory::Memory;
use crate::table::{Cell, Summary};
use std::io::{IsTerminal, Write};

pub(crate) struct Bench {
    pub(crate) contenders: Vec<Contender>,
    pub(crate) memory: Memory,
    pub(crate) rounds: u32,
}

impl Bench {
    /// Measures everyone who is there once a round and returns what each one's rounds come to. One that has nothing to measure says why.
    pub(crate) fn take_turns<const N: usize>(
        &self,
        what: &str,
        rounds: u32,
        summaries: [Summary; N],
        mut measure: impl FnMut(&Contender) -> Result<Result<[f64; N], &'static str>, Error>,
    ) -> Result<[Vec<Cell>; N], Error> {
        let mut values: Vec<[Vec<f64>; N]> = self.contenders.iter().map(|_| std::array::from_fn(|_| Vec::new())).collect();
        let mut reasons = vec![None; self.contenders.len()];
        for round in 0..rounds {
            progress(what, round, rounds);
            for turn in 0..self.contenders.len() {
                // Not always after the same one.
                let at = (turn + round as usize) % self.contenders.len();
                if !self.contenders[at].is_here() {
                    continue;
                }
                match measure(&self.contenders[at])? {
                    Ok(figures) => values[at].iter_mut().zip(figures).for_each(|(values, figure)| values.push(figure)),
                    Err(reason) => reasons[at] = Some(reason),
                }
            }
        }
        progress(what, rounds, rounds);
        Ok(std::array::from_fn(|figure| {
            let cell = |at: usize| match (self.contenders[at].missing, reasons[at], summaries[figure].of(&values[at][figure])) {
                (Some(_), ..) => Cell::Without("missing"),
                (_, None, Some(value)) => Cell::Measured { value, ratio: None, note: None },
                (_, reason, _) => Cell::Without(reason.unwrap_or("-")),
            };
            (0..self.contenders.len()).map(cell).collect()
        }))
    }

    /// One thing about everyone, at once.
    pub(crate) fn ask(&self, question: impl Fn(&Contender) -> Result<Cell, Error>) -> Result<Vec<Cell>, Error> {
        let answer = |contender: &Contender| if contender.is_here() { question(contender) } else { Ok(Cell::Without("missing")) };
        self.contenders.iter().map(answer).collect()
    }
}

/// A line on a terminal that says how far it is; it goes away at the end.
pub(crate) fn progress(what: &str, done: u32, of: u32) {
    let mut terminal = std::io::stderr();
    if terminal.is_terminal() && (done == of || done.is_multiple_of(of.div_ceil(100))) {
        let line = if done == of { String::new() } else { format!("{what}: {done} of {of}") };
        let _ = write!(terminal, "\r\x1b[K{line}");
        let _ = terminal.flush();
    }
}

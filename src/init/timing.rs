//! When the steps of a stop are due, counted from the stop signal.

use crate::settings::Settings;
use core::time::Duration;

/// Microseconds.
pub type Micros = u64;

/// A time that does not come.
pub const NEVER: Micros = u64::MAX;

/// What stands in for half of the budget when nobody said how long the budget is.
const SPREAD_WITHOUT_GRACE: Micros = 5_000_000;
/// The most that is kept back before the runtime's SIGKILL, for naming, killing and reporting.
const LONGEST_MARGIN: Micros = 1_000_000;

/// When the steps of a stop are due, in microseconds from the stop signal's arrival.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Steps {
    /// The signal is passed on: `--delay`.
    pub ask: Micros,
    /// SIGTERM goes to every process that is left.
    pub sweep: Micros,
    /// SIGTERM goes to every process born since the sweep.
    pub second_sweep: Micros,
    /// What is left is killed. [`NEVER`]: nobody said how long there is, so the runtime's own SIGKILL is the end.
    pub deadline: Micros,
}

impl Steps {
    /// The steps of a requested stop: the deadline is the grace period less a margin (1 s, or a tenth of a short one), the
    /// sweep is due when `--spread` (default: half) of what `--delay` leaves of it has passed, the second at three quarters.
    pub fn of_stop(settings: &Settings<'_>) -> Self {
        let deadline = settings.grace.map(micros).map(|grace| grace - (grace / 10).min(LONGEST_MARGIN));
        Self::new(micros(settings.delay), settings.spread.map(micros), deadline)
    }

    /// The steps when main has gone unasked: what is left gets `--linger`.
    pub fn of_linger(settings: &Settings<'_>) -> Self {
        Self::new(0, None, Some(micros(settings.linger)))
    }

    /// The steps for the rest when main was waited for alone and has gone: what is left of the budget is shared anew.
    pub fn of_rest(left: Option<Micros>) -> Self {
        Self::new(0, None, left)
    }

    #[inline(never)]
    fn new(delay: Micros, spread: Option<Micros>, deadline: Option<Micros>) -> Self {
        let Some(deadline) = deadline else {
            return Self { ask: delay, sweep: delay + spread.unwrap_or(SPREAD_WITHOUT_GRACE), second_sweep: NEVER, deadline: NEVER };
        };
        let ask = delay.min(deadline);
        let budget = deadline - ask;
        let sweep = (ask + spread.unwrap_or(budget / 2)).min(deadline);
        // Three quarters, unless the spread is as long as that: then halfway between the sweep and the deadline.
        let second_sweep = (ask + budget * 3 / 4).max(sweep + (deadline - sweep) / 2);
        Self { ask, sweep, second_sweep, deadline }
    }
}

/// [`Steps`] as durations, for those who explain a stop beforehand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timing {
    /// The signal is passed on.
    pub ask: Duration,
    /// SIGTERM goes to every process that is left.
    pub sweep: Duration,
    /// SIGTERM goes to every process born since the sweep.
    pub second_sweep: Option<Duration>,
    /// What is left is killed; `None`: by the runtime only.
    pub deadline: Option<Duration>,
}

impl Timing {
    /// The steps of a requested stop.
    pub fn of_stop(settings: &Settings<'_>) -> Self {
        let Steps { ask, sweep, second_sweep, deadline } = Steps::of_stop(settings);
        let duration = Duration::from_micros;
        let comes = |at| (at != NEVER).then(|| duration(at));
        Self { ask: duration(ask), sweep: duration(sweep), second_sweep: comes(second_sweep), deadline: comes(deadline) }
    }
}

/// A duration in microseconds, without 128-bit arithmetic.
#[inline(never)]
pub fn micros(duration: Duration) -> Micros {
    duration.as_secs() * 1_000_000 + u64::from(duration.subsec_micros())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stop(grace: Option<u64>, delay: u64, spread: Option<u64>) -> [Option<u64>; 4] {
        let settings = Settings {
            grace: grace.map(Duration::from_millis),
            delay: Duration::from_millis(delay),
            spread: spread.map(Duration::from_millis),
            ..Settings::default()
        };
        let timing = Timing::of_stop(&settings);
        let millis = |d: Duration| d.as_millis() as u64;
        [Some(millis(timing.ask)), Some(millis(timing.sweep)), timing.second_sweep.map(millis), timing.deadline.map(millis)]
    }

    #[test]
    fn half_and_three_quarters_of_the_grace_less_a_second() {
        assert_eq!(stop(Some(30_000), 0, None), [Some(0), Some(14_500), Some(21_750), Some(29_000)]);
    }

    #[test]
    fn a_short_grace_keeps_back_a_tenth() {
        assert_eq!(stop(Some(2000), 0, None), [Some(0), Some(900), Some(1350), Some(1800)]);
    }

    #[test]
    fn a_delay_is_taken_from_the_budget() {
        assert_eq!(stop(Some(31_000), 10_000, None), [Some(10_000), Some(20_000), Some(25_000), Some(30_000)]);
    }

    #[test]
    fn a_long_spread_keeps_its_order() {
        assert_eq!(stop(Some(11_000), 0, Some(9000)), [Some(0), Some(9000), Some(9500), Some(10_000)]);
        assert_eq!(stop(Some(11_000), 0, Some(60_000)), [Some(0), Some(10_000), Some(10_000), Some(10_000)]);
    }

    #[test]
    fn without_a_grace_there_is_no_deadline() {
        assert_eq!(stop(None, 1000, None), [Some(1000), Some(6000), None, None]);
    }

    #[test]
    fn nothing_left_of_the_grace_is_still_in_order() {
        assert_eq!(stop(Some(0), 0, None), [Some(0), Some(0), Some(0), Some(0)]);
        assert_eq!(stop(Some(10_000), 20_000, None), [Some(9000), Some(9000), Some(9000), Some(9000)]);
    }
}

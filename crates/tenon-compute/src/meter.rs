//! Measures processor time and prices it.

use rustix::time::{ClockId, Timespec, clock_gettime};
use tenon_core::spec::Prices;

/// Measures how much processor time is used from its start on.
#[derive(Debug, Clone, Copy)]
pub struct Meter {
    of: ClockId,
    from: Timespec,
}

impl Meter {
    /// Starts measuring the whole process: every thread counts, also what others do meanwhile.
    pub fn process() -> Self {
        Self::start(ClockId::ProcessCPUTime)
    }

    /// Starts measuring the calling thread alone. The seconds must be read on the same thread.
    pub fn thread() -> Self {
        Self::start(ClockId::ThreadCPUTime)
    }

    fn start(of: ClockId) -> Self {
        Self { of, from: clock_gettime(of) }
    }

    /// Processor seconds used so far, over all cores: two busy cores use two a second.
    pub fn seconds(&self) -> f64 {
        let now = clock_gettime(self.of);
        let seconds = (now.tv_sec - self.from.tv_sec) as f64 + (now.tv_nsec - self.from.tv_nsec) as f64 / 1e9;
        seconds.max(0.0)
    }

    /// What was used so far, priced.
    pub fn spend(&self, prices: &Prices) -> Spend {
        Spend::cpu(self.seconds(), prices)
    }
}

/// Processor time and what it costs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spend {
    /// Processor seconds.
    pub seconds: f64,
    /// US dollars.
    pub usd: f64,
}

impl Spend {
    /// The price of so many processor seconds.
    pub fn cpu(seconds: f64, prices: &Prices) -> Self {
        Self { seconds, usd: seconds / 3600.0 * prices.cpu_hour_usd }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work() {
        let meter = Meter::thread();
        while meter.seconds() < 0.02 {
            std::hint::black_box((0..1000u64).sum::<u64>());
        }
    }

    #[test]
    fn work_counts_waiting_does_not() {
        let waited = Meter::thread();
        std::thread::sleep(std::time::Duration::from_millis(50));
        assert!(waited.seconds() < 0.04, "{}", waited.seconds());
        let worked = Meter::thread();
        work();
        assert!(worked.seconds() >= 0.02);
    }

    #[test]
    fn the_process_counts_what_its_threads_did_a_thread_only_its_own() {
        let (process, thread) = (Meter::process(), Meter::thread());
        std::thread::scope(|scope| drop(scope.spawn(work)));
        assert!(process.seconds() >= 0.02);
        assert!(thread.seconds() < 0.02, "{}", thread.seconds());
    }

    #[test]
    fn an_hour_costs_its_price() {
        let spend = Spend::cpu(1800.0, &Prices { cpu_hour_usd: 0.048 });
        assert_eq!(spend, Spend { seconds: 1800.0, usd: 0.024 });
    }
}

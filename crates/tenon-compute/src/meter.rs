//! Measures processor time and prices it.

use cpu_time::ProcessTime;
use tenon_core::spec::Prices;

/// Measures how much processor time is used from its start on.
#[derive(Debug, Clone, Copy)]
pub struct Meter(ProcessTime);

impl Meter {
    /// Starts measuring the whole process: every thread counts, also what others do meanwhile.
    pub fn process() -> Self {
        Self(ProcessTime::now())
    }

    /// Processor seconds used so far, over all cores: two busy cores use two a second.
    pub fn seconds(&self) -> f64 {
        self.0.elapsed().as_secs_f64()
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

    /// Uses 20 ms of processor time, however busy the machine is.
    fn work() {
        let used = cpu_time::ThreadTime::now();
        while used.elapsed().as_secs_f64() < 0.02 {
            std::hint::black_box((0..1000u64).sum::<u64>());
        }
    }

    #[test]
    fn every_thread_counts() {
        let meter = Meter::process();
        std::thread::scope(|scope| {
            scope.spawn(work);
            scope.spawn(work);
        });
        assert!(meter.seconds() >= 0.04, "{}", meter.seconds());
        assert!(meter.spend(&Prices { cpu_hour_usd: 3600.0 }).usd >= 0.04);
    }

    #[test]
    fn an_hour_costs_its_price() {
        let spend = Spend::cpu(1800.0, &Prices { cpu_hour_usd: 0.048 });
        assert_eq!(spend, Spend { seconds: 1800.0, usd: 0.024 });
    }
}

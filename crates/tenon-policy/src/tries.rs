//! How often a caller may try a code.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};

use tenon_core::{Span, Timestamp};

/// Failed tries of one caller in a minute.
const MOST_TRIES: u32 = 5;
const MINUTE: Span = Span::from_micros(60_000_000);
/// Callers that are remembered; when there are more, newcomers wait.
const MOST_CALLERS: usize = 4096;

/// Who tried lately, by address.
#[derive(Debug, Default)]
pub(crate) struct Tries {
    minutes: HashMap<IpAddr, (Timestamp, u32)>,
}

impl Tries {
    /// Counts a try of a caller.
    ///
    /// # Errors
    /// How long the caller has to wait, where there were too many.
    pub(crate) fn admit(&mut self, now: Timestamp, caller: IpAddr) -> Result<(), Span> {
        let caller = network(caller);
        if self.minutes.len() >= MOST_CALLERS && !self.minutes.contains_key(&caller) {
            self.minutes.retain(|_, (since, _)| now - *since < MINUTE);
            if self.minutes.len() >= MOST_CALLERS {
                return Err(MINUTE);
            }
        }
        let (since, tries) = self.minutes.entry(caller).or_insert((now, 0));
        if now - *since >= MINUTE {
            (*since, *tries) = (now, 0);
        }
        if *tries >= MOST_TRIES {
            return Err(Span::from_micros((*since + MINUTE - now).as_micros().max(1)));
        }
        *tries += 1;
        Ok(())
    }

    /// Takes back a try that was none: it was right.
    pub(crate) fn forgive(&mut self, caller: IpAddr) {
        if let Some((_, tries)) = self.minutes.get_mut(&network(caller)) {
            *tries = tries.saturating_sub(1);
        }
    }
}

/// Whoever has one address of IPv6 has a network of them.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn after_five_wrong_codes_a_caller_waits() {
        let (mut tries, caller): (_, IpAddr) = (Tries::default(), "192.0.2.1".parse().unwrap());
        for second in 0..5 {
            tries.admit(at(second), caller).unwrap();
        }
        assert_eq!(tries.admit(at(10), caller), Err(Span::from_micros(50_000_000)));
        tries.admit(at(10), "192.0.2.2".parse().unwrap()).unwrap();
        tries.admit(at(60), caller).unwrap();
        for _ in 0..100 {
            tries.admit(at(61), "192.0.2.3".parse().unwrap()).unwrap();
            tries.forgive("192.0.2.3".parse().unwrap());
        }
    }

    #[test]
    fn a_network_of_ipv6_is_one_caller_and_memory_is_bounded() {
        let mut tries = Tries::default();
        for n in 0..5 {
            tries.admit(at(0), format!("2001:db8::{n}").parse().unwrap()).unwrap();
        }
        assert!(tries.admit(at(0), "2001:db8::ffff".parse().unwrap()).is_err());
        for n in 0..2 * MOST_CALLERS as u32 {
            let _ = tries.admit(at(1), IpAddr::V4(n.into()));
        }
        assert_eq!(tries.minutes.len(), MOST_CALLERS);
        tries.admit(at(62), "192.0.2.9".parse().unwrap()).unwrap();
    }
}

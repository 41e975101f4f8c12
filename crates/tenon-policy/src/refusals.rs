//! How refusals become facts: each once, and a flood of them as counts.

use std::collections::{BTreeMap, HashMap};

use tenon_core::fact::{RefusalsCounted, RefusedAgain};
use tenon_core::{Principal, Span, Timestamp};

/// How long repeated refusals of a principal are counted before the count is a fact.
const STRETCH: Span = Span::from_micros(60_000_000);
/// How many refusals of a principal are written down one by one in that time.
const MOST_WRITTEN: usize = 60;

/// What was refused lately, by principal. There are as many as there are tokens, local people and parts of the program.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    stretches: HashMap<Principal, Stretch>,
}

#[derive(Debug)]
struct Stretch {
    from: Timestamp,
    until: Timestamp,
    /// Action and resource of each refusal that is written down, with how often it came again.
    again: BTreeMap<(String, String), u64>,
    others: u64,
}

impl Tally {
    /// Takes a refusal in. Whether it is to be written down: it is the first of its principal, action and resource in this
    /// stretch, and there were not too many before it.
    pub(crate) fn refused(&mut self, now: Timestamp, principal: &Principal, action: &str, resource: &str) -> bool {
        let fresh = || Stretch { from: now, until: now, again: BTreeMap::new(), others: 0 };
        let stretch = self.stretches.entry(principal.clone()).or_insert_with(fresh);
        let key = (action.to_owned(), resource.to_owned());
        if let Some(times) = stretch.again.get_mut(&key) {
            *times += 1;
        } else if stretch.again.len() < MOST_WRITTEN {
            stretch.again.insert(key, 0);
            return true;
        } else {
            stretch.others += 1;
        }
        stretch.until = stretch.until.max(now);
        false
    }

    /// The counts of stretches that are over, which begin anew. Without a moment, of all.
    pub(crate) fn over(&mut self, now: Option<Timestamp>) -> Vec<RefusalsCounted> {
        let is_over = |stretch: &Stretch| now.is_none_or(|now| now - stretch.from >= STRETCH);
        let over = self.stretches.extract_if(|_, stretch| is_over(stretch));
        let mut counts: Vec<RefusalsCounted> = over.filter_map(|(who, stretch)| stretch.counted(who)).collect();
        counts.sort_by(|a, b| (a.from, &a.principal).cmp(&(b.from, &b.principal)));
        counts
    }
}

impl Stretch {
    /// What was not written down; none where everything was.
    fn counted(self, principal: Principal) -> Option<RefusalsCounted> {
        let Self { from, until, again, others } = self;
        let again = again.into_iter().filter(|(_, times)| *times > 0);
        let again: Vec<RefusedAgain> =
            again.map(|((action, resource), times)| RefusedAgain { action, resource, times }).collect();
        (others > 0 || !again.is_empty()).then_some(RefusalsCounted { principal, from, until, again, others })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn the_first_is_written_and_the_rest_is_counted() {
        let mut tally = Tally::default();
        let eve = Principal::person("eve");
        assert!(tally.refused(at(0), &eve, "model.train", "model a"));
        for second in 1..=5 {
            assert!(!tally.refused(at(second), &eve, "model.train", "model a"));
        }
        assert!(tally.refused(at(6), &eve, "model.train", "model b"), "another thing is another refusal");
        assert!(tally.refused(at(6), &Principal::person("mal"), "model.train", "model a"), "so is another's");
        assert_eq!(tally.over(Some(at(59))), []);
        let again = RefusedAgain { action: "model.train".to_owned(), resource: "model a".to_owned(), times: 5 };
        let counted =
            RefusalsCounted { principal: eve.clone(), from: at(0), until: at(5), again: vec![again], others: 0 };
        assert_eq!(tally.over(Some(at(66))), [counted]);
        assert!(tally.refused(at(66), &eve, "model.train", "model a"), "a new stretch begins anew");
        assert_eq!(tally.over(None), [], "what was written down needs no count");
    }

    #[test]
    fn who_invents_names_is_counted_as_well() {
        let mut tally = Tally::default();
        let eve = Principal::person("eve");
        let written = (0..10_000).filter(|n| tally.refused(at(1), &eve, "dataset.query", &format!("dataset x{n}")));
        assert_eq!(written.count(), MOST_WRITTEN);
        let counted = tally.over(None);
        assert_eq!((counted.len(), counted[0].others), (1, 10_000 - MOST_WRITTEN as u64));
    }
}
